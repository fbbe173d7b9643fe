"""The detectors of one column or of a source's traffic: their levels, their limits, and which of them say that a fault holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

EVIDENT = 1.4
"""How many times its limit a level must reach for a day to count as faulty, and not as a restless good one."""

GONE = 0.6
"""To how much of its limit a level must come down for what it found to be gone."""


class Detectors:
    """Arrays that `monitors.evidence` moves, one place per detector. Until limits are set, none of them speaks.

    names : what each looks for. of : the field that they look at, ``Event.field``; empty where it is no single one.
    active : the detectors that passed their limit and have not come down since, each with the known time at which it passed.
    lasting : they keep their say however restless they are by nature.
    """

    def __init__(self, names: Sequence[str], *, lasting: bool = False, of: str = "") -> None:
        n = len(names)
        self.lasting, self.of = lasting, of
        self.names = list(names)
        self.levels, self.scores, self.peaks = np.zeros(n), np.zeros(n), np.zeros(n)
        self.limits = np.full(n, np.inf)
        self.crossed = np.full(n, -1, np.int64)
        self.exact: Bools = np.zeros(n, np.bool_)
        self.active: dict[int, int] = {}
        self.history: list[tuple[int, Floats]] = []

    @property
    def arrays(self) -> tuple[Floats, Floats, Floats, Floats, Ints]:
        """What the kernel takes, in its order."""
        return self.levels, self.scores, self.peaks, self.limits, self.crossed

    def grow(self, names: Sequence[str], *, exact: bool = False) -> None:
        """Add detectors, which have no limit until the next calibration. exact : see `monitors.budget.shifts_of`."""
        more = len(names)
        self.names += names
        self.levels, self.scores, self.peaks = (
            np.concatenate([part, np.zeros(more)]) for part in (self.levels, self.scores, self.peaks)
        )
        self.limits = np.concatenate([self.limits, np.full(more, np.inf)])
        self.crossed = np.concatenate([self.crossed, np.full(more, -1, np.int64)])
        self.exact = np.concatenate([self.exact, np.full(more, exact)])

    def settle(self, known_us: Ints) -> None:
        """See which detectors passed their limits, and which came down. known_us : of the events just looked at."""
        if self.crossed.max(initial=-1) >= 0:
            for place in np.flatnonzero(self.crossed >= 0).tolist():
                self.active.setdefault(place, int(known_us[self.crossed[place]]))
            self.crossed[:] = -1
        if self.active:
            self.active = {
                place: since for place, since in self.active.items() if self.levels[place] > GONE * self.limits[place]
            }

    @property
    def evident(self) -> bool:
        """True if a level went so far beyond its limit today that no restless day explains it."""
        return bool(np.any(self.peaks > EVIDENT * self.limits))

    def close_day(self, day: int, keep: int | None) -> None:
        """Put today's peaks into the history, unless `keep` is None, of which so many days are kept; begin another day."""
        if keep is not None:
            self.history.append((day, self.peaks))
            del self.history[:-keep]
        self.peaks = self.levels.copy()

    def restart(self) -> None:
        """Begin again from nothing: what was found so far was found without anything to compare with."""
        self.levels[:] = self.scores[:] = self.peaks[:] = 0.0

    def stop(self) -> None:
        """Look no longer: what was found is over."""
        self.restart()
        self.active = {}

    def stop_one(self, place: int) -> None:
        """The same of one detector."""
        self.levels[place] = self.scores[place] = self.peaks[place] = 0.0
        self.active.pop(place, None)
