"""Where windows begin and end in SQL, to the microsecond: what is moved across an edge is in or out, and nothing leaks."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest
from aggregate_oracle import Row as Placed
from aggregate_oracle import begin, period_start_us
from made_facts import EPOCH, HOUR, SECOND, START, WINDOWS, Fact, Row, answers, plan_of

from samestream.schemas.windows import Calendar, Window
from samestream.streams.sql import windows as sql_windows
from samestream.streams.sql.duckdb_words import WORDS
from samestream.streams.sql.point_in_time import as_known, point_in_time

MINUTE = 60 * SECOND
# a tail that is no whole tile, and a head that is no whole grain
INSTANTS = [5 * HOUR, 5 * HOUR + 1, 5 * HOUR - 1, 5 * HOUR + 1_234_567]


def count(window: dict[str, Any], at: int, facts: list[tuple[int, int]], query: Any) -> int:
    """How many of the facts (time, rank) an ask of rank 100 counts."""
    plan = plan_of({"rows": Fact.count(**window)})
    rows = [Row(time, "a", rank) for time, rank in facts]
    found: int = answers(plan, [Row(at, "a", 100)], rows, query)["rows"][0].as_py()
    return found


def start_of(window: Window, at: int, times: list[int]) -> int:
    """Where a window begins, if there are rows at these times; all relative to START."""
    start = begin(window, [Placed(START + time, 0, ()) for time in times], START + at)
    return (START + at) // window.tile_us * window.tile_us - START if start is None else start - START


@pytest.mark.parametrize("query", [as_known, point_in_time])
@pytest.mark.parametrize("at", INSTANTS)
@pytest.mark.parametrize("window", WINDOWS)
def test_a_microsecond_across_either_end(window: str, at: int, query: Any) -> None:
    (part,) = plan_of({"rows": Fact.count(**WINDOWS[window])}).tables[0].windows
    # rows a minute apart keep a session going, back to the greatest length that it may have
    chain = [at - 30 * SECOND - minute * MINUTE for minute in range(26 * 60)] if window in ("session", "short") else []
    start = start_of(part.window, at, chain)
    inside = sum(start <= time < at for time in chain)
    before = [(time, 0) for time in chain]
    assert count(WINDOWS[window], at, before, query) == inside
    assert count(WINDOWS[window], at, [*before, (at, 0)], query) == inside  # at the very instant: out
    assert count(WINDOWS[window], at, [*before, (at - 1, 0)], query) == inside + (start < at)
    if window != "lifetime":
        assert count(WINDOWS[window], at, [*before, (start, 0)], query) == inside + (start < at)
        assert count(WINDOWS[window], at, [*before, (start - 1, 0)], query) == inside
    else:
        assert count(WINDOWS[window], at, [*before, (-START - HOUR, 0)], query) == inside + 1


@pytest.mark.parametrize("window", WINDOWS)
def test_what_was_known_later_is_not_there(window: str) -> None:
    at = 5 * HOUR + 1_234_567
    (part,) = plan_of({"rows": Fact.count(**WINDOWS[window])}).tables[0].windows
    start = max(start_of(part.window, at, []), -40 * 24 * HOUR)
    times = [time for time in (start, at - 61 * SECOND, at - SECOND, at - 1) if time < at]
    for place in range(len(times)):
        facts = [(time, 101 if place == number else 99) for number, time in enumerate(times)]
        seen = [time for time, rank in facts if rank == 99]
        begin = start_of(part.window, at, seen)
        assert count(WINDOWS[window], at, facts, as_known) == sum(begin <= time < at for time in seen), place


@pytest.mark.parametrize("query", [as_known, point_in_time])
def test_the_gap_of_a_session_to_the_microsecond(query: Any) -> None:
    gap, at = {"session": "90s"}, 7 * HOUR + 3
    edge = at - 90 * SECOND
    assert count(gap, at, [(edge, 0)], query) == 1
    assert count(gap, at, [(edge - 1, 0)], query) == 0
    assert count(gap, at, [(edge, 0), (edge - 90 * SECOND, 0)], query) == 2
    # a row that is more than the gap away is out, though a row of the session lies in the next tile
    assert count(gap, at, [(edge, 0), (edge - 90 * SECOND - 1, 0)], query) == 1
    assert count(gap, at, [(edge + 5, 0), (edge, 0), (edge - 90 * SECOND - 1, 0)], query) == 2


def test_a_session_is_a_chain_of_what_the_trigger_knew() -> None:
    gap, at = {"session": "90s"}, 7 * HOUR
    link = at - 80 * SECOND
    rows = [(link - 80 * SECOND, 0), (at + SECOND, 0)]
    assert count(gap, at, [(link, 99), *rows], as_known) == 2
    assert count(gap, at, [(link, 101), *rows], as_known) == 0  # not yet known: the chain is broken
    assert count(gap, at, [(link, 101), *rows], point_in_time) == 2
    # an unknown row of the same session that is not needed breaks nothing
    assert count(gap, at, [(link, 99), (link - SECOND, 101), *rows], as_known) == 2


ZONES = [
    "Africa/Cairo",
    "America/Havana",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "UTC",
]


def changes(zone: str) -> list[int]:
    """The hours from 1985 to 2030 in which a zone's clocks change, in microseconds."""
    found, before = [], None
    for day in range(5_500, 22_000):
        offset = (EPOCH + timedelta(days=day)).astimezone(ZoneInfo(zone)).utcoffset()
        if before is not None and offset != before:
            hours = [EPOCH + timedelta(days=day, hours=hour) for hour in range(-25, 1)]
            offsets = [hour.astimezone(ZoneInfo(zone)).utcoffset() for hour in hours]
            change = next(number for number in range(1, 26) if offsets[number] != offsets[number - 1])
            found.append(round((hours[change] - EPOCH).total_seconds()) * SECOND)
        before = offset
    return found


@pytest.mark.parametrize("zone", ZONES)
def test_periods_begin_where_the_calendar_says_around_every_change_of_clocks(zone: str) -> None:
    minutes = (-1500, -121, -91, -61, -60, -31, -30, -1, 0, 1, 29, 30, 59, 60, 61, 90, 121, 1440)
    rng = random.Random(zone)
    instants = [rng.randrange(500_000_000, 1_900_000_000) * SECOND for _ in range(100)]
    instants += [hour + minute * MINUTE + moment for hour in changes(zone) for minute in minutes for moment in (-1, 0)]
    with duckdb.connect(config={"threads": 1}) as database:
        database.execute(
            "CREATE TABLE asked AS SELECT unnest(range(?)) AS _row, unnest(?) AS instant", [len(instants), instants]
        )
        for period in ("day", "week", "month"):
            starts = database.execute(
                f"SELECT _row, start FROM ({sql_windows.starts(Calendar(1, period, zone), False, WORDS)})"
            )
            wrong = [
                (period, EPOCH + timedelta(microseconds=instants[row]), EPOCH + timedelta(microseconds=start))
                for row, start in starts.fetchall()
                if start != period_start_us(instants[row], period, zone)
            ]
            assert not wrong
