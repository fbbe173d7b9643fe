"""The writer of one topic of the feature log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from samestream.schemas.errors import FeatureLogError
from samestream.streams.log.log_files import KEY_SCHEMA, split, told, write_all
from samestream.streams.log.manifest import Batch

if TYPE_CHECKING:
    from samestream.streams.log.feature_log import FeatureLog


class TopicLog:
    """The writer of one topic; made by `FeatureLog.writer`. One at a time may append, and a second one is refused."""

    def __init__(
        self, log: FeatureLog, topic: str, newest: Batch | None, defaults: Mapping[str, Any], sample: float
    ) -> None:
        self._log, self._topic, self._newest = log, topic, newest
        self._defaults, self._sample = defaults, sample

    def next_offsets(self) -> dict[int, int]:
        """Return the offset each partition must be continued at; a partition never seen is not in it."""
        return dict(self._newest.next_offsets) if self._newest else {}

    @property
    def since_base(self) -> int:
        """How many batches a reader has to put together."""
        return self._newest.number - self._newest.base + 1 if self._newest else 0

    def refresh(self) -> None:
        """Go on behind a rewrite of one's own; FeatureLogError if another writer has added a batch."""
        newest = self._log.newest(self._topic)
        if newest is not None and dict(newest.next_offsets) != self.next_offsets():
            raise self._owned(newest.number)
        self._newest = newest

    def append(self, table: pa.Table, ranges: Mapping[int, tuple[int, int]]) -> None:
        """Add one batch; when this returns it is in the log, durably; when it raises, all of it is absent.

        (Where the very last step fails, making the manifest's name durable, it may be present: start again from a new
        writer's `next_offsets`.) What a compaction, retention or erasure has replaced meanwhile is taken as it is.

        table : the columns of `KEY_SCHEMA`, then the caller's; in any row order, each offset at most once.
        ranges : offsets `[start, end)` per partition, continuing `next_offsets`; a new partition may start anywhere.
        Raises FeatureLogError if ranges or rows do not fit, a column changed to a type that the old one does not
        convert to, another writer has added a batch, or there is no room.
        """
        before = self.next_offsets()
        after = {**before, **{partition: end for partition, (_, end) in ranges.items()}}
        self._check_ranges(before, ranges)
        self._check_rows(table, ranges)
        if after == before:
            return
        while True:
            number = self._newest.number + 1 if self._newest else 0
            schema, defaults = self._schema(table)
            folder = f"{self._log.storage.root}/{self._topic}"
            files = write_all(self._log.storage, folder, number, split(table, self._log.partition_by))
            base = self._newest.base if self._newest else 0
            batch = Batch(number, files, dict(ranges), after, schema, base=base, defaults=defaults, sample=self._sample)
            if self._is_added(batch):
                return

    def _is_added(self, batch: Batch) -> bool:
        """Whether the number was free; if a rewrite has taken it, the batch is to be written anew, for the next number.

        A number is free, too, where rewrites have gone past it and what they replaced was cleared away: nobody would read it.
        """
        path = f"{self._log.storage.root}/{self._topic}/_manifests/{batch.number:08d}.json"
        with told(path):
            added = self._log.storage.create(path, batch.to_json())
        taken = batch if added else self._log.manifest(self._topic, batch.number)
        if not added and (taken.kind == "append" or taken.next_offsets != self.next_offsets()):
            raise self._owned(batch.number)
        if added and (newest := self._log.newest(self._topic)) and newest.base > batch.number:
            if newest.next_offsets != batch.next_offsets:  # or else a rewrite has already taken it along
                if newest.next_offsets != self.next_offsets():
                    raise self._owned(newest.number)
                added = False
            taken = newest
        self._newest = taken
        return added

    def _owned(self, number: int) -> FeatureLogError:
        return FeatureLogError(
            f"another writer owns this log: it has added batch {number}",
            where=f"{self._log.storage.root}/{self._topic}",
            hint="Stop one of the two; the other goes on. A new writer continues at the log's next_offsets.",
        )

    def _check_ranges(self, before: Mapping[int, int], ranges: Mapping[int, tuple[int, int]]) -> None:
        for partition, (start, end) in ranges.items():
            expected = before.get(partition, start)
            if start != expected or end < start or start < 0:
                raise FeatureLogError(
                    "a batch does not continue the log",
                    where=f"{self._topic} partition {partition}",
                    found=f"[{start}, {end})",
                    expected=f"a range from {expected}",
                    hint="Read the topic from next_offsets on; to begin anew, delete the topic's folder.",
                )

    def _check_rows(self, table: pa.Table, ranges: Mapping[int, tuple[int, int]]) -> None:
        for field in KEY_SCHEMA:
            count = table.schema.names.count(field.name)
            found = table.schema.field(field.name).type if count == 1 else f"{count} columns of that name"
            if found != field.type:
                hint = "Cast the table to KEY_SCHEMA before appending it."
                where = f"{self._topic} column {field.name}"
                raise FeatureLogError("wrong column", where=where, found=found, expected=field.type, hint=hint)
        wrong = ""
        if any(table[name].null_count for name in ("_partition", "_offset", "_known")):
            wrong = "null in _partition, _offset or _known"
        elif len(set(table.schema.names)) < len(table.schema.names):
            wrong = "two columns of one name"
        else:
            partitions, offsets = table["_partition"].to_numpy(), table["_offset"].to_numpy()
            inside = np.zeros(len(offsets), bool)
            for partition, (start, end) in ranges.items():
                inside |= (partitions == partition) & (offsets >= start) & (offsets < end)
            order = np.lexsort((offsets, partitions))
            twice = (np.diff(partitions[order]) == 0) & (np.diff(offsets[order]) == 0)
            if not inside.all():
                row = int(np.argmin(inside))
                wrong = f"offset {offsets[row]} of partition {partitions[row]} is outside the batch's ranges"
            elif twice.any():
                row = order[int(np.argmax(twice))]
                wrong = f"offset {offsets[row]} of partition {partitions[row]} comes twice"
        if wrong:
            hint = "One row per record at most, and `ranges` must cover all of them."
            raise FeatureLogError("rows do not fit the batch", where=self._topic, found=wrong, hint=hint)

    def _schema(self, table: pa.Table) -> tuple[pa.Schema, Mapping[str, Any]]:
        new = pa.schema([pa.field(field.name, field.type) for field in table.schema])
        known = self._newest.schema if self._newest else KEY_SCHEMA
        try:
            unified = pa.unify_schemas([known, new], promote_options="permissive")
        except pa.ArrowException as error:
            hint = "A column keeps its type for good; give the new one another name."
            raise FeatureLogError("a column changed its type", where=self._topic, found=error, hint=hint) from error
        # a default holds for the files from before the column was added, so it never changes afterwards
        before = dict(self._newest.defaults) if self._newest else {}
        added = {name: value for name, value in self._defaults.items() if name in new.names and name not in known.names}
        return unified, {**before, **added} if self._newest else {}
