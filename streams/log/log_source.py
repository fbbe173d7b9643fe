"""Batches of a journal from the feature log, many in one: replay without Kafka's topics, in bounded memory.

Batch boundaries change no value, so entries that follow each other are put together until the kernel has enough to do at
once. Of events only the columns are read that the plan needs, straight into arrays, and no file is held longer than it takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from samestream.schemas.errors import RecoveryError
from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.column_types import refuse_retyped
from samestream.streams.columns import Columns, Int64Array
from samestream.streams.engine import arrangement, replay
from samestream.streams.engine.clock import Clocks
from samestream.streams.engine.journal import Entry, Range
from samestream.streams.engine.order import APPLIED, Batch
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.logged_columns import field_of
from samestream.streams.log.topic_stream import Rows, TopicStream
from samestream.streams.plan import Input, Plan
from samestream.streams.transport import Partition
from samestream.streams.wire.decode import Decoded

GROUP_EVENTS = 100_000
"""How many events come together, about; in memory at once are as many, and what the files hold that they lie in."""


def groups(entries: Sequence[Entry], first: int, end: int) -> list[tuple[int, int]]:
    """Entries from ``first`` up to ``end``, as ranges of those that are taken together.

    Where a range ends depends on the whole journal alone, not on where it is entered: so whoever goes on after one finds
    the same ones. Entries of several definitions are kept apart.
    """
    found: list[tuple[int, int]] = []
    mark, begin, done = None, first, 0
    for number, entry in enumerate(entries[:end]):
        here = (entry.fingerprint, done // GROUP_EVENTS)
        if number > first and here != mark:
            found.append((begin, number))
            begin = number
        mark = here
        done += sum(part.end - part.start for part in entry.ranges)
    return [*found, (begin, end)] if end > first else found


def joined(entries: Sequence[Entry]) -> Entry:
    """Entries that follow each other, of one definition, as one."""
    ranges: dict[Partition, Range] = {}
    for entry in entries:
        for part in entry.ranges:
            have = ranges.get(part.partition)
            if have is not None:
                applied, late, dead = have.applied + part.applied, have.late + part.late, have.dead + part.dead
                part = replace(part, start=have.start, applied=applied, late=late, dead=dead)
            ranges[part.partition] = part
    last = entries[-1]
    switches = tuple(switch for entry in entries for switch in entry.switches)
    return replace(
        last, ranges=tuple(ranges.values()), switches=switches, emitted=sum(entry.emitted for entry in entries)
    )


class LogSource:
    """The events of a plan's inputs in journaled order, judged; from the feature log, front to back.

    partitions : all of the inputs', idle ones too, as the processor has them
    entries : those that will be asked for, in order; what lies before them is not read
    times_only : whether of the fields the event times are read alone, of which the order and what is applied follow
    Raises FeatureLogError where the log holds a field as another type than is declared, RecoveryError where it was cut off.
    """

    def __init__(
        self,
        log: FeatureLog,
        plan: Plan,
        partitions: Iterable[Partition],
        entries: Sequence[Entry],
        *,
        times_only: bool = False,
    ) -> None:
        self._inputs = tuple(plan.inputs.values())
        topics = [input.topic for input in self._inputs]
        starts: dict[str, dict[int, int]] = {topic: {} for topic in topics}
        for entry in entries:
            for part in entry.ranges:
                if part.partition.topic in starts:
                    starts[part.partition.topic].setdefault(part.partition.partition, part.start)
        self._refuse_cut(log, starts)
        journaled = {Partition(topic, number) for topic, parts in starts.items() for number in parts}
        self._partitions = tuple(sorted(journaled | set(partitions)))
        self._rank = {partition: rank for rank, partition in enumerate(self._partitions)}
        self._input_of = np.array([topics.index(part.topic) for part in self._partitions], np.int64)
        self._columns = {
            name: [input.time] * bool(input.time) if times_only else plan.read_columns(name)
            for name, input in plan.inputs.items()
        }
        for input in self._inputs:
            if (newest := log.newest(input.topic)) is not None:
                refuse_retyped(input, newest.schema, self._columns[input.name])
        self._reached = {topic: log.offsets(topic) for topic in topics}
        self._streams = {
            input.topic: TopicStream(
                log, input.topic, ["_known", *self._columns[input.name]], coded=True, starts=starts[input.topic]
            )
            for input in self._inputs
        }

    @staticmethod
    def _refuse_cut(log: FeatureLog, starts: Mapping[str, Mapping[int, int]]) -> None:
        for topic, parts in starts.items():
            for number, (first, _) in log.ranges(topic).items():
                if parts.get(number, first) < first:
                    raise RecoveryError(
                        "the feature log does not reach back so far: its beginning was cut off",
                        where=str(Partition(topic, number)),
                        found=f"offsets from {first} on",
                        expected=f"offsets from {parts[number]} on",
                        hint="choose a later --from, or read the topics: `samestream replay --from-topics`.",
                    )

    def batch(self, entries: Sequence[Entry], clocks: Clocks, fingerprint: str) -> Batch:
        """The next entries of the journal as one batch, judged; the clocks move on.

        fingerprint : of the definition replayed; entries of the same one must find the same events
        Raises RecoveryError when they do not, or where the log has not come as far as the journal.
        """
        rows, ends = self._rows(entries)
        parts = [_Part.of(part, clocks.known_us.get(partition)) for partition, part in rows.items()]
        sizes = np.array([len(part.offsets) for part in parts], np.int64)
        begin = np.concatenate([[0], np.cumsum(sizes)])
        reached = np.stack([np.searchsorted(part.offsets, ends[:, rank]) for rank, part in enumerate(parts)], axis=1)
        bounds = begin[:-1] + np.concatenate([np.zeros((1, len(parts)), np.int64), reached])
        known_us = np.concatenate([part.known_us for part in parts])
        order = arrangement.merged(known_us, bounds[:-1].copy(), bounds[1:].copy())
        columns, times = self._input_columns(parts)
        rank = np.repeat(np.arange(len(parts)), sizes)[order]
        input = self._input_of[rank]
        # a topic's partitions stand side by side, so its rows do
        first = np.array([begin[np.argmax(self._input_of == index)] for index in range(len(self._inputs))])
        batch = Batch(
            self._inputs,
            self._partitions,
            input,
            rank,
            order - first[input],
            np.concatenate([part.offsets for part in parts])[order],
            known_us[order],
            times[order],
            np.full(len(order), APPLIED, np.uint8),
            np.zeros(len(order), np.int64),
            columns,
            tuple(part.taken(partition) for partition, part in zip(rows, parts, strict=True) if len(part.offsets)),
        )
        clocks.judge(batch)
        if entries[0].fingerprint == fingerprint:
            self._check(entries, batch, np.diff(bounds, axis=0).sum(axis=1))
        return batch

    def _rows(self, entries: Sequence[Entry]) -> tuple[dict[Partition, list[Rows]], Int64Array]:
        """What the entries read of every partition, but what was dead; and where each entry ends: shape (entries, partitions)."""
        starts, ends = np.full(len(self._partitions), -1), np.zeros((len(entries), len(self._partitions)), np.int64)
        dead: dict[int, list[int]] = {}
        for number, entry in enumerate(entries):
            for part in entry.ranges:
                rank = self._rank.get(part.partition)
                if rank is not None:
                    ends[number, rank] = part.end
                    if starts[rank] < 0:
                        starts[rank] = part.start
                    if part.dead:
                        dead.setdefault(rank, []).extend(part.dead)
        ends = np.maximum.accumulate(ends)
        found: dict[Partition, list[Rows]] = {}
        for rank, partition in enumerate(self._partitions):
            found[partition] = []
            if starts[rank] >= 0:
                end = int(ends[-1, rank])
                self._refuse_behind(partition, end)
                stream = self._streams[partition.topic]
                found[partition] = stream.take(partition.partition, int(starts[rank]), end)
            if rank in dead:
                found[partition] = [rows.without(dead[rank]) for rows in found[partition]]
        return found, ends

    def _refuse_behind(self, partition: Partition, end: int) -> None:
        reached = self._reached[partition.topic].get(partition.partition, 0)
        if reached < end:
            raise RecoveryError(
                "the feature log has not come as far as the journal",
                where=str(partition),
                found=f"offset {reached}",
                expected=f"offset {end}",
                hint="let `samestream run MODULE log` catch up first.",
            )

    def _input_columns(self, parts: Sequence[_Part]) -> tuple[tuple[Columns, ...], Int64Array]:
        """The columns of every input, its partitions one after the other; and all event times, in order of the partitions."""
        columns: list[Columns] = []
        times: list[Int64Array] = []
        for index, input in enumerate(self._inputs):
            mine = [part for part, of in zip(parts, self._input_of.tolist(), strict=True) if of == index]
            tables = [rows.table for part in mine for rows in part.rows if len(rows.offsets)]
            columns.append(_columns(input, self._columns[input.name], tables))
            times.append(
                columns[-1][input.time].values
                if input.time
                else np.concatenate([part.stamps_us for part in mine] or [np.empty(0, np.int64)])
            )
        in_order = sorted(range(len(self._inputs)), key=lambda index: self._inputs[index].topic)
        return tuple(columns), np.concatenate([times[index] for index in in_order])

    def _check(self, entries: Sequence[Entry], batch: Batch, sizes: Int64Array) -> None:
        """Raises RecoveryError where an entry did not find as many events that apply as it says."""
        count, place = len(self._partitions), np.repeat(np.arange(len(entries)), sizes)
        cells = (place * count + batch.partition)[batch.decision == APPLIED]
        applied = np.bincount(cells, minlength=len(entries) * count).reshape(len(entries), count)
        for number, entry in enumerate(entries):
            for part in entry.ranges:
                rank = self._rank.get(part.partition)
                if rank is not None and applied[number, rank] != part.applied:
                    raise replay.not_held(entry, part, int(applied[number, rank]))


@dataclass(frozen=True, eq=False)
class _Part:
    """What a group takes of one partition; known_us : running known times, stamps_us : as the records say."""

    rows: list[Rows]
    offsets: Int64Array
    stamps_us: Int64Array
    known_us: Int64Array

    @classmethod
    def of(cls, rows: list[Rows], known_us: int | None) -> _Part:
        """Of some rows; ``known_us`` is the running known time before them, if there is one."""
        nothing = np.empty(0, np.int64)
        offsets = np.concatenate([nothing, *(part.offsets for part in rows)])
        stamps = np.concatenate([nothing, *(cols.from_arrow(part.table["_known"], Kind.TIME).values for part in rows)])
        running = stamps.copy()
        if len(running) and known_us is not None:
            running[0] = max(int(running[0]), known_us)
        return cls(rows, offsets, stamps, np.maximum.accumulate(running))

    def taken(self, partition: Partition) -> Decoded:
        """As the clocks and the journal read it: without columns."""
        count = len(self.offsets)
        dead = np.zeros(count, np.bool_)
        return Decoded(partition, self.offsets, self.known_us, self.stamps_us, dead, {}, {}, [], [], self.stamps_us)


def _columns(input: Input, names: Sequence[str], tables: Sequence[pa.Table]) -> Columns:
    if not tables:
        return {name: cols.empty(input.columns[name]) for name in names}
    return {name: field_of(input, name, tables) for name in names}
