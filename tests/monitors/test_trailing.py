"""Features against their own last four weeks."""

from __future__ import annotations

from typing import Any

import made_streams as made
import numpy as np
import pytest
from made_streams import DAY, HOUR, START

from samestream.monitors.declared import Declared, drift
from samestream.monitors.incidents import IncidentRecord, Lineage
from samestream.monitors.watch import Watch
from samestream.streams.models.category_profile import profile_of

ROWS = 1000
FEATURES = ("load", "other")
DECLARED = Declared(of=made.LateArrival, alarms_per_week=1.0, features=(drift("1d", "trailing"),))  # type: ignore[arg-type]


def fed(means: Any, model: bool = False) -> list[IncidentRecord]:
    """A watch over two features, a window a day; the first has these means, the second does not change."""
    draw = np.random.default_rng(4)
    watch = Watch(Lineage("M", FEATURES, {name: (("E", name),) for name in FEATURES}), [], DECLARED)
    there = np.ones(ROWS, np.bool_)
    if model:
        trained = {name: profile_of(draw.normal(500, 5, ROWS)).to_json() for name in FEATURES}
        watch.on_model("1", START + DAY, {"features": trained})
    for day, mean in enumerate(means):
        at_us = START + day * DAY + np.arange(ROWS) * (DAY // ROWS)
        watch.on_vectors(
            at_us, {"load": (draw.normal(mean, 5, ROWS), there), "other": (draw.normal(0, 1, ROWS), there)}
        )
        for clock in (watch.source_clock, watch.vector_clock, watch.model_clock):
            clock(START + (day + 1) * DAY)
    return watch.records()


def test_a_season_is_calm_whatever_a_model_was_trained_on() -> None:
    """Three standard deviations in four months, and half of one in three weeks."""
    assert fed(np.arange(120) * 0.12) == []
    assert fed(np.arange(60) * 0.12, model=True) == []


def test_a_jump_is_told_against_the_last_weeks_and_becomes_usual_after_two() -> None:
    found = fed([10.0] * 40 + [30.0] * 40)
    assert [(one.event, one.subject, one.verdict) for one in found] == [
        ("open", "M.load", "world_changed"),
        ("close", "M.load", "world_changed"),
    ]
    assert found[0].at_us == START + 42 * DAY
    moved = found[0].evidence["moved"]["load"]
    assert (moved["reference"], moved["rows_before"]) == ("last four weeks", 27 * ROWS)
    assert moved["before"]["q50"] == pytest.approx(10, abs=1)
    assert moved["after"]["q50"] == pytest.approx(30, abs=1)
    assert found[1].at_us == START + 54 * DAY


def test_what_moves_again_is_told_again() -> None:
    found = fed([10.0] * 40 + [30.0] * 20 + [10.0] * 10)
    assert [one.event for one in found] == ["open", "close", "open"]
    assert found[2].at_us == START + 62 * DAY
    assert found[2].evidence["moved"]["load"]["before"]["q50"] == pytest.approx(30, abs=1)


def test_a_jump_that_goes_away_closes_and_leaves_no_trace() -> None:
    found = fed([10.0] * 40 + [30.0] * 5 + [10.0] * 10 + [30.0] * 4)
    assert [one.event for one in found] == ["open", "close", "open"]
    assert found[1].at_us == START + 47 * DAY  # after two calm days
    assert found[2].evidence["moved"]["load"]["before"]["q90"] < 20


def test_the_first_two_weeks_say_nothing() -> None:
    assert fed([10.0] * 7 + [90.0] * 7) == []


def test_days_that_moved_alone_are_learned_from() -> None:
    """A rainy day now and then: two in a row are no news where one in ten is such; where none ever was, they are."""
    calm, rainy = [10.0] * 9, [10.0] * 9 + [16.0]
    assert [one.event for one in fed(calm * 4 + [16.0] * 2 + calm)] == ["open", "close"]
    assert fed(rainy * 4 + [16.0] * 2 + calm) == []


def test_a_snapshot_goes_on_as_if_nothing_had_been() -> None:
    from samestream.streams.engine import value_arrays

    watch = Watch(Lineage("M", ("load",), {"load": (("E", "load"),)}), [], DECLARED)
    draw, there = np.random.default_rng(4), np.ones(ROWS, np.bool_)
    found = []
    for day in range(60):
        at_us = START + day * DAY + np.arange(ROWS) * (DAY // ROWS)
        watch.on_vectors(
            at_us, {"load": (draw.normal(10 if day < 30 else 30, 5, ROWS), there)}, [f"k{n}" for n in range(ROWS)]
        )
        for clock in (watch.source_clock, watch.vector_clock, watch.model_clock):
            clock(START + (day + 1) * DAY - HOUR)
        watch = value_arrays.unpack(value_arrays.pack(watch))
        found += watch.records()
    assert [one.event for one in found] == ["open", "close"]
    assert found[0].evidence["moved"]["load"]["examples"][0]["key"].startswith("k")
