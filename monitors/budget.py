"""The alarm budget: one limit for all detectors of a family together, set by what they did on good days of the past.

Every detector leaves its greatest level of each day. Levels are put on one scale (a detector that is restless by nature
counts for less, by how restless it was in *other* weeks), and the limit is the least that would have opened no more than k
incidents on those days, days in a row counting as one.

**What holds.** Were days exchangeable, a limit at the (k+1)-th greatest of n days is passed on one day in (n+1)/(k+1) on
average over all calibrations: their own uncertainty is in it. k is the greatest number for which that stays within four
fifths of the family's share of the budget; the fifth is for days that are not quite exchangeable. Whole days are kept
together, so dependence and seasons inside a day, and between detectors, stay as they were. Below `shortest_days` not even
k = 0 keeps the promise, and no limit is given at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

SOURCES_SHARE, OUTCOMES_SHARE = 0.5, 0.25
"""What sources and outcomes may take of a model's budget; features and scores have the rest (`monitors.drift_budget`)."""
ALLOWANCE = 0.8
LEAST_LIMIT = 10.0
"""Nats below which no limit is set, however calm the past was."""
RESTLESS = 8.0
"""Nats that a detector may reach on its three worst days before it counts as restless."""
RESTLESS_BY_CHANCE = 9.0
"""The same of an exact one: some hundred events of it a day bring it to as many by chance alone."""
SELDOM = 0.85
"""Scale of a calm detector that lasts: silence has few occasions a day, for it counts only once it is long enough."""
RETIRED = 30.0
"""Nats that no sound detector reaches on a good day: one that did in other weeks has no say, and is told as blind."""
BLOCK_DAYS = 7


def allowed(days: int, per_week: float) -> int:
    """Incidents that a limit may have opened on so many days; -1 where the history is too short for any promise."""
    return math.floor(ALLOWANCE * per_week / 7 * (days + 1) + 1e-9) - 1


def shortest_days(per_week: float) -> int:
    """Good days of history from which the budget can be promised."""
    return math.ceil(7 / (ALLOWANCE * per_week) - 1 - 1e-9)


@dataclass(frozen=True)
class Limits:
    """What a calibration found.

    level : on the common scale. scales, shifts : of each detector, shape (detectors,). days : that it was made of.
    allowed : incidents that it would have opened on them at most. opened : those that it would have.
    """

    level: float
    scales: Floats
    days: int
    allowed: int
    opened: int
    shifts: Floats

    def of(self) -> Floats:
        """The limit of each detector, in its own units, shape (detectors,)."""
        return np.maximum(self.level * self.scales + self.shifts, LEAST_LIMIT)


def scales_of(peaks: Floats, lasting: Bools, exact: Bools) -> Floats:
    """How restless each detector is; 1 for a calm or exact one, `SELDOM` for one that lasts, infinite for a retired one.

    peaks : shape (days, detectors). lasting : those that never retire; exact : see `shifts_of`; shape (detectors,).
    Returns shape (detectors,).
    """
    calm = np.where(lasting, SELDOM, 1.0)
    if not len(peaks):
        return calm
    worst = np.sort(peaks, axis=0)[-3:]
    restless = np.where(exact, 1.0, worst.mean(axis=0) / RESTLESS)
    return np.where((worst[-1] > RETIRED) & ~lasting, np.inf, np.maximum(calm, restless))


def shifts_of(peaks: Floats, exact: Bools) -> Floats:
    """Nats by which the limit of each exact detector is higher, shape (detectors,); arguments are as for `scales_of`.

    A detector that is restless because its history is not quite what it takes it for goes far beyond its limit when it goes
    beyond it, and is scaled. Where the chance of what it weighs is known, as that of a partition, which a key's hash draws,
    every nat more is e times as rare: more events make its peaks higher by some nats, and by no factor.
    """
    if not len(peaks):
        return np.zeros(len(exact))
    return np.where(exact, np.maximum(np.sort(peaks, axis=0)[-3:].mean(axis=0) - RESTLESS_BY_CHANCE, 0.0), 0.0)


def calibrated(
    peaks: Floats,
    groups: Ints,
    lasting: Bools,
    days: Sequence[int],
    per_week: float,
    spared: int | None = None,
    exact: Bools | None = None,
) -> Limits | None:
    """The limits that keep a budget; None below the shortest history.

    peaks : greatest level of each detector on each good day, shape (days, detectors).
    groups : what each detector would open an incident about; lasting, exact : as for `scales_of`; shape (detectors,).
    days : number of each day, ascending.
    per_week : incidents a week that all of them may open together.
    spared : incidents that the limits may have opened on these days; by default what `per_week` allows.
    """
    spared = allowed(len(days), per_week) if spared is None else spared
    if spared < 0:
        return None
    exact = np.zeros(len(lasting), np.bool_) if exact is None else exact
    numbers = np.asarray(days, np.int64)
    blocks = (numbers - numbers[0]) // BLOCK_DAYS
    scaled = np.empty_like(peaks)
    for block in np.unique(blocks):
        inside = blocks == block
        others = peaks[~inside]
        scaled[inside] = (peaks[inside] - shifts_of(others, exact)) / scales_of(others, lasting, exact)
    names = np.unique(groups)
    worst = np.stack([scaled[:, groups == name].max(axis=1) for name in names], axis=1)
    level, opened = LEAST_LIMIT, _opened(worst, numbers, LEAST_LIMIT)
    if opened > spared:
        for level in np.unique(worst[worst >= LEAST_LIMIT]):
            opened = _opened(worst, numbers, float(level))
            if opened <= spared:
                break
    scales = scales_of(peaks, lasting, exact)
    return Limits(float(level), scales, len(days), spared, opened, shifts_of(peaks, exact))


def _opened(worst: Floats, days: Ints, level: float) -> int:
    """Runs of days above a level, over all groups. worst : shape (days, groups)."""
    above = worst > level
    follows = np.zeros_like(above)
    follows[1:] = above[:-1] & (np.diff(days) == 1)[:, None]
    return int(np.count_nonzero(above & ~follows))
