"""The feature log: every topic as Parquet, each offset in it exactly once.

A topic is a folder of immutable Parquet files and a folder of numbered manifests::

    <root>/<topic>/dt=2013-02-08/hour=17/00000042-9f86d081884c7d65.parquet
    <root>/<topic>/_manifests/00000042.json

Nothing counts until a manifest names it. A batch writes its files first and creates its manifest last, atomically and
only if that number is free, so a killed writer leaves files nobody reads, and of two writers one is refused. File names
carry a hash of their content: a late loser cannot overwrite what the winner's manifest names. Other tools must take
their paths from `FeatureLog.files` instead of globbing, or they will see what killed writers left.

The manifest of a batch also carries the offset ranges it covers, which continue those of the batch before. A writer
that resumes at `next_offsets` therefore neither loses nor repeats a row, wherever the last one was killed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from samestream.schemas.errors import FeatureLogError
from samestream.streams.storage import Storage

_KEY_TYPES: dict[str, pa.DataType] = {
    "_partition": pa.int32(),
    "_offset": pa.int64(),
    "_known": pa.timestamp("us", tz="UTC"),
    "_key": pa.binary(),
}
KEY_SCHEMA: pa.Schema = pa.schema(_KEY_TYPES)
"""The columns every table of the log has: where the record lies, when the log learned it, and its key (may be null)."""

_BUCKETS = {"date": (86_400_000_000, "dt=%Y-%m-%d"), "hour": (3_600_000_000, "dt=%Y-%m-%d/hour=%H")}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_THREADS = min(8, 2 * (os.cpu_count() or 1))  # more than cores: on a remote filesystem the threads mostly wait


@dataclass(frozen=True)
class LogFile:
    """One Parquet file: path below the topic's folder, size, hash of the bytes, first and last known time (us)."""

    path: str
    rows: int
    bytes: int
    sha256: str
    known_us: tuple[int, int]


@dataclass(frozen=True)
class Batch:
    """One manifest: the files of a batch, the offsets `[start, end)` it covers per partition, and where that leads.

    `schema` is the topic's so far, all columns of all batches up to this one. A range may be longer than its rows are
    many: control records and dead events have an offset but no row.
    """

    number: int
    files: tuple[LogFile, ...]
    ranges: Mapping[int, tuple[int, int]]
    next_offsets: Mapping[int, int]
    schema: pa.Schema
    written_by: str

    @property
    def rows(self) -> int:
        """Number of rows in the files of this batch."""
        return sum(file.rows for file in self.files)

    def to_json(self) -> bytes:
        """Return the manifest as it is stored; `columns` is there for people, `schema` for programs."""
        document = {
            "batch": self.number,
            "files": [asdict(file) for file in self.files],
            "ranges": self.ranges,
            "next_offsets": self.next_offsets,
            "columns": {field.name: str(field.type) for field in self.schema},
            "schema": base64.b64encode(self.schema.serialize()).decode(),
            "written_by": self.written_by,
        }
        return json.dumps(document, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Batch:
        """Read a manifest; KeyError, TypeError or ValueError (pyarrow's errors are that too) if it is none."""
        document = json.loads(content)
        return cls(
            number=document["batch"],
            files=tuple(LogFile(**{**file, "known_us": tuple(file["known_us"])}) for file in document["files"]),
            ranges={int(partition): (start, end) for partition, (start, end) in document["ranges"].items()},
            next_offsets={int(partition): offset for partition, offset in document["next_offsets"].items()},
            schema=pa.ipc.read_schema(pa.py_buffer(base64.b64decode(document["schema"]))),
            written_by=document["written_by"],
        )


class FeatureLog:
    """The log of all topics below `root`: a local path, or the URI of any filesystem pyarrow knows.

    `partition_by` says how finely `writer` splits new batches over folders by known time; readers take any mixture.
    """

    def __init__(self, root: str | Path, partition_by: Literal["date", "hour"] = "date") -> None:
        self.storage = Storage(root)
        self.partition_by = partition_by
        self._parsed: dict[str, tuple[object, Batch]] = {}

    def topics(self) -> list[str]:
        """Return the names of the topics that have at least one batch, sorted."""
        names = [i.base_name for i in self.storage.list(self.storage.root) if i.type == pafs.FileType.Directory]
        return sorted(name for name in names if self._manifests(name))

    def writer(self, topic: str) -> TopicLog:
        """Return a writer that continues after the newest batch; FeatureLogError if `topic` is no Kafka topic name."""
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", topic) or topic in {".", ".."}:
            hint = "1 to 249 of the letters A-Z a-z, digits and . _ -, as in Kafka."
            raise FeatureLogError("not the name of a topic", where=self.storage.root, found=repr(topic), hint=hint)
        return TopicLog(self, topic, self._newest(topic))

    def offsets(self, topic: str) -> dict[int, int]:
        """Return the next offset per partition, after the newest batch; empty if there is none."""
        newest = self._newest(topic)
        return dict(newest.next_offsets) if newest else {}

    def batches(self, topic: str) -> list[Batch]:
        """Return all batches in order; FeatureLogError if a manifest is missing or unreadable."""
        found = self._manifests(topic)
        # A listing taken while a writer is at work may show a number and not the one before: so count, do not trust it.
        return [self._manifest(topic, number, found.get(number)) for number in range(max(found, default=-1) + 1)]

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

    def files(self, topic: str, known_from_us: int | None = None, known_to_us: int | None = None) -> list[str]:
        """Return the paths of files that may hold rows known in `[from, to)` (us since 1970, UTC), for other tools."""
        chosen = (file for batch in self.batches(topic) for file in batch.files)
        return [
            f"{self.storage.root}/{topic}/{file.path}" for file in chosen if _meets(file, known_from_us, known_to_us)
        ]

    def read(
        self,
        topic: str,
        columns: Sequence[str] | None = None,
        known_from_us: int | None = None,
        known_to_us: int | None = None,
    ) -> pa.Table:
        """Return the rows known in `[from, to)` (us since 1970, UTC), sorted by partition and offset.

        columns : names in the order wanted; all if None. A file from before a column was added gives null there.
        A topic without a batch gives no rows. Every file read is checked against the hash in its manifest.
        Raises FeatureLogError for an unknown column, or a file that is missing, altered or not convertible.
        """
        batches = self.batches(topic)
        schema = batches[-1].schema if batches else KEY_SCHEMA
        names = list(columns) if columns is not None else schema.names
        if unknown := [name for name in names if name not in schema.names]:
            hint = f"Columns of {topic}: {', '.join(schema.names)}."
            raise FeatureLogError("no such column in the log", where=topic, found=", ".join(unknown), hint=hint)
        needed = pa.schema([field for field in schema if field.name in {*names, "_partition", "_offset", "_known"}])
        chosen = [f for batch in batches for f in batch.files if _meets(f, known_from_us, known_to_us)]
        with ThreadPoolExecutor(_THREADS) as pool:
            parts = list(pool.map(lambda file: self._decode(topic, file, needed), chosen))
        table = pa.concat_tables([needed.empty_table(), *parts]).combine_chunks()
        known = _known_us(table)
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

    def read_batch(self, topic: str, batch: Batch, needed: pa.Schema) -> pa.Table:
        """Return the rows of one batch, sorted by partition and offset, in columns that may also be dictionaries of text.

        needed : fields of the topic's schema, `_partition` and `_offset` among them. Raises FeatureLogError as `read` does.
        """
        table = pa.concat_tables([needed.empty_table(), *(self._decode(topic, file, needed) for file in batch.files)])
        table = table.unify_dictionaries().combine_chunks()
        partitions, offsets = table["_partition"].to_numpy(), table["_offset"].to_numpy()
        steps = np.diff(partitions)
        if np.any(steps < 0) or np.any((steps == 0) & (np.diff(offsets) < 0)):
            table = table.take(np.lexsort((offsets, partitions)))
        return table

    def _decode(self, topic: str, file: LogFile, needed: pa.Schema) -> pa.Table:
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
            coded = [field.name for field in needed if pa.types.is_dictionary(field.type)]
            parquet = pq.ParquetFile(pa.BufferReader(content), read_dictionary=coded)
            stored = set(parquet.schema_arrow.names)
            table = parquet.read([name for name in needed.names if name in stored], use_threads=False)
            arrays = [
                table[field.name].cast(field.type) if field.name in stored else pa.nulls(len(table), field.type)
                for field in needed
            ]
        except pa.ArrowException as error:
            raise FeatureLogError(
                "a file of the feature log cannot be read", where=path, found=error, hint=hint
            ) from error
        return pa.table(arrays, schema=needed)

    def _manifests(self, topic: str) -> dict[int, pafs.FileInfo]:
        found = self.storage.list(f"{self.storage.root}/{topic}/_manifests")
        return {int(info.base_name[:-5]): info for info in found if re.fullmatch(r"\d{8,}\.json", info.base_name)}

    def _newest(self, topic: str) -> Batch | None:
        found = self._manifests(topic)
        return self._manifest(topic, max(found), found[max(found)]) if found else None

    def _manifest(self, topic: str, number: int, info: pafs.FileInfo | None) -> Batch:
        path = _manifest_path(self.storage.root, topic, number)
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


class TopicLog:
    """The writer of one topic; made by `FeatureLog.writer`. One at a time may append, and a second one is refused."""

    def __init__(self, log: FeatureLog, topic: str, newest: Batch | None) -> None:
        self._log, self._topic, self._newest = log, topic, newest

    def next_offsets(self) -> dict[int, int]:
        """Return the offset each partition must be continued at; a partition never seen is not in it."""
        return dict(self._newest.next_offsets) if self._newest else {}

    def append(self, table: pa.Table, ranges: Mapping[int, tuple[int, int]]) -> None:
        """Add one batch; when this returns it is in the log, durably; when it raises, all of it is absent.

        (An OSError from the very last step, making the manifest's name durable, may leave it present: start again from
        a new writer's `next_offsets`.)

        table : the columns of `KEY_SCHEMA`, then the caller's; in any row order, each offset at most once.
        ranges : offsets `[start, end)` per partition, continuing `next_offsets`; a new partition may start anywhere.
        Raises FeatureLogError if ranges or rows do not fit, a column changed to a type that the old one does not
        convert to, or another writer has added a batch.
        """
        before = self.next_offsets()
        after = {**before, **{partition: end for partition, (_, end) in ranges.items()}}
        self._check_ranges(before, ranges)
        self._check_rows(table, ranges)
        if after == before:
            return
        number = self._newest.number + 1 if self._newest else 0
        schema = self._schema(table)
        folder = f"{self._log.storage.root}/{self._topic}"
        with ThreadPoolExecutor(_THREADS) as pool:
            pieces = self._split(table)
            files = tuple(pool.map(lambda piece: _write(self._log.storage, folder, number, *piece), pieces))
        self._log.storage.sync(f"{folder}/{file.path}" for file in files)
        batch = Batch(number, files, dict(ranges), after, schema, _writer())
        path = _manifest_path(self._log.storage.root, self._topic, number)
        if not self._log.storage.create(path, batch.to_json()):
            raise FeatureLogError(
                f"another writer owns this log: it has added batch {number}",
                where=path,
                hint="Stop one of the two; the other goes on. A new writer continues at the log's next_offsets.",
            )
        self._newest = batch

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

    def _schema(self, table: pa.Table) -> pa.Schema:
        new = pa.schema([pa.field(field.name, field.type) for field in table.schema])
        try:
            known = self._newest.schema if self._newest else KEY_SCHEMA
            return pa.unify_schemas([known, new], promote_options="permissive")
        except pa.ArrowException as error:
            hint = "A column keeps its type for good; give the new one another name."
            raise FeatureLogError("a column changed its type", where=self._topic, found=error, hint=hint) from error

    def _split(self, table: pa.Table) -> list[tuple[str, pa.Table]]:
        width_us, pattern = _BUCKETS[self._log.partition_by]
        bucket = _known_us(table) // width_us
        order = np.lexsort((table["_offset"].to_numpy(), table["_partition"].to_numpy(), bucket))
        table = table.replace_schema_metadata(None).combine_chunks().take(order)
        numbers, starts = np.unique(bucket[order], return_index=True)
        ends = [*starts[1:].tolist(), len(table)]
        return [
            ((_EPOCH + timedelta(microseconds=number * width_us)).strftime(pattern), table.slice(start, end - start))
            for number, start, end in zip(numbers.tolist(), starts.tolist(), ends, strict=False)
        ]


def _write(storage: Storage, folder: str, number: int, dated: str, table: pa.Table) -> LogFile:
    sink = pa.BufferOutputStream()
    text = [field.name for field in table.schema if pa.types.is_string(field.type) or pa.types.is_binary(field.type)]
    settings: dict[str, Any] = {
        "compression": "zstd",
        "use_dictionary": text,
    }  # numbers seldom repeat: plain is quicker
    pq.write_table(table, sink, **settings)
    content = sink.getvalue().to_pybytes()
    digest = hashlib.sha256(content).hexdigest()
    path = f"{dated}/{number:08d}-{digest[:16]}.parquet"
    storage.write(f"{folder}/{path}", content)
    known = _known_us(table)
    return LogFile(path, len(table), len(content), digest, (int(known.min()), int(known.max())))


def _meets(file: LogFile, known_from_us: int | None, known_to_us: int | None) -> bool:
    first, last = file.known_us
    return (known_from_us is None or last >= known_from_us) and (known_to_us is None or first < known_to_us)


def _known_us(table: pa.Table) -> np.ndarray[Any, np.dtype[np.int64]]:
    values: np.ndarray[Any, np.dtype[np.int64]] = table["_known"].cast(pa.int64()).to_numpy()
    return values


def _manifest_path(root: str, topic: str, number: int) -> str:
    return f"{root}/{topic}/_manifests/{number:08d}.json"


def _writer() -> str:
    return f"samestream {version('samestream')} on {socket.gethostname()}, process {os.getpid()}"
