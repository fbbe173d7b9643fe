"""How the window state grows: events a second and bytes, by number of keys, their distribution, tiles and features.

Run with ``make bench-state``; it takes one to three minutes and 2 GB. One event is a query of every window, and then an
update: what a model that is triggered by the event it aggregates costs in the state, its key index included. Nothing is
decoded, evaluated or encoded. Memory is compared with what the engine aims at: 32 bytes per non-empty tile and aggregate,
and 200 bytes a key.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np

from samestream.streams.columns import ColumnData
from samestream.streams.engine import key_index, tiles
from samestream.streams.engine.key_index import KeyIndex
from samestream.streams.engine.tiles import QUERY, UPDATE, Cell, CellOp, TileTable, Window

TILE_US = 60_000_000
BATCH = 10_000
COLUMNS = ("keys", "seen", "distribution", "tiles", "features", "events/s", "non-empty tiles", "MB", "MB aimed at")


@dataclass(frozen=True)
class Case:
    """One row of the table. A feature is a mean: two cells, a count and a sum."""

    keys: int
    is_zipf: bool = False
    tiles: int = 60
    features: int = 1


CASES = [
    Case(keys, is_zipf, count)
    for count in (60, 700)
    for keys in (1_000, 100_000, 3_000_000)
    for is_zipf in (False, True)
]
CASES += [Case(100_000, features=count) for count in (5, 20)]


def measure(case: Case, events: int) -> tuple[str, ...]:
    """Run two windows' worth of events, time the second half, and look at what is then held."""
    cells = [Cell(op, column) for column in range(case.features) for op in (CellOp.COUNT, CellOp.SUM_FLOAT)]
    window = Window(case.tiles * TILE_US, TILE_US)
    table, index = TileTable(cells, [(window, range(len(cells)))], case.features), KeyIndex([False])
    rng = np.random.default_rng(0)
    names = rng.permutation(case.keys) * 7_919
    step = 2 * case.tiles * TILE_US // events
    kind, there = np.tile(np.array([QUERY, UPDATE], np.int8), BATCH), np.ones((2 * BATCH, case.features), np.bool_)
    spent = 0.0
    for first in range(0, events, BATCH):
        drawn = rng.zipf(1.2, BATCH) % case.keys if case.is_zipf else rng.integers(0, case.keys, BATCH)
        key = ColumnData(names[drawn], np.ones(BATCH, np.bool_))
        t = np.arange(first, first + BATCH) * step
        values = np.repeat(rng.normal(size=(BATCH, case.features)), 2, axis=0).view(np.int64)
        started = time.process_time()
        ids = np.repeat(index.ids([key], np.arange(BATCH)), 2)
        twice = np.repeat(t, 2)
        table.run(kind, ids, twice, twice, twice - TILE_US, values, there)
        if 2 * first >= events:
            spent += time.process_time() - started
    held, aim = table.memory_bytes + index.memory_bytes, 32 * table.tiles * case.features + 200 * len(index)
    rate = events / 2 / spent
    figures = (case.tiles, case.features, rate, table.tiles, held / 1e6, aim / 1e6)
    return f"{case.keys:,}", f"{len(index):,}", "zipf" if case.is_zipf else "uniform", *(f"{x:,.0f}" for x in figures)


def main() -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000, help="of each row")
    events = parser.parse_args().events
    tiles.warm()
    key_index.warm()
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for case in CASES:
        print("| " + " | ".join(measure(case, events)) + " |", flush=True)


if __name__ == "__main__":
    main()
