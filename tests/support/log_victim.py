"""What processes do to a feature log in tests, without Kafka: append against each other, rewrite it, and die at a point."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fate
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from log_rows import HOUR_US, START_US, table

from samestream.schemas.errors import FeatureLogError
from samestream.streams.log import rewriting
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.storage import Storage

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["log_victim"])  # what is imported once is not imported by every process
_TIMES = {"compact": (1, 2, 4), "cut": (1, 1), "erase": (1, 2, 4)}
KILLS = {
    how: [(point, times) for point in fate.LOG_POINTS for times in (strikes if point.startswith("file") else (1, 1))]
    for how, strikes in _TIMES.items()
} | {"clear": [(point, times) for point in fate.CLEAR_POINTS for times in (1, 2, 20, 40)]}
"""By rewrite, where a process that does it is killed, and at which occurrence."""
CUT_US = START_US + 2 * HOUR_US + HOUR_US // 2
ERASED_KEY = b"k3"


def started(target: Callable[..., None], *given: Any) -> Any:
    """A process that does this."""
    # by this the server of processes finds what it is to import
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    process = PROCESSES.Process(target=target, args=given)
    process.start()
    return process


def compete(root: str, number: int, gate: Any) -> None:
    """Append whatever comes next until it succeeded six times; a loser looks how far the log has come, and tries again."""
    gate.wait()
    won = 0
    while won < 6:
        writer = FeatureLog(root).writer("t")
        offset = writer.next_offsets().get(0, 0)
        try:
            writer.append(table([(0, offset, START_US + offset)], by=[number]), {0: (offset, offset + 1)})
            won += 1
        except FeatureLogError as error:
            if "another writer owns" not in str(error):
                raise


def stumble(root: str, strikes: int) -> None:
    """Append and compact, and be killed at so manyeth a step of all that are taken."""
    log, left = FeatureLog(root), [strikes]
    write, create = Storage.write, Storage.create

    def strike() -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    def fatal_write(self: Storage, path: str, content: bytes) -> None:
        strike()
        write(self, path, content)
        strike()

    def fatal_create(self: Storage, path: str, content: bytes) -> bool:
        strike()
        made = create(self, path, content)
        strike()
        return made

    Storage.write, Storage.create = fatal_write, fatal_create  # type: ignore[method-assign]
    writer = log.writer("t")
    while True:
        offset = writer.next_offsets().get(0, 0)
        writer.append(table([(0, o, START_US + o) for o in range(offset, offset + 3)]), {0: (offset, offset + 3)})
        if writer.since_base > 4:
            rewriting.compact(log, "t")
            writer.refresh()


def rewrite(root: str, how: str, point: str = "", times: int = 1) -> None:
    """Rewrite the topic; die at a point, if one is given."""
    if point:
        fate.doom_storage(fate.Fate(point, times))
    log = FeatureLog(root)
    if how == "compact":
        rewriting.compact(log, "t")
    elif how == "cut":
        rewriting.cut(log, "t", rewriting.cut_offsets(log, "t", CUT_US))
    elif how == "erase":
        rewriting.erase(log, "t", forgotten)
    else:
        rewriting.clear(log, "t", 0)


def forgotten(rows: pa.Table) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
    """The rows without one key, and which had it."""
    keys = rows["_key"].to_pylist()
    mine = np.array([key == ERASED_KEY for key in keys], np.bool_)
    left = pa.array([None if key == ERASED_KEY else key for key in keys], pa.binary())
    return rows.set_column(rows.column_names.index("_key"), "_key", left), mine
