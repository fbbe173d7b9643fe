"""Replay: the log, taken batch by batch as a journal says. Recovery, parity and audit are this one operation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from samestream.schemas.errors import RecoveryError
from samestream.streams.engine.clock import Clocks
from samestream.streams.engine.journal import Entry, Range
from samestream.streams.engine.order import APPLIED, Batch, Pending, ordered
from samestream.streams.plan import Input
from samestream.streams.transport import Fetched, Partition, Transport
from samestream.streams.wire.decode import UNKNOWN_KNOWN_US, Decoded, Decoder

_FETCH_RECORDS = 20_000
_HELD_BYTES, _LEAST_HELD_BYTES = 256 * 1024 * 1024, 4 * 1024 * 1024  # of all partitions, and of one at least
_PATIENCE_FETCHES = 150  # of 200 ms: how long a range may take to arrive before it counts as lost


class RangeSource(Protocol):
    """Where the records of journaled ranges come from; asked for consecutive ranges of each partition."""

    def read(self, partition: Partition, start: int, end: int, dead: frozenset[int], known_us: int) -> list[Decoded]:
        """The records with offsets in [start, end)."""


def batches(
    entries: Sequence[Entry],
    inputs: Sequence[Input],
    partitions: Iterable[Partition],
    source: RangeSource,
    clocks: Clocks,
    fingerprint: str,
) -> Iterator[tuple[Entry, Batch]]:
    """The batches of a journal, ordered and judged as they were when they were committed.

    partitions : all of the inputs', idle ones too, as the processor has them
    clocks : as they stood before the first entry; they move on with every batch
    fingerprint : of the definition replayed; entries of the same one must find the same events
    Raises RecoveryError when they do not: the log was compacted, damaged or read with fewer schemas.
    """
    index = {part.topic: position for position, part in enumerate(inputs)}
    journaled = {part.partition for entry in entries for part in entry.ranges if part.partition.topic in index}
    every = sorted(journaled | set(partitions))
    input_of = {partition: index[partition.topic] for partition in every}
    for entry in entries:
        taken: list[Decoded] = []
        for part in sorted(entry.ranges, key=lambda part: part.partition):
            if part.partition in input_of:
                known_us = clocks.known_us.get(part.partition, UNKNOWN_KNOWN_US)
                taken += source.read(part.partition, part.start, part.end, frozenset(part.dead), known_us)
        batch = ordered(tuple(inputs), tuple(every), input_of, taken)
        clocks.judge(batch)
        if entry.fingerprint == fingerprint:
            _check(entry, batch)
        yield entry, batch


def _check(entry: Entry, batch: Batch) -> None:
    for part in entry.ranges:
        if part.partition not in batch.partitions:
            continue
        mine = batch.partition == batch.partitions.index(part.partition)
        applied = int(np.count_nonzero(mine & (batch.decision == APPLIED)))
        if applied != part.applied:
            raise not_held(entry, part, applied)


def not_held(entry: Entry, part: Range, applied: int) -> RecoveryError:
    """What is wrong where so many events of a range apply, but the journal says that others did."""
    return RecoveryError(
        "the log does not hold what the journal says was applied",
        where=f"{entry.processor}, batch {entry.sequence}, {part.partition} offsets {part.start} to {part.end}",
        found=f"{applied} events that apply",
        expected=part.applied,
        hint="the topic was compacted, the log damaged, or a schema is missing; see `samestream topics`.",
    )


class TopicSource:
    """Ranges read from the topics themselves, once, from front to back.

    firsts : where to begin in each partition
    """

    def __init__(self, transport: Transport, decoders: Mapping[str, Decoder], firsts: Mapping[Partition, int]) -> None:
        self._decoders = decoders
        self._held: dict[Partition, list[Fetched]] = {partition: [] for partition in firsts}
        self._full: set[Partition] = set()
        self._next = dict(firsts)
        self._reader = transport.reader()
        self._reader.assign(firsts)

    def read(self, partition: Partition, start: int, end: int, dead: frozenset[int], known_us: int) -> list[Decoded]:
        """See `RangeSource.read`. Raises RecoveryError when the log no longer holds the range."""
        tries = 0
        while self._next[partition] < end:
            self._hold(partition)
            fetched = self._reader.fetch(_FETCH_RECORDS, 0.2)
            for part in fetched:
                self._held[part.partition].append(part)
            self._next.update(self._reader.next_offsets())
            tries = 0 if fetched else tries + 1
            if tries > _PATIENCE_FETCHES:
                raise RecoveryError(
                    "the log does not hold a journaled range",
                    where=str(partition),
                    found=f"nothing after offset {self._next[partition]}",
                    expected=f"offsets {start} to {end}",
                    hint="check the topic's retention; state cannot be rebuilt from events that are gone.",
                )
        pending = Pending()
        held = self._held[partition]
        while held and int(held[0].offsets[0]) < end:
            whole = held.pop(0)
            part = whole.before(end)
            if len(part) < len(whole):
                held.insert(0, _after(whole, len(part)))
            decoded = self._decoders[partition.topic].decode(part, known_us, dead)
            known_us = int(decoded.known_us[-1])
            pending.add(decoded)
        return pending.take(pending.count)

    def _hold(self, wanted: Partition) -> None:
        """Bound what is held of partitions that are read further than the journal is followed."""
        most = max(_HELD_BYTES // max(len(self._held), 1), _LEAST_HELD_BYTES)
        sizes = {part: sum(one.held_bytes for one in held) for part, held in self._held.items() if part != wanted}
        full = {part for part, size in sizes.items() if size > (most // 2 if part in self._full else most)}
        if full != self._full:
            self._reader.hold(full)
            self._full = full

    def close(self) -> None:
        """Release the reader."""
        self._reader.close()


def first_offsets(entries: Sequence[Entry], topics: Iterable[str]) -> dict[Partition, int]:
    """Where entries begin to read each partition of some topics."""
    wanted = set(topics)
    firsts: dict[Partition, int] = {}
    for entry in entries:
        for part in entry.ranges:
            if part.partition.topic in wanted:
                firsts.setdefault(part.partition, part.start)
    return firsts


def _after(fetched: Fetched, count: int) -> Fetched:
    return Fetched(
        fetched.partition,
        fetched.offsets[count:],
        fetched.known_us[count:],
        fetched.keys[count:],
        fetched.values[count:],
    )
