"""The merge rank of every event: its place in the order in which a processor took the log, and whether it was applied."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from samestream.schemas.errors import RecoveryError
from samestream.streams.columns import BoolArray, Int64Array
from samestream.streams.engine.order import APPLIED, Batch
from samestream.streams.transport import position


class MergeRanks:
    """Collects ranks batch by batch, and adds them to tables of raw events, as `point_in_time.as_known` wants them."""

    def __init__(self) -> None:
        self._count = 0
        self._parts: dict[str, list[tuple[Int64Array, Int64Array, BoolArray]]] = {}

    def note(self, batch: Batch) -> None:
        """Take the next judged batch."""
        numbers = np.array([part.partition for part in batch.partitions], np.int64)
        place = position(numbers[batch.partition], batch.offset) if len(batch) else batch.offset
        rank = np.arange(self._count, self._count + len(batch), dtype=np.int64)
        for index, input in enumerate(batch.inputs):
            mine = batch.input == index
            self._parts.setdefault(input.topic, []).append((place[mine], rank[mine], batch.decision[mine] == APPLIED))
        self._count += len(batch)

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
            raise RecoveryError(
                "the feature log lacks events that were applied",
                where=topic,
                found=int(applied[at[known]].sum()),
                expected=int(applied.sum()),
                hint="the log was written with fewer schemas, or damaged; write it anew.",
            )
        covered = events.filter(pa.array(known))
        covered = covered.append_column("_rank", pa.array(rank[at[known]]))
        return covered.append_column("_applied", pa.array(applied[at[known]]))


_NOTHING = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.bool_))
