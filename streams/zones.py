"""Time zones as tables: from which instant on which offset holds. One source for every engine.

An engine's own time zone functions know another edition of the database than this machine (DuckDB 2.0 has the clocks of
Vancouver change in 2027, which they no longer do), so none is asked: offsets are looked up here, or rendered from here
(decision 0014).
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from samestream.schemas.kinds import EPOCH

SECOND_US = 1_000_000
DAY_S = 86_400
# Clock changes are taken from these years. Before and after, the offsets at the ends hold.
FIRST, LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
# Local times outside the years 1 to 9999 have no calendar fields; microseconds since 1970.
EARLIEST_US = (datetime(1, 1, 1, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
LATEST_US = EARLIEST_US + 3_652_059 * DAY_S * SECOND_US


class Offsets(NamedTuple):
    """From ``starts_us[i]`` on, until the next, local time is UTC plus ``offsets_us[i]``; the first holds before, too."""

    starts_us: tuple[int, ...]
    offsets_us: tuple[int, ...]


@cache
def offsets(zone: str) -> Offsets:
    """The offsets of a zone of the IANA database, in order.

    >>> changes = offsets("America/New_York")
    >>> [offset // 3_600_000_000 for start, offset in zip(*changes) if start > 1_704_067_200_000_000][:2]
    [-4, -5]
    """
    place = ZoneInfo(zone)
    second, last = int(FIRST.timestamp()), int(LAST.timestamp())
    now = _offset_s(second, place)
    starts, found = [second], [now]
    while second < last:
        following = second + DAY_S
        if _offset_s(following, place) != now:
            # no zone has changed its clocks and changed them back within a day
            before, after = second, following
            while after - before > 1:
                middle = (before + after) // 2
                before, after = (middle, after) if _offset_s(middle, place) == now else (before, middle)
            now = _offset_s(after, place)
            starts.append(after)
            found.append(now)
        second = following
    return Offsets(tuple(start * SECOND_US for start in starts), tuple(offset * SECOND_US for offset in found))


def offset_us(zone: str, at_us: int) -> int:
    """Local time minus UTC at an instant, in microseconds.

    >>> offset_us("America/New_York", 1_704_067_200_000_000) // 3_600_000_000
    -5
    """
    if zone == "UTC":
        return 0
    starts_us, offsets_us = offsets(zone)
    return offsets_us[max(bisect_right(starts_us, at_us) - 1, 0)]


def _offset_s(second: int, place: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(second, place).utcoffset()
    assert offset is not None
    return round(offset.total_seconds())
