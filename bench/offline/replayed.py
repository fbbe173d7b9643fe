"""Journal replay from Parquet on one core: `replayed.py WINDOWS FOLDER` follows the journal by one of `trades.MODELS`."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measure import measured
from trades import app_of

from samestream.streams.engine import arrangement, key_index, tiles
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.vector_replay import replayed
from samestream.streams.lowering import compile_app
from samestream.streams.transport import position


class Topics:
    """As much of a transport as replay asks for."""

    def __init__(self, counts: dict[str, int]) -> None:
        self._counts = counts

    def topics(self) -> dict[str, int]:
        """Partition count by name."""
        return self._counts


def main() -> None:
    """Replay, and write the vectors."""
    windows, folder = sys.argv[1], Path(sys.argv[2])
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    entries, counts = pickle.loads((folder / "journal").read_bytes())
    plan, log = compile_app(app_of(windows)), FeatureLog(folder / "log")
    for part in (tiles, key_index, arrangement):
        part.warm()
    events = sum(part.end - part.start for entry in entries for part in entry.ranges)

    names = list(plan.models[next(iter(plan.models))].outputs)
    columns = {name: np.full(events, np.nan) for name in ("row", *names)}  # whoever takes vectors has room for them
    place = columns["row"].view(np.int64)

    def work() -> None:
        done = 0
        for _, _, every in replayed(plan, Topics(counts), log, entries=entries):
            for part in every:
                taken = slice(done, done + len(part))
                numbers = np.array([one.partition for one in part.partitions], np.int64)
                place[taken] = position(numbers[part.rank], part.offset)
                for name in names:
                    values, valid = part.features[name].values, part.features[name].valid
                    columns[name][taken] = np.where(valid, values, np.nan)
                done += len(part)

    measured(events, work)
    columns["row"] = place
    pq.write_table(pa.table(columns), folder / f"replay.{windows}.parquet")


if __name__ == "__main__":
    main()
