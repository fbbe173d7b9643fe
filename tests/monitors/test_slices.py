"""Where a move sits, and rows that show it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from samestream.monitors.slices import SAMPLE, CalmRows, SampledRows, keys_of, no_keys, where_it_sits, where_marked

HOUR = 3_600_000_000
DAY = 24 * HOUR
CARRIERS = np.array(["AA", "B6", "DL", "UA"], object)


def rows(seed: int, count: int = 4000, keys: Any = None, window: int = DAY, start: int = 0) -> SampledRows:
    """Delays about 20, carriers and a condition at random, spread over a window that starts `start` after midnight."""
    draw = np.random.default_rng(seed)
    there = np.ones(count, np.bool_)
    return SampledRows.of(
        100 * DAY + start + np.arange(count) * window // count,
        no_keys(count) if keys is None else keys_of(keys),
        {
            "delay": (draw.normal(20, 5, count), there),
            "carrier": (CARRIERS[draw.integers(0, 4, count)], there),
            "rainy": (draw.integers(0, 2, count).astype(float), there),
            "distance": (draw.normal(800, 300, count), there),
        },
    )


def struck(calm: SampledRows, chosen: Any, by: float = 30.0) -> SampledRows:
    """The same rows, some of whose delays are greater."""
    delay, there = calm.columns["delay"]
    columns = {**calm.columns, "delay": (np.where(chosen, delay + by, delay), there)}
    return SampledRows(calm.known_us, calm.keys, columns, calm.of_rows)


def test_one_carrier_is_named() -> None:
    before, after = rows(1), rows(2)
    told = where_it_sits("delay", before, struck(after, after.columns["carrier"][0] == "UA"))
    (slice_,) = told["slices"]
    assert (slice_["by"], slice_["is"]) == ("carrier", "UA")
    assert slice_["rows_before"] == pytest.approx(0.25, abs=0.03)
    assert slice_["share_of_move"] > 0.9
    assert slice_["after"] - slice_["before"] == pytest.approx(30, abs=1)
    assert told["slices_by"] == ["part of the day", "carrier", "rainy"]  # of distances there are too many


def test_a_part_of_the_day_is_named() -> None:
    before, after = rows(1), rows(2)
    told = where_it_sits("delay", before, struck(after, after.known_us % DAY // HOUR // 3 == 6))
    assert [(one["by"], one["is"]) for one in told["slices"]] == [("part of the day", "18:00-21:00 UTC")]


def test_a_condition_is_named_by_its_number_and_null_is_a_slice() -> None:
    before, after = rows(1), rows(2)
    rainy = after.columns["rainy"][0]
    told = where_it_sits("delay", before, struck(after, rainy == 1))
    assert [(one["by"], one["is"]) for one in told["slices"]] == [("rainy", "1")]
    gone = np.arange(len(after)) % 4 > 0
    after = SampledRows(
        after.known_us, after.keys, {**after.columns, "rainy": (rainy, gone)}, after.of_rows
    )  # of another name in a quarter of the rows, and those are late
    told = where_it_sits("delay", before, struck(after, ~gone))
    assert [(one["by"], one["is"], one["rows_before"]) for one in told["slices"]] == [("rainy", "(null)", 0.0)]


def test_keys_that_come_again_are_slices_and_others_are_not() -> None:
    keys = np.array(["JFK", "EWR", "LGA", "a" * 90], object)[np.random.default_rng(3).integers(0, 4, 4000)]
    before, after = rows(1, keys=keys), rows(2, keys=keys)
    told = where_it_sits("delay", before, struck(after, after.keys == b"EWR"))
    assert [(one["by"], one["is"]) for one in told["slices"]] == [("key", "EWR")]
    told = where_it_sits("delay", before, struck(after, keys == "a" * 90))
    assert [one["is"] for one in told["slices"]] == ["a" * 61 + "..."]
    once = rows(2, keys=range(4000))
    assert "key" not in where_it_sits("delay", before, struck(once, once.keys > b"2"))["slices_by"]


@pytest.mark.parametrize("seed", range(20))
def test_what_moved_everywhere_sits_nowhere(seed: int) -> None:
    before, after = rows(seed), rows(seed + 100)
    assert where_it_sits("delay", before, struck(after, True, 4.0))["slices"] == []
    assert where_it_sits("delay", rows(seed, 300), struck(rows(seed + 100, 300), True, 4.0))["slices"] == []


def test_texts_move_as_numbers_do() -> None:
    before, after = rows(1), rows(2)
    carrier, there = after.columns["carrier"]
    chosen = after.columns["rainy"][0] == 1
    columns = {**after.columns, "carrier": (np.where(chosen, "new", carrier), there)}
    told = where_it_sits("carrier", before, SampledRows(after.known_us, after.keys, columns, after.of_rows))
    assert [(one["by"], one["is"], one["after"]) for one in told["slices"]] == [("rainy", "1", "new")]
    assert {one["value"] for one in told["examples"]} == {"new"}


def test_examples_are_the_latest_rows_of_different_keys_that_lie_where_there_is_more() -> None:
    before, after = rows(1), rows(2, keys=[f"k{row // 2}" for row in range(4000)])
    told = where_it_sits("delay", before, struck(after, np.arange(4000) < 2000, 60.0))["examples"]
    assert [one["key"] for one in told] == ["k999", "k998", "k997", "k996", "k995"]
    assert all(60 < one["value"] < 110 for one in told)
    assert told[0]["at"] == "1970-04-11T11:59:38Z"
    assert "key" not in where_it_sits("delay", before, struck(rows(2), True, 60.0))["examples"][0]


def test_windows_of_an_hour_are_compared_with_the_same_part_of_the_day() -> None:
    before = rows(1, SAMPLE)
    evening = before.known_us % DAY >= 18 * HOUR
    before = struck(before, evening)  # every evening is late, and that is no news
    after = struck(rows(2, 600, window=HOUR, start=19 * HOUR), True)
    after = struck(after, after.columns["carrier"][0] == "UA")
    told = where_it_sits("delay", before, after)
    assert [(one["by"], one["is"]) for one in told["slices"]] == [("carrier", "UA")]
    assert told["slices_rows"] == [SAMPLE // 8, 600]
    assert "part of the day" not in told["slices_by"]


def test_too_few_rows_say_nothing() -> None:
    assert where_it_sits("delay", None, rows(2)) == {}
    assert where_it_sits("delay", rows(1, 199), rows(2)) == {}
    assert where_it_sits("delay", rows(1), rows(2, 199)) == {}


def test_what_is_kept_is_bounded_and_follows_from_the_rows_alone() -> None:
    calm = CalmRows(DAY)
    for day in range(100):
        calm.add(rows(day, 50_000), frozenset({"delay"} if day >= 90 else ()))
    every, some = calm.of("carrier"), calm.of("delay")
    assert every is not None
    assert some is not None
    assert 0.9 * SAMPLE < len(every) <= SAMPLE
    assert len(some) == len(every) * 18 // 28
    assert len(rows(1, 100_000)) == SAMPLE
    assert CalmRows(DAY).of("delay") is None
    assert copy.deepcopy(every) is every
    hourly = CalmRows(HOUR)
    for _ in range(2000):
        hourly.add(rows(0, 300), frozenset())
    kept = hourly.of("delay")
    assert kept is not None
    assert 0.9 * SAMPLE < len(kept) <= SAMPLE


def test_marked_rows_of_one_carrier_are_named_though_they_are_few() -> None:
    some = rows(2, 60)
    carrier = some.columns["carrier"][0]
    marked = (carrier == "UA") & (np.cumsum(carrier == "UA") <= 6)
    (told,) = where_marked(some, marked)["slices"]
    assert (told["by"], told["is"], told["faulty"], told["share_of_faulty"]) == ("carrier", "UA", 6, 1.0)
    assert where_marked(some, marked, but="carrier")["slices"] == []
    assert where_marked(some, marked & (np.cumsum(marked) <= 3))["slices"] == [], "three of one may be chance"


def test_rows_marked_by_chance_sit_nowhere_as_often_as_three_standard_deviations() -> None:
    found = 0
    for seed in range(300):
        some = rows(seed, 120)
        told = where_marked(some, np.random.default_rng(1000 + seed).random(120) < 0.15)
        found += len(told["slices"])
    assert found <= 9  # seven slices of each: 2.8 were due


def test_more_marked_rows_are_expected_where_more_were_before() -> None:
    before, after = rows(1, 2000), rows(2, 2000)
    worse = [(one.columns["carrier"][0] == "UA") & (one.columns["rainy"][0] == 1) for one in (before, after)]
    assert [one["is"] for one in where_marked(after, worse[1])["slices"]] == ["UA", "1"]
    assert where_marked(after, worse[1], (before, worse[0]))["slices"] == []
    calm = np.random.default_rng(3).random(2000) < 0.1
    told = where_marked(after, worse[1], (before, calm))["slices"]
    assert [one["is"] for one in told] == ["UA", "1"]
