"""Journaled ranges read from the feature log: replay without Kafka's topics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from samestream.schemas.errors import RecoveryError
from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.columns import ColumnData
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.plan import Input
from samestream.streams.transport import Partition
from samestream.streams.wire.decode import Decoded


class LogSource:
    """The raw events of some inputs, from Parquet. See `replay.RangeSource`."""

    def __init__(self, log: FeatureLog, inputs: Sequence[Input]) -> None:
        self._parts: dict[Partition, Decoded] = {}
        self._offsets = {part.topic: log.offsets(part.topic) for part in inputs}
        self._columns = {part.topic: part for part in inputs}
        for part in inputs:
            self._load(log, part)

    def _load(self, log: FeatureLog, input: Input) -> None:
        if not self._offsets[input.topic]:
            return
        table = log.read(input.topic)
        numbers = cols.from_arrow(table["_partition"], Kind.INT).values
        offsets = cols.from_arrow(table["_offset"], Kind.INT).values
        stamps = cols.from_arrow(table["_known"], Kind.TIME).values
        columns = {
            name: cols.from_arrow(table[name], kind, input.items.get(name)) for name, kind in input.columns.items()
        }
        for number in np.unique(numbers).tolist():
            rows = slice(*np.searchsorted(numbers, [number, number + 1]).tolist())
            mine = {name: column.take(rows) for name, column in columns.items()}
            count = len(offsets[rows])
            self._parts[Partition(input.topic, number)] = Decoded(
                Partition(input.topic, number),
                offsets[rows],
                stamps[rows],
                mine[input.time].values if input.time else stamps[rows],
                np.zeros(count, np.bool_),
                {},
                mine,
                [],
                [],
                stamps[rows],
            )

    def read(self, partition: Partition, start: int, end: int, dead: frozenset[int], known_us: int) -> list[Decoded]:
        """See `RangeSource.read`. Raises RecoveryError when the log has not come as far as the journal."""
        reached = self._offsets[partition.topic].get(partition.partition, 0)
        if reached < end:
            raise RecoveryError(
                "the feature log has not come as far as the journal",
                where=str(partition),
                found=f"offset {reached}",
                expected=f"offset {end}",
                hint="let `samestream run MODULE log` catch up first.",
            )
        part = self._parts.get(partition)
        if part is None:
            return []
        first, last = np.searchsorted(part.offsets, [start, end]).tolist()
        chunk = part.slice(first, last)
        if dead:
            chunk = _without(chunk, dead)
        if not len(chunk):
            return []
        running = chunk.stamps_us.copy()
        running[0] = max(int(running[0]), known_us)
        chunk.known_us = np.maximum.accumulate(running)
        return [chunk]


def _without(chunk: Decoded, dead: frozenset[int]) -> Decoded:
    keep = ~np.isin(chunk.offsets, list(dead))
    columns: dict[str, ColumnData] = {name: column.take(keep) for name, column in chunk.columns.items()}
    time_us, known_us = chunk.time_us[keep], chunk.known_us[keep]
    count = int(keep.sum())
    return Decoded(
        chunk.partition,
        chunk.offsets[keep],
        known_us,
        time_us,
        np.zeros(count, np.bool_),
        {},
        columns,
        [],
        [],
        chunk.stamps_us[keep],
    )
