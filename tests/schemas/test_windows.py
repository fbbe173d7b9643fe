"""Windows: what keywords declare, where each begins, also where clocks change; what is refused, word for word."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samestream.schemas import windows
from samestream.schemas.errors import DeclarationError
from samestream.schemas.windows import EPOCH
from samestream.streams.engine.period_starts import PeriodStarts


def us(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("keywords", "printed", "tile"),
    [
        ({"over": "3h"}, "over='3h'", "1m"),
        ({"over": "3h", "tile": "5m"}, "over='3h', tile='5m'", "5m"),
        ({"over": "lifetime"}, "over='lifetime'", "1d"),
        ({"every": "1h"}, "every='1h'", "1m"),
        ({"every": "7h"}, "every='7h'", "5m"),
        ({"every": "1d"}, "every='1d'", "15m"),
        ({"every": "1d", "zone": "Asia/Tokyo"}, "every='1d', zone='Asia/Tokyo'", "15m"),
        ({"every": "1w"}, "every='1w', zone='UTC'", "15m"),
        ({"every": "1mo", "zone": "UTC"}, "every='1mo', zone='UTC'", "15m"),
        ({"session": "30m"}, "session='30m'", "15m"),
        ({"session": "30m", "over": "6h"}, "session='30m', over='6h'", "15m"),
    ],
)
def test_a_window_is_printed_as_it_is_written(keywords: dict[str, str], printed: str, tile: str) -> None:
    window = windows.parse("x", **keywords)
    assert repr(window) == printed
    assert window.tile_us == windows.durations.parse(tile)
    assert eval(f"windows.parse('x', {printed})") == window


@pytest.mark.parametrize(
    ("keywords", "t", "start"),
    [
        ({"over": "3h"}, "2026-05-01T10:30:30Z", "2026-05-01T07:30:00Z"),
        ({"every": "1h"}, "2026-05-01T10:30:30Z", "2026-05-01T10:00:00Z"),
        ({"every": "1h"}, "2026-05-01T10:00:00Z", "2026-05-01T10:00:00Z"),
        ({"every": "1w"}, "2026-05-03T23:59:59Z", "2026-04-27T00:00:00Z"),
        ({"every": "1mo"}, "2024-02-29T12:00:00Z", "2024-02-01T00:00:00Z"),
        # clocks go forward at 02:00 and back at 02:00: days of 23 and 25 hours
        ({"every": "1d", "zone": "America/New_York"}, "2024-03-11T03:59:00Z", "2024-03-10T05:00:00Z"),
        ({"every": "1d", "zone": "America/New_York"}, "2024-11-04T04:59:00Z", "2024-11-03T04:00:00Z"),
        ({"every": "1d", "zone": "Asia/Kolkata"}, "2024-01-01T18:31:00Z", "2024-01-01T18:30:00Z"),
        # there midnight is skipped: the day begins at 01:00
        ({"every": "1d", "zone": "America/Sao_Paulo"}, "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z"),
        # and here it comes twice: the day begins the first time
        ({"every": "1d", "zone": "America/Havana"}, "2024-11-03T12:00:00Z", "2024-11-03T04:00:00Z"),
        # a day that never was: Samoa went from the 29th to the 31st
        ({"every": "1d", "zone": "Pacific/Apia"}, "2011-12-30T12:00:00Z", "2011-12-30T10:00:00Z"),
    ],
)
def test_where_a_window_begins(keywords: dict[str, str], t: str, start: str) -> None:
    assert windows.parse("x", **keywords).start_us(us(t)) == us(start)


ZONES = ["UTC", "America/New_York", "America/Sao_Paulo", "America/Havana", "Asia/Kolkata", "Australia/Lord_Howe",
         "Pacific/Apia", "Asia/Beirut", "Atlantic/Azores", "Antarctica/Casey"]  # fmt: skip


@given(
    zone=st.sampled_from(ZONES),
    every=st.sampled_from(["1d", "1w", "1mo"]),
    at=st.lists(st.datetimes(datetime(1975, 1, 1), datetime(2037, 1, 1)), min_size=1, max_size=5),
)
def test_a_period_begins_at_the_first_instant_of_its_day(zone: str, every: str, at: list[datetime]) -> None:
    window, local = windows.parse("x", every=every, zone=zone), ZoneInfo(zone)

    def day(t: int) -> date:
        return (EPOCH + timedelta(microseconds=t)).astimezone(local).date()

    instants = [(each.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1) for each in at]
    starts = [window.begin_us(t) for t in instants]
    for t, start in zip(instants, starts, strict=True):
        first = day(t) - timedelta(days={"1d": 0, "1w": day(t).weekday(), "1mo": day(t).day - 1}[every])
        assert start <= t
        assert t - start <= window.longest_us
        assert day(start) >= first > day(start - 1)
        assert day(start) == first or zone == "Pacific/Apia"
    assert PeriodStarts(window)(np.array(instants, np.int64)).tolist() == starts


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({}, "x: an aggregate needs one window\nFound: none\n"
             'Expected: over="1h", over="lifetime", every="1d" or session="30m"\n'
             'Hint: write over="1h" for the last hour; only a session may have over= beside it, its greatest length.'),
        ({"over": "1h", "every": "1d"}, "x: an aggregate needs one window\nFound: over= and every=\n"
             'Expected: over="1h", over="lifetime", every="1d" or session="30m"\n'
             'Hint: write over="1h" for the last hour; only a session may have over= beside it, its greatest length.'),
        ({"over": "1us"}, "x: a window is too short\nFound: '1us'\nExpected: 1ms or more\nHint: write over=\"1h\"."),
        ({"over": "1h", "zone": "UTC"}, "x: only a window with every= has a time zone\nFound: zone='UTC'\n"
             'Hint: write every="1d" with it, or leave zone= out.'),
        ({"every": "1h", "zone": "UTC"}, "x: only days, weeks and months have a time zone\nFound: every='1h', zone='UTC'\n"
             'Expected: every="1d", every="1w" or every="1mo"\n'
             "Hint: leave zone= out: other periods are counted from 1970 in UTC."),
        ({"every": "1d", "zone": "Mars/Base"}, "x: no such time zone\nFound: 'Mars/Base'\n"
             "Expected: a name of the IANA time zone database\n"
             'Hint: write for example zone="America/New_York" or zone="UTC".'),
        ({"every": "1h", "tile": "7m"}, "x: a tile must divide its period\nFound: tile 7m, period 1h\n"
             "Hint: leave tile= out: the default divides it."),
        ({"every": "1500us"}, "x: a period is a whole number of milliseconds\nFound: '1500us'\nHint: write every=\"1h\"."),
        ({"session": "1m", "tile": "5m"}, "x: a session's tile must be no longer than its gap\nFound: tile 5m, gap 1m\n"
             "Hint: leave tile= out: it follows from the gap."),
        ({"session": "1h", "over": "1m"}, "x: a session is at least as long as its gap\n"
             "Found: session='1h', over='1m'\n"
             'Hint: over= is the greatest length of a session, "1d" if left out.'),
        ({"session": "5ms"}, "x: a window has too many tiles\nFound: 17280000 tiles of 5ms\nExpected: at most 100000\n"
             "Hint: declare a shorter over=, the greatest length of a session."),
        ({"over": "1d", "tile": "1s"}, "x: a window has too many tiles\nFound: 86400 tiles of 1s\nExpected: at most 2000\n"
             "Hint: leave tile= out: 15m would be used."),
        ({"over": "1m", "tile": "1h"}, "x: a tile must be shorter than its window\nFound: tile 1h, window 1m\n"
             "Hint: leave tile= out: the default cuts the window in 60 to a few hundred tiles."),
    ],
)  # fmt: skip
def test_a_wrong_window_says_what_is_wrong(keywords: dict[str, str], message: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        windows.parse("x", **keywords)
    assert str(refused.value) == message
