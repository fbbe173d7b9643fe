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
from samestream.streams.engine.columnar import Vectors
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

    def work() -> list[Vectors]:
        every = replayed(plan, Topics(counts), log, entries=entries)
        return [vectors for _, _, found in every for vectors in found]

    found = measured(events, work)
    numbers = np.array([part.partition for part in found[0].partitions], np.int64)
    place = np.concatenate([position(numbers[part.rank], part.offset) for part in found])
    columns = {
        name: np.concatenate(
            [np.where(part.features[name].valid, part.features[name].values, np.nan) for part in found]
        )
        for name in found[0].features
    }
    pq.write_table(pa.table({"row": place, **columns}), folder / f"replay.{windows}.parquet")


if __name__ == "__main__":
    main()
