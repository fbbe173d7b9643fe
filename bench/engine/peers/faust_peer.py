"""Faust: an agent over a topic, and a table in memory. At least once; the table's changelog cannot be switched off."""

from __future__ import annotations

import sys
from typing import Any

import faust
from job import Codecs, Given, step

given = Given.parse()
codecs = Codecs(given.folder)
app = faust.App(
    f"{given.target}.peer",
    broker=f"kafka://{given.bootstrap}",
    store="memory://",
    datadir=str(given.folder / given.target),
    topic_partitions=given.partitions,
    topic_replication_factor=1,
    consumer_auto_offset_reset="earliest",
    producer_linger_ms=5,
    stream_buffer_maxsize=16_384,
    producer_acks=1,
    broker_max_poll_records=5_000,
    web_enabled=False,
)
source = app.topic(given.source, key_type=bytes, value_type=bytes, value_serializer="raw", key_serializer="raw")
target = app.topic(given.target, key_type=bytes, value_type=bytes, value_serializer="raw", key_serializer="raw")
windows: Any = app.Table("windows", partitions=given.partitions)


@app.agent(source)
async def answer(events: Any) -> None:
    async for key, value in events.items():
        event = codecs.read(value)
        account = event["account"]
        after, answer = step(windows.get(account), account, event["at"], event["price"])
        windows[account] = after
        await target.send(key=key, value=codecs.write(answer))


sys.argv = ["faust", "worker", "-l", "warn"]
app.main()
