"""One numeric field of a source: out of range, missing, zeroed, frozen, a sentinel, another unit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.monitors.cells import CELLS, cells_of, restored_cells
from samestream.monitors.detectors import Detectors
from samestream.monitors.diagnosis import Unit, units_of
from samestream.monitors.evidence import MOST
from samestream.monitors.incidents import Finding
from samestream.monitors.number_evidence import CANDIDATES, KEPT, LEVEL, SCORE, UNITS_FROM, VALUE, WAS, WINDOW, numbers
from samestream.monitors.side_by_side import numbers_side_by_side
from samestream.monitors.slots import MANY, Slots
from samestream.monitors.usual import HOURS_A_GROUP, NumbersTable, UsualNumbers
from samestream.monitors.witnesses import Beside, nothing_beside
from samestream.streams.models.profile import buckets_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NAMES = ("nulls", "zeroed", "frozen", "sentinel")
SHOWN = 50
"""Latest values that evidence is told from."""


class NumberWatch:
    """See the module. low, high : declared range, infinite where open. unit : declared. cause : ``Event.field``."""

    def __init__(self, cause: str, low: float = -math.inf, high: float = math.inf, unit: str | None = None) -> None:
        self.cause, self.low, self.high = cause, low, high
        self.units: tuple[Unit, ...] = units_of(unit)
        self._scales = np.array([unit.scale for unit in self.units])
        self._offsets = np.array([unit.offset for unit in self.units])
        self.detectors = Detectors([*NAMES, *(f"unit {unit.says}" for unit in self.units)], of=cause)
        self.table: NumbersTable | None = None
        self._usual = UsualNumbers()
        self._last: Floats = np.full(MANY + 1, np.nan)
        self._last_at: Ints = np.zeros(MANY + 1, np.int64)
        self._last_beside: Floats = np.full((2, MANY + 1), np.nan)
        self._heard: Floats = np.full(3, np.nan)
        self._began: Ints = np.zeros(len(self.units) + 1, np.int64)
        self._held = np.zeros((9, CANDIDATES))
        self._local: Ints = np.zeros(CELLS + 1, np.int64)
        self._ring: Ints = np.zeros(WINDOW + 1, np.int64)
        self._today: list[tuple[Floats, Ints, int]] = []
        self._nulls = 0
        self._was_keyed = False
        self._latest: Floats = np.zeros(0)
        self._range: Finding | None = None
        self._for_units: Floats = np.zeros(len(self.units))  # nats of all values since the first out of range
        self._weighs = False
        self._seen = self._seen_bad = 0  # learned: values, and values out of range
        self._new = self._new_bad = self._good = 0  # since a finding began; good ones since the last bad one
        self._pooled: list[Floats] = []
        self._pooled_nonfinite = 0

    def look(
        self,
        values: Floats,
        valid: Bools,
        known_us: Ints,
        slots: Slots,
        hour: int,
        hour_ends: bool,
        beside: Beside | None = None,
    ) -> list[Finding]:
        """Look at the next values, none or more, and return what holds now.

        values, valid, known_us : shape (n,), in the order in which they became known. slots : the keys' numbers.
        hour : of the day, UTC. beside : what other fields say of these values, if anything.
        """
        if len(values):
            finite = valid & np.isfinite(values)
            present = values[finite] + 0.0
            group = hour // HOURS_A_GROUP
            if self.table is not None:
                table = self.table
                if slots.keyed != self._was_keyed:
                    self._was_keyed = slots.keyed
                    self._last[:] = self._heard[:] = self._last_beside[:] = np.nan
                said = nothing_beside(len(values)) if beside is None else beside
                numbers(
                    values, valid, slots.of, table.by_step, group,
                    table.usual, table.rarity, table.moves, table.stays, table.repeats, table.seldom, table.shares, self._scales,
                    self._offsets,
                    self._last, self._last_at, self._heard, self._began, self._held,
                    self._local, self._ring, not self.detectors.active,
                    said.values, said.lifts, said.never, self._last_beside, *self.detectors.arrays,
                )  # fmt: skip
                self.detectors.settle(known_us)
            self._today.append((present, slots.of[finite], group))
            self._nulls += len(values) - len(present)
            self._latest = np.concatenate([self._latest, present])[-SHOWN:]
            self._weigh_units(present, group)
            nonfinite = int(np.count_nonzero(valid)) - len(present)
            if len(present) + nonfinite:
                self._look_at_range(present, nonfinite, known_us)
        if hour_ends and self._pooled:
            self._look_at_pooled(known_us)
        findings = [self._range] if self._range is not None else []
        for place, since_us in self.detectors.active.items():
            # a few values far out look like another unit; that would change all of them
            if self._range is None or place < UNITS_FROM or self._for_units[place - UNITS_FROM] >= 0:
                findings.append(self._finding(place, since_us))
        return findings

    def close_day(self, learn: bool) -> None:
        """Learn the day if it was good, and begin another."""
        if learn:
            values = np.concatenate([part for part, *_ in self._today]) if self._today else np.zeros(0)
            slots = np.concatenate([part for _, part, _ in self._today]) if self._today else np.zeros(0, np.int64)
            groups = np.repeat(
                np.array([group for *_, group in self._today], np.int64),
                np.array([len(part) for part, *_ in self._today], np.int64),
            )
            inside = (values >= self.low) & (values <= self.high)
            suspected = self._suspected()
            self._usual.learn(values[inside], groups[inside], slots[inside], self._nulls, self._was_keyed)
            before, self.table = self.table, self._usual.table()
            if before is not None:
                self.table = self.table.but(suspected, before)
        self._today, self._nulls = [], 0
        self._last_beside[:] = np.nan  # another field may be the witness now

    def _suspected(self) -> Ints:
        """Cells of values that never came until they may be a sentinel: they do not teach yet that they are usual."""
        cells = cells_of(self._held[VALUE, (self._held[LEVEL] > KEPT) & (self._held[WAS] == 0)])
        came = self._usual.counts.reshape(-1, CELLS)[:, cells].sum(axis=0)
        return np.asarray(cells[came == 0])

    def restart(self) -> None:
        """Forget what was found before there was anything to compare with."""
        self.detectors.restart()
        self._held[:] = 0.0

    @property
    def holds_range(self) -> bool:
        """True while values out of the declared range are a finding."""
        return self._range is not None

    def _weigh_units(self, values: Floats, group: int) -> None:
        """Add what values say for each unit, from the first one out of the declared range on; steps are not weighed."""
        if self.table is None or self.table.by_step or not len(self.units):
            return
        if self._range is None and not self._weighs:
            outside = (values < self.low) | (values > self.high)
            if not outside.any():
                return
            self._for_units[:] = 0.0
            values = values[int(np.argmax(outside)) :]
            self._weighs = True
        usual = self.table.usual[group]
        as_is = usual[cells_of(values)]
        for at, unit in enumerate(self.units):
            fits = usual[restored_cells(values, unit.scale, unit.offset)] - as_is
            self._for_units[at] += np.clip(fits, -MOST, MOST).sum()

    def _look_at_range(self, values: Floats, nonfinite: int, known_us: Ints) -> None:
        self._pooled.append(values)
        self._pooled_nonfinite += nonfinite
        bad = nonfinite or np.any((values < self.low) | (values > self.high))
        if bad and not self._seen_bad:  # where none ever was, there is nothing to wait for
            self._look_at_pooled(known_us)

    def _look_at_pooled(self, known_us: Ints) -> None:
        values, nonfinite = np.concatenate(self._pooled), self._pooled_nonfinite
        self._pooled, self._pooled_nonfinite = [], 0
        outside = values[(values < self.low) | (values > self.high)]
        bad, n = len(outside) + nonfinite, len(values) + nonfinite
        usual = self._seen_bad / self._seen if self._seen else 0.0
        expected = usual * n
        if bad and bad > expected + 3 * expected**0.5 + 0.5:
            evidence = {
                "share": round(bad / n, 4),
                "share_before": round(usual, 6),
                "values": n,
                "low": None if np.isinf(self.low) else self.low,
                "high": None if np.isinf(self.high) else self.high,
                "outside": outside[:5].tolist(),
                **numbers_side_by_side(self._usual.buckets(), self._latest),
            }
            self._range = Finding("bad_values", 0.5 + bad / n / 2, evidence)
            self._good = 0
        elif self._range is not None:
            self._good += n
        self._new += n
        self._new_bad += bad
        if self._range is not None and self._good * self._new_bad > 3 * (self._new - self._good):
            self._range = None  # rule of three: at the rate they came, another would have come by now
        if self._range is None:
            self._weighs = False
            self._seen, self._seen_bad = self._seen + self._new, self._seen_bad + self._new_bad
            self._new = self._new_bad = 0

    def _finding(self, place: int, since_us: int) -> Finding:
        verdict = NAMES[place] if place < UNITS_FROM else "unit"
        after = self._latest
        evidence: dict[str, Any] = {
            "nats": round(float(self.detectors.levels[place]), 2),
            "limit_nats": round(float(self.detectors.limits[place]), 2),
            "values_learned": self.table.values if self.table is not None else 0,
            **numbers_side_by_side(self._usual.buckets(), after),
        }
        if verdict == "unit":
            unit = self.units[place - UNITS_FROM]
            evidence |= {"factor": unit.says, "scale": unit.scale, "offset": unit.offset}
        elif verdict == "zeroed":
            evidence |= {"zero_share": _share(after, 0.0), "zero_share_before": self._share_before(0.0)}
        elif verdict in ("frozen", "sentinel") and len(after):
            value = float(after[-1])
            if verdict == "sentinel":
                value = float(self._held[VALUE, int(self._held[SCORE].argmax())])
                verdict = "zeroed" if value == 0 else verdict
            evidence |= {"value": value, "share": _share(after, value), "share_before": self._share_before(value)}
            if verdict == "frozen":
                changed = np.flatnonzero(after != value)
                evidence["run"] = len(after) - (int(changed[-1]) + 1 if len(changed) else 0)
        elif verdict == "nulls" and self.table is not None:
            evidence["null_share_before"] = round(float(self.table.shares[0]), 4)
        return Finding(verdict, 1.0, evidence, score=float(self.detectors.scores[place]), since_us=since_us)

    def _share_before(self, value: float) -> float:
        counts = self._usual.buckets()
        return round(float(counts[buckets_of(np.array([value]))[0]] / max(int(counts.sum()), 1)), 6)


def _share(values: Floats, value: float) -> float:
    return round(float(np.mean(values == value)), 4) if len(values) else 0.0
