"""Features against the same time of the day and the week."""

from __future__ import annotations

import doctest
from typing import Any

import made_streams as made
import numpy as np
import pytest
from made_streams import DAY, HOUR

from samestream.monitors import matched
from samestream.monitors.declared import Declared, drift
from samestream.monitors.incidents import IncidentRecord, Lineage
from samestream.monitors.matched import DAY as ANY_DAY
from samestream.monitors.matched import KIND_OF_DAY, WEEK, Matched
from samestream.monitors.watch import Watch
from samestream.streams.models.category_profile import profile_of

MONDAY = made.START // DAY * DAY - ((made.START // DAY + 3) % 7) * DAY
ROWS = 250
"""In an hour."""


def values(hours: Any, seed: int) -> Any:
    """What comes in these hours: on workdays high in the evening; on Sundays high in the morning."""
    draw = np.random.default_rng(seed)
    hour, weekday = hours % 24, hours // 24 % 7
    high = np.where(weekday < 5, (hour >= 18) & (hour < 22), (weekday == 6) & (hour < 6))
    return draw.normal(np.where(high, 60.0, 10.0), 5.0)


def fed(days: int, reference: str, change: Any = None, window: str = "1h") -> list[IncidentRecord]:
    """A watch over one feature; a model trained on the first 28 days applies from then."""
    declared = Declared(of=made.LateArrival, alarms_per_week=1.0, features=(drift(window, reference),))  # type: ignore[arg-type]
    watch = Watch(Lineage("M", ("load",), {"load": (("E", "load"),)}), [], declared)
    hours = np.repeat(np.arange(days * 24), ROWS)
    load = values(hours, 3)
    if change is not None:
        load = change(hours, load)
    known_us = MONDAY + hours * HOUR + np.tile(np.arange(ROWS) * (HOUR // ROWS), days * 24)
    trained = profile_of(load[hours < 28 * 24])
    watch.on_model("1", MONDAY + 28 * DAY, {"features": {"load": trained.to_json()}, "from_us": MONDAY})
    for day in range(days):
        rows = slice(day * 24 * ROWS, (day + 1) * 24 * ROWS)
        watch.on_vectors(known_us[rows], {"load": (load[rows], np.ones(24 * ROWS, np.bool_))})
        for clock in (watch.source_clock, watch.vector_clock, watch.model_clock):
            clock(MONDAY + (day + 1) * DAY)
    return watch.records()


def evening_is_quiet(hours: Any, load: Any) -> Any:
    """From the 35th day on evenings are as all other hours are: of all hours' values none is new."""
    return np.where((hours >= 35 * 24) & (load > 40), load - 50, load)


def test_a_change_that_only_the_hour_shows_is_seen_by_matched_windows_alone() -> None:
    assert fed(37, "training", evening_is_quiet) == []
    opened = fed(37, "matched", evening_is_quiet)[0]
    assert (opened.event, opened.subject, opened.verdict) == ("open", "M.load", "world_changed")
    assert opened.at_us == MONDAY + 35 * DAY + 22 * HOUR  # four hours of the first quiet evening, a Monday
    told = opened.evidence["moved"]["load"]
    assert told["reference"] == "training, same time of the week"
    assert told["rows_before"] == 4 * ROWS
    assert told["before"]["q50"] == pytest.approx(60, abs=2)
    assert told["after"]["q50"] == pytest.approx(10, abs=2)


def test_hours_as_they_always_were_are_calm() -> None:
    assert fed(49, "matched") == []
    assert fed(49, "matched", window="1d") == []


def test_days_are_compared_with_the_same_weekday() -> None:
    def like_a_saturday(hours: Any, load: Any) -> Any:
        return np.where(hours >= 28 * 24, values(hours % 24 + 5 * 24, 9), load)

    (opened, *_) = fed(36, "matched", like_a_saturday, "1d")
    assert opened.at_us == MONDAY + 30 * DAY  # after a Monday and a Tuesday without an evening
    told = opened.evidence["moved"]["load"]
    assert (told["reference"], told["rows_before"]) == ("training, same time of the week", 4 * 24 * ROWS)
    assert [(part["by"], part["is"]) for part in told["slices"]] == [("part of the day", "18:00-21:00 UTC")]


def test_a_slot_of_too_few_windows_gives_way_to_a_wider_one() -> None:
    draw = np.random.default_rng(1)

    def windows(days: Any) -> Any:
        return [(MONDAY + day * DAY + 19 * HOUR, profile_of(draw.normal(day % 7, 1, 300))) for day in days]

    def said(days: Any, weekday: int) -> Any:
        found = Matched(HOUR, windows(days)).limit(MONDAY + 28 * DAY + weekday * DAY + 19 * HOUR)
        return found and found[0]

    assert said(range(21), 2) == WEEK
    assert said(range(14), 2) == KIND_OF_DAY
    assert said(range(14), 6) == KIND_OF_DAY
    assert said(range(7), 6) == ANY_DAY
    assert said(range(2), 2) is None
    assert Matched(HOUR, []).limit(MONDAY) is None
    assert Matched(HOUR, windows(range(21))).limit(MONDAY + 3 * HOUR) is None  # of another hour


def test_the_limit_is_what_each_window_was_from_the_others_of_its_slot() -> None:
    """Leaving out by subtraction is leaving out: of numbers and of texts."""
    draw = np.random.default_rng(1)
    kinds = np.array(["a", "b", "c"], object)
    for make in (lambda: draw.normal(draw.normal(0, 0.3), 1, 300), lambda: kinds[draw.integers(0, 3, 300)]):
        profiles = [profile_of(make()) for _ in range(4)]
        starts = [MONDAY + week * 7 * DAY for week in range(4)]
        found = Matched(HOUR, list(zip(starts, profiles, strict=True))).limit(MONDAY + 28 * DAY)
        assert found is not None
        worst = 0.0
        for place, profile in enumerate(profiles):
            others = matched.reduce(matched.merged, [*profiles[:place], *profiles[place + 1 :]])
            worst = max(worst, matched.apart(others, profile))
        assert found[1].psi == pytest.approx(matched.psi_limit(worst, 4))


def test_the_example_in_the_documentation() -> None:
    assert doctest.testmod(matched).failed == 0
