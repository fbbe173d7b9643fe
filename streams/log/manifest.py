"""Manifests of the feature log: which files count, and which offsets they cover.

The manifests of a topic are numbered without gaps, and each number is taken once. An *append* names the files of a new
batch. A *rewrite* (compaction, retention, erasure) is a new *base*: it names all files that count from then on, and nothing
before it needs to be read again. Every manifest says where its base is.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Literal

import pyarrow as pa

Kind = Literal["append", "compact", "retain", "forget"]
Ranges = Mapping[int, tuple[int, int]]


@dataclass(frozen=True)
class LogFile:
    """One Parquet file: path below the topic's folder, size, hash of the bytes, first and last known time (us).

    offsets : per partition, first offset and one beyond the last; empty in manifests from before it was noted
    """

    path: str
    rows: int
    bytes: int
    sha256: str
    known_us: tuple[int, int]
    offsets: Ranges = field(default_factory=dict)

    def meets(self, known_from_us: int | None, known_to_us: int | None) -> bool:
        """Whether it may hold rows known in `[from, to)`."""
        first, last = self.known_us
        return (known_from_us is None or last >= known_from_us) and (known_to_us is None or first < known_to_us)


@dataclass(frozen=True)
class Batch:
    """One manifest: its files, the offsets `[start, end)` that it covers per partition, and where that leads.

    Those of a batch that was appended; of a rewrite, all that the log has. A range may be longer than its rows are many:
    control records and dead events have an offset but no row.
    schema : the topic's so far, all columns of all batches up to this one
    defaults : what a column holds in files from before it was added, if not null
    sample : the share of keys that is kept, from this batch on
    """

    number: int
    files: tuple[LogFile, ...]
    ranges: Ranges
    next_offsets: Mapping[int, int]
    schema: pa.Schema
    kind: Kind = "append"
    base: int = 0
    defaults: Mapping[str, Any] = field(default_factory=dict)
    sample: float = 1.0
    written_by: str = ""

    @property
    def rows(self) -> int:
        """Number of rows in its files."""
        return sum(file.rows for file in self.files)

    def to_json(self) -> bytes:
        """Return the manifest as it is stored; `columns` is there for people, `schema` for programs."""
        document = {
            "batch": self.number,
            "kind": self.kind,
            "base": self.base,
            "files": [vars(file) for file in self.files],
            "ranges": self.ranges,
            "next_offsets": self.next_offsets,
            "columns": {column.name: str(column.type) for column in self.schema},
            "schema": base64.b64encode(self.schema.serialize()).decode(),
            "defaults": self.defaults,
            "sample": self.sample,
            "written_by": self.written_by or _writer(),
            "id": uuid.uuid4().hex,  # no two writers ever offer the same bytes
        }
        return json.dumps(document, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Batch:
        """Read a manifest; KeyError, TypeError or ValueError (pyarrow's errors are that too) if it is none."""
        document = json.loads(content)
        return cls(
            number=document["batch"],
            files=tuple(_file(stored) for stored in document["files"]),
            ranges=_ranges(document["ranges"]),
            next_offsets={int(partition): offset for partition, offset in document["next_offsets"].items()},
            schema=pa.ipc.read_schema(pa.py_buffer(base64.b64decode(document["schema"]))),
            kind=document.get("kind", "append"),
            base=document.get("base", 0),
            defaults=document.get("defaults", {}),
            sample=document.get("sample", 1.0),
            written_by=document["written_by"],
        )


def _file(stored: Mapping[str, Any]) -> LogFile:
    return LogFile(
        **{**stored, "known_us": tuple(stored["known_us"]), "offsets": _ranges(stored.get("offsets", {}))},
    )


def _ranges(stored: Mapping[str, Any]) -> Ranges:
    return {int(partition): (start, end) for partition, (start, end) in stored.items()}


def _writer() -> str:
    return f"samestream {version('samestream')} on {socket.gethostname()}, process {os.getpid()}"
