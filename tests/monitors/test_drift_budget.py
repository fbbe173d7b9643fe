"""The levels of features and scores: how a history becomes what limits are multiplied by."""

from __future__ import annotations

import doctest

import made_streams as made
import pytest
from made_streams import DAY

from samestream.monitors import drift_budget
from samestream.monitors.declared import Declared, calibration, drift, quality, silence
from samestream.monitors.drift_budget import Levels, PastWindow, Share, drift_per_week, groups_of
from samestream.monitors.incidents import Lineage
from samestream.monitors.watch import Watch
from samestream.monitors.windows import Limit
from samestream.streams.models.profile import NumericProfile

HALF = Share(0.5, is_scores=False, is_shared=False)


def told(*days: float, share: Share = HALF, groups: dict[str, int] | None = None) -> Levels:
    """What a name reached, day by day; of more names, the same but for the first."""
    levels = Levels(groups or {"a": 0}, DAY, share)
    for day, ratio in enumerate(days):
        levels.raised("a", day * DAY)
        for name in groups or {"a": 0}:
            levels.note(name, day * DAY, (day + 1) * DAY, ratio if name == "a" else 0.1)
    return levels


def declared(features: tuple[object, ...], scores: tuple[object, ...] = ()) -> Declared:
    return Declared(made.LateArrival, 2.0, features, scores)  # type: ignore[arg-type]


def test_features_and_scores_have_what_the_others_that_are_watched_leave() -> None:
    assert drift_per_week(declared((drift("1d"),))) == 2.0
    assert drift_per_week(declared((drift("1d"), silence("2h")))) == 1.0
    assert drift_per_week(declared((drift("1d"), quality(), silence("2h")), (calibration(),))) == 0.5


@pytest.mark.parametrize(
    ("per_week", "shared", "features", "scores"), [(0.25, True, 34, 69), (1.0, True, 8, 17), (0.25, False, 34, 34)]
)
def test_the_shortest_history_is_the_first_that_allows_none(
    per_week: float, shared: bool, features: int, scores: int
) -> None:
    for is_scores, days in ((False, features), (True, scores)):
        share = Share(per_week, is_scores, shared)
        assert share.shortest(1) == days
        assert (share.allowed(days, 1), share.allowed(days - 1, 1)) == (0, -1)


@pytest.mark.parametrize("days", [34, 69, 100, 140, 400])
def test_both_families_together_are_allowed_what_the_history_pays_for(days: int) -> None:
    """Each spends one incident more than it is allowed, for the limit may be passed on the next day, too."""
    both = [Share(0.25, is_scores, True).allowed(days, 1) + 1 for is_scores in (False, True)]
    assert sum(both) * 7 / (days + 1) <= 0.8 * 0.25 + 1e-9


def test_nothing_is_promised_below_the_shortest_history() -> None:
    assert told(*[0.2] * 16).raised("a", 16 * DAY) is None
    assert told(*[0.2] * 18).raised("a", 17 * DAY) is not None


def test_a_calm_history_leaves_the_limits_as_they_are() -> None:
    assert told(*[0.5] * 30).raised("a", 30 * DAY) == 1.0


def test_what_lasted_once_becomes_the_limit_and_what_did_not_does_not() -> None:
    spikes, lasting = [0.2] * 20, [0.2] * 20
    spikes[5], lasting[5], lasting[6] = 1.3, 1.3, 1.2
    assert told(*spikes).raised("a", 20 * DAY) == 1.0
    assert told(*lasting).raised("a", 20 * DAY) == pytest.approx(1.2)


def test_a_restless_name_is_raised_and_a_calm_one_beside_it_is_not() -> None:
    days = [0.2, *[1.6, 1.6, 0.2] * 9, 0.2]
    levels = told(*days, groups={"a": 0, "b": 1})
    raised = levels.raised("a", 40 * DAY), levels.raised("b", 40 * DAY)
    assert raised[0] is not None
    assert raised[0] >= 1.6
    assert raised[1] == 1.0


def test_a_name_that_is_wild_by_nature_has_no_say_and_is_told() -> None:
    levels = told(*[0.2, *[9.0, 9.0, 0.2] * 9], groups={"a": 0, "b": 1})
    assert levels.raised("a", 40 * DAY) == float("inf")
    assert (levels.raised("b", 40 * DAY), levels.wild) == (1.0, ["a"])


def test_what_goes_on_does_not_become_its_own_limit_until_it_is_over() -> None:
    calm, moved = [0.2] * 20, [1.3] * 10
    assert told(*calm, *moved).raised("a", 30 * DAY) == 1.0
    assert told(*calm, *moved, 0.2).raised("a", 31 * DAY) == pytest.approx(1.3)
    evident = told(*calm, *[2.0] * 10, 0.2)
    assert evident.raised("a", 31 * DAY) == 1.0
    assert evident.days == 20 + 1 + 1  # that it began on had not lasted, and that it ended on


def test_the_past_is_judged_by_the_windows_of_other_weeks() -> None:
    """One week that went far: by its own limit it would not have, by that of the others it did."""
    windows = [PastWindow(day * DAY, (day + 1) * DAY, 0.6 if 14 <= day < 16 else 0.1, 0.0, 300) for day in range(28)]
    levels = Levels({"a": 0}, DAY, HALF)
    levels.past("a", windows)
    far, near = 0.6 / 0.25, 0.1 / 0.25
    restless = (far + near + near) / 3 / 0.8  # what its own worst days add
    assert levels.raised("a", 28 * DAY) == pytest.approx(far * restless)


def test_what_moved_together_is_ordered_by_how_seldom_each_went_so_far() -> None:
    """b went further than a, as it does every other day; a never did; c went as far as a, beyond a limit that was raised."""
    levels = Levels({"a": 0, "b": 1, "c": 2}, DAY, HALF)
    for day in range(30):
        levels.raised("a", day * DAY)
        for name, ratio in (("a", 0.2), ("b", 0.9 if day % 4 < 2 else 0.2), ("c", 0.3)):
            levels.note(name, day * DAY, (day + 1) * DAY, ratio)
    assert levels.ordered({"b": 0.9, "a": 0.8, "c": 1.7}) == ["c", "a", "b"]
    assert levels.ordered({"b": 3.0, "a": 2.0, "c": 1.7}) == ["b", "a", "c"]  # none ever went so far: by size


def test_the_example_of_adjusting() -> None:
    assert doctest.testmod(drift_budget).failed == 0


def test_features_of_one_source_are_one_incident() -> None:
    lineage = Lineage(
        "M", ("a", "b", "c", "d"), {"a": (("E", "x"),), "b": (("F", "x"),), "c": (("E", "y"), ("F", "y")), "d": ()}
    )
    found = groups_of(lineage)
    assert found["a"] == found["b"] == found["c"] != found["d"]


def test_a_limit_that_no_window_can_pass_is_told() -> None:
    reference = NumericProfile.of([float(value) for value in range(1000)])
    assert Limit(reference, 0.25, 0.1, 300.0).can_fire
    assert Limit(reference, 0.25, 1.6, 300.0).can_fire
    assert Limit(reference, 30.0, 0.1, 300.0).can_fire  # by its nulls
    assert not Limit(reference, 30.0, 1.6, 300.0).can_fire
    assert not Limit(reference, 3.0, 1.6, 300.0, raised=10.0).can_fire


def test_the_watch_tells_what_the_budget_of_features_and_scores_rests_on() -> None:
    calm = made.calm_world(25)
    watches: list[Watch] = []
    made.watched(calm, between_steps=lambda watch: watches.append(watch) or watch)  # type: ignore[func-returns-value]
    budget = watches[-1].budget
    assert (budget["features"]["per_week"], budget["features"]["shortest_days"]) == (0.5, 17)
    assert budget["features"]["days"] >= 17
    assert (budget["features"]["raised"], budget["features"]["blind"]) == (1.0, [])
    assert (budget["scores"]["shortest_days"], budget["scores"]["raised"]) == (34, None)
