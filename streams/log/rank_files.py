"""Merge ranks on disk: of a log of any length no more of them is in memory than the rows want that are read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samestream.schemas.errors import FeatureLogError
from samestream.streams.engine.clock import NEVER_US
from samestream.streams.engine.merge_rank import MergeRanks, lacking
from samestream.streams.engine.order import Batch
from samestream.streams.log import topic_stream
from samestream.streams.log.feature_log import FeatureLog

_ROW = np.dtype([("offset", "<i8"), ("rank", "<i8"), ("applied", "?")])
_MARKS = (pa.field("_rank", pa.int64()), pa.field("_applied", pa.bool_()))


@dataclass
class _File:
    """The ranks of one partition, by offset. firsts, places : of each part, its first offset, and how many rows come before."""

    path: Path
    firsts: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=lambda: [0])

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Add what comes next."""
        with self.path.open("ab") as file:
            file.write(rows.tobytes())
        self.firsts.append(int(rows["offset"][0]))
        self.places.append(self.places[-1] + len(rows))

    def within(self, first: int, last: int) -> npt.NDArray[Any]:
        """The rows of all parts that may hold offsets from the first to the last one."""
        begin = self.places[max(bisect_right(self.firsts, first) - 1, 0)]
        count = self.places[bisect_right(self.firsts, last)] - begin
        return np.fromfile(self.path, _ROW, max(count, 0), offset=begin * _ROW.itemsize)


class RankFiles(MergeRanks):
    """`MergeRanks` in files of a folder; it adds them to rows of the log some at a time.

    folder : there, empty; it is the caller's to remove
    Raises FeatureLogError where there is no room in it.
    """

    def __init__(self, folder: Path, *, by_time: bool = False, reached_us: int = NEVER_US) -> None:
        super().__init__(by_time=by_time, reached_us=reached_us)
        self._folder = folder
        self._files: dict[tuple[str, int], _File] = {}
        self._applied: dict[str, int] = {}

    def note(self, batch: Batch) -> None:
        """See `MergeRanks.note`."""
        rank, applied = self.of(batch)
        for number, partition in enumerate(batch.partitions):
            mine = np.flatnonzero(batch.partition == number)
            if not len(mine):
                continue
            rows = np.empty(len(mine), _ROW)
            rows["offset"], rows["rank"], rows["applied"] = batch.offset[mine], rank[mine], applied[mine]
            place = (partition.topic, partition.partition)
            file = self._files.setdefault(place, _File(self._folder / f"{len(self._files)}.ranks"))
            try:
                file.append(rows)
            except OSError as error:
                raise FeatureLogError(
                    "there is no room for what is computed from the log",
                    where=str(self._folder),
                    found=error,
                    hint="make room where temporary files lie (TMPDIR), or ask for a shorter range.",
                ) from error
            self._applied[partition.topic] = self._applied.get(partition.topic, 0) + int(applied[mine].sum())

    def judged(self, topic: str, events: pa.Table) -> pa.Table:
        """See `MergeRanks.judged`."""
        found = self.some(topic, events)
        self.check(topic, int(np.sum(found["_applied"].to_numpy())))
        return found

    def some(self, topic: str, events: pa.Table) -> pa.Table:
        """Some of the events, in order of partition and offset, as `judged` gives them; whether others are lacking is not told."""
        numbers, offsets = events["_partition"].to_numpy(), events["_offset"].to_numpy()
        known, applied = np.zeros(len(offsets), np.bool_), np.zeros(len(offsets), np.bool_)
        rank = np.zeros(len(offsets), np.int64)
        for number in np.unique(numbers).tolist():
            file = self._files.get((topic, number))
            mine = slice(*np.searchsorted(numbers, [number, number + 1]).tolist())
            rows = file.within(int(offsets[mine][0]), int(offsets[mine][-1])) if file else np.empty(0, _ROW)
            if not len(rows):
                continue
            held = np.ascontiguousarray(rows["offset"])
            at = np.minimum(np.searchsorted(held, offsets[mine]), len(held) - 1)
            known[mine] = held[at] == offsets[mine]
            rank[mine], applied[mine] = rows["rank"][at], rows["applied"][at]
        covered = events.filter(pa.array(known)).append_column(_MARKS[0], pa.array(rank[known]))
        return covered.append_column(_MARKS[1], pa.array(applied[known]))

    def check(self, topic: str, found: int) -> None:
        """Raises RecoveryError where fewer applied events were found than there are."""
        if found != self._applied.get(topic, 0):
            raise lacking(topic, found, self._applied.get(topic, 0))

    def reader(self, log: FeatureLog, topic: str, columns: Sequence[str]) -> pa.RecordBatchReader:
        """`topic_stream.reader`, judged; RecoveryError where the log lacks an event that was applied."""
        rows = topic_stream.reader(log, topic, columns)

        def found() -> Iterator[pa.RecordBatch]:
            applied = 0
            for batch in rows:
                table = self.some(topic, pa.Table.from_batches([batch]))
                applied += int(np.sum(table["_applied"].to_numpy()))
                yield from table.to_batches()
            self.check(topic, applied)

        return pa.RecordBatchReader.from_batches(pa.schema([*rows.schema, *_MARKS]), found())
