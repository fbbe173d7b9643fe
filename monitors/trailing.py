"""A feature compared with its own last four weeks: for what moves with the seasons, and for models that are not retrained."""

from __future__ import annotations

from functools import reduce

from samestream.monitors.incidents import DAY_US
from samestream.monitors.windows import Limit, lasts_us
from samestream.streams.models.category_profile import Profile, merged

KEPT_DAYS, LEAST_DAYS = 28, 14
ACCEPTED_DAYS = 14
"""What moved and stayed for so long is the present; nothing before it counts any more."""


class Trailing:
    """The windows of the last 28 days of one feature, and the limit that follows, anew each day.

    Left out are those that a fault explains, and moves that lasted long enough for an incident. Shorter ones count, or limits
    would never learn how restless a feature is (on the year of flights that made six times as many incidents).
    """

    def __init__(self, window_us: int) -> None:
        self._window_us = window_us
        self._kept: list[tuple[int, int, Profile]] = []
        self._moving: list[tuple[int, int, Profile]] = []  # windows in a row that moved
        self._day: int | None = None
        self._limit: Limit | None = None

    def limit(self, start_us: int) -> Limit | None:
        """What a window that starts then is compared with; None while there are no 14 days to compare with."""
        day = start_us // DAY_US
        if day != self._day:
            self._day = day
            self._kept = [one for one in self._kept if one[0] >= start_us - KEPT_DAYS * DAY_US]
            profiles = [profile for _, _, profile in self._kept]
            enough = bool(profiles) and self._kept[-1][1] - self._kept[0][0] >= LEAST_DAYS * DAY_US
            self._limit = Limit.calibrated(reduce(merged, profiles), profiles) if enough else None
        return self._limit

    @property
    def kept(self) -> list[tuple[int, int, Profile]]:
        """The windows that the limit is from, as (start, end, profile), in order."""
        return self._kept

    def keep(self, start_us: int, end_us: int, profile: Profile, moved: bool) -> bool:
        """Take a window that no fault explains, in order; True where it makes what moved the present."""
        if not moved:
            if not self._is_incident():  # else there would be no limit to what is usual: a move that was told stays out
                self._kept += self._moving
            self._kept.append((start_us, end_us, profile))
            self._moving = []
            return False
        self._moving.append((start_us, end_us, profile))
        if end_us - self._moving[0][0] < ACCEPTED_DAYS * DAY_US:
            return False
        self._kept, self._moving, self._day = self._moving, [], None
        return True

    def _is_incident(self) -> bool:
        """Whether the last windows in a row that moved were enough for one; see `windows.Persistence`."""
        lasted_us = self._moving[-1][1] - self._moving[0][0] if self._moving else 0
        return len(self._moving) >= 2 and lasted_us >= lasts_us(self._window_us)
