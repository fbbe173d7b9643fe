"""The offline half beside its peers: ``make bench-offline`` (JSON=FILE, ARGS=--quick).

Replay of a journal from Parquet, on one core, every event a trigger, the quickest of three rounds; the last value as of a
million instants; windows as of such instants. Every system runs in a process of its own; results are compared row by row, and
what cannot run is told.
"""

from __future__ import annotations

import argparse
import json
import math
import pickle
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import sales
import trades

from samestream.streams.engine import journal
from samestream.streams.engine.feature_task import NAME
from samestream.streams.transport import position

HERE, FEAST = Path(__file__).parent, Path("build/peers/feast/bin/python")
PATIENCE_S, MOST_BYTES = 900, 14 << 30
ROUNDS = 3  # of a replay: a shared machine is a third slower in one minute than in the next


@dataclass(frozen=True)
class Result:
    """How a system did. equal : whether it found what the others found; None where it found nothing."""

    task: str
    system: str
    rows_per_s: float | None
    cpu_s_per_million: float | None
    peak_mb: float | None
    equal: bool | None
    note: str = ""


def run(command: Sequence[str], task: str, system: str, same: Callable[[], str]) -> Result:
    """Run one system. same : compares what it wrote, and says what differs."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))

    try:
        done = subprocess.run(
            [*command], capture_output=True, text=True, timeout=PATIENCE_S, check=True, preexec_fn=limited
        )
    except subprocess.TimeoutExpired:
        return Result(task, system, None, None, None, None, f"not done after {PATIENCE_S} s")
    except (OSError, subprocess.CalledProcessError) as error:
        told = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        return Result(task, system, None, None, None, None, f"failed: {told[-1][:150] if told else error}")
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    differs = same()
    return Result(task, system, **figures, equal=not differs, note=differs)


def differing(found: pa.Table, expected: pa.Table, tolerance: float) -> str:
    """What differs in the columns that the found table has; rows are told by `row`, NaN is null."""
    one, other = (np.argsort(table["row"].to_numpy()) for table in (found, expected))
    if not np.array_equal(found["row"].to_numpy()[one], expected["row"].to_numpy()[other]):
        return f"{len(found):,} rows, expected {len(expected):,}"
    for name in found.column_names:
        a, b = (
            np.asarray(table[name].to_numpy(), np.float64)[order] for table, order in ((found, one), (expected, other))
        )
        wrong = ~((a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= tolerance * np.maximum(1.0, np.abs(b))))
        if wrong.any():
            return f"{int(wrong.sum()):,} of {len(a):,} values of {name} differ"
    return ""


def replays(folder: Path, keys: int, events: int) -> list[Result]:
    """Serve events by the real engine, and replay them for one window after the other."""
    folder.mkdir()
    plan, transport, log = trades.serve(folder / "log", keys, events)
    (folder / "journal").write_bytes(pickle.dumps((journal.read(transport, plan.journal, NAME), transport.topics())))
    served = log.read(plan.models["All"].topics["features"])
    place = position(*(served[name].to_numpy().astype(np.int64) for name in ("trigger_partition", "trigger_offset")))
    names = ("mean_1h", "mean_3h", "mean_1d")
    expected = pa.table({"row": place, **{name: served[name].to_numpy(zero_copy_only=False) for name in names}})
    found = []
    for windows in trades.MODELS:
        command = [sys.executable, str(HERE / "replayed.py"), windows, str(folder)]
        result = folder / f"replay.{windows}.parquet"
        task = f"replay, {keys:,} keys, {windows} tiles"

        def same(path: Path = result) -> str:
            return differing(pq.read_table(path), expected, 0)

        found.append(quickest([run(command, task, "samestream", same) for _ in range(ROUNDS)]))
        show(found[-1])
    return found


def quickest(rounds: Sequence[Result]) -> Result:
    """The one of the least disturbed minute, of the rounds of a system that has no peer beside it; one that is wrong, if any is."""
    return min(rounds, key=lambda result: (result.equal is True, -(result.rows_per_s or math.inf)))


def joins(folder: Path, task: str, size: tuple[int, int, int], systems: Sequence[str]) -> list[Result]:
    """Join asks with sales by every system; the first one, which is no part of samestream, is what the others are compared with."""
    folder.mkdir()
    sales.write(folder, *size)
    found = []
    for system in systems:
        if system.startswith("feast"):
            command = [str(FEAST), str(HERE / "feast_join.py"), system.removeprefix("feast-"), str(folder)]
        else:
            command = [sys.executable, str(HERE / "joined.py"), system, task, str(folder)]

        def same(system: str = system) -> str:
            paths = [folder / f"{task}.{name}.parquet" for name in (system, systems[0])]
            if not paths[1].exists():
                return f"{systems[0]} found nothing to compare with"
            return differing(pq.read_table(paths[0]), pq.read_table(paths[1]), 1e-9)

        title = f"{task.replace('_', ' ')}, {size[1]:,} over {size[0]:,}"
        found.append(run(command, title, system, same))
        show(found[-1])
    return found


def show(result: Result) -> None:
    """Print a line of the table."""
    if result.rows_per_s is None:
        print(f"| {result.task} | {result.system} | | | | {result.note} |", flush=True)
        return
    equal = "yes" if result.equal else f"no: {result.note}"
    figures = f"{result.rows_per_s:,.0f} | {result.cpu_s_per_million:.2f} | {result.peak_mb:,.0f}"
    print(f"| {result.task} | {result.system} | {figures} | {equal} |", flush=True)


def tell_ratio(results: Sequence[Result], task: str, system: str, name: str) -> None:
    """Say how many times as fast samestream is as another system, by CPU seconds, if both were measured."""
    spent = {part.system: part.cpu_s_per_million for part in results if part.task.startswith(task)}
    one, other = spent.get("samestream"), spent.get(system)
    if one and other:
        print(f"{task}: {other / one:.2f} times as fast as {name}, by CPU")


def main() -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("--only", default="replay,last_value,windowed")
    given = parser.parse_args()
    part, results = 10 if given.quick else 1, list[Result]()
    print("| task | system | rows/s | CPU s per million | peak MB | equal |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="bench-offline-") as root:
        folder = Path(root)
        if "replay" in given.only:
            results += replays(folder / "few", 1_000, 3_000_000 // part)
            results += replays(folder / "many", 100_000, 3_000_000 // part)
        if "last_value" in given.only:
            systems = ("pandas", "samestream", "feast-duckdb", "feast-file")
            results += joins(folder / "last", "last_value", (10_000_000 // part, 1_000_000 // part, 100_000), systems)
        if "windowed" in given.only:
            size = (5_000_000 // part, 500_000 // part, 10_000)
            results += joins(folder / "windowed", "windowed", size, ("by_hand", "samestream"))
    if "last_value" in given.only and not FEAST.exists():
        print("Feast did not install: see build/peers/feast.log")
    for system in ("feast-duckdb", "feast-file", "pandas"):
        tell_ratio(results, "last value", system, system)
    tell_ratio(results, "windowed", "by_hand", "SQL by hand")
    if given.json:
        given.json.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")


if __name__ == "__main__":
    main()
