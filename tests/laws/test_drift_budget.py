"""The budget of features and scores is kept: on streams with nothing wrong, moves are told no more often than they may.

Over independent repetitions, four features by windows of a day, a model that is trained every two weeks on all of the last four,
and a score: stationary, with the week's season, and with a memory of a week that no limit by a rule would know of. As in
`test_alarm_budget`, `LAW=long` (``make calibration-law``) makes 200 repetitions of each and asks for the rate itself; the short
form asks for no more than the whole budget.
"""

import os
from functools import reduce

import numpy as np
import numpy.typing as npt
import pytest
from alarm_law import keeps_within

from samestream.monitors.declared import Declared, drift, performance, quality
from samestream.monitors.incidents import DAY_US, Lineage
from samestream.monitors.watch import Watch
from samestream.streams.models.category_profile import merged, profile_of

LONG = os.environ.get("LAW") == "long"
REPETITIONS = 200 if LONG else 6
BUDGET, SHARE = 1.0, 0.25
WEEKS_CALIBRATED, WEEKS_WATCHED = 8, 4
DAYS = 7 * (WEEKS_CALIBRATED + WEEKS_WATCHED)
TRAINED_DAYS, EVERY_DAYS = 28, 14
ROWS = 300
NAMES = ("a", "b", "c", "d")
LINEAGE = Lineage("M", NAMES, {name: ((name.upper(), "x"),) for name in NAMES})

Floats = npt.NDArray[np.float64]


class M:
    """Stands for a Model."""


DECLARED = Declared(M, BUDGET, (drift("1d"), quality()), (drift("1d"), performance()))  # type: ignore[arg-type]


def levels(kind: str, rng: np.random.Generator) -> Floats:
    """The mean of each feature's values on each day, in standard deviations of a row; shape (days, features)."""
    shape = (DAYS, len(NAMES))
    if kind == "stationary":
        return rng.normal(0, 0.1, shape)
    if kind == "seasonal":
        week = np.where(np.arange(DAYS) % 7 >= 5, -0.7, 0.3)
        return week[:, None] + rng.normal(0, 0.1, shape)
    shocks = rng.normal(0, 0.25, shape)
    found = np.zeros(shape)
    for day in range(1, DAYS):  # a memory of a week: by the rule alone, 0.27 incidents a week
        found[day] = np.exp(-1 / 7) * found[day - 1] + shocks[day]
    return found


def incidents(kind: str, seed: int) -> int:
    """Incidents opened in the weeks after the calibration, of which none is real."""
    rng = np.random.default_rng(seed)
    watch = Watch(LINEAGE, [], DECLARED)
    means, there = levels(kind, rng), np.ones(ROWS, np.bool_)
    profiles = []
    opened = 0
    for day in range(DAYS):
        at_us = day * DAY_US + np.arange(ROWS) * (DAY_US // ROWS)
        values = {name: rng.normal(means[day, place], 1, ROWS) for place, name in enumerate(NAMES)}
        scores = 1 / (1 + np.exp(-(values["a"] + values["b"])))
        if day >= TRAINED_DAYS and (day - TRAINED_DAYS) % EVERY_DAYS == 0:
            past = profiles[day - TRAINED_DAYS : day]
            totals = {name: reduce(merged, [one[name] for one in past]).to_json() for name in (*NAMES, "score")}
            reference = {"features": totals, "scores": totals["score"], "from_us": (day - TRAINED_DAYS) * DAY_US}
            watch.on_model(str(day), day * DAY_US, reference)
        profiles.append({name: profile_of(column) for name, column in {**values, "score": scores}.items()})
        watch.on_vectors(at_us, {name: (column, there) for name, column in values.items()})
        watch.on_scores(at_us, scores)
        for clock in (watch.source_clock, watch.vector_clock, watch.model_clock, watch.score_clock):
            clock((day + 1) * DAY_US)
        found = watch.records()
        opened += sum(record.event == "open" for record in found) * (day >= DAYS - 7 * WEEKS_WATCHED)
    assert watch.budget["features"]["raised"] is not None
    return opened


@pytest.mark.timeout(7200 if LONG else 300)
@pytest.mark.parametrize("kind", ["stationary", "seasonal", "autocorrelated"])
def test_moves_of_streams_with_nothing_wrong_stay_within_the_budget(kind: str) -> None:
    opened = [incidents(kind, seed) for seed in range(REPETITIONS)]
    keeps_within(kind, opened, WEEKS_WATCHED, SHARE, SHARE if LONG else BUDGET)
