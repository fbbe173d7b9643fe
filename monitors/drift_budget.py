"""The alarm budget of features and scores: by how much the limits of all of them are raised, so that together they keep it.

Each name has a limit by a rule (`monitors.windows`), which puts all on one scale: how far a window was, in units of that
limit. A move opens an incident only if it lasts, so what a name leaves of a day is the greatest *lasting* level: the least of
the windows in a row that it takes to open one. These levels are calibrated as those of sources are (`monitors.budget`), with
a level of 1 as the least: whole days together, restless names by how restless they were in other weeks, days in a row as
one incident, and so are names that read the same event.

Windows from before there was a limit count as if they had been judged by the limit that the windows of other weeks make. What
goes on beyond its limit is learned when it is over, as one day, and not at all if it came to four tenths beyond. Below the
shortest history there is no level, and nothing is told as an incident.

Features and scores go by clocks of their own, so each family has a level of its own, and counts only what it knows itself: of the
incidents that the history of so many days pays for, a quarter, and one at least, is set aside for scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from samestream.monitors.budget import (
    ALLOWANCE,
    BLOCK_DAYS,
    LEAST_LIMIT,
    OUTCOMES_SHARE,
    SOURCES_SHARE,
    Limits,
    calibrated,
)
from samestream.monitors.declared import Calibration, Declared, Drift, Performance, Quality, Silence
from samestream.monitors.detectors import EVIDENT
from samestream.monitors.incidents import DAY_US, Lineage
from samestream.monitors.windows import lasts_us, null_limit, psi_limit

DAYS_KEPT = 56
SCORES_PART = 4
_FAULTY = -1.0


def drift_per_week(declared: Declared) -> float:
    """Incidents a week that features and scores may open: what sources and outcomes, where they are watched, leave of it."""
    sources = any(isinstance(check, Quality | Silence) for check in declared.features)
    outcomes = any(isinstance(check, Performance | Calibration) for check in declared.scores)
    return declared.alarms_per_week * (1.0 - SOURCES_SHARE * sources - OUTCOMES_SHARE * outcomes)


@dataclass(frozen=True)
class Share:
    """What one family may open. per_week : of features and scores together.

    is_scores : whether it is that of scores. is_shared : whether both families are watched.
    """

    per_week: float
    is_scores: bool
    is_shared: bool

    @classmethod
    def of(cls, declared: Declared, *, is_scores: bool) -> Share:
        """The share of a family, as declared."""
        both = all(any(isinstance(one, Drift) for one in checks) for checks in (declared.features, declared.scores))
        return cls(drift_per_week(declared), is_scores, both)

    def allowed(self, units: int, unit_days: float) -> int:
        """Incidents that a limit may have opened on so many days (or longer units); -1 where no promise can be made."""
        paid = math.floor(ALLOWANCE * self.per_week / 7 * unit_days * (units + 1) + 1e-9)
        scores = max(1, paid // SCORES_PART) if paid >= 2 else 0
        if not self.is_shared:
            return paid - 1
        return (scores if self.is_scores else paid - scores) - 1

    def shortest(self, unit_days: float) -> int:
        """Days (or longer units) of history from which the share can be promised."""
        needed = 2 if self.is_scores and self.is_shared else 1
        return math.ceil(7 * needed / (ALLOWANCE * self.per_week * unit_days) - 1 - 1e-9)


@dataclass(frozen=True)
class PastWindow:
    """A window from before there was a limit. distance : index from the reference, as if it had no part in that, in nats."""

    start_us: int
    end_us: int
    distance: float
    null_share: float
    rows: int


@dataclass
class _Name:
    """What is known of one feature, or the score.

    run : the latest windows, as (length, level). peaks : by day. going_on : of what is beyond its limit now, the first day, the
    greatest level, and the limit then.
    """

    run: list[tuple[int, float]] = field(default_factory=list)
    peaks: dict[int, float] = field(default_factory=dict)
    going_on: tuple[int, float, float] | None = None


class Levels:
    """What the names of one family reached, and how much their limits are raised. Names are told of in order of time.

    groups : name -> what it opens an incident about; window_us : length of a window. asked_us : for how long a move must last,
    as declared.
    """

    def __init__(self, groups: Mapping[str, int], window_us: int, share: Share, asked_us: int = 0) -> None:
        self._groups, self._share = dict(groups), share
        self._lasts_us = lasts_us(window_us, asked_us)
        self._unit_us = max(DAY_US, window_us)
        self._names: dict[str, _Name] = {name: _Name() for name in groups}
        self._unit: int | None = None
        self._raised: dict[str, float] = {}
        self.limits: Limits | None = None
        self.wild: list[str] = []
        """Names that went so far on good days of other weeks that they have no say."""

    @property
    def per_week(self) -> float:
        """Incidents a week that features and scores may open together."""
        return self._share.per_week

    @property
    def shortest_days(self) -> int:
        """Days of history from which anything is told as an incident."""
        return math.ceil(self._share.shortest(self._unit_us / DAY_US) * self._unit_us / DAY_US)

    @property
    def days(self) -> int:
        """Days of history that the name with fewest has."""
        fewest = min((self._count(name) for name in self._names), default=0)
        return fewest * self._unit_us // DAY_US

    def knows(self, name: str) -> bool:
        """Whether anything was told of a name yet."""
        return bool(self._names[name].run)

    def past(self, name: str, windows: Sequence[PastWindow]) -> None:
        """Take what was before there was a limit: each window is judged by the limit that those of other weeks make."""
        blocks = np.array([window.end_us // DAY_US // BLOCK_DAYS for window in windows], np.int64)
        distances = np.array([window.distance for window in windows])
        nulls = np.array([window.null_share for window in windows])
        rows = float(np.median([window.rows for window in windows])) if windows else 0.0
        limits: dict[int, tuple[float, float]] = {}
        for block in np.unique(blocks).tolist():
            other = blocks != block
            greatest, null = float(distances[other].max(initial=0.0)), float(nulls[other].max(initial=0.0))
            limits[block] = psi_limit(greatest, int(other.sum())), null_limit(null)
        for window, block in zip(windows, blocks.tolist(), strict=True):
            noise = max(1.0, rows / max(window.rows, 1))
            ratio = max(window.distance / limits[block][0] / noise, window.null_share / limits[block][1])
            self.note(name, window.start_us, window.end_us, ratio)

    def note(self, name: str, start_us: int, end_us: int, ratio: float) -> None:
        """Take a window that no fault explains. ratio : how far it was, in units of its limit before that was raised."""
        known = self._names[name]
        known.run.append((end_us - start_us, ratio))
        lasted_us, lasting, windows = 0, math.inf, 0
        for length_us, level in reversed(known.run):
            lasted_us, lasting, windows = lasted_us + length_us, min(lasting, level), windows + 1
            if windows >= 2 and lasted_us >= self._lasts_us:
                break
        else:
            lasting = 0.0
        del known.run[:-windows]
        unit, raised = (end_us - 1) // self._unit_us, self._raised.get(name, math.inf)
        if lasting > raised:
            # what goes on must not become its own limit: it is learned when it is over, as one day
            first, greatest, limit = known.going_on or (unit, lasting, raised)
            known.going_on = first, max(greatest, lasting), limit
            known.peaks[unit] = _FAULTY
            return
        if known.going_on is not None:
            first, greatest, limit = known.going_on
            if greatest <= EVIDENT * limit:
                known.peaks[first] = greatest
            known.going_on = None
        if known.peaks.get(unit, 0.0) != _FAULTY:
            known.peaks[unit] = max(known.peaks.get(unit, 0.0), lasting)

    def raised(self, name: str, at_us: int) -> float | None:
        """By what the limit of a name is multiplied for a window that starts then; None while nothing can be promised.

        Infinite for a name that has no say.
        """
        unit = at_us // self._unit_us
        if unit != self._unit:
            self._unit = unit
            self._calibrate(unit)
        return self._raised.get(name)

    def ordered(self, ratios: Mapping[str, float]) -> list[str]:
        """Names that moved in one window, the least to be expected first. ratios : as `note` takes them.

        How seldom a name went so far is the share of its own days on which it did, adjusted for how many names there are
        (Benjamini and Yekutieli, 2001, whatever their dependence). It orders, and decides nothing: at the far end, where most
        names that moved are, no day of the past went so far, and the ratio orders them.
        """
        seldom = {}
        for name, ratio in ratios.items():
            peaks = np.array([peak for peak in self._names[name].peaks.values() if peak != _FAULTY])
            seldom[name] = (1 + int(np.count_nonzero(peaks >= ratio))) / (1 + len(peaks))
        adjusted = adjusted_for_many(seldom)
        return sorted(ratios, key=lambda name: (adjusted[name], -ratios[name] / self._raised.get(name, 1.0), name))

    def _count(self, name: str) -> int:
        peaks = list(self._names[name].peaks.values())  # at once: metrics ask from another thread
        return sum(peak != _FAULTY for peak in peaks)

    def _calibrate(self, before: int) -> None:
        unit_days = self._unit_us / DAY_US
        shortest = self._share.shortest(unit_days)
        kept = max(math.ceil(DAYS_KEPT / unit_days), 2 * shortest)
        for known in self._names.values():
            for unit in [unit for unit in known.peaks if unit < before - kept]:
                del known.peaks[unit]
        speaking = [name for name in self._names if self._count(name) >= shortest]
        self._raised, self.wild, self.limits = {}, [], None
        if not speaking:
            return
        # all that is known; and, were a name missing from the beginning, the days on which none was
        began = {min(self._names[name].peaks) for name in speaking}
        for first in sorted(began)[:1] + sorted(began)[1:][-1:]:
            limits = self._limits(speaking, first, before, unit_days)
            if limits is None:
                continue
            self.limits = limits
            for name, limit in zip(speaking, limits.of().tolist(), strict=True):
                self._raised[name] = max(limit / LEAST_LIMIT, self._raised.get(name, 1.0))
        self.wild = [name for name, raised in self._raised.items() if math.isinf(raised)]

    def _limits(self, names: Sequence[str], first: int, before: int, unit_days: float) -> Limits | None:
        peaks_of = {name: self._names[name].peaks for name in names}
        units = sorted({unit for peaks in peaks_of.values() for unit in peaks if first <= unit < before})
        peaks = np.array([[max(peaks_of[name].get(unit, 0.0), 0.0) for name in names] for unit in units])
        groups = np.array([self._groups[name] for name in names], np.int64)
        lasting = np.zeros(len(names), np.bool_)
        spared = self._share.allowed(len(units), unit_days)
        return calibrated(peaks * LEAST_LIMIT, groups, lasting, units, self.per_week, spared=spared) if units else None


def groups_of(lineage: Lineage) -> dict[str, int]:
    """A number for each feature; features that are linked by events that they read have the same one."""
    found: dict[str, int] = {}
    events: dict[str, int] = {}
    for number, feature in enumerate(lineage.features):
        read = {event for event, _ in lineage.sources.get(feature, ())}
        linked = {events[event] for event in read if event in events}
        found[feature] = number
        found = {name: number if group in linked else group for name, group in found.items()}
        events = {event: number if group in linked else group for event, group in events.items()}
        events |= dict.fromkeys(read, number)
    return found


def adjusted_for_many(seldom: Mapping[str, float]) -> dict[str, float]:
    """Shares of the past adjusted for how many are looked at, at most 1: Benjamini and Yekutieli's step up.

    >>> adjusted_for_many({"a": 0.01, "b": 0.02, "c": 0.5})
    {'a': 0.055, 'b': 0.055, 'c': 0.9167}
    """
    order = sorted(seldom, key=lambda name: (-seldom[name], name))
    many = len(order) * sum(1 / place for place in range(1, len(order) + 1))
    found, least = {}, 1.0
    for place, name in zip(range(len(order), 0, -1), order, strict=True):
        least = min(least, seldom[name] * many / place)
        found[name] = round(least, 4)
    return {name: found[name] for name in seldom}
