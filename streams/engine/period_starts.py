"""Where the windows of many instants begin, where time alone decides it."""

from __future__ import annotations

import numpy as np

from samestream.schemas.windows import DAY_US, Calendar, Tumbling, Window
from samestream.streams.columns import Int64Array

_HALF_DAY_US = DAY_US // 2


class PeriodStarts:
    """The starts of one window, not yet floored to its tile; those of a calendar are worked out once per half day."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._known: dict[int, tuple[int, int]] = {}

    def __call__(self, t_us: Int64Array) -> Int64Array:
        """Where it begins at each instant."""
        window = self._window
        if isinstance(window, Tumbling):
            return t_us // window.every_us * window.every_us
        if not isinstance(window, Calendar):
            return t_us - window.longest_us
        # no period is as short as half a day, so at most two touch one, and its ends tell both
        halves = np.unique(t_us // _HALF_DAY_US).tolist()
        starts = np.unique(np.array([self._touching(half) for half in halves], np.int64))
        return starts[np.searchsorted(starts, t_us, side="right") - 1] if len(t_us) else t_us

    def _touching(self, half: int) -> tuple[int, int]:
        if half not in self._known:
            ends = half * _HALF_DAY_US, (half + 1) * _HALF_DAY_US - 1
            self._known[half] = self._window.begin_us(ends[0]), self._window.begin_us(ends[1])
        return self._known[half]
