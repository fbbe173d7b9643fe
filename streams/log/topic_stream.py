"""A topic read from the feature log front to back, partition by partition, holding no more than what was not yet taken."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from samestream.streams.columns import Int64Array
from samestream.streams.log.feature_log import KEY_SCHEMA, FeatureLog, LogFile
from samestream.streams.log.manifest import Ranges


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
    """Takes offsets of each partition in order; files of the log are read one by one, when they are first needed.

    A file of a rewritten log lies by known time: its offsets may stand between those of others, so it is read with them.

    columns : besides `_partition` and `_offset`, which are always there; a column that the log does not know is left out
    coded : whether texts come as dictionaries, which is quicker where few differ
    starts : by partition, where the first one to be taken lies; whole files before that are passed over
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
        self._defaults = batches[-1].defaults if batches else {}
        begin, pending = starts or {}, []
        for batch in batches:
            for file in batch.files:
                ranges = file.offsets or batch.ranges
                if any(end > begin.get(number, 0) for number, (_, end) in ranges.items()):
                    pending.append((file, ranges))
        self._files = pending
        self._held: dict[int, deque[Rows]] = {}

    def take(self, partition: int, start: int, end: int) -> list[Rows]:
        """The rows of a partition with offsets in [start, end), in order; what lies before them is dropped.

        Raises FeatureLogError where a file is missing, altered or cannot be read.
        """
        for file in [(file, ranges) for file, ranges in self._files if _begins_before(ranges, partition, end)]:
            self._files.remove(file)
            self._load(file[0])
        found: list[Rows] = []
        held = self._held.setdefault(partition, deque())
        while held:
            rows = held.popleft()
            first, last = np.searchsorted(rows.offsets, [start, end]).tolist()
            if last > first:
                found.append(rows.slice(first, last))
            if last < len(rows.offsets):
                held.appendleft(rows.slice(last, len(rows.offsets)))
                break
        return found

    def _load(self, file: LogFile) -> None:
        table = self._log.read_files(self._topic, [file], self._needed, self._defaults)
        numbers, offsets = table["_partition"].to_numpy(), table["_offset"].to_numpy()
        for number in np.unique(numbers).tolist():
            first, last = np.searchsorted(numbers, [number, number + 1]).tolist()
            rows = Rows(table.slice(first, last - first), offsets[first:last])
            held = self._held.setdefault(number, deque())
            if held and held[-1].offsets[-1] > rows.offsets[0]:
                together = sorted([*held, rows], key=lambda part: int(part.offsets[0]))
                self._held[number] = deque([_merged(together)])
            else:
                held.append(rows)


def _begins_before(ranges: Ranges, partition: int, end: int) -> bool:
    return partition in ranges and ranges[partition][0] < end


def _merged(parts: Sequence[Rows]) -> Rows:
    """Rows whose offsets stand between each other's, in order."""
    offsets = np.concatenate([part.offsets for part in parts])
    table = pa.concat_tables([part.table for part in parts]).unify_dictionaries()
    order = np.argsort(offsets, kind="stable")
    return Rows(table.take(order).combine_chunks(), offsets[order])


def reader(
    log: FeatureLog, topic: str, columns: Sequence[str], known_to_us: int | None = None, *, with_known: bool = True
) -> pa.RecordBatchReader:
    """The rows of a topic, file by file of the log: `_partition`, `_offset`, `_known` and some columns; it can be read once.

    with_known : whether `_known` is wanted, where no instant asks for it

    known_to_us : nothing counts that the log learned of at this instant or later
    A column that the log does not know is left out. While it is read FeatureLogError may be raised, as by `FeatureLog.read`.
    """
    newest, wanted = log.newest(topic), {*KEY_SCHEMA.names, *columns} - {"_key"}
    if not with_known and known_to_us is None:
        wanted -= {"_known"}
    needed = pa.schema([field for field in (newest.schema if newest else KEY_SCHEMA) if field.name in wanted])
    files = [file for file in log.in_force(topic) if file.meets(None, known_to_us)]

    def rows() -> Iterator[pa.RecordBatch]:
        for file in files:
            table = log.read_files(topic, [file], needed, newest.defaults if newest else {})
            if known_to_us is not None:
                table = table.filter(pa.array(table["_known"].cast(pa.int64()).to_numpy() < known_to_us))
            yield from table.to_batches()

    return pa.RecordBatchReader.from_batches(needed, rows())


def _coded(field: pa.Field[Any]) -> pa.Field[Any]:
    is_text = pa.types.is_string(field.type)
    return pa.field(field.name, pa.dictionary(pa.int32(), pa.string())) if is_text else field
