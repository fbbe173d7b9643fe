"""A feature compared with its own last four weeks: for what moves with the seasons, and for models that are not retrained."""

from __future__ import annotations

from functools import reduce

from samestream.monitors.windows import Limit
from samestream.streams.models.category_profile import Profile, merged

DAY_US = 24 * 3_600_000_000
KEPT_DAYS, LEAST_DAYS = 28, 7
ACCEPTED_DAYS = 14
"""What moved and stayed for so long is the present; nothing before it counts any more."""


class Trailing:
    """The windows of the last 28 days of one feature in which it was calm, and the limit that follows, anew each day."""

    def __init__(self) -> None:
        self._kept: list[tuple[int, int, Profile]] = []
        self._moving: list[tuple[int, int, Profile]] = []  # windows in a row that moved
        self._day: int | None = None
        self._limit: Limit | None = None

    def limit(self, start_us: int) -> Limit | None:
        """What a window that starts then is compared with; None while there are no seven days to compare with."""
        day = start_us // DAY_US
        if day != self._day:
            self._day = day
            self._kept = [one for one in self._kept if one[0] >= start_us - KEPT_DAYS * DAY_US]
            profiles = [profile for _, _, profile in self._kept]
            enough = bool(profiles) and self._kept[-1][1] - self._kept[0][0] >= LEAST_DAYS * DAY_US
            self._limit = Limit.calibrated(reduce(merged, profiles), profiles) if enough else None
        return self._limit

    def keep(self, start_us: int, end_us: int, profile: Profile, moved: bool) -> bool:
        """Take a window that no fault explains, in order; True where it makes what moved the present."""
        if not moved:
            self._kept.append((start_us, end_us, profile))
            self._moving = []
            return False
        self._moving.append((start_us, end_us, profile))
        if end_us - self._moving[0][0] < ACCEPTED_DAYS * DAY_US:
            return False
        self._kept, self._moving, self._day = self._moving, [], None
        return True
