"""How the window state grows: events a second and bytes, by number of keys, their distribution, tiles and features.

Run with ``make bench-state``; it takes three to six minutes and up to 4 GB. One event is a query of every window, and then an
update: what a model that is triggered by the event it aggregates costs in the state, its key index included. Nothing is
decoded, evaluated or encoded. Memory is all that is set aside. What of it is not for the raw events of the open heads (by
which late events are answered exactly) is compared with what the engine aims at: 32 bytes per non-empty tile and
aggregate, and 200 bytes a key. ``--svg FILE`` draws the curves.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from curves import Curve, drawn

from samestream.streams.columns import ColumnData
from samestream.streams.engine import key_index, tiles
from samestream.streams.engine.key_index import KeyIndex
from samestream.streams.engine.tiles import QUERY, UPDATE, Cell, CellOp, TileTable, Window

TILE_US = 60_000_000
BATCH = 20_000
COLUMNS = (
    "keys", "seen", "distribution", "tiles", "features", "events/s", "non-empty tiles", "MB", "of it events", "rest aimed at",
    "ratio",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One row of the table. A feature is a mean: two cells, a count and a sum."""

    keys: int
    is_zipf: bool = False
    tiles: int = 60
    features: int = 1


KEYS, TILES, FEATURES = (1_000, 100_000, 3_000_000), (60, 700), (1, 5, 20)
CASES = [Case(keys, is_zipf, count) for count in TILES for keys in KEYS for is_zipf in (False, True)]
CASES += [Case(keys, features=count) for count in FEATURES[1:] for keys in KEYS]


@dataclass(frozen=True)
class Found:
    """What was measured of a case."""

    case: Case
    seen: int
    events_per_s: float
    tiles: int
    held_bytes: int
    events_bytes: int

    @property
    def aim_bytes(self) -> int:
        return 32 * self.tiles * self.case.features + 200 * self.seen

    @property
    def ratio(self) -> float:
        return (self.held_bytes - self.events_bytes) / self.aim_bytes

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        case = self.case
        figures = (
            case.tiles,
            case.features,
            self.events_per_s,
            self.tiles,
            self.held_bytes / 1e6,
            self.events_bytes / 1e6,
            self.aim_bytes / 1e6,
        )
        told = (f"{figure:,.0f}" for figure in figures)
        return f"{case.keys:,}", f"{self.seen:,}", "zipf" if case.is_zipf else "uniform", *told, f"{self.ratio:.2f}"


def measure(case: Case, events: int) -> Found:
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
        drawn_keys = rng.zipf(1.2, BATCH) % case.keys if case.is_zipf else rng.integers(0, case.keys, BATCH)
        key = ColumnData(names[drawn_keys], np.ones(BATCH, np.bool_))
        t = np.arange(first, first + BATCH) * step
        values = np.repeat(rng.normal(size=(BATCH, case.features)), 2, axis=0).view(np.int64)
        started = time.process_time()
        ids = np.repeat(index.ids([key], np.arange(BATCH)), 2)
        twice = np.repeat(t, 2)
        table.run(kind, ids, twice, twice, twice - TILE_US, values, there)
        if 2 * first >= events:
            spent += time.process_time() - started
    held = table.memory_bytes + index.memory_bytes
    return Found(case, len(index), events / 2 / spent, table.tiles, held, table.events_bytes)


def curves(found: list[Found]) -> list[tuple[str, str, list[Curve]]]:
    """The panels of the plot: title, what is along the bottom, and the curves."""
    rates = {row.case: row.events_per_s for row in found}
    memory = {row.case: row.ratio for row in found}

    def by_keys(of: dict[Case, float]) -> list[Curve]:
        return [
            Curve(
                f"{'Zipf' if is_zipf else 'uniform'}, {count} tiles",
                [(keys, of[Case(keys, is_zipf, count)]) for keys in KEYS],
            )
            for count in TILES
            for is_zipf in (False, True)
        ]

    by_features = [
        Curve(f"{keys:,} keys", [(count, rates[replace(Case(keys), features=count)]) for count in FEATURES])
        for keys in KEYS
    ]
    return [
        ("events a second, one feature", "keys", by_keys(rates)),
        ("events a second, uniform keys, 60 tiles", "features", by_features),
        ("memory, as a multiple of its aim", "keys", by_keys(memory)),
    ]


def main() -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000, help="of each row")
    parser.add_argument("--svg", default="", help="draw the curves to this file")
    given = parser.parse_args()
    tiles.warm()
    key_index.warm()
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    found = []
    for case in CASES:
        found.append(measure(case, given.events // BATCH * BATCH))
        print("| " + " | ".join(found[-1].cells) + " |", flush=True)
    if given.svg:
        Path(given.svg).write_text(drawn(curves(found)))


if __name__ == "__main__":
    main()
