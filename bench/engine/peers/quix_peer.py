"""Quix Streams: a stateful function per event, its store in RocksDB as always, its changelog switched off. At least once."""

from __future__ import annotations

import struct
from typing import Any

from job import Codecs, Given, packed, step, unpacked
from quixstreams import Application, State


def main() -> None:
    given = Given.parse()
    codecs = Codecs(given.folder)
    app = Application(
        broker_address=given.bootstrap,
        consumer_group=given.target,
        auto_offset_reset="earliest",
        state_dir=str(given.folder / given.target),
        use_changelog_topics=False,
        auto_create_topics=False,
        commit_interval=1.0,
        loglevel="WARNING",
        producer_extra_config={"linger.ms": 5, "queue.buffering.max.messages": 1_000_000},
        consumer_extra_config={"queued.min.messages": 200_000, "fetch.wait.max.ms": 10},
    )

    def answered(value: bytes, state: State) -> bytes:
        event: dict[str, Any] = codecs.read(value)
        held = state.get_bytes("window")
        after, answer = step(unpacked(held) if held else None, event["account"], event["at"], event["price"])
        state.set_bytes("window", packed(after))
        return codecs.write(answer)

    source = app.topic(given.source, value_deserializer="bytes", key_deserializer="str")
    target = app.topic(given.target, value_serializer="bytes", key_serializer="str")
    app.dataframe(source).apply(answered, stateful=True).to_topic(target)
    app.run()


assert struct.calcsize("<qqddd") == 40
main()
