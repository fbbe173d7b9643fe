"""A made-up log, event by event, as a processor decodes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from samestream.schemas import avro
from samestream.streams.plan import Plan
from samestream.streams.transport import Fetched, Partition
from samestream.streams.wire.decode import Decoded, Decoder
from samestream.streams.wire.schema_store import SchemaStore

PARTITIONS = 2
Log = Mapping[str, Sequence[tuple[int, int, dict[str, Any]]]]
"""By event: partition, known time and values of each, in known-time order."""


def decoded(plan: Plan, log: Log) -> list[Decoded]:
    """By event and partition, in the order of the log's events."""
    store = SchemaStore(None, "x", [part.schema for part in plan.events.values()])
    found = []
    for part in (plan.inputs[name] for name in log):
        codec = avro.Codec(part.schema)
        for number in range(PARTITIONS):
            mine = [(known, values) for partition, known, values in log[part.name] if partition == number]
            keys = [str(values[part.key]).encode() for _, values in mine]
            offsets, known = np.arange(len(mine), dtype=np.int64), np.array([known for known, _ in mine], np.int64)
            fetched = Fetched(Partition(part.topic, number), offsets, known, keys, [codec.encode(v) for _, v in mine])
            found.append(Decoder(part, store).decode(fetched, -(2**62)))
    return found
