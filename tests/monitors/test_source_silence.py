"""Silence of a source: what each event that does not come is worth, and when it has been long enough."""

import math

import numpy as np
import pytest

from samestream.monitors.incidents import DAY_US
from samestream.monitors.sources import TICK_US
from samestream.monitors.traffic_watch import SLOT_US, TrafficWatch
from samestream.monitors.usual import SLOTS, UsualTraffic

MINUTE_US = 60_000_000
HALF_HOUR_US = 30 * MINUTE_US


def counted(events: float) -> np.ndarray:
    return np.full(SLOTS, round(events), np.int64)


@pytest.mark.parametrize(
    ("days", "least", "most"),
    [
        (
            [8] * 40,
            math.log(0.5) / -0.5,
            math.log(0.5) / -0.5,
        ),  # a timetable: half of chance is the least that is believed
        (np.random.default_rng(3).poisson(8, 40).tolist(), 0.8, 1.2),
        ([0, 16] * 20, 0.45, 0.75),  # nothing on every second day, at random in the week
    ],
)
def test_what_an_expected_event_is_worth(days: list[int], least: float, most: float) -> None:
    usual = UsualTraffic()
    for day, events in enumerate(days):
        usual.learn(int(day * 3 % 7), counted(events))
    table = usual.table()
    assert least - 1e-9 <= table.worth.min() <= table.worth.max() <= most + 1e-9
    assert table.expected.mean() == pytest.approx(np.mean(days), rel=0.15)


def watched(per_slot: int, busy: slice, days: int = 21) -> TrafficWatch:
    """A source that has come evenly in some slots of each day, and whose limit is ten nats."""
    watch = TrafficWatch("Departure", 0, silence_us=HALF_HOUR_US, timely=False)
    events = np.zeros(SLOTS, np.int64)
    events[busy] = per_slot
    for day in range(days):
        feed(watch, day * DAY_US, (day + 1) * DAY_US, events)
        watch.close_day(True, day % 7)
    watch.own.limits[:] = 10.0
    return watch


def feed(watch: TrafficWatch, from_us: int, until_us: int, per_slot: np.ndarray) -> int | None:
    """Events evenly in each slot; since when it is silent, at the end."""
    since = None
    for at_us in range(from_us + TICK_US, until_us + 1, TICK_US):
        slot_us = (at_us - TICK_US) // SLOT_US * SLOT_US
        n = int(per_slot[slot_us // SLOT_US % SLOTS])
        known = slot_us + np.arange(n) * (SLOT_US // max(n, 1))
        known = known[(known >= at_us - TICK_US) & (known < at_us)]
        none = np.zeros(len(known), np.int64)
        found = watch.look(known, known, none, none, 0, at_us, TICK_US)
        assert found == [] or found[0].verdict == "missing_source"
        since = found[0].since_us if found else None
    return since


def test_silence_is_told_from_the_instant_at_which_enough_was_missing() -> None:
    watch = watched(3, slice(40, 60))
    start = 21 * DAY_US
    events = np.zeros(SLOTS, np.int64)
    events[40:44] = 3
    since = feed(watch, start, start + 48 * SLOT_US, events)
    worth = math.log(0.5) / -0.5
    last_us = start + 43 * SLOT_US + 10 * MINUTE_US
    assert since == pytest.approx(last_us + 10 / (3 * worth) * SLOT_US, abs=MINUTE_US)


def test_the_end_of_a_busy_time_is_no_silence_but_its_last_quarters_are_watched() -> None:
    watch = watched(8, slice(40, 44))
    start = 21 * DAY_US
    whole, cut = np.zeros((2, SLOTS), np.int64)
    whole[40:44], cut[40:42] = 8, 8
    assert feed(watch, start, start + DAY_US, whole) is None
    watch.close_day(True, 0)
    assert feed(watch, start + DAY_US, start + DAY_US + 45 * SLOT_US, cut) is not None


def test_on_a_thin_day_silence_takes_longer_to_be_told() -> None:
    told = []
    for events in (4, 1):
        watch = watched(4, slice(40, 80))
        start = 21 * DAY_US
        today = np.zeros(SLOTS, np.int64)
        today[40:60] = events
        since = feed(watch, start, start + 75 * SLOT_US, today)
        assert since is not None
        told.append(since - (start + 60 * SLOT_US))
    assert told[1] > 2 * told[0] > 0
