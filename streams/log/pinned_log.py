"""The feature log as it was: only rows below some offsets, or known before an instant.

Files of the log come and go (compaction), offsets do not: what offsets name can be read again, row for row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from samestream.schemas.errors import FeatureLogError
from samestream.streams.columns import BoolArray, Int64Array
from samestream.streams.log.feature_log import FeatureLog, LogFile

Ranges = Mapping[str, Mapping[int, tuple[int, int]]]
"""By topic and partition, offsets `[start, end)`."""


class PinnedLog(FeatureLog):
    """Reads no row outside of some ranges.

    Raises FeatureLogError when the log does not hold all of them: it was cut, or is another log.
    """

    def __init__(self, log: FeatureLog, ranges: Ranges) -> None:
        self.storage, self.partition_by, self._parsed = log.storage, log.partition_by, log._parsed
        self._pinned = ranges
        for topic, parts in ranges.items():
            held = log.ranges(topic)
            for number, (start, end) in parts.items():
                first, last = held.get(number, (0, 0))
                if start < first or end > last:
                    raise FeatureLogError(
                        "the log does not hold what is to be read again",
                        where=f"{topic} partition {number}",
                        found=f"offsets {first} to {last}",
                        expected=f"offsets {start} to {end}",
                        hint="is --log the one it was made from? If it was built anew, let `samestream run MODULE log` catch up.",
                    )

    def topics(self) -> list[str]:
        """The topics that are pinned and have a batch."""
        return [topic for topic in super().topics() if topic in self._pinned]

    def offsets(self, topic: str) -> dict[int, int]:
        """The next offset per partition, as pinned."""
        return {number: end for number, (_, end) in self._pinned.get(topic, {}).items()}

    def ranges(self, topic: str) -> dict[int, tuple[int, int]]:
        """The offsets per partition, as pinned."""
        return dict(self._pinned.get(topic, {}))

    def read(
        self,
        topic: str,
        columns: Sequence[str] | None = None,
        known_from_us: int | None = None,
        known_to_us: int | None = None,
    ) -> pa.Table:
        """See `FeatureLog.read`."""
        wanted = None if columns is None else list(dict.fromkeys([*columns, "_partition", "_offset"]))
        table = self._kept(topic, super().read(topic, wanted, known_from_us, known_to_us))
        return table.select(list(columns)) if columns is not None else table

    def read_files(
        self, topic: str, files: Sequence[LogFile], needed: pa.Schema, defaults: Mapping[str, Any]
    ) -> pa.Table:
        """See `FeatureLog.read_files`."""
        return self._kept(topic, super().read_files(topic, files, needed, defaults))

    def _kept(self, topic: str, table: pa.Table) -> pa.Table:
        keep = within(self._pinned.get(topic, {}), table["_partition"].to_numpy(), table["_offset"].to_numpy())
        return table if keep.all() else table.filter(pa.array(keep))


def within(ranges: Mapping[int, tuple[int, int]], partitions: Int64Array, offsets: Int64Array) -> BoolArray:
    """Which positions lie in the offsets `[start, end)` of their partition. partitions, offsets : shape (n,)."""
    found = np.zeros(len(offsets), np.bool_)
    for number, (start, end) in ranges.items():
        found |= (partitions == number) & (offsets >= start) & (offsets < end)
    return found


def known_before(table: pa.Table, known_us: int | None) -> pa.Table:
    """The rows of a table of the log that it learned of before an instant; all if None."""
    if known_us is None:
        return table
    return table.filter(pa.array(table["_known"].cast(pa.int64()).to_numpy() < known_us))
