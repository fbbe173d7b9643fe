"""One snapshot of a processor's state as a file: typed arrays and a manifest, in the format of numpy's `npz`.

The manifest says what the state is of and holds a digest of every array, and of itself; a file that is torn, or of which one byte
has changed, is found out when it is read. Nothing in it is ever run.
"""

from __future__ import annotations

import json
import os
import uuid
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from hashlib import blake2b  # without OpenSSL, whose locks a forked process may find held for ever
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samestream.schemas.errors import SamestreamError
from samestream.streams.storage import make_durable

Arrays = Mapping[str, NDArray[Any]]

FORMAT = 1
_MANIFEST = "manifest.json"


class SnapshotDamagedError(SamestreamError):
    """A snapshot is torn, altered, or of another format: an older one is taken, or the log makes the state again."""


@dataclass(frozen=True)
class Manifest:
    """What a snapshot is of.

    processor, fingerprint : whose state it is, and of which definition
    layout : how the task keeps it; another layout of the same definition is made again from the log
    machine, kernel : the CPU architecture and the kernel's version, within which bits are equal
    sequence, entry : the batch after which it was taken: its number, and its journal record as hex
    journal : by partition of the journal, an offset at or before that record
    positions : [topic, partition, next offset]
    clocks : ``greatest`` event time, and [topic, partition, watermark, known time], in microseconds
    totals : what the processor has done so far: ``results``, and by topic [applied, late, dead]
    """

    processor: str
    fingerprint: str
    layout: str
    machine: str
    kernel: str
    sequence: int
    entry: str
    journal: dict[str, int]
    positions: list[list[Any]]
    clocks: dict[str, Any]
    totals: dict[str, Any]


def write(path: Path, manifest: Manifest, arrays: Arrays) -> int:
    """Write a snapshot beside its place, make it durable, and put it there in one step; its size in bytes.

    Raises OSError, with nothing left behind, where the disk is full or the folder cannot be written.
    """
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(beside, "xb") as file:
            said: dict[str, Any] = {"format": FORMAT, **asdict(manifest), "arrays": {}}
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for name, array in arrays.items():
                    whole = np.ascontiguousarray(array)
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, whole, allow_pickle=False)
                    said["arrays"][name] = _digest(whole)
                said["digest"] = blake2b(_canonical(said), digest_size=16).hexdigest()
                archive.writestr(_MANIFEST, json.dumps(said, indent=1))
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        placed(beside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise
    return size


def placed(beside: Path, path: Path) -> None:
    """Rename a file that is whole to its place, durably."""
    os.replace(beside, path)
    make_durable(path.parent)


def read(path: Path) -> tuple[Manifest, dict[str, NDArray[Any]]]:
    """Return a snapshot, checked. Raises SnapshotDamagedError where it is not as it was written."""
    try:
        with zipfile.ZipFile(path) as archive:
            said = _said(archive)
            arrays = {}
            for name, digest in said["arrays"].items():
                with archive.open(f"{name}.npy") as member:
                    arrays[name] = array = np.lib.format.read_array(member, allow_pickle=False)
                if _digest(array) != digest:
                    raise ValueError(f"array {name} is not as it was written")
            return Manifest(**{field.name: said[field.name] for field in fields(Manifest)}), arrays
    except (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error


def read_manifest(path: Path) -> Manifest:
    """Return what a snapshot is of, without its arrays. Raises SnapshotDamagedError where that cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            said = _said(archive)
            return Manifest(**{field.name: said[field.name] for field in fields(Manifest)})
    except (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error


def _said(archive: zipfile.ZipFile) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(archive.read(_MANIFEST))
    digest = said.pop("digest")
    if digest != blake2b(_canonical(said), digest_size=16).hexdigest():
        raise ValueError("the manifest is not as it was written")
    if said.pop("format") != FORMAT:
        raise ValueError("it is of another format")
    return said


def _canonical(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said, sort_keys=True).encode()


def _digest(array: NDArray[Any]) -> str:
    whole = np.ascontiguousarray(array)
    content = blake2b(f"{whole.dtype.str} {whole.shape} ".encode(), digest_size=16)
    content.update(whole.reshape(-1).view(np.uint8).data if whole.size else b"")
    return content.hexdigest()


def _damaged(path: Path, error: Exception) -> SnapshotDamagedError:
    return SnapshotDamagedError(
        "a snapshot is damaged",
        where=str(path),
        found=f"{type(error).__name__}: {error}",
        hint="nothing is lost: an older one, or the journal and the log, give the same state.",
    )
