"""The feature log: every topic as Parquet, each offset in it exactly once.

A topic is a folder of immutable Parquet files and a folder of numbered manifests::

    <root>/<topic>/dt=2013-02-08/hour=17/00000042-9f86d081884c7d65.parquet
    <root>/<topic>/_manifests/00000042.json

Nothing counts until a manifest names it. A batch writes its files first and creates its manifest last, atomically and
only if that number is free, so a killed writer leaves files nobody reads, and of two writers one is refused. File names
carry a hash of their content: a late loser cannot overwrite what the winner's manifest names. Other tools must take
their paths from `FeatureLog.files` instead of globbing, or they will see what killed writers left.

The manifest of a batch also carries the offset ranges it covers, which continue those of the batch before. A writer
that resumes at `next_offsets` therefore neither loses nor repeats a row, wherever the last one was killed. Compaction,
retention and erasure (`rewriting`) replace files by one more manifest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from samestream.schemas.errors import FeatureLogError
from samestream.streams.log.log_files import KEY_SCHEMA, THREADS, PartitionBy, known_us_of
from samestream.streams.log.manifest import Batch, LogFile
from samestream.streams.log.topic_log import TopicLog
from samestream.streams.storage import Storage

__all__ = ["ERASED", "KEY_SCHEMA", "Batch", "FeatureLog", "LogFile", "TopicLog"]
ERASED = "_erased"
"""The column that is true in rows of which personal fields were erased; null or not there in others."""
_ATTEMPTS = 20
T = TypeVar("T")


class FeatureLog:
    """The log of all topics below `root`: a local path, or the URI of any filesystem pyarrow knows.

    partition_by : how finely new batches are split over folders by known time. *auto*: by hour, but a date whose hours
        hold few rows each (history, replayed within a minute) is not split up further. Readers take any mixture.
    """

    def __init__(self, root: str | Path, partition_by: PartitionBy = "auto") -> None:
        self.storage = Storage(root)
        self.partition_by: PartitionBy = partition_by
        self._parsed: dict[str, tuple[object, Batch]] = {}

    def topics(self) -> list[str]:
        """Return the names of the topics that have at least one batch, sorted."""
        names = [i.base_name for i in self.storage.list(self.storage.root) if i.type == pafs.FileType.Directory]
        return sorted(name for name in names if self._manifests(name))

    def writer(self, topic: str, defaults: Mapping[str, Any] | None = None, sample: float = 1.0) -> TopicLog:
        """Return a writer that continues after the newest batch; FeatureLogError if `topic` is no Kafka topic name.

        defaults : by column, what stands for it in files from before it was added, as JSON holds it; else null
        sample : the share of keys whose rows will be appended, for readers to know
        """
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", topic) or topic in {".", ".."}:
            hint = "1 to 249 of the letters A-Z a-z, digits and . _ -, as in Kafka."
            raise FeatureLogError("not the name of a topic", where=self.storage.root, found=repr(topic), hint=hint)
        return TopicLog(self, topic, self.newest(topic), defaults or {}, sample)

    def offsets(self, topic: str) -> dict[int, int]:
        """Return the next offset per partition, after the newest batch; empty if there is none."""
        newest = self.newest(topic)
        return dict(newest.next_offsets) if newest else {}

    def newest(self, topic: str) -> Batch | None:
        """Return the newest batch; None if there is none."""
        for attempt in range(_ATTEMPTS):
            found = self._manifests(topic)
            if not found:
                return None
            try:
                return self.manifest(topic, max(found), found[max(found)])
            except FeatureLogError as error:
                if attempt == _ATTEMPTS - 1 or not isinstance(error.__cause__, FileNotFoundError):
                    raise  # else it was rewritten meanwhile, and cleared away
        raise AssertionError

    def batches(self, topic: str) -> list[Batch]:
        """Return all batches that count, in order, from the last rewrite on; FeatureLogError if a manifest cannot be read."""
        for attempt in range(_ATTEMPTS):
            found = self._manifests(topic)
            if not found:
                return []
            # A listing taken while a writer is at work may show a number and not the one before: count, do not trust it.
            try:
                newest = self.manifest(topic, max(found), found[max(found)])
                before = [self.manifest(topic, number, found.get(number)) for number in range(newest.base, max(found))]
            except FeatureLogError as error:
                moved_on = isinstance(error.__cause__, FileNotFoundError) and max(self._manifests(topic)) > max(found)
                if attempt < _ATTEMPTS - 1 and moved_on:
                    continue  # rewritten meanwhile, and cleared away
                raise
            return [*before, newest]
        raise AssertionError

    def ranges(self, topic: str) -> dict[int, tuple[int, int]]:
        """Return the offsets `[first, next)` covered per partition, having checked that no batch leaves a gap."""
        covered: dict[int, tuple[int, int]] = {}
        for batch in self.batches(topic):
            for partition, (start, end) in batch.ranges.items():
                first, expected = covered.get(partition, (start, start))
                if start != expected or end < start:
                    where = f"{topic} batch {batch.number} partition {partition}"
                    hint = "Manifests were edited or mixed; restore the folder or build it anew from Kafka."
                    raise FeatureLogError(
                        "offsets do not continue", where=where, found=start, expected=expected, hint=hint
                    )
                covered[partition] = (first, end)
        return covered

    def sample(self, topic: str) -> float:
        """Return the share of keys that the log holds: the least that any batch was written with."""
        return min((batch.sample for batch in self.batches(topic)), default=1.0)

    def in_force(self, topic: str) -> list[LogFile]:
        """Return the files that count."""
        return [file for batch in self.batches(topic) for file in batch.files]

    def files(self, topic: str, known_from_us: int | None = None, known_to_us: int | None = None) -> list[str]:
        """Return the paths of files that may hold rows known in `[from, to)` (us since 1970, UTC), for other tools."""
        return [
            f"{self.storage.root}/{topic}/{file.path}"
            for file in self.in_force(topic)
            if file.meets(known_from_us, known_to_us)
        ]

    def read(
        self,
        topic: str,
        columns: Sequence[str] | None = None,
        known_from_us: int | None = None,
        known_to_us: int | None = None,
    ) -> pa.Table:
        """Return the rows known in `[from, to)` (us since 1970, UTC), sorted by partition and offset.

        columns : names in the order wanted; all if None. A file from before a column was added gives its default there.
        A topic without a batch gives no rows. Every file read is checked against the hash in its manifest.
        Raises FeatureLogError for an unknown column, or a file that is missing, altered or not convertible.
        """
        return self.again([topic], lambda: self._read(topic, columns, known_from_us, known_to_us))

    def again(self, topics: Iterable[str], read: Callable[[], T]) -> T:
        """Return what is read, which is read anew where files that it needs were rewritten meanwhile, and cleared away.

        topics : those that are read
        """
        topics = list(topics)
        for attempt in range(_ATTEMPTS):
            bases = self._bases(topics)
            try:
                return read()
            except FeatureLogError as error:
                is_gone = isinstance(error.__cause__, FileNotFoundError)
                if attempt == _ATTEMPTS - 1 or not is_gone or self._bases(topics) == bases:
                    raise  # nobody has replaced it: it is missing
        raise AssertionError

    def read_batch(self, topic: str, batch: Batch, needed: pa.Schema) -> pa.Table:
        """Return the rows of one batch, sorted by partition and offset. See `read_files`."""
        return self.read_files(topic, batch.files, needed, batch.defaults)

    def read_files(
        self, topic: str, files: Sequence[LogFile], needed: pa.Schema, defaults: Mapping[str, Any]
    ) -> pa.Table:
        """Return the rows of some files, sorted by partition and offset, in columns that may also be dictionaries of text.

        needed : fields of the topic's schema, `_partition` and `_offset` among them. Raises FeatureLogError as `read` does.
        """
        parts = [self.decoded(topic, file, needed, defaults) for file in files]
        table = parts[0] if len(parts) == 1 else pa.concat_tables([needed.empty_table(), *parts])
        if any(len(column.chunks) > 1 for column in table.columns):
            table = table.unify_dictionaries().combine_chunks()
        partitions, offsets = table["_partition"].to_numpy(), table["_offset"].to_numpy()
        steps = np.diff(partitions)
        if np.any(steps < 0) or np.any((steps == 0) & (np.diff(offsets) < 0)):
            table = table.take(np.lexsort((offsets, partitions)))
        return table

    def decoded(self, topic: str, file: LogFile, schema: pa.Schema, defaults: Mapping[str, Any]) -> pa.Table:
        """Return one file as a table of a schema, checked against its hash. See `read`."""
        path = f"{self.storage.root}/{topic}/{file.path}"
        hint = "Restore the file from a copy, or delete the topic's folder and build it anew from Kafka."
        try:
            content = self.storage.read(path)
        except OSError as error:
            raise FeatureLogError(
                "a file of the feature log cannot be read", where=path, found=error, hint=hint
            ) from error
        if (found := hashlib.sha256(content).hexdigest()) != file.sha256:
            raise FeatureLogError(
                "a file of the feature log was altered or torn",
                where=path,
                found=f"{len(content)} bytes, sha256 {found}",
                expected=f"{file.bytes} bytes, sha256 {file.sha256}",
                hint=hint,
            )
        try:
            coded = [field.name for field in schema if pa.types.is_dictionary(field.type)]
            parquet = pq.ParquetFile(pa.BufferReader(content), read_dictionary=coded)
            stored = set(parquet.schema_arrow.names)
            table = parquet.read([name for name in schema.names if name in stored], use_threads=False)
            arrays = [
                _as(table[field.name], field.type)
                if field.name in stored
                else _absent(field, defaults.get(field.name), len(table))
                for field in schema
            ]
        except pa.ArrowException as error:
            raise FeatureLogError(
                "a file of the feature log cannot be read", where=path, found=error, hint=hint
            ) from error
        return pa.table(arrays, schema=schema)

    def manifest(self, topic: str, number: int, info: pafs.FileInfo | None = None) -> Batch:
        """Return one manifest by its number; FeatureLogError if it cannot be read."""
        path = manifest_path(self.storage.root, topic, number)
        stamp = (info.mtime_ns, info.size) if info else None
        if info and (parsed := self._parsed.get(path)) and parsed[0] == stamp:
            return parsed[1]
        try:
            batch = Batch.from_json(self.storage.read(path))
        except (OSError, KeyError, TypeError, ValueError) as error:
            hint = "Restore the manifest from a copy, or delete the topic's folder and build it anew from Kafka."
            raise FeatureLogError("a manifest cannot be read", where=path, found=repr(error), hint=hint) from error
        self._parsed[path] = (stamp, batch)
        return batch

    def _read(
        self,
        topic: str,
        columns: Sequence[str] | None,
        known_from_us: int | None,
        known_to_us: int | None,
    ) -> pa.Table:
        batches = self.batches(topic)
        schema = batches[-1].schema if batches else KEY_SCHEMA
        names = list(columns) if columns is not None else schema.names
        if unknown := [name for name in names if name not in schema.names]:
            hint = f"Columns of {topic}: {', '.join(schema.names)}."
            raise FeatureLogError("no such column in the log", where=topic, found=", ".join(unknown), hint=hint)
        needed = pa.schema([field for field in schema if field.name in {*names, "_partition", "_offset", "_known"}])
        chosen = [f for batch in batches for f in batch.files if f.meets(known_from_us, known_to_us)]
        defaults = batches[-1].defaults if batches else {}
        with ThreadPoolExecutor(THREADS) as pool:
            parts = list(pool.map(lambda file: self.decoded(topic, file, needed, defaults), chosen))
        table = pa.concat_tables([needed.empty_table(), *parts]).combine_chunks()
        known = known_us_of(table)
        keep = np.ones(len(known), bool)
        if known_from_us is not None:
            keep &= known >= known_from_us
        if known_to_us is not None:
            keep &= known < known_to_us
        order = np.lexsort((table["_offset"].to_numpy(), table["_partition"].to_numpy()))
        order = order[keep[order]]
        if not np.array_equal(order, np.arange(len(known))):
            table = table.take(order)
        return table.select(names)

    def _bases(self, topics: Iterable[str]) -> list[int]:
        newest = [self.newest(topic) for topic in topics]
        return [batch.base if batch else -1 for batch in newest]

    def _manifests(self, topic: str) -> dict[int, pafs.FileInfo]:
        found = self.storage.list(f"{self.storage.root}/{topic}/_manifests")
        return {int(info.base_name[:-5]): info for info in found if re.fullmatch(r"\d{8,}\.json", info.base_name)}


def _as(column: pa.ChunkedArray[Any], type: pa.DataType) -> pa.ChunkedArray[Any]:
    return column if column.type == type else column.cast(type)


def _absent(field: pa.Field[Any], default: Any, rows: int) -> pa.Array[Any]:
    """A column of a file from before it was added."""
    nothing: pa.Array[Any] = pa.nulls(rows, field.type)
    if default is None:
        return nothing
    given = default
    if pa.types.is_timestamp(field.type):
        times: pa.Array[Any] = pa.array([given] * rows, pa.int64()).cast(field.type)
        return times
    if pa.types.is_map(field.type) and isinstance(given, dict):
        given = list(given.items())
    made: pa.Array[Any] = pa.array([given] * rows, field.type)  # of a dictionary's type, too
    return made


def manifest_path(root: str, topic: str, number: int) -> str:
    """Where a manifest lies."""
    return f"{root}/{topic}/_manifests/{number:08d}.json"
