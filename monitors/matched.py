"""A feature compared with the same time of the day and the week: what every evening looks like is no news in the evening."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import numpy as np

from samestream.monitors.incidents import DAY_US
from samestream.monitors.windows import Limit, apart, null_limit, psi_limit
from samestream.streams.models.category_profile import CategoryProfile, Profile, merged
from samestream.streams.models.profile import NumericProfile

LEAST_WINDOWS = 3
"""A slot of fewer windows of the training period is no reference; a wider one is taken."""
WEEK, KIND_OF_DAY, DAY = "same time of the week", "same time of workdays or of weekends", "same time of the day"
Slot = tuple[str, int, int]


def slots_of(start_us: int, window_us: int) -> tuple[Slot, Slot, Slot]:
    """The slots that a window belongs to, the narrowest first; in UTC.

    >>> slots_of(3 * 86_400_000_000 + 19 * 3_600_000_000, 3_600_000_000)  # Sunday, 4 January 1970, 19:00
    (('same time of the week', 6, 19), ('same time of workdays or of weekends', 1, 19), ('same time of the day', 0, 19))
    """
    weekday = (start_us // DAY_US + 3) % 7  # 1970 began on a Thursday
    time = start_us % DAY_US // window_us
    return (WEEK, weekday, time), (KIND_OF_DAY, int(weekday >= 5), time), (DAY, 0, time)


class Matched:
    """The windows of a training period by slot, and how far each was from the others of its slot.

    windows : (start, profile) of each, those known to be faulty left out. Windows are compared with the narrowest of their slots
    that holds three of the training period at least. One limit is for all slots, as if each window had come later: by the
    others of its slot.
    """

    def __init__(self, window_us: int, windows: Sequence[tuple[int, Profile]]) -> None:
        self._window_us = window_us
        self._slots: dict[Slot, list[Profile]] = {}
        for start_us, profile in windows:
            for slot in slots_of(start_us, window_us):
                self._slots.setdefault(slot, []).append(profile)
        self._totals: dict[Slot, Profile] = {}
        self.distances: dict[int, float] = {}
        """By the start of a window: how far it was from the others of its slot."""
        for start_us, profile in windows:
            if (found := self._slot_of(start_us)) is not None:
                self.distances[start_us] = apart(_less(self._total(found), profile), profile)
        self._psi = psi_limit(max(self.distances.values(), default=0.0), len(self.distances))

    def limit(self, start_us: int) -> tuple[str, Limit] | None:
        """What a window that starts then is compared with, and what that is called; None where no slot holds enough."""
        slot = self._slot_of(start_us)
        if slot is None:
            return None
        profiles = self._slots[slot]
        nulls = max(profile.null_share for profile in profiles)
        rows = float(np.median([profile.n for profile in profiles]))
        return slot[0], Limit(self._total(slot), self._psi, null_limit(nulls), rows)

    def _slot_of(self, start_us: int) -> Slot | None:
        for slot in slots_of(start_us, self._window_us):
            if len(self._slots.get(slot, ())) >= LEAST_WINDOWS:
                return slot
        return None

    def _total(self, slot: Slot) -> Profile:
        if slot not in self._totals:
            self._totals[slot] = reduce(merged, self._slots[slot])
        return self._totals[slot]


def _less(total: Profile, part: Profile) -> Profile:
    """A total without one of its parts, as far as bins go: extremes, sums and runs stay what they were."""
    n, nulls = total.n - part.n, total.nulls - part.nulls
    if isinstance(total, NumericProfile) and isinstance(part, NumericProfile):
        nonfinite = total.nonfinite - part.nonfinite
        return replace(total, n=n, nulls=nulls, nonfinite=nonfinite, counts=total.counts - part.counts)
    if isinstance(total, CategoryProfile) and isinstance(part, CategoryProfile):
        left = {text: count - part.counts.get(text, 0) for text, count in total.counts.items()}
        return replace(total, n=n, nulls=nulls, counts={text: count for text, count in left.items() if count > 0})
    return total
