"""Bytewax: a stateful map. At least once, without recovery."""

from __future__ import annotations

from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main
from job import Codecs, Given, step


def main() -> None:
    given = Given.parse()
    codecs = Codecs(given.folder)

    def keyed(message: Any) -> tuple[str, dict[str, Any]]:
        event = codecs.read(message.value)
        return event["account"], event

    def answered(held: list[Any] | None, event: dict[str, Any]) -> tuple[list[Any], bytes]:
        after, answer = step(held, event["account"], event["at"], event["price"])
        return after, codecs.write(answer)

    def message(pair: tuple[str, bytes]) -> KafkaSinkMessage[bytes, bytes]:
        return KafkaSinkMessage(pair[0].encode(), pair[1])

    flow = Dataflow("peer")
    source = KafkaSource(
        [given.bootstrap],
        [given.source],
        tail=True,
        batch_size=5_000,
        add_config={"queued.min.messages": "200000", "fetch.wait.max.ms": "10"},
    )
    events = op.map("read", op.input("in", flow, source), keyed)
    answers = op.map("message", op.stateful_map("answer", events, answered), message)
    op.output("out", answers, KafkaSink([given.bootstrap], given.target, add_config={"linger.ms": "5"}))
    cli_main(flow)


main()
