"""The budget is kept: calibrated on eight weeks, the sources raise in the next four no more incidents than they may.

Over independent repetitions, on streams with nothing wrong in them: stationary, seasonal, and with a memory of days. `LAW=long`
(``make calibration-law``) makes 200 repetitions of each, and asks for the rate itself to be within the sources' share; the short
form asks for no more than the whole budget, which few repetitions can tell.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from alarm_law import keeps_within

from samestream.monitors.budget import SOURCES_SHARE
from samestream.monitors.incidents import DAY_US, HOUR_US, Finding
from samestream.monitors.source_spec import SourceSpec
from samestream.monitors.sources import LEARNING_DAYS, SourceFamily, SourceWatch

LONG = os.environ.get("LAW") == "long"
REPETITIONS = 200 if LONG else 3
BUDGET, SHARE = 1.0, SOURCES_SHARE
WEEKS_CALIBRATED, WEEKS_WATCHED = 8, 4
DAYS = LEARNING_DAYS + 7 * (WEEKS_CALIBRATED + WEEKS_WATCHED)
EACH_HOUR = 5

Floats = npt.NDArray[np.float64]


def levels(kind: str, rng: np.random.Generator) -> Floats:
    """How the mean of the values moves, hour by hour."""
    hours = np.arange(24 * DAYS)
    if kind == "stationary":
        return np.zeros(len(hours))
    if kind == "seasonal":
        week = np.where(hours // 24 % 7 >= 5, -6.0, 3.0)
        return 8 * np.sin(2 * np.pi * (hours % 24) / 24) + week
    noise = rng.normal(0, 1, len(hours))
    found = np.empty(len(hours))
    level = 0.0
    for hour, shock in enumerate(noise.tolist()):  # a memory of two days
        level = np.exp(-1 / 48) * level + shock
        found[hour] = level
    return found


def incidents(kind: str, seed: int) -> int:
    """Incidents opened in the weeks after the calibration, of which none is real."""
    rng = np.random.default_rng(seed)
    level = levels(kind, rng)
    each = rng.poisson(
        EACH_HOUR * (np.where(np.arange(24 * DAYS) % 24 < 5, 0.2, 1.2) if kind == "seasonal" else 1.0), 24 * DAYS
    )
    hour = np.repeat(np.arange(24 * DAYS), each)
    # in the first five minutes of the hour, which leaves most ticks empty, and the law quick
    known = np.sort(hour * HOUR_US + rng.integers(0, 299_000_000, len(hour)))
    n = len(known)
    delay = np.round(rng.gamma(2.0, 10.0, n) + level[hour])
    temperature = np.round(50 + level[hour] + rng.normal(0, 1, n), 1)
    carrier = rng.choice(["UA", "AA", "DL", "B6"], n, p=[0.4, 0.3, 0.2, 0.1]).astype(object)
    tail = np.array([f"N{int(3000 * x * x)}" for x in rng.random(n)], object)
    late = delay > 40  # more often where delays are
    due = known + (rng.lognormal(1, 0.5, n) * HOUR_US).astype(np.int64)
    spec = SourceSpec(
        "Departure", ("delay", "temperature"), {}, {}, 0, False, ("carrier", "tail"), {"delay": "min", "temperature": "F"},
        flag_fields=("late",), instant_fields=("due",),
    )  # fmt: skip
    watch = SourceWatch(spec, silence_us=2 * HOUR_US, quality=True)
    family = SourceFamily({"Departure": watch}, SHARE * BUDGET)
    there = np.ones(n, np.bool_)
    columns = {"delay": delay, "temperature": temperature, "carrier": carrier, "tail": tail, "late": late, "due": due}
    fields: dict[str, tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]] = {
        name: (part, there) for name, part in columns.items()
    }
    watch.add(known, known - rng.integers(1, 60, n) * 1_000_000, fields, None, rng.integers(0, 3, n))
    open_ones: dict[str, int] = {}
    opened = 0

    def observe(cause: str, findings: Sequence[Finding], at_us: int) -> bool:
        nonlocal opened
        if findings:
            opened += cause not in open_ones and at_us > (DAYS - 7 * WEEKS_WATCHED) * DAY_US
            open_ones[cause] = at_us
        elif at_us - open_ones.get(cause, 0) >= 6 * HOUR_US:
            open_ones.pop(cause, None)
        return cause in open_ones

    family.advance(DAYS * DAY_US, observe)
    assert family.limits is not None
    return opened


@pytest.mark.timeout(7200 if LONG else 300)
@pytest.mark.parametrize("kind", ["stationary", "seasonal", "autocorrelated"])
def test_incidents_on_streams_with_nothing_wrong_stay_within_the_budget(kind: str) -> None:
    opened = [incidents(kind, seed) for seed in range(REPETITIONS)]
    keeps_within(kind, opened, WEEKS_WATCHED, SHARE, SHARE if LONG else BUDGET)
