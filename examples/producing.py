"""Events of the examples into Kafka: each release in one transaction, so that a reader sees it whole or not at all."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from samestream.examples.event_batch import EventBatch
from samestream.schemas.avro import Codec
from samestream.streams.plan import Plan
from samestream.streams.transport import Outgoing, Transport
from samestream.streams.wire.encode import encode_key

_CHUNK = 5_000


def produce(
    transport: Transport,
    plan: Plan,
    batches: Mapping[str, EventBatch],
    on_progress: Callable[[int], None] | None = None,
    identity: str = "producer",
) -> dict[str, int]:
    """Send every event with its known time as record timestamp; returns how many went to each topic."""
    writer = transport.transactional_writer(f"{plan.app}.{identity}")
    sent: dict[str, int] = {}
    try:
        writer.open()
        writer.begin()
        for name, batch in batches.items():
            records = _records(plan, name, batch)
            while chunk := list(itertools.islice(records, _CHUNK)):
                writer.send(chunk)
                topic = plan.events[name].topic
                sent[topic] = sent.get(topic, 0) + len(chunk)
                if on_progress:
                    on_progress(len(chunk))
        writer.commit()
    finally:
        writer.close()
    return sent


def _records(plan: Plan, name: str, batch: EventBatch) -> Iterator[Outgoing]:
    topic, codec = plan.events[name].topic, Codec(plan.events[name].schema)
    columns: dict[str, list[Any]] = {
        column: values if isinstance(values, list) else values.tolist() for column, values in batch.columns.items()
    }
    names = list(columns)
    for key, known_us, row in zip(batch.key, batch.known_us.tolist(), zip(*columns.values(), strict=True), strict=True):
        yield Outgoing(topic, encode_key(key), codec.encode(dict(zip(names, row, strict=True))), known_us)
