"""A disk of some megabytes that can be filled to the last byte."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path


class SmallDisk:
    """A file system in memory, mounted at ``folder``; `close` takes it away."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        folder.mkdir()
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(folder)], capture_output=True, text=True
        )
        if made.returncode:
            raise PermissionError(made.stderr.strip())
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self, left_bytes: int = 0) -> None:
        """Leave so much, or less by a page, or what others take meanwhile."""
        with self._filler.open("ab") as filler:
            while True:
                free = os.statvfs(self.folder)
                try:
                    return os.posix_fallocate(filler.fileno(), 0, max(free.f_bavail * free.f_frsize - left_bytes, 1))
                except (
                    OSError
                ) as refused:  # somebody wrote since it was measured; nothing is left only if they go on for ever
                    if refused.errno != errno.ENOSPC or free.f_bavail == 0:
                        raise

    def empty(self) -> None:
        """Give the room back."""
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it, used or not."""
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
