"""One field of instants of a source, by how far they are from the event's own time: missing, stuck, or elsewhere."""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.monitors import instant_evidence
from samestream.monitors.cells import BUCKETS, CELLS, cells_of
from samestream.monitors.detectors import Detectors
from samestream.monitors.incidents import HOUR_US, Finding
from samestream.monitors.instant_evidence import NO_INSTANT, hours_between
from samestream.monitors.usual import DAYS_KEPT, GROUPS, HOURS_A_GROUP, ODD
from samestream.streams.models.profile import BUCKET_LOW

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NAMES = ("nulls", "frozen", "shifted")
SHOWN = 50
"""Latest instants that evidence is told from."""
NEAR = 2
"""Cells either way of one that came: a date that is always the same comes nearer day by day, and is never far from where it was."""
SCALES = (
    ("x1000: milliseconds read as seconds, or microseconds as milliseconds", 1e3),
    ("x1/1000: seconds read as milliseconds, or milliseconds as microseconds", 1e-3),
    ("x1000000: microseconds read as seconds", 1e6),
    ("x1/1000000: seconds read as microseconds", 1e-6),
)
"""Mistakes of units, of instants since 1970."""


@dataclass(frozen=True)
class InstantsTable:
    """Shares, ready for `instant_evidence.instants`, which says what they are; immutable. values : how many were learned."""

    rarity: Floats
    null_share: float
    repeat_share: Floats
    values: int

    def __deepcopy__(self, memo: object) -> InstantsTable:
        return self


@dataclass(frozen=True)
class _Day:
    """What one day held. cells, counts : of distances. nulls : how many.

    new : how many were where none ever was, near one that was and far from all; shape (2,). pairs : by part of the day how
    many came after another moment's, and how many of these equalled it; shape (2, groups).
    """

    cells: Ints
    counts: Ints
    nulls: int
    new: Ints
    pairs: Ints


class UsualInstants:
    """How far from their events' own times instants were on good days, and how often one came again."""

    def __init__(self) -> None:
        self._days: list[_Day] = []
        self.counts: Ints = np.zeros(CELLS, np.int64)
        self._ever: npt.NDArray[np.bool_] = np.zeros(CELLS, np.bool_)

    def __deepcopy__(self, memo: object) -> UsualInstants:
        """What was learned is never changed in place, so copies share it."""
        twin = copy(self)
        twin._days = list(self._days)
        return twin

    def learn(self, said: Ints, time_us: Ints, groups: Ints) -> None:
        """Add a good day. said, time_us, groups : instants, their events' times, parts of the day; shape (n,), as they came."""
        there = said != NO_INSTANT
        x, at, parts = said[there], time_us[there], groups[there]
        cells, counts = np.unique(cells_of(hours_between(x, at)), return_counts=True)
        moved = at[1:] != at[:-1]
        again = moved & (x[1:] == x[:-1])
        pairs = np.array([np.bincount(parts[1:][which], minlength=GROUPS) for which in (moved, again)])
        came, fresh, near = counts.copy(), ~self._ever[cells], _widened(self._ever)[cells]
        if not self._days:
            came[:] = 0  # on the first day all are
        new = np.array([came[fresh & near].sum(), came[fresh & ~near].sum()])
        self._days.append(_Day(cells, counts, len(said) - len(x), new, pairs))
        self.counts, self._ever = self.counts.copy(), self._ever.copy()
        self._ever[cells] = True
        self.counts[cells] += counts
        if len(self._days) > DAYS_KEPT:
            oldest = self._days.pop(0)
            self.counts[oldest.cells] -= oldest.counts

    def table(self) -> InstantsTable:
        """Shares as they are believed now."""
        n = int(self.counts.sum())
        near, far = np.sum([day.new for day in self._days], axis=0)
        order = np.argsort(self.counts, kind="stable")
        ranked = self.counts[order]
        upto = np.empty(CELLS)
        upto[order] = np.cumsum(ranked)[np.searchsorted(ranked, ranked, side="right") - 1] + near + far
        # of instants to come, so many will be where none was as were so far
        upto[~self._ever] = np.where(_widened(self._ever)[~self._ever], near + far, far)
        rarity = np.log(np.minimum((upto + 1) / (n + 1), 1.0))
        of_part, again = np.sum([day.pairs for day in self._days], axis=0)
        nulls = sum(day.nulls for day in self._days)
        return InstantsTable(
            rarity,
            null_share=float(np.clip((nulls + 0.5) / (n + nulls + 1), 1e-4, 0.9)),
            repeat_share=np.clip((again + 0.5) / (of_part + 1), 1e-4, 0.96),
            values=n,
        )


class InstantWatch:
    """See the module. cause : ``Event.field``."""

    def __init__(self, cause: str) -> None:
        self.cause = cause
        self.detectors = Detectors(NAMES, of=cause)
        self.table: InstantsTable | None = None
        self._usual = UsualInstants()
        self._previous: Ints = np.full(2, NO_INSTANT, np.int64)
        self._today: list[tuple[Ints, Ints, int]] = []
        self._latest: Ints = np.zeros((2, 0), np.int64)

    def look(self, said: Ints, time_us: Ints, known_us: Ints, hour: int) -> list[Finding]:
        """Look at the next instants, none or more, and return what holds now.

        said, time_us, known_us : instants, `NO_INSTANT` for null, and their events' own and known times, in microseconds;
        shape (n,). hour : of the day.
        """
        if len(said):
            group = hour // HOURS_A_GROUP
            if self.table is not None:
                instant_evidence.instants(
                    said, time_us, hours_between(said, time_us), group, self.table.rarity, self.table.null_share,
                    self.table.repeat_share, self._previous, *self.detectors.arrays,
                )  # fmt: skip
                self.detectors.settle(known_us)
            self._today.append((said, time_us, group))
            self._latest = np.concatenate([self._latest, np.stack([said, time_us])], axis=1)[:, -SHOWN:]
        return [self._finding(place, since_us) for place, since_us in self.detectors.active.items()]

    def close_day(self, learn: bool) -> None:
        """Learn the day if it was good, and begin another."""
        if learn and self._today:
            said, time_us = (np.concatenate([part[at] for part in self._today]) for at in (0, 1))
            groups = np.repeat([group for *_, group in self._today], [len(part) for part, *_ in self._today])
            self._usual.learn(said, time_us, groups)
            self.table = self._usual.table()
        self._today = []

    def _finding(self, place: int, since_us: int) -> Finding:
        assert self.table is not None
        said, time_us = self._latest[:, self._latest[0] != NO_INSTANT]
        evidence: dict[str, Any] = {
            "nats": round(float(self.detectors.levels[place]), 2),
            "limit_nats": round(float(self.detectors.limits[place]), 2),
            "values_learned": self.table.values,
            "hours_after_event": self._side_by_side(hours_between(said, time_us)),
        }
        verdict = NAMES[place]
        if place == instant_evidence.NULLS:
            evidence["null_share"] = round(float(np.mean(self._latest[0] == NO_INSTANT)), 4)
            evidence["null_share_before"] = round(self.table.null_share, 4)
        elif place == instant_evidence.FROZEN:
            value = int(self._previous[0])
            others = np.flatnonzero(said != value)
            verdict = "zeroed" if value == 0 else verdict
            evidence |= {"value": _written(value), "run": len(said) - (int(others[-1]) + 1 if len(others) else 0)}
        else:
            verdict, more = self._elsewhere(said, time_us)
            evidence |= more
        return Finding(verdict, 1.0, evidence, score=float(self.detectors.scores[place]), since_us=since_us)

    def _elsewhere(self, said: Ints, time_us: Ints) -> tuple[str, dict[str, Any]]:
        """What instants far from where they were look like: one that stands for none, another unit, or a shift."""
        odd = self._odd(said.astype(np.float64), time_us)
        away, at = said[odd], time_us[odd]
        told: dict[str, Any] = {
            "share": round(float(odd.mean()), 4) if len(odd) else 0.0,
            "examples": [_written(one) for one in away[-3:].tolist()],
            "examples_hours_after_event": hours_between(away[-3:], at[-3:]).round(4).tolist(),
        }
        different, came = np.unique(away, return_counts=True)
        if len(away) > 1 and came.max() > len(away) / 2:
            value = int(different[came.argmax()])
            return "zeroed" if value == 0 else "sentinel", {**told, "value": _written(value)}
        for says, scale in SCALES:
            if 2 * np.count_nonzero(self._odd(away / scale, at)) < len(away):
                return "unit", {**told, "factor": says, "scale": scale}
        return "shifted", told

    def _odd(self, instants_us: Floats, time_us: Ints) -> npt.NDArray[np.bool_]:
        """Which instants are where hardly any was before, to a few seconds, which other units may have cost."""
        assert self.table is not None
        hours = np.round((instants_us - time_us) / HOUR_US, 3)
        return np.asarray(self.table.rarity[cells_of(hours)] < ODD)

    def _side_by_side(self, hours: Floats) -> dict[str, Any]:
        """Quantiles of the history and of the latest distances, in hours."""
        reached = np.cumsum(self._usual.counts.reshape(2, BUCKETS).sum(axis=0))
        if not len(hours) or not reached[-1]:
            return {}
        marks = ((0.1, "q10"), (0.5, "q50"), (0.9, "q90"))
        before = {name: BUCKET_LOW[np.searchsorted(reached, math.ceil(q * reached[-1]))] for q, name in marks}
        return {
            "before": {name: round(float(value), 4) for name, value in before.items()},
            "after": {name: round(float(np.quantile(hours, q)), 4) for q, name in marks},
        }


def _widened(cells: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """These cells and those near them, fractions and whole numbers apart. cells : shape (CELLS,)."""
    sides = [np.convolve(side, np.ones(2 * NEAR + 1), "same") > 0.5 for side in cells.reshape(2, BUCKETS).astype(float)]
    return np.concatenate(sides)


def _written(at_us: int) -> str:
    """An instant as people read it, of any year: ISO 8601 in UTC, to the second."""
    return f"{np.datetime64(at_us, 'us').astype('datetime64[s]')}Z"
