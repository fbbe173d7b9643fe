"""Whole files below one root, written so that a reader sees all of a file or none of it.

The feature log and the artifacts lie on it. It is the only place that knows whether files are on a disk or far away.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import pyarrow.fs as pafs


class Storage:
    """Whole files below one root, on the local disk or any pyarrow filesystem.

    Locally a write survives a power cut once `sync` has returned, and `create` is exclusive. Elsewhere (S3, GCS, HDFS)
    `create` looks, writes and reads back, which narrows a race but cannot exclude it: there, one writer per topic is
    the caller's to ensure (the engine does, its transactional id being fenced).
    """

    def __init__(self, root: str | Path) -> None:
        if isinstance(root, str) and "://" in root:
            self.filesystem, self.root = pafs.FileSystem.from_uri(root)
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

    def list(self, folder: str) -> list[pafs.FileInfo]:
        """Return what lies directly in a folder; nothing if there is no such folder."""
        found: list[pafs.FileInfo] = self.filesystem.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
        return found

    def write(self, path: str, content: bytes) -> None:
        """Put a file in its place in one step, replacing any file of that name; durable after `sync`."""
        self.filesystem.move(self._write_beside(path, content), path)

    def create(self, path: str, content: bytes) -> bool:
        """Put a file in its place in one step, durably, only if the name is free; return whether it was."""
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

    def sync(self, paths: Iterable[str]) -> None:
        """Make the names of these files durable, with every folder between them and the root."""
        if not self.is_local:
            return
        below = {folder for path in paths for folder in PurePosixPath(path).parents if folder.is_relative_to(self.root)}
        for folder in below:
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def _write_beside(self, path: str, content: bytes) -> str:
        folder, _, name = path.rpartition("/")
        beside = f"{folder}/.{name}.{uuid.uuid4().hex}.tmp"
        self.filesystem.create_dir(folder, recursive=True)
        if self.is_local:
            with open(beside, "xb") as local:
                local.write(content)
                local.flush()
                os.fsync(local.fileno())
        else:
            with self.filesystem.open_output_stream(beside) as remote:
                remote.write(content)
        return beside
