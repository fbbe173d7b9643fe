"""A topic read from the feature log front to back, partition by partition, holding no more than what was not yet taken."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from samestream.streams.columns import Int64Array
from samestream.streams.log.feature_log import FeatureLog


@dataclass(frozen=True, eq=False)
class Rows:
    """Some consecutive rows of one partition: a table of the log, and their offsets."""

    table: pa.Table
    offsets: Int64Array

    def slice(self, start: int, stop: int) -> Rows:
        """The rows from place ``start`` to ``stop``; nothing is copied."""
        return Rows(self.table.slice(start, stop - start), self.offsets[start:stop])

    def without(self, offsets: Sequence[int]) -> Rows:
        """The rows but those at some offsets."""
        keep = ~np.isin(self.offsets, list(offsets))
        return self if keep.all() else Rows(self.table.filter(pa.array(keep)), self.offsets[keep])


class TopicStream:
    """Takes offsets of each partition in order; batches of the log are read one by one, when they are first needed.

    columns : besides `_partition` and `_offset`, which are always there; a column that the log does not know is left out
    coded : whether texts come as dictionaries, which is quicker where few differ
    starts : by partition, where the first one to be taken lies; whole batches before that are passed over
    """

    def __init__(
        self,
        log: FeatureLog,
        topic: str,
        columns: Sequence[str],
        *,
        coded: bool = False,
        starts: Mapping[int, int] | None = None,
    ) -> None:
        self._log, self._topic = log, topic
        batches = log.batches(topic)
        wanted = {"_partition", "_offset", *columns}
        fields = [field for field in batches[-1].schema if field.name in wanted] if batches else []
        self._needed = pa.schema([_coded(field) if coded else field for field in fields])
        begin = starts or {}
        self._batches = deque(
            batch for batch in batches if any(end > begin.get(number, 0) for number, (_, end) in batch.ranges.items())
        )
        self._held: dict[int, deque[Rows]] = {}

    def take(self, partition: int, start: int, end: int) -> list[Rows]:
        """The rows of a partition with offsets in [start, end), in order; what lies before them is dropped.

        Raises FeatureLogError where a file is missing, altered or cannot be read.
        """
        found: list[Rows] = []
        while True:
            held = self._held.setdefault(partition, deque())
            while held:
                rows = held.popleft()
                first, last = np.searchsorted(rows.offsets, [start, end]).tolist()
                if last > first:
                    found.append(rows.slice(first, last))
                if last < len(rows.offsets):
                    held.appendleft(rows.slice(last, len(rows.offsets)))
                    return found
            if not self._batches or self._reached(partition) >= end:
                return found
            self._load()

    def _reached(self, partition: int) -> int:
        """Where the batches begin that are still to be read, as far as a partition goes."""
        for batch in self._batches:
            if partition in batch.ranges:
                return batch.ranges[partition][0]
        return 2**63 - 1

    def _load(self) -> None:
        batch = self._batches.popleft()
        table = self._log.read_batch(self._topic, batch, self._needed)
        numbers, offsets = table["_partition"].to_numpy(), table["_offset"].to_numpy()
        for number in np.unique(numbers).tolist():
            first, last = np.searchsorted(numbers, [number, number + 1]).tolist()
            rows = Rows(table.slice(first, last - first), offsets[first:last])
            self._held.setdefault(number, deque()).append(rows)


def _coded(field: pa.Field[Any]) -> pa.Field[Any]:
    is_text = pa.types.is_string(field.type)
    return pa.field(field.name, pa.dictionary(pa.int32(), pa.string())) if is_text else field
