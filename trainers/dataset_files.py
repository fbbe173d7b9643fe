"""A dataset as a folder: a Parquet file per part, and `manifest.json`. It appears whole, or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from samestream.schemas.errors import TrainingError
from samestream.streams.log.log_files import remedy
from samestream.streams.storage import make_durable
from samestream.trainers.dataset import Dataset
from samestream.trainers.request import Request

MANIFEST = "manifest.json"
_NEEDED = {"format", "request", "definition", "offsets", "journal", "digest", "parts"}


def write(dataset: Dataset, folder: Path) -> dict[str, Any]:
    """Write a dataset to a folder that does not exist yet, in one step; its manifest, with the files' own digests.

    The same data written by the same version of pyarrow are the same bytes.
    Raises TrainingError where the folder is there already, or cannot be written: then nothing of it is left.
    """
    folder = folder.absolute()
    refuse_existing(folder)
    beside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.part")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside.mkdir()
        files = {}
        for name, made in dataset.files.items():
            path = beside / f"{name}.parquet"
            shutil.copyfile(made, path)
            with path.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            files[path.name] = {"bytes": path.stat().st_size, "sha256": digest}
            make_durable(path)
        manifest = {**dataset.manifest, "files": files, "written_by": _writer()}
        (beside / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        make_durable(beside / MANIFEST)
        beside.rename(folder)
        make_durable(folder.parent)
    except OSError as error:
        raise TrainingError(
            "the training set cannot be written, and nothing of it is left",
            where=str(folder),
            found=error,
            hint=f"{remedy(error)}, or choose another folder with --out.",
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return manifest


def refuse_existing(folder: Path) -> None:
    """Raises TrainingError where there is something already."""
    if folder.exists():
        raise TrainingError(
            "there is something already",
            where=str(folder),
            hint="nothing is written over: name another folder with --out.",
        )


def read_manifest(path: Path, rows: Path | None = None) -> tuple[Request, dict[str, Any]]:
    """What a manifest asks for, and the whole of it; of a folder, its `manifest.json`.

    rows : the file of rows that it was made for, of which a manifest has the name and the digest; if None, one of that name here
    Raises TrainingError for what is no manifest, or where the rows that it was made for are not the same any more.
    """
    path = path / MANIFEST if path.is_dir() else path
    try:
        found = json.loads(path.read_text())
        if missing := _NEEDED - set(found):
            raise ValueError(f"no {', '.join(sorted(missing))}")
        asked = dict(found["request"])
        rows_sha256 = asked.pop("rows_sha256", None)
        request = Request(**{**asked, "splits_us": tuple(asked["splits_us"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise TrainingError(
            "this is not the manifest of a training set",
            where=str(path),
            found=error,
            hint="name the folder that `samestream training-set` wrote, or the manifest.json in it.",
        ) from error
    if request.rows is None and rows is not None:
        raise TrainingError(
            "the manifest is of no rows of your own", where=str(path), found=str(rows), hint="leave --rows out."
        )
    if request.rows is not None:
        request = replace(request, rows=str((rows or Path(request.rows)).absolute()))
        _check_rows(Path(str(request.rows)), rows_sha256)
    return request, found


def compare(dataset: Dataset, manifest: dict[str, Any]) -> None:
    """Raises TrainingError where a dataset is not the one that a manifest was written for, saying which parts differ.

    Of one of which rows were erased since, what is left cannot be the same: that is told, and nothing else.
    """
    erased = dataset.counts.get("erased", 0) - manifest.get("counts", {}).get("erased", 0)
    if erased and dataset.digest != manifest["digest"]:
        raise TrainingError(
            f"{erased} of its vectors were erased since, so the same data cannot be made again",
            where=dataset.manifest["request"]["model"],
            hint="make a new set without --manifest, and remove the old folder: it still holds what was to be forgotten.",
        )
    if dataset.digest != manifest["digest"]:
        now, then = dataset.manifest["parts"], manifest["parts"]
        differ = [name for name in sorted({*now, *then}) if now.get(name) != then.get(name)]
        raise TrainingError(
            "the data made again differ from what the manifest says",
            where=dataset.manifest["request"]["model"],
            found=", ".join(f"{name} {now.get(name)}" for name in differ) or dataset.digest,
            expected=", ".join(f"{name} {then.get(name)}" for name in differ) or manifest["digest"],
            hint=f"it was written by {manifest.get('written_by', 'another version')}; this is {_writer()}.",
        )


def _check_rows(path: Path, expected: str | None) -> None:
    try:
        found: object = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        found = error.strerror
    if found != expected:
        raise TrainingError(
            "the rows are not those of the manifest",
            where=str(path),
            found=found,
            expected=f"sha256 {expected}",
            hint="name the file that it was made for with --rows.",
        )


def _writer() -> str:
    return f"samestream {version('samestream')}, pyarrow {version('pyarrow')}, duckdb {version('duckdb')}"
