"""What running processes of this machine say of themselves, in files beside their snapshots: for `samestream status`."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from samestream.console.crew import Crew, Lags
from samestream.console.health import report

log = logging.getLogger("samestream")
EVERY_S = 1.0
FRESH_S = 10.0
"""An older file is of a process that was killed."""


class HealthFile:
    """The file of this process: written about every second, removed at the end."""

    def __init__(self, folder: Path, app: str, crew: Crew, lags: Lags) -> None:
        self._path = folder / "health" / f"{app}.{os.getpid()}.json"
        self._crew, self._lags = crew, lags
        self._written_s = float("-inf")
        self._events: dict[str, tuple[int, float]] = {}
        self._is_told = False
        _clear(folder, app)

    def refresh(self) -> None:
        """Write it, if it is time to. A disk that is full is told once, and stops nothing."""
        now_s = time.monotonic()
        if now_s - self._written_s < EVERY_S:
            return
        self._written_s = now_s
        said = report(self._crew, self._lags)
        for name, role in said["roles"].items():
            before, then_s = self._events.get(name, (role["events"], now_s - EVERY_S))
            role["events_per_s"] = round((role["events"] - before) / (now_s - then_s), 1)
            self._events[name] = role["events"], now_s
        said |= {"pid": os.getpid(), "at": time.time()}
        beside = self._path.with_suffix(".tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(said))
            os.replace(beside, self._path)
        except OSError as error:
            if not self._is_told:
                log.warning("`samestream status` will not see this process: %s", error)
                self._is_told = True

    def close(self) -> None:
        """Remove it."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def _clear(folder: Path, app: str) -> None:
    """Remove the files of an app's processes that were killed: of no process that runs, and not written for a while."""
    for path in (folder / "health").glob(f"{app}.*.*"):
        pid = path.name.removeprefix(f"{app}.").partition(".")[0]
        with suppress(OSError):
            if pid.isdecimal() and not _runs(int(pid)) and time.time() - path.stat().st_mtime > FRESH_S:
                path.unlink()


def _runs(pid: int) -> bool:
    """Whether a process of this machine has this number. One that runs in another container has none here, but a fresh file."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def read(folder: Path, app: str) -> Iterator[dict[str, Any]]:
    """What the processes of an app say that run on this machine with this folder; see `health.report`."""
    for path in sorted((folder / "health").glob(f"{app}.*.json")):
        with suppress(OSError, ValueError):
            said: dict[str, Any] = json.loads(path.read_text())
            if path.name == f"{app}.{said['pid']}.json" and abs(time.time() - said["at"]) < FRESH_S:
                yield said
