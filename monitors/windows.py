"""Windows of known time: their rows and profiles, how far one may be from what is usual, and how long a move must last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.monitors.distances import greatest_psi, psi
from samestream.monitors.incidents import CALM_US, HOUR_US
from samestream.monitors.rows import Rows
from samestream.monitors.slices import SampledRows
from samestream.streams.models.category_profile import Profile, profile_of, side_by_side

ROWS = 200
LEAST_PSI = 0.25
PATIENCE_US = 4 * HOUR_US
"""A source fault needs up to about three hours to be seen; drift waits longer, so that it is not blamed on the world."""
KEPT_WINDOWS = 1200


def psi_limit(greatest: float, windows: int) -> float:
    """The index from which a window counts as moved, from the greatest of the windows that calibrated it.

    The greatest of few says little about what is to come, so below four weeks of daily windows the margin widens.
    """
    widened = float(max(1.0, 28 / max(windows, 1)) ** 0.5)
    return max(LEAST_PSI, 1.5 * greatest * widened)


def null_limit(greatest: float) -> float:
    """The share of nulls from which a window counts as moved, from the greatest of the windows that calibrated it."""
    return 1.5 * greatest + 0.1


def lasts_us(window_us: int, asked_us: int = 0) -> int:
    """For how long windows in a row, two at least, must have moved for an incident.

    window_us : length of one. asked_us : what was declared (`checks.Filters`).
    """
    return max(2 * window_us, PATIENCE_US, asked_us)


@dataclass
class Window:
    """Profiles of the rows of one window. spoiled : names that a known incident explains; they calibrate nothing.

    rows : some of its rows, to tell where a move sits; None of a window that was looked at.
    """

    start_us: int
    end_us: int
    profiles: dict[str, Profile]
    rows: SampledRows | None
    spoiled: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Measured:
    """How far a window is from what it is compared with, beside how far it may be.

    psi : in nats. null_share : 0 to 1 and more. raised : by what the budget multiplied both limits.
    """

    psi: float
    psi_limit: float
    null_share: float
    null_share_limit: float
    raised: float = 1.0

    @property
    def ratio(self) -> float:
        """How far it is, in units of the limits before the budget raised them."""
        return max(self.psi / self.psi_limit, self.null_share / self.null_share_limit) * self.raised

    @property
    def moved(self) -> bool:
        """Whether it is further than it may be."""
        return self.psi > self.psi_limit or self.null_share > self.null_share_limit

    @property
    def extent(self) -> float:
        """How much has moved, as severity goes by: a quarter at the limit."""
        return self.psi / (4 * self.psi_limit)


@dataclass(frozen=True)
class Limit:
    """What a feature is compared with, and how far a window may be from it.

    psi : in nats. null_share : 0 to 1 and more.
    rows : usual rows of a window. The index of a window with fewer is noisier in proportion, so its limit is higher.
    raised : by what the budget multiplies the limits (`monitors.drift_budget`); finite.
    """

    reference: Profile
    psi: float
    null_share: float
    rows: float
    raised: float = 1.0

    @classmethod
    def calibrated(cls, reference: Profile, windows: Sequence[Profile]) -> Limit:
        """Limits from windows that are known to be good."""
        greatest = max((apart(reference, window) for window in windows), default=0.0)
        nulls = max((window.null_share for window in [reference, *windows]), default=0.0)
        rows = float(np.median([window.n for window in windows])) if windows else 0.0
        return cls(reference, psi_limit(greatest, len(windows)), null_limit(nulls), rows)

    def measure(self, window: Profile) -> Measured:
        """How far a window is."""
        limit = self.psi * self.raised * max(1.0, self.rows / max(window.n, 1))
        nulls = self.null_share * self.raised
        return Measured(apart(self.reference, window), limit, window.null_share, nulls, self.raised)

    @property
    def can_fire(self) -> bool:
        """False if no window of the usual size, whatever it held, would pass a limit."""
        if self.null_share * self.raised < 1:
            return True
        counts = side_by_side(self.reference, self.reference)
        return counts is not None and greatest_psi(counts[0], round(self.rows)) > self.psi * self.raised


class Windows:
    """Rows gathered into windows that are evaluated in order."""

    def __init__(self, names: Sequence[str], window_us: int, min_rows: int = 0) -> None:
        self.names, self.window_us = tuple(names), window_us
        self._min_rows = max(ROWS, min_rows)
        self.rows = Rows()
        self.past: list[Window] = []
        self._next: int | None = None
        self._start_us = 0
        self._pool: list[tuple[npt.NDArray[Any], ...]] = []

    def ended(self, clock_us: int) -> list[Window]:
        """Windows that ended by the clock and hold rows enough, oldest first."""
        end = clock_us // self.window_us
        if self._next is None:
            first_us = self.rows.first_us
            if first_us is None or first_us >= end * self.window_us:
                return []
            self._next = first_us // self.window_us
            self._start_us = self._next * self.window_us
        found = []
        while self._next < end:
            self._next += 1
            end_us = self._next * self.window_us
            taken = self.rows.take(end_us)
            if taken is not None:
                self._pool.append(taken)
            if sum(len(part[0]) for part in self._pool) >= self._min_rows:
                found.append(self._window(end_us))
            elif not self._pool:
                self._start_us = end_us
        return found

    def keep(self, window: Window) -> None:
        """Remember a window for calibrations to come, without its rows."""
        window.rows = None
        self.past.append(window)
        del self.past[:-KEPT_WINDOWS]

    def _window(self, end_us: int) -> Window:
        known_us, keys, *columns = [np.concatenate(parts) for parts in zip(*self._pool, strict=True)]
        pairs = {name: (columns[2 * place], columns[2 * place + 1]) for place, name in enumerate(self.names)}
        profiles = {name: profile_of(values, valid) for name, (values, valid) in pairs.items()}
        start_us, self._start_us, self._pool = self._start_us, end_us, []
        return Window(start_us, end_us, profiles, SampledRows.of(known_us, keys, pairs))


class Persistence:
    """Counts, per name, how long a move has lasted, and how long it has been gone."""

    def __init__(self, window_us: int, asked_us: int = 0) -> None:
        self._needed_us = lasts_us(window_us, asked_us)
        self._calm_needed_us = max(2 * window_us, CALM_US)
        self._moved_us: dict[str, int] = {}
        self._windows: dict[str, int] = {}
        self._calm_us: dict[str, int] = {}

    def moved(self, name: str, window: Window) -> bool:
        """Count a window that moved; True once it is enough to open an incident."""
        self._moved_us[name] = self._moved_us.get(name, 0) + window.end_us - window.start_us
        self._windows[name] = self._windows.get(name, 0) + 1
        self._calm_us[name] = 0
        return self._windows[name] >= 2 and self._moved_us[name] >= self._needed_us

    def calm(self, name: str, window: Window) -> bool:
        """Count a window that did not move; True once it is enough to close one."""
        self._moved_us[name] = self._windows[name] = 0
        self._calm_us[name] = self._calm_us.get(name, 0) + window.end_us - window.start_us
        return self._calm_us[name] >= self._calm_needed_us


def apart(reference: Profile, window: Profile) -> float:
    """The index of a window, in nats; 0 between texts and numbers: the reference is of another definition."""
    counts = side_by_side(reference, window)
    return psi(*counts) if counts is not None else 0.0


def apart_without(reference: Profile, window: Profile) -> float:
    """The index of a window from a reference that it is part of, as if it were not.

    Without a share s of it the reference is farther from that part by 1 / (1 - s), and the index by the square of that.
    """
    share = min(window.n / max(reference.n, 1), 0.5)
    return apart(reference, window) / (1 - share) ** 2
