"""The order of a processor: its partitions merged by running-maximum known time, never ahead of the broker's data.

On a log at rest the order is a function of the log alone (DESIGN section 2, Order). A batch's ranges are fixed first, then
ordered; ties are broken by topic, partition, offset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from samestream.streams import columns as cols
from samestream.streams.columns import Columns, Int64Array
from samestream.streams.plan import Input
from samestream.streams.transport import Partition
from samestream.streams.wire.decode import Decoded

APPLIED, DEAD = 0, 3  # decisions on an event; `streams.engine.clock` adds the late ones


@dataclass(eq=False)
class Batch:
    """Records of all inputs in merged order. ``input`` indexes ``inputs``; ``row`` indexes that input's columns.

    decision : APPLIED or DEAD, or after `clock.Clocks.judge` also LATE or BEHIND_STATE, shape (events,)
    horizon_us : the earliest instant that a later event can still ask for, shape (events,)
    """

    inputs: tuple[Input, ...]
    partitions: tuple[Partition, ...]
    input: Int64Array
    partition: Int64Array
    row: Int64Array
    offset: Int64Array
    known_us: Int64Array
    time_us: Int64Array
    decision: npt.NDArray[np.uint8]
    horizon_us: Int64Array
    columns: tuple[Columns, ...]
    taken: tuple[Decoded, ...]

    def __len__(self) -> int:
        return len(self.offset)

    def applied(self, name: str) -> tuple[Int64Array, Columns]:
        """The applied events of one input: their places in the merged order (ascending) and their columns."""
        return self._events(name, self.decision == APPLIED)

    def readable(self, name: str) -> tuple[Int64Array, Columns]:
        """The events of one input that could be read, late ones too: their places and their columns."""
        return self._events(name, self.decision != DEAD)

    def _events(self, name: str, chosen: npt.NDArray[np.bool_]) -> tuple[Int64Array, Columns]:
        index = [part.name for part in self.inputs].index(name)
        places = np.flatnonzero((self.input == index) & chosen)
        rows = self.row[places]
        columns = self.columns[index]
        return places, cols.Made(columns, lambda name: columns[name].take(rows))


class Pending:
    """What has been read of one partition and not been taken yet.

    held_bytes : about how much memory it keeps; a buffer counts until its last record is taken
    """

    def __init__(self) -> None:
        self._chunks: list[Decoded] = []
        self._sizes: list[int] = []
        self.count = self.held_bytes = 0

    def add(self, decoded: Decoded) -> None:
        """Append the next records."""
        if len(decoded):
            self._chunks.append(decoded)
            self._sizes.append(decoded.held_bytes)
            self.count += len(decoded)
            self.held_bytes += self._sizes[-1]

    @property
    def last_known_us(self) -> int:
        """The running known time of the newest record."""
        return int(self._chunks[-1].known_us[-1])

    def known_us(self) -> Int64Array:
        """Running known times of all, shape (count,)."""
        if len(self._chunks) == 1:
            return self._chunks[0].known_us
        return np.concatenate([chunk.known_us for chunk in self._chunks]) if self._chunks else np.empty(0, np.int64)

    def take(self, count: int) -> list[Decoded]:
        """Remove and return the first ``count`` records."""
        out: list[Decoded] = []
        self.count -= count
        while count:
            chunk = self._chunks[0]
            if len(chunk) <= count:
                out.append(self._chunks.pop(0))
                self.held_bytes -= self._sizes.pop(0)
                count -= len(chunk)
            else:
                out.append(chunk.slice(0, count))
                self._chunks[0] = chunk.slice(count, len(chunk))
                count = 0
        return out


@dataclass
class Merge:
    """Chooses and orders batches from the partitions of some inputs."""

    inputs: Sequence[Input]
    partitions: Mapping[Partition, int]  # partition -> index of its input
    pending: dict[Partition, Pending] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # ties are broken by topic, then partition: the rank of a partition says so once for all
        self.ranked = sorted(self.partitions)
        self.rank = {partition: rank for rank, partition in enumerate(self.ranked)}
        self.pending = {partition: Pending() for partition in self.ranked}

    def add(self, decoded: Decoded) -> None:
        """Hold records that were read."""
        self.pending[decoded.partition].add(decoded)

    def drained(self) -> set[Partition]:
        """The partitions of which nothing is held: each must be shown to be at its end before others may pass it."""
        return {partition for partition, held in self.pending.items() if not held.count}

    def choose(self, at_end: set[Partition], limit: int) -> dict[Partition, int]:
        """How many records of each partition may be taken now: those before anything still to come.

        at_end : partitions with nothing more in the broker than what is held. ``limit`` bounds the batch's size.
        """
        bound = (np.iinfo(np.int64).max, 0)
        for partition, held in self.pending.items():
            if partition not in at_end:
                if not held.count:
                    return {}
                bound = min(bound, (held.last_known_us, self.rank[partition]))
        known = {partition: held.known_us() for partition, held in self.pending.items() if held.count}
        if sum(map(len, known.values())) > limit:
            every = np.concatenate([times[:limit] for times in known.values()])  # the others come later than these
            bound = min(bound, (int(np.partition(every, limit - 1)[limit - 1]), len(self.ranked)))
        counts = {}
        for partition, times in known.items():
            may_tie = self.rank[partition] <= bound[1]
            count = int(np.searchsorted(times, bound[0], side="right" if may_tie else "left"))
            if count:
                counts[partition] = count
        return counts

    def take(self, counts: Mapping[Partition, int]) -> Batch:
        """Remove the chosen records and put them in order."""
        taken = [
            chunk
            for partition in self.ranked
            if partition in counts
            for chunk in self.pending[partition].take(counts[partition])
        ]
        return ordered(tuple(self.inputs), tuple(self.ranked), self.partitions, taken)


def ordered(
    inputs: tuple[Input, ...],
    partitions: tuple[Partition, ...],
    input_of: Mapping[Partition, int],
    taken: Sequence[Decoded],
) -> Batch:
    """The records of a batch in merged order: by running known time, then topic, partition, offset.

    taken : consecutive records, each partition's in offset order.
    """
    rank = {partition: index for index, partition in enumerate(partitions)}
    starts = [0] * len(inputs)
    parts: list[tuple[int, int, int]] = []
    for chunk in taken:
        index = input_of[chunk.partition]
        parts.append((index, rank[chunk.partition], starts[index]))
        starts[index] += len(chunk)
    sizes = [len(chunk) for chunk in taken]

    def joined(arrays: list[Int64Array]) -> Int64Array:
        return np.concatenate(arrays) if arrays else np.empty(0, np.int64)

    input_index = joined([np.full(size, part[0], np.int64) for size, part in zip(sizes, parts, strict=True)])
    ranks = joined([np.full(size, part[1], np.int64) for size, part in zip(sizes, parts, strict=True)])
    rows = joined([np.arange(part[2], part[2] + size, dtype=np.int64) for size, part in zip(sizes, parts, strict=True)])
    offsets, known = joined([chunk.offsets for chunk in taken]), joined([chunk.known_us for chunk in taken])
    times = joined([chunk.time_us for chunk in taken])
    dead = np.concatenate([chunk.dead for chunk in taken]) if taken else np.empty(0, np.bool_)
    # few runs that rise, one after the other, which a stable sort merges; where they come by rank, it breaks ties rightly
    by_rank = all(one[1] <= other[1] for one, other in pairwise(parts))
    order = np.argsort(known, kind="stable") if by_rank else np.lexsort((offsets, ranks, known))
    columns = tuple(
        _columns(part, [chunk for chunk in taken if input_of[chunk.partition] == index])
        for index, part in enumerate(inputs)
    )
    return Batch(
        inputs,
        partitions,
        input_index[order],
        ranks[order],
        rows[order],
        offsets[order],
        known[order],
        times[order],
        np.where(dead[order], DEAD, APPLIED).astype(np.uint8),
        np.zeros(len(order), np.int64),
        columns,
        tuple(taken),
    )


def _columns(input: Input, chunks: list[Decoded]) -> Columns:
    if not chunks:
        return {name: cols.empty(kind) for name, kind in input.columns.items()}
    return cols.Made(input.columns, lambda name: cols.concatenate([chunk.columns[name] for chunk in chunks]))
