"""One field of true and false of a source: missing, stuck, exchanged for each other, and one that hardly ever came."""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.monitors import flag_evidence
from samestream.monitors.detectors import Detectors
from samestream.monitors.flag_evidence import NONE
from samestream.monitors.incidents import Finding
from samestream.monitors.number_evidence import WINDOW
from samestream.monitors.slots import MANY, Slots
from samestream.monitors.usual import DAYS_KEPT, GROUPS, HOURS_A_GROUP, ODD, PART_WEIGHT, RECENT_DAYS, RECENT_SHARE

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NAMES = ("nulls", "frozen", "sentinel", "inverted")
SHOWN = 50
"""Latest values that evidence is told from."""


@dataclass(frozen=True)
class FlagsTable:
    """Shares, ready for `flag_evidence.flags`, which says what they are; immutable. share : of true. values : learned."""

    usual: Floats
    rare: int
    null_share: float
    share: float
    values: int

    def __deepcopy__(self, memo: object) -> FlagsTable:
        return self


class UsualFlags:
    """How often true and false came on good days, by part of the day, after what their key had said before."""

    def __init__(self) -> None:
        self._days: list[tuple[Ints, int]] = []

    def __deepcopy__(self, memo: object) -> UsualFlags:
        """What was learned is never changed in place, so copies share it."""
        twin = copy(self)
        twin._days = list(self._days)
        return twin

    def learn(self, said: Ints, groups: Ints, slots: Ints) -> None:
        """Add a good day. said : 0 or 1, -1 for null; groups, slots : of each; shape (n,), in the order in which they came."""
        there = said >= 0
        order = np.argsort(slots[there], kind="stable")
        values, keys, parts = said[there][order], slots[there][order], groups[there][order]
        before = np.full(len(values), NONE)
        same = keys[1:] == keys[:-1]
        before[1:][same] = values[:-1][same]
        counts = np.bincount((parts * 3 + before) * 2 + values, minlength=GROUPS * 6).reshape(GROUPS, 3, 2)
        self._days.append((counts, len(said) - len(values)))
        del self._days[:-DAYS_KEPT]

    def table(self) -> FlagsTable:
        """Shares as they are believed now."""
        counts = np.sum([day for day, _ in self._days], axis=0).astype(np.float64)
        nulls = sum(nulls for _, nulls in self._days)
        n = float(counts.sum())
        recent = np.sum([day for day, _ in self._days[-RECENT_DAYS:]], axis=0).astype(np.float64)
        weighed = counts
        if recent.any():
            weighed = (1 - RECENT_SHARE) * counts + RECENT_SHARE * n / recent.sum() * recent
        whole = (weighed.sum(axis=(0, 1)) + 0.5) / (n + 1)
        after = weighed.sum(axis=0)
        after[NONE] = weighed.sum(axis=(0, 1))  # whatever came before
        weighed[:, NONE] = weighed.sum(axis=1)
        share = (after + PART_WEIGHT * whole) / (after.sum(axis=-1, keepdims=True) + PART_WEIGHT)
        usual = (weighed + PART_WEIGHT * share) / (weighed.sum(axis=-1, keepdims=True) + PART_WEIGHT)
        rare = int(np.argmin(whole))
        return FlagsTable(
            np.log(usual),
            rare if math.log(whole[rare]) < ODD else -1,
            null_share=float(np.clip((nulls + 0.5) / (n + nulls + 1), 1e-4, 0.9)),
            share=float(counts[:, :, 1].sum() / max(n, 1)),
            values=int(n),
        )


class FlagWatch:
    """See the module. cause : ``Event.field``."""

    def __init__(self, cause: str) -> None:
        self.cause = cause
        self.detectors = Detectors(NAMES, of=cause)
        self.table: FlagsTable | None = None
        self._usual = UsualFlags()
        self._last: Ints = np.full(MANY + 1, NONE, np.int64)
        self._last_at: Ints = np.zeros(MANY + 1, np.int64)
        self._began: Ints = np.zeros(2, np.int64)
        self._previous: Ints = np.full(1, -1, np.int64)
        self._local: Ints = np.zeros(2, np.int64)
        self._ring: Ints = np.zeros(WINDOW + 1, np.int64)
        self._was_keyed = False
        self._today: list[tuple[Ints, Ints, int]] = []
        self._latest: Ints = np.zeros(0, np.int64)

    def look(self, said: Ints, slots: Slots, known_us: Ints, hour: int) -> list[Finding]:
        """Look at the next values, none or more, and return what holds now.

        said, known_us : shape (n,); 0 or 1, -1 for null. slots : the keys' numbers. hour : of the day.
        """
        if len(said):
            group = hour // HOURS_A_GROUP
            if self.table is not None:
                if slots.keyed != self._was_keyed:
                    self._was_keyed = slots.keyed
                    self._last[:] = NONE
                flag_evidence.flags(
                    said, slots.of, group, self.table.usual, self.table.rare, self.table.null_share,
                    self._last, self._last_at, self._began, self._previous,
                    self._local, self._ring, not self.detectors.active, *self.detectors.arrays,
                )  # fmt: skip
                self.detectors.settle(known_us)
            self._today.append((said, slots.of, group))
            self._latest = np.concatenate([self._latest, said])[-SHOWN:]
        return [self._finding(place, since_us) for place, since_us in self.detectors.active.items()]

    def close_day(self, learn: bool) -> None:
        """Learn the day if it was good, and begin another."""
        if learn and self._today:
            said, slots = (np.concatenate([part[at] for part in self._today]) for at in (0, 1))
            groups = np.repeat([group for *_, group in self._today], [len(part) for part, *_ in self._today])
            self._usual.learn(said, groups, slots)
            self.table = self._usual.table()
        self._today = []

    def _finding(self, place: int, since_us: int) -> Finding:
        assert self.table is not None
        there = self._latest[self._latest >= 0]
        evidence: dict[str, Any] = {
            "nats": round(float(self.detectors.levels[place]), 2),
            "limit_nats": round(float(self.detectors.limits[place]), 2),
            "values_learned": self.table.values,
            "true_share": round(float(there.mean()), 4) if len(there) else None,
            "true_share_before": round(self.table.share, 4),
        }
        if place == flag_evidence.NULLS:
            evidence["null_share"] = round(float(np.mean(self._latest < 0)), 4)
            evidence["null_share_before"] = round(self.table.null_share, 4)
        elif place == flag_evidence.FROZEN:
            value = int(self._previous[0])
            others = np.flatnonzero(there != value)
            evidence |= {"value": bool(value), "run": len(there) - (int(others[-1]) + 1 if len(others) else 0)}
        elif place == flag_evidence.SENTINEL:
            evidence["value"] = bool(self.table.rare)
        return Finding(NAMES[place], 1.0, evidence, score=float(self.detectors.scores[place]), since_us=since_us)
