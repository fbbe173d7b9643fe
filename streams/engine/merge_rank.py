"""The merge rank of every event: its place in the order in which a processor took the log, and whether it was applied."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from samestream.schemas.errors import RecoveryError
from samestream.streams.columns import BoolArray, Int64Array
from samestream.streams.engine.clock import NEVER_US
from samestream.streams.engine.order import APPLIED, Batch
from samestream.streams.transport import position


class MergeRanks:
    """Collects ranks batch by batch, and adds them to tables of raw events, as `point_in_time.as_known` wants them.

    by_time : whether the rank of an event is the known time that the order had come to with it, in microseconds, instead of its
        place. It grows with the place; and whoever asks at an instant, without having been merged, has that for a rank.
    reached_us : the known time that the order had come to before the first batch
    first : the place of the first event
    """

    def __init__(self, *, by_time: bool = False, reached_us: int = NEVER_US, first: int = 0) -> None:
        self._count, self._by_time, self._reached_us = first, by_time, reached_us
        self._parts: dict[str, list[tuple[Int64Array, Int64Array, BoolArray]]] = {}

    def note(self, batch: Batch) -> None:
        """Take the next judged batch."""
        numbers = np.array([part.partition for part in batch.partitions], np.int64)
        place = position(numbers[batch.partition], batch.offset) if len(batch) else batch.offset
        rank, applied = self.of(batch)
        for index, input in enumerate(batch.inputs):
            mine = batch.input == index
            self._parts.setdefault(input.topic, []).append((place[mine], rank[mine], applied[mine]))

    def of(self, batch: Batch) -> tuple[Int64Array, BoolArray]:
        """The ranks of the next judged batch, and whether each event was applied; nothing is kept of them."""
        rank = np.arange(self._count, self._count + len(batch), dtype=np.int64)
        if self._by_time and len(batch):
            rank = np.maximum.accumulate(np.maximum(batch.known_us, self._reached_us))
            self._reached_us = int(rank[-1])
        self._count += len(batch)
        return rank, batch.decision == APPLIED

    def judged(self, topic: str, events: pa.Table) -> pa.Table:
        """The events that batches covered, with `_rank` (int64) and `_applied` (bool); later ones are left out.

        events : a table of the feature log. Raises RecoveryError when it lacks an event that was applied.
        """
        parts = self._parts.get(topic, [])
        place, rank, applied = (np.concatenate(column) for column in zip(*parts, strict=True)) if parts else _NOTHING
        order = np.argsort(place)
        place, rank, applied = place[order], rank[order], applied[order]
        wanted = position(events["_partition"].to_numpy().astype(np.int64), events["_offset"].to_numpy())
        at = np.minimum(np.searchsorted(place, wanted), max(len(place) - 1, 0))
        known = place[at] == wanted if len(place) else np.zeros(len(wanted), np.bool_)
        if int(applied[at[known]].sum()) != int(applied.sum()):
            raise lacking(topic, int(applied[at[known]].sum()), int(applied.sum()))
        covered = events.filter(pa.array(known))
        covered = covered.append_column("_rank", pa.array(rank[at[known]]))
        return covered.append_column("_applied", pa.array(applied[at[known]]))


def lacking(topic: str, found: int, expected: int) -> RecoveryError:
    """Told where the log holds fewer of the events that were applied than there were."""
    return RecoveryError(
        "the feature log lacks events that were applied",
        where=topic,
        found=found,
        expected=expected,
        hint="the log was written with fewer schemas, or damaged; write it anew.",
    )


_NOTHING = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.bool_))
