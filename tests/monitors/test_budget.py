"""How many incidents a history allows, and the limit that follows from it."""

import numpy as np
import pytest

from samestream.monitors.budget import LEAST_LIMIT, RETIRED, allowed, calibrated, shortest_days


@pytest.mark.parametrize(
    ("days", "per_week", "incidents"),
    [(16, 0.5, -1), (17, 0.5, 0), (34, 0.5, 1), (56, 0.5, 2), (56, 1.0, 5), (56, 7.0, 44), (56, 0.1, -1)],
)
def test_incidents_that_a_history_allows(days: int, per_week: float, incidents: int) -> None:
    assert allowed(days, per_week) == incidents


@pytest.mark.parametrize(("per_week", "days"), [(0.5, 17), (1.0, 8), (7 / 60, 74), (3.5, 2)])
def test_the_shortest_history_is_the_first_that_allows_none(per_week: float, days: int) -> None:
    assert shortest_days(per_week) == days
    assert allowed(days, per_week) == 0
    assert allowed(days - 1, per_week) == -1


def limits_of(peaks: np.ndarray, per_week: float = 0.5, groups: list[int] | None = None):  # type: ignore[no-untyped-def]
    n = peaks.shape[1]
    names = np.array(groups or [0] * n)
    return calibrated(peaks, names, np.zeros(n, np.bool_), list(range(100, 100 + len(peaks))), per_week)


def test_nothing_is_promised_below_the_shortest_history() -> None:
    assert limits_of(np.ones((16, 3))) is None
    assert limits_of(np.ones((17, 3))) is not None


def test_a_calm_past_gives_the_least_limit() -> None:
    limits = limits_of(np.ones((56, 3)))
    assert (limits.level, limits.opened, limits.allowed) == (LEAST_LIMIT, 0, 2)
    assert limits.of().tolist() == [LEAST_LIMIT] * 3


def test_the_third_greatest_of_eight_weeks_is_the_limit() -> None:
    peaks = np.ones((56, 4))
    peaks[[5, 20, 40, 50], [0, 1, 2, 3]] = [14.0, 16.0, 12.0, 11.0]
    limits = limits_of(peaks)
    assert (limits.level, limits.opened) == (12.0, 2)


def test_days_in_a_row_are_one_incident_and_two_causes_are_two() -> None:
    peaks = np.ones((56, 2))
    peaks[10:14, 0] = 20.0
    assert limits_of(peaks).opened == 1
    peaks[10:14, 1] = 20.0
    assert limits_of(peaks, groups=[0, 0]).opened == 1
    assert limits_of(peaks, groups=[0, 1]).opened == 2


def test_a_restless_detector_has_a_higher_limit_and_a_wild_one_has_no_say() -> None:
    peaks = np.ones((56, 3))
    peaks[::5, 1] = 16.0
    peaks[::5, 2] = RETIRED + 1
    limits = limits_of(peaks)
    assert limits.of().tolist() == [LEAST_LIMIT, 2 * LEAST_LIMIT, np.inf]


def test_a_detector_that_is_wild_in_one_week_only_counts() -> None:
    peaks = np.ones((56, 1))
    for day in (3, 17, 31):  # three surprises, where two are allowed
        peaks[day] = 40.0
    spread = np.ones((56, 3))
    for place, day in enumerate((3, 17, 31)):
        spread[day, place] = 40.0
    assert limits_of(spread).level == 40.0
    assert limits_of(peaks).of().tolist() == [np.inf]
