"""What one field of an event says of another: of what goes together, and of what only seems to."""

from typing import Any

import numpy as np
import pytest

from samestream.monitors.number_watch import NumberWatch
from samestream.monitors.slots import Slots
from samestream.monitors.witnesses import OF_STAYS, OF_ZEROS, Beside, Witnesses

DAYS, A_DAY = 20, 400
Columns = list[tuple[np.ndarray, np.ndarray]]


def columns(*fields: Any) -> Columns:
    return [(np.asarray(field, np.float64), np.isfinite(field)) for field in fields]


def delays(rng: np.random.Generator, n: int) -> np.ndarray:
    """Minutes as flights are late: few different values, one in twelve of which is zero."""
    return rng.integers(-6, 6, n).astype(np.float64)


def learned(of: Any, days: int = DAYS, a_day: int = A_DAY) -> Witnesses:
    """of : (rng, n) -> the columns of n events."""
    rng, found = np.random.default_rng(5), None
    for _ in range(days):
        part = of(rng, a_day)
        found = found or Witnesses(len(part))
        found.note(part, np.zeros(a_day, np.int64))
        found.close_day(True)
    assert found is not None
    return found


def in_hours(rng: np.random.Generator, n: int) -> Columns:
    minutes = delays(rng, n)
    return columns(minutes, minutes / 60)


def apart(rng: np.random.Generator, n: int) -> Columns:
    return columns(delays(rng, n), delays(rng, n))


def test_fields_that_tell_of_one_thing_are_each_others_witnesses() -> None:
    witnesses = learned(in_hours)
    now = columns([3.0, 0.0, 999.0], [0.05, 0.0, 16.65])
    said = witnesses.beside(0, now)
    assert said.values[:, 0].tolist() == [0.05] * 2
    assert np.isnan(said.values[:, 1:]).all()  # zeros, and what is never said, are not heard
    assert said.lifts[OF_ZEROS] < -8
    assert said.lifts[OF_STAYS] < -8
    assert said.never


def test_fields_of_which_one_is_a_witness_of_the_other_tell_of_one_thing() -> None:
    witnesses = learned(lambda rng, n: [*in_hours(rng, n), *columns(delays(rng, n))])
    assert witnesses.tell_of_one(0, 1)
    assert witnesses.tell_of_one(1, 0)
    assert not witnesses.tell_of_one(0, 2)
    assert not Witnesses(3).tell_of_one(0, 1)


@pytest.mark.parametrize(
    ("of", "days", "a_day"),
    [
        (apart, DAYS, A_DAY),
        (in_hours, 1, 20),  # too little was seen to say so
        (lambda rng, n: columns(delays(rng, n), np.zeros(n)), DAYS, A_DAY),  # nothing to deny a zero by
        (lambda rng, n: columns(delays(rng, n), np.full(n, np.nan)), DAYS, A_DAY),
        (lambda rng, n: columns(delays(rng, n)), DAYS, A_DAY),
    ],
)
def test_chance_is_no_witness(of: Any, days: int, a_day: int) -> None:
    now = of(np.random.default_rng(6), 3)
    said = learned(of, days, a_day).beside(0, now)
    assert np.isnan(said.values).all()
    assert said.lifts.tolist() == [0.0, 0.0]
    assert not said.never


def test_a_day_that_is_not_learned_says_nothing() -> None:
    witnesses = Witnesses(2)
    witnesses.note(in_hours(np.random.default_rng(1), A_DAY), np.zeros(A_DAY, np.int64))
    witnesses.close_day(False)
    assert not witnesses.beside(0, columns([0.0], [0.0])).lifts.any()


def told(minutes: np.ndarray, hours: np.ndarray, witnessed: bool) -> dict[str, int]:
    """Findings of minutes, and after how many values each was first found."""
    witnesses, watch = learned(in_hours), NumberWatch("Departure.dep_delay")
    rng, there = np.random.default_rng(7), np.ones(A_DAY, np.bool_)
    for _ in range(DAYS):
        watch.look(delays(rng, A_DAY), there, np.arange(A_DAY), Slots(np.zeros(A_DAY, np.int64), False), 12, True)
        watch.close_day(True)
    watch.detectors.limits[:] = 13.0
    found: dict[str, int] = {}
    for row in range(len(minutes)):
        now = columns(minutes[row : row + 1], hours[row : row + 1])
        beside: Beside | None = witnesses.beside(0, now) if witnessed else None
        one = watch.look(*now[0], np.array([row]), Slots(np.zeros(1, np.int64), False), 12, False, beside)
        for finding in one:
            found.setdefault(finding.verdict, row + 1)
    return found


@pytest.mark.parametrize(("witnessed", "least", "most"), [(True, 2, 3), (False, 6, 60)])  # the first is not heard
def test_zeros_that_the_witness_denies_are_told_sooner(witnessed: bool, least: int, most: int) -> None:
    minutes = delays(np.random.default_rng(8), 60)
    struck = np.where(np.arange(60) % 2 == 0, 0.0, minutes)
    hours = np.where(minutes == 0, 1.0, minutes) / 60
    assert least <= told(struck, hours, witnessed)["zeroed"] <= most


@pytest.mark.parametrize(("witnessed", "least", "most"), [(True, 2, 4), (False, 5, 12)])
def test_values_that_stay_where_the_witness_moves_are_told_sooner(witnessed: bool, least: int, most: int) -> None:
    hours = (np.arange(30) % 5 + 1) / 60
    assert least <= told(np.full(30, 4.0), hours, witnessed)["frozen"] <= most


def test_where_both_are_struck_each_is_judged_alone() -> None:
    alone, both = (told(np.zeros(30), np.zeros(30), witnessed) for witnessed in (False, True))
    assert alone == both
    assert "frozen" in both


@pytest.mark.parametrize(
    "odd", [np.full(60, 3.0), np.where(np.arange(60) % 3 == 0, -999.0, 3.0)], ids=["stuck", "sentinel"]
)
def test_the_faults_of_a_witness_are_not_those_of_the_field(odd: np.ndarray) -> None:
    minutes = delays(np.random.default_rng(8), 60)
    assert np.count_nonzero(minutes == 0) > 2
    assert told(minutes, odd / 60, True) == {}


def test_what_usually_goes_together_is_calm() -> None:
    minutes = delays(np.random.default_rng(9), 2000)
    assert told(minutes, minutes / 60, True) == {}
