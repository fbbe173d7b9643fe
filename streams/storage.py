"""Whole files below one root, written so that a reader sees all of a file or none of it.

The feature log and the artifacts lie on it. It is the only place that knows whether files are on a disk or far away.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow.fs as pafs

from samestream.schemas.errors import SettingsError


class Storage:
    """Whole files below one root, on the local disk or any pyarrow filesystem.

    `create` takes a name exactly once, whoever else tries: locally by a link, on S3 and Google's storage by a conditional
    put. On any other filesystem (HDFS) it looks, writes and reads back, which narrows a race but cannot exclude it:
    there, one writer per topic is the caller's to ensure. Locally a write survives a power cut once `sync` has returned;
    an object store has stored what it has acknowledged.
    """

    def __init__(self, root: str | Path) -> None:
        self._objects: Any = None
        if isinstance(root, str) and "://" in root:
            try:
                self.filesystem, self.root = pafs.FileSystem.from_uri(root)
            except OSError as error:
                raise SettingsError(
                    "this place cannot be reached",
                    where="the URI of a log or of artifacts",
                    found=f"{root.partition(':')[0]}: {_without_secrets(error, root)}",
                    hint="check the address and the network, and of S3 the bucket and ?region=...&endpoint_override=....",
                ) from None  # the cause may hold a secret; what it says is told without
            except ValueError:  # it is no address at all, so who knows where in it a secret stands
                raise SettingsError(
                    "this is no place that files can be kept in",
                    where="the URI of a log or of artifacts",
                    found=root.partition(":")[0],
                    expected="file, s3, gs, hdfs, ...",
                    hint="name a folder, or a whole address: s3://bucket/path.",
                ) from None  # the address may hold a secret
            if self.filesystem.type_name in ("s3", "gcs"):
                from samestream.streams.object_store import ObjectStore

                self._objects = ObjectStore(root, self.filesystem)
        else:
            self.filesystem, self.root = pafs.LocalFileSystem(), Path(root).expanduser().absolute().as_posix()

    @property
    def is_local(self) -> bool:
        """Whether the files are on a disk of this machine, or mounted as if."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def read(self, path: str) -> bytes:
        """Return the content of a file; FileNotFoundError or another OSError if it cannot be had."""
        with self.filesystem.open_input_file(path) as file:
            content: bytes = file.read()
        return content

    def list(self, folder: str, *, recursive: bool = False) -> list[pafs.FileInfo]:
        """Return what lies directly in a folder, or anywhere below it; nothing if there is no such folder."""
        selector = pafs.FileSelector(folder, allow_not_found=True, recursive=recursive)
        try:
            found: list[pafs.FileInfo] = self.filesystem.get_file_info(selector)
        except FileNotFoundError:
            # it was made while pyarrow was looking: absent when it was opened, there when it was asked whether it is
            found = self.filesystem.get_file_info(selector)
        return found

    def write(self, path: str, content: bytes) -> None:
        """Put a file in its place in one step, replacing any file of that name; durable after `sync`.

        When it raises, nothing of the file is left.
        """
        if self._objects is not None:
            self._objects.put(path, content)
            return
        self._move(self._write_beside(path, content), path)

    def create(self, path: str, content: bytes) -> bool:
        """Put a file in its place in one step, durably, only if the name is free; return whether it was.

        content : unlike what any other may create under this name; else the answer may be true for both
        """
        if self._objects is not None:
            # where an answer was lost, the second attempt meets what the first has made
            created: bool = self._objects.create(path, content)
            return created or self.read(path) == content
        if self.is_local:
            beside = self._write_beside(path, content)
            try:
                os.link(beside, path)  # unlike a rename, fails when the name is taken
            except FileExistsError:
                return False
            finally:
                os.unlink(beside)
            self.sync([path])
            return True
        if self.filesystem.get_file_info(path).type != pafs.FileType.NotFound:
            return False
        self.write(path, content)
        return self.read(path) == content

    def delete(self, path: str) -> None:
        """Remove a file; no matter if it is gone already."""
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.delete_file(path)

    def sync(self, paths: Iterable[str]) -> None:
        """Make the names of these files durable, with every folder between them and the root."""
        if not self.is_local:
            return
        below = {folder for path in paths for folder in PurePosixPath(path).parents if folder.is_relative_to(self.root)}
        for folder in below:
            make_durable(folder)

    def _write_beside(self, path: str, content: bytes) -> str:
        folder, _, name = path.rpartition("/")
        beside = f"{folder}/.{name}.{uuid.uuid4().hex}.tmp"
        self.filesystem.create_dir(folder, recursive=True)
        try:
            if self.is_local:
                with open(beside, "xb") as local:
                    local.write(content)
                    local.flush()
                    os.fsync(local.fileno())
            else:
                with self.filesystem.open_output_stream(beside) as remote:
                    remote.write(content)
        except BaseException:
            self._give_up(beside)
            raise
        return beside

    def _move(self, beside: str, path: str) -> None:
        try:
            self.filesystem.move(beside, path)
        except BaseException:
            self._give_up(beside)
            raise

    def _give_up(self, beside: str) -> None:
        with contextlib.suppress(OSError):  # what could not be written may not be there
            self.filesystem.delete_file(beside)


_HARMLESS = ("region", "scheme", "endpoint_override", "allow_bucket_creation", "allow_bucket_deletion")


def _without_secrets(error: Exception, uri: str) -> str:
    """The first line of what an error says, without what an address holds of secrets: user, password, unknown options."""
    parts = urlsplit(uri)
    secrets = {parts.username or "", parts.password or ""}
    secrets |= {value for name, value in parse_qsl(parts.query) if name not in _HARMLESS}
    said = next(iter(str(error).splitlines()), type(error).__name__)
    for secret in sorted({*secrets, *map(unquote, secrets)} - {""}, key=len, reverse=True):
        # a short one is part of many a word
        edge = r"\b" if len(secret) < 4 and secret.isalnum() else ""
        said = re.sub(f"{edge}{re.escape(secret)}{edge}", "***", said)
    return said


def make_durable(path: PurePosixPath | Path) -> None:
    """Make a local file, or the names in a local folder, outlast a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
