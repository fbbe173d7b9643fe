"""Incidents that are held back until what is wrong has lasted, and shown itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import made_streams as made
import numpy as np
import pytest
from made_streams import DAY, HOUR, MINUTE, START

from samestream.monitors.checks import Filters
from samestream.monitors.declared import Declared, Drift
from samestream.monitors.held_back import HeldBack
from samestream.monitors.incidents import Finding, IncidentRecord
from samestream.streams.engine import value_arrays

STRUCK = START + 21 * DAY + 12 * HOUR + 20 * MINUTE


def records(world: Any, lasting: str = "", min_rows: int = 0, **options: Any) -> list[IncidentRecord]:
    return made.watched(world, declared=replace(made.DECLARED, filters=Filters(lasting, min_rows)), **options)


def struck(fault: str, hours: float) -> Any:
    """A world in which a fault is repaired after so many hours."""
    world = made.calm_world(24)
    broken = made.struck(world, fault, STRUCK)
    bad = (world.departures.known_us >= STRUCK) & (world.departures.known_us < STRUCK + hours * HOUR)
    delay = np.where(bad, broken.departures.columns["dep_delay"], world.departures.columns["dep_delay"])
    departures = replace(world.departures, columns={"dep_delay": delay})
    vectors, scores = made.served(departures, world.weather, np.random.default_rng(11))
    return replace(world, departures=departures, vectors=vectors, scores=scores)


def test_what_is_over_before_it_has_lasted_is_no_incident() -> None:
    short = struck("unit", 2)
    assert [one.event for one in records(short) if one.event != "update"] == ["open", "close"]
    assert records(short, "8h") == []


def test_what_lasts_opens_later_and_says_for_how_long_it_held() -> None:
    world = struck("unit", 8)
    at_once, later = records(world), records(world, "90m")
    assert [one.event for one in later if one.event != "update"] == ["open", "close"]
    assert later[0].verdict == at_once[0].verdict == "unit"
    assert later[0].opened_at_us == at_once[0].opened_at_us  # since when it was wrong
    held = later[0].evidence["held_minutes"]
    assert 90 <= held <= 95
    assert later[0].evidence["held_rows"] > 20
    assert "held_minutes" not in at_once[0].evidence


def test_few_events_are_no_incident_but_silence_needs_none() -> None:
    world = struck("unit", 8)
    (opened, *_) = records(world, min_rows=100)
    assert opened.evidence["held_rows"] >= 100
    assert opened.evidence["held_minutes"] > 2 * 60
    assert records(world, min_rows=100_000) == []
    silent = records(made.struck(made.calm_world(25), "missing", STRUCK), min_rows=100_000)
    assert silent[0].verdict == "missing_source"


def test_a_move_of_features_must_last_and_windows_must_hold_rows() -> None:
    calm = made.calm_world(45)
    moved = calm.vectors.known_us >= STRUCK
    columns = {
        **calm.vectors.columns,
        "carrier_delay": calm.vectors.columns["carrier_delay"] + np.where(moved, 60.0, 0),
    }
    models = tuple(model for model in calm.models if model[1] <= STRUCK)
    world = replace(calm, vectors=replace(calm.vectors, columns=columns), models=models)
    features = Declared(made.LateArrival, 1.0, (Drift("1d"),))  # type: ignore[arg-type]

    def opened_after_days(filters: Filters) -> float:
        told = made.watched(world, declared=replace(features, filters=filters))
        return (next(one.at_us for one in told if one.event == "open") - STRUCK) / DAY

    assert opened_after_days(Filters()) < 3
    assert 5 < opened_after_days(Filters("6d")) < 7
    assert opened_after_days(Filters("", 500)) >= opened_after_days(Filters()) + 1  # a window of so many takes two days
    assert made.watched(world, declared=replace(features, filters=Filters("60d"))) == []


@pytest.mark.parametrize("step_us", [7 * MINUTE, 11 * HOUR])
def test_batches_and_restarts_change_nothing(step_us: int) -> None:
    world = struck("unit", 4)
    expected = records(world, "1h", 30)
    assert len(expected) >= 2
    assert records(world, "1h", 30, step_us=step_us) == expected
    packed = records(world, "1h", 30, between_steps=lambda watch: value_arrays.unpack(value_arrays.pack(watch)))
    assert packed == expected


def test_what_comes_back_while_its_incident_is_open_is_not_held_back_again() -> None:
    held, one = HeldBack(Filters("30m")), Finding("unit", 1.0, {})
    assert held.passed("E.x", [one], 0, 10) == []
    assert held.waits("E.x")
    assert [two.evidence for two in held.passed("E.x", [one], 30 * MINUTE, 10)] == [
        {"held_minutes": 30.0, "held_rows": 20}
    ]
    assert held.passed("E.x", [], 35 * MINUTE, 10) == []
    assert held.passed("E.x", [one], 40 * MINUTE, 10) != []
    held.passed("E.x", [], 45 * MINUTE, 10)
    held.forget("E.x")
    assert held.passed("E.x", [one], 50 * MINUTE, 10) == []
