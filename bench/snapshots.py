"""What snapshots cost: how long the stream pauses for one, how long it then takes to be written, and to be taken up again.

Run with ``make bench-snapshots``; it takes about a minute and 2 GB. The state is one mean over an hour for many keys, as in
`bench/state.py`. *Paused* is what the loop waits: for a copy of the arrays, or for a fork; the stream goes on while it is written.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samestream.streams.columns import ColumnData
from samestream.streams.engine import key_index, snapshots, tiles, value_arrays
from samestream.streams.engine.key_index import KeyIndex
from samestream.streams.engine.snapshot_file import Manifest, read
from samestream.streams.engine.snapshots import Snapshots
from samestream.streams.engine.tiles import QUERY, UPDATE, Cell, CellOp, TileTable, Window

TILE_US, BATCH = 60_000_000, 10_000
COLUMNS = ("keys", "MB of state", "how", "paused ms", "written s", "MB of file", "restored s")


class State:
    """A task with a table and an index, as a `TableState` has them."""

    name, layout, fingerprint = "bench", "1", "f"

    def __init__(self, keys: int) -> None:
        self._cells = [Cell(CellOp.COUNT, 0), Cell(CellOp.SUM_FLOAT, 0)]
        self._windows = [(Window(60 * TILE_US, TILE_US), [0, 1])]
        self.table, self.index = TileTable(self._cells, self._windows, 1), KeyIndex([False])
        self._rng, self._keys, self._t = np.random.default_rng(0), keys, 0

    def run(self, events: int) -> None:
        """Read and update that many times."""
        kind, there = np.tile(np.array([QUERY, UPDATE], np.int8), BATCH), np.ones((2 * BATCH, 1), np.bool_)
        step = 120 * TILE_US // max(4 * self._keys, 1_000_000)
        for _ in range(0, events, BATCH):
            key = ColumnData(self._rng.integers(0, self._keys, BATCH), np.ones(BATCH, np.bool_))
            t = np.repeat(self._t + np.arange(BATCH) * step, 2)
            self._t += BATCH * step
            values = np.repeat(self._rng.normal(size=(BATCH, 1)), 2, axis=0).view(np.int64)
            ids = np.repeat(self.index.ids([key], np.arange(BATCH)), 2)
            self.table.run(kind, ids, t, t, t - TILE_US, values, there)

    def state(self) -> dict[str, NDArray[Any]]:
        """As it lies there."""
        return value_arrays.join({"tiles": self.table.held(), "index": self.index.held()})

    def state_bytes(self) -> int:
        """All that is set aside."""
        return self.table.memory_bytes + self.index.memory_bytes

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take it up."""
        self.table = TileTable.restore(self._cells, self._windows, 1, value_arrays.split(arrays, "tiles"))
        self.index = KeyIndex.restore([False], value_arrays.split(arrays, "index"))


def measure(keys: int, copied: bool, folder: Path) -> tuple[str, ...]:
    """One row."""
    task = State(keys)
    task.run(2 * max(keys, 500_000))
    kept = Snapshots(folder, f"{keys}.{copied}", copied_bytes=10**12 if copied else 0)
    manifest = Manifest("bench", "f", "1", "", "", 1, "", {}, [], {}, {})
    began_s = time.perf_counter()
    kept.take(task, manifest)
    task.run(200_000)
    kept.finish(task, timeout_s=120)
    written_s = time.perf_counter() - began_s
    began_s = time.perf_counter()
    (file,) = kept.folder.glob("*.npz")
    State(keys).restore(read(file)[1])
    restored_s = time.perf_counter() - began_s
    figures = (
        f"{kept.pause_s * 1e3:,.1f}",
        f"{written_s:,.2f}",
        f"{kept.last_bytes / 1e6:,.0f}",
        f"{restored_s:,.2f}",
    )
    return f"{keys:,}", f"{task.state_bytes() / 1e6:,.0f}", "copied" if copied else "forked", *figures


def main() -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    given = parser.parse_args()
    tiles.warm()
    key_index.warm()
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    with tempfile.TemporaryDirectory() as folder:
        for keys in given.keys:
            for copied in (True, False) if snapshots.CAN_FORK else (True,):
                print("| " + " | ".join(measure(keys, copied, Path(folder))) + " |", flush=True)


if __name__ == "__main__":
    main()
