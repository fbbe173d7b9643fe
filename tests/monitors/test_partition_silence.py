"""A partition that others are heard without: what tells against it, and what does not."""

import math

import numpy as np
import pytest

from samestream.monitors.budget import RESTLESS, RESTLESS_BY_CHANCE, calibrated
from samestream.monitors.incidents import DAY_US
from samestream.monitors.sources import TICK_US
from samestream.monitors.traffic_evidence import PACE_WEIGHT, PARTITIONS_FROM, unheard
from samestream.monitors.traffic_watch import TrafficWatch

SECOND_US = 1_000_000
EVERY_US = 100 * SECOND_US


def watched(days: int = 14) -> TrafficWatch:
    """A source of three partitions that take turns, an event every hundred seconds by day."""
    watch = TrafficWatch("Departure", 0, silence_us=None, timely=True)
    for day in range(days):
        feed(watch, day * DAY_US, (day + 1) * DAY_US, {0, 1, 2})
        watch.close_day(True, day % 7)
    watch.detectors.limits[:] = 12.0
    return watch


def feed(watch: TrafficWatch, from_us: int, until_us: int, alive: set[int]) -> list[float]:
    """Events of the living partitions; the levels of all three at the end."""
    for at_us in range(from_us + TICK_US, until_us + 1, TICK_US):
        places = np.arange(-(-(at_us - TICK_US) // EVERY_US), -(-at_us // EVERY_US))
        busy = (places * EVERY_US % DAY_US >= DAY_US // 4) & np.isin(places % 3, list(alive))
        places = places[busy]
        known = places * EVERY_US
        watch.look(known, known, np.zeros(len(known), np.int64), places % 3, 0, at_us, TICK_US)
    return watch.detectors.levels[PARTITIONS_FROM:].tolist()


def test_a_silent_partition_is_told_and_one_event_of_it_takes_all_back() -> None:
    watch = watched()
    noon = 14 * DAY_US + DAY_US // 2
    assert max(feed(watch, 14 * DAY_US, noon, {0, 1, 2})) < 1
    levels = feed(watch, noon, noon + 14 * 3 * EVERY_US, {0, 2})
    assert levels[1] > 12 > 3 > max(levels[0], levels[2])
    assert list(watch.detectors.active) == [PARTITIONS_FROM + 1]
    back = feed(watch, noon + 14 * 3 * EVERY_US, noon + 15 * 3 * EVERY_US, {0, 1, 2})
    assert max(back) < 1
    assert watch.detectors.active == {}


def test_a_pause_of_the_whole_source_blames_no_partition() -> None:
    watch = watched()
    noon = 14 * DAY_US + DAY_US // 2
    feed(watch, 14 * DAY_US, noon, {0, 1, 2})
    feed(watch, noon, noon + 60 * EVERY_US, set())
    assert max(feed(watch, noon + 60 * EVERY_US, noon + 66 * EVERY_US, {0, 1, 2})) < 2


@pytest.mark.parametrize("pace", [0.25, 1.0, 2.0])
def test_what_is_missing_at_todays_pace_tells_more_than_the_others_alone(pace: float) -> None:
    others, share = 30.0, 0.25
    due = others / (1 - share) / pace
    by_others = others * -math.log(1 - share)
    unsure = unheard(share, np.array([0.0, 0.0, others, due]))
    sure = unheard(share, np.array([1e6 * pace, 1e6, others, due]))
    assert by_others <= unsure < sure == pytest.approx(due * pace * share, rel=1e-3)
    assert unheard(share, np.array([1e6, 1e6, others, 0.0])) == pytest.approx(by_others)
    assert others > PACE_WEIGHT


def test_more_traffic_raises_the_limit_of_a_partition_by_nats_and_that_of_others_in_proportion() -> None:
    peaks = np.full((56, 3), 5.0)
    peaks[::19, 1] = RESTLESS_BY_CHANCE + 4.0
    peaks[::19, 2] = RESTLESS * 1.5
    exact = np.array([False, True, False])
    limits = calibrated(peaks, np.arange(3), np.zeros(3, np.bool_), list(range(56)), 0.5, exact=exact)
    assert limits is not None
    calm, partition, restless = limits.of()
    assert partition == pytest.approx(calm + 4.0)
    assert restless == pytest.approx(calm * 1.5)
