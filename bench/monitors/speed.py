"""Part *speed*: how fast columns are profiled, and a full comparison with a profiled reference, beside Evidently and whylogs.

Rates are values a second of one core, by CPU time, as the machine is shared; the comparison is wall time, the best of several.
Peers run in environments of their own under build/peers, made when they are first needed; the columns they compare are the
same, made from the same seed by `comparison_rows`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
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
best = []
for _ in range(3):
    started = time.perf_counter()
    Report([DataDriftPreset()]).run(current, reference).dict()
    best.append(time.perf_counter() - started)
print(json.dumps({"ms": min(best) * 1000}))
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
best, profiled = [], []
for _ in range(3):
    started = time.perf_counter()
    view = why.log(current).view()
    profiled.append(time.perf_counter() - started)
    calculate_drift_scores(target_view=view, reference_view=kept, with_thresholds=True)
    best.append(time.perf_counter() - started)
print(json.dumps({"ms": min(best) * 1000, "values_per_second": rows * features / min(profiled)}))
"""
_here: dict[str, Any] = {}
exec(_MAKE, _here)  # the same lines make the columns here and in the peers' environments
made: Callable[[int, int, int], dict[str, Any]] = _here["made"]


def rows(quick: bool) -> dict[str, list[dict[str, Any]]]:
    ours = _comparison()
    out = [*_profiling(quick), ours]
    for peer, script in (("evidently", _EVIDENTLY), ("whylogs", _WHYLOGS)):
        out.append(_peer(peer, script, ours["ms"]))
    for row in out:
        print(
            "  ".join(
                f"{name} {value:,.4g}" if isinstance(value, float) else f"{value}" for name, value in row.items()
            ),
            flush=True,
        )
    return {"speed": out}


def _profiling(quick: bool) -> list[dict[str, Any]]:
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
    out = []
    for name, values in numbers.items():
        rate = _rate(lambda values=values: NumericProfile.of(values, there), count)  # type: ignore[misc]
        out.append({"what": "profile", "kind": "numbers", "column": name, "millions_per_core_second": rate / 1e6})
    for distinct in (20, 1_000, 100_000):
        texts = np.array([f"value-{i}" for i in range(distinct)], object)
        column = pa.array(texts[rng.integers(0, distinct, count)], pa.large_string())
        CategoryProfile.of(column.slice(0, 100))
        rate = _rate(lambda column=column: CategoryProfile.of(column), count)  # type: ignore[misc]
        named = f"{distinct:,} different"
        out.append({"what": "profile", "kind": "texts", "column": named, "millions_per_core_second": rate / 1e6})
    return out


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
    best = []
    for _ in range(7):
        started = time.perf_counter()
        for name, values in current.items():
            found = NumericProfile.of(values)
            counts = side_by_side(reference[name], found)
            assert counts is not None
            psi(*counts), ks_distance(*counts), found.quantile(0.5), found.mean, found.null_share, found.distinct
        best.append(time.perf_counter() - started)
    return {"what": "comparison", "system": "samestream", "rows": ROWS, "features": FEATURES, "ms": min(best) * 1000}


def _peer(name: str, script: str, ours_ms: float) -> dict[str, Any]:
    row: dict[str, Any] = {"what": "comparison", "system": name, "rows": ROWS, "features": FEATURES}
    python = ROOT / "build" / "peers" / name / "bin" / "python"
    if not python.exists():
        made_it = subprocess.run(
            [sys.executable, "-m", "venv", str(python.parents[1])], capture_output=True, check=False
        )
        if made_it.returncode == 0:
            installed = subprocess.run(
                [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEERS[name]],
                capture_output=True,
                text=True,
                check=False,
            )
            if installed.returncode:
                return {**row, "note": f"does not install: {installed.stderr.strip().splitlines()[-1][:200]}"}
    ran = subprocess.run(
        [str(python), "-c", _MAKE + script, str(ROWS), str(FEATURES)], capture_output=True, text=True, check=False
    )
    if ran.returncode:
        return {**row, "note": f"does not run: {ran.stderr.strip().splitlines()[-1][:200]}"}
    found = json.loads(ran.stdout.strip().splitlines()[-1])
    return {**row, **found, "times_slower": found["ms"] / ours_ms}
