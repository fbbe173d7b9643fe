"""Part *speed*: how fast columns are profiled, and a full comparison with a profiled reference, beside Evidently and whylogs.

Rates are values a second of one core, by CPU time, as the machine may be shared; comparisons are wall and CPU time, the best of
several, and their ratio is that of CPU times.
Peers run in environments of their own under build/peers, made when they are first needed; the columns they compare are the
same, made from the same seed by `comparison_rows`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from samestream.monitors.distances import ks_distance, psi
from samestream.streams.models.category_profile import CategoryProfile, side_by_side
from samestream.streams.models.profile import NumericProfile

ROOT = Path(__file__).resolve().parents[2]
ROWS, FEATURES = 100_000, 20
PEERS = {
    "evidently": ["evidently==0.7.23", "pandas<3"],
    "whylogs": ["whylogs[viz]==1.6.4", "pandas<3", "numpy<2", "setuptools<81", "ipython"],
}

_MAKE = """
import numpy as np
def made(seed, rows, features):
    rng = np.random.default_rng(seed)
    shift = 0.05 * seed
    normal, whole = (lambda i: rng.normal(shift, 1 + 0.1 * i, rows)), (lambda i: np.round(rng.gamma(2.0, 10.0 + shift, rows)))
    return {f"f{i}": (normal if i % 2 else whole)(i) for i in range(features)}
"""
_EVIDENTLY = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset
rows, features = map(int, sys.argv[1:])
reference, current = pd.DataFrame(made(1, rows, features)), pd.DataFrame(made(2, rows, features))
best, cpu = [], []
for _ in range(3):
    started, begun = time.perf_counter(), time.process_time()
    Report([DataDriftPreset()]).run(current, reference).dict()
    best.append(time.perf_counter() - started)
    cpu.append(time.process_time() - begun)
print(json.dumps({"ms": min(best) * 1000, "cpu_ms": min(cpu) * 1000}))
"""
_WHYLOGS = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import pandas as pd
import whylogs as why
from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores
rows, features = map(int, sys.argv[1:])
reference, current = pd.DataFrame(made(1, rows, features)), pd.DataFrame(made(2, rows, features))
kept = why.log(reference).view()
best, cpu, profiled = [], [], []
for _ in range(3):
    started, begun = time.perf_counter(), time.process_time()
    view = why.log(current).view()
    profiled.append(time.perf_counter() - started)
    calculate_drift_scores(target_view=view, reference_view=kept, with_thresholds=True)
    best.append(time.perf_counter() - started)
    cpu.append(time.process_time() - begun)
print(json.dumps({"ms": min(best) * 1000, "cpu_ms": min(cpu) * 1000, "values_per_second": rows * features / min(profiled)}))
"""
_here: dict[str, Any] = {}
exec(_MAKE, _here)  # the same lines make the columns here and in the peers' environments
made: Callable[[int, int, int], dict[str, Any]] = _here["made"]


def rows(quick: bool) -> dict[str, list[dict[str, Any]]]:
    installed = {peer: _installed(peer) for peer in PEERS}  # first, so that nothing is measured meanwhile
    ours = _comparison()
    out = []
    for row in (*_profiling(quick), ours, *_peers(installed, ours["cpu_ms"])):
        told = (f"{name} {value:,.4g}" if isinstance(value, float) else f"{value}" for name, value in row.items())
        print("  ".join(told), flush=True)
        out.append(row)
    return {"speed": out}


def _profiling(quick: bool) -> Iterator[dict[str, Any]]:
    count = 1_000_000 if quick else 4_000_000
    rng = np.random.default_rng(1)
    numbers = {
        "normal": rng.normal(size=count),
        "whole numbers": np.round(rng.gamma(2.0, 10.0, count)),
        "delays, 80 % zero": np.where(rng.random(count) < 0.8, 0.0, rng.exponential(20.0, count)),
        "constant": np.full(count, 3.5),
    }
    there = rng.random(count) > 0.02
    NumericProfile.of(numbers["normal"][:20_000], there[:20_000])  # compiles
    for name, values in numbers.items():
        rate = _rate(lambda values=values: NumericProfile.of(values, there), count)
        yield {"what": "profile", "kind": "numbers", "column": name, "millions_per_core_second": rate / 1e6}
    for distinct in (20, 1_000, 100_000):
        texts = np.array([f"value-{i}" for i in range(distinct)], object)
        column = pa.array(texts[rng.integers(0, distinct, count)], pa.large_string())
        CategoryProfile.of(column.slice(0, 100))
        rate = _rate(lambda column=column: CategoryProfile.of(column), count)
        named = f"{distinct:,} different"
        yield {"what": "profile", "kind": "texts", "column": named, "millions_per_core_second": rate / 1e6}


def _rate(work: Callable[[], object], count: int) -> float:
    spent = []
    for _ in range(3):
        started = time.process_time()
        work()
        spent.append(time.process_time() - started)
    return count / min(spent)


def _comparison() -> dict[str, Any]:
    """20 columns of 100,000 rows, profiled and compared with profiles of as many: PSI, KS, nulls, extremes, moments."""
    reference = {name: NumericProfile.of(values) for name, values in made(1, ROWS, FEATURES).items()}
    current = made(2, ROWS, FEATURES)
    best, cpu = [], []
    for _ in range(7):
        started, begun = time.perf_counter(), time.process_time()
        for name, values in current.items():
            found = NumericProfile.of(values)
            counts = side_by_side(reference[name], found)
            assert counts is not None
            psi(*counts), ks_distance(*counts), found.quantile(0.5), found.mean, found.null_share, found.distinct
        best.append(time.perf_counter() - started)
        cpu.append(time.process_time() - begun)
    row: dict[str, Any] = {"what": "comparison", "system": "samestream", "rows": ROWS, "features": FEATURES}
    return {**row, "ms": min(best) * 1000, "cpu_ms": min(cpu) * 1000}


def _installed(name: str) -> str:
    """Make the environment of a peer where there is none; why there can be none, or nothing."""
    folder = ROOT / "build" / "peers" / name
    ready = folder / ".ready"
    if ready.exists():
        return ""
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [
            str(folder / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            *PEERS[name],
        ],
    ):
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            return f"does not install: {_last_line(ran.stderr)}"
    ready.touch()
    return ""


def _peers(installed: dict[str, str], ours_cpu_ms: float) -> Iterator[dict[str, Any]]:
    for name, script in (("evidently", _EVIDENTLY), ("whylogs", _WHYLOGS)):
        row: dict[str, Any] = {"what": "comparison", "system": name, "rows": ROWS, "features": FEATURES}
        if installed[name]:
            yield {**row, "note": installed[name]}
            continue
        python = ROOT / "build" / "peers" / name / "bin" / "python"
        command = [str(python), "-c", _MAKE + script, str(ROWS), str(FEATURES)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            yield {**row, "note": f"does not run: {_last_line(ran.stderr)}"}
            continue
        found = json.loads(ran.stdout.strip().splitlines()[-1])
        yield {**row, **found, "times_cpu": found["cpu_ms"] / ours_cpu_ms}


def _last_line(said: str) -> str:
    return (said.strip().splitlines() or ["it did not say why"])[-1][:200]
