"""Is a source healthy? One event type at a time, hour by hour of known time, against its own history.

A day (UTC, of known time) joins the history only if no finding held in it, so a fault does not teach the monitor that
faults are normal. The other side: while a lasting change goes unanswered, its incident stays open. Findings on declared
ranges need no history; everything else needs seven days of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.monitors.diagnosis import UNITS, Unit, instant
from samestream.monitors.distances import ks_distance, ks_sides
from samestream.monitors.incidents import HOUR_US, Finding
from samestream.monitors.rows import Rows
from samestream.streams.models.profile import BUCKET_LOW, BUCKETS, ZERO, buckets_of, run_lengths

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DAY_US = 24 * HOUR_US
DAYS_LEARNED = 7
MINUTE_US = 60_000_000
LATE_EVENTS = 5
"""An hour with fewer events is pooled with the next ones before its median lag is looked at."""
LATE_AT_ONCE = 20
"""An hour with so many events, nine in ten of them too late, counts as two: a burst after an outage is mixed."""
LATE_MARGIN_US = 15 * MINUTE_US
LOOK_VALUES, DAY_LOOK_VALUES = 20, 60
"""Values that an hour's or a day's look at a distribution needs; an hour with fewer is pooled with the next ones."""
FROZEN_RUN = 30
STEP_DAYS = 3
"""A small factor (miles, kilometres) is believed only for so long after the median jumped by it as it never had."""
COMMON_SHARE, COMMON_DAYS = 0.2, 14
"""A value that is this common (no rain) must stay for this many days of ordinary traffic before it counts as frozen."""


@dataclass(frozen=True)
class SourceSpec:
    """An event type that feeds a model.

    numeric_fields : fields looked at. low, high : declared ranges, by field, where there are any.
    lateness_us : declared lateness in microseconds; told in the evidence of late data.
    is_table : it is a reference table, which speaks only when something changes, of whatever time: never silent, never late.
    """

    event: str
    numeric_fields: tuple[str, ...]
    low: Mapping[str, float]
    high: Mapping[str, float]
    lateness_us: int
    is_table: bool = False


class Greatest:
    """The greatest value of each statistic: over the days learned, and over today, which may yet be forgotten."""

    def __init__(self) -> None:
        self._learned: dict[str, float] = {}
        self._today: dict[str, float] = {}

    def note(self, **statistics: float) -> None:
        """Count statistics of today."""
        for name, value in statistics.items():
            self._today[name] = max(value, self._today.get(name, value))

    def close_day(self, clean: bool) -> None:
        """Learn today if it was clean, and begin another day."""
        if clean:
            for name, value in self._today.items():
                self._learned[name] = max(value, self._learned.get(name, value))
        self._today.clear()

    def __getitem__(self, name: str) -> float:
        return self._learned.get(name, 0.0)


class FieldWatch:
    """One numeric field of a source: range, unit, frozen.

    low, high : declared range, infinite where open.
    """

    def __init__(self, cause: str, low: float, high: float) -> None:
        self.cause, self.low, self.high = cause, low, high
        self._greatest = Greatest()
        self._reference: Ints = np.zeros(BUCKETS, np.int64)
        self._whole = True  # every value learned is a whole number
        self._days = 0
        self._seen = self._seen_bad = 0  # learned: values, and values out of range
        self._new = self._new_bad = self._good = 0  # since a finding began; good ones since the last bad hour
        self._run: tuple[float, int] = (np.nan, 0)
        self._pool: list[Floats] = []
        self._today: list[Floats] = []
        self._medians: list[float] = []  # of the last two looks
        self._step: tuple[float, float, int] | None = None  # median before, after, days since, of an unheard-of step
        self._small_factor_days = 0
        self._holding: dict[str, Finding] = {}

    def hour(self, values: Floats, nonfinite: int, day_ends: bool, learned: bool) -> tuple[Finding, ...]:
        """Look at the values of one hour, in known-time order, and return what holds now.

        values : shape (n,), finite. nonfinite : values that are NaN or infinite. learned : the history suffices.
        """
        if len(values) + nonfinite:
            self._look_at_range(values, nonfinite)
        if len(values):
            self._look_at_runs(values, learned)
            self._pool.append(values)
            self._today.append(values)
        if sum(map(len, self._pool)) >= LOOK_VALUES:
            pooled = np.concatenate(self._pool)
            self._pool = []
            ordered = np.sort(pooled)
            self._look_at_step(float(ordered[len(ordered) // 2]), learned)
            self._look_at_unit("hour", ordered, learned)
            self._look_at_collapse(ordered, learned)
        if day_ends and sum(map(len, self._today)) >= DAY_LOOK_VALUES:
            self._look_at_unit("day", np.concatenate(self._today), learned)
        return tuple(self._holding.values())

    def close_day(self, clean: bool) -> None:
        """Learn the day if it was clean, and begin another."""
        self._greatest.close_day(clean)
        if clean and self._today:
            values = np.concatenate(self._today)
            self._reference = self._reference + np.bincount(buckets_of(values), minlength=BUCKETS)
            self._whole = self._whole and bool(np.all(values == np.floor(values)))
        self._days += clean
        self._today = []
        if self._step is not None:
            before, after, days = self._step
            self._step = (before, after, days + 1) if days < STEP_DAYS else None

    def _set(self, name: str, finding: Finding | None) -> None:
        if finding is None:
            self._holding.pop(name, None)
        else:
            self._holding[name] = finding

    def _look_at_range(self, values: Floats, nonfinite: int) -> None:
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
                "examples": outside[:5].tolist(),
            }
            self._set("range", Finding("bad_values", 0.5 + bad / n / 2, evidence))
            self._good = 0
        elif "range" in self._holding:
            self._good += n
        self._new += n
        self._new_bad += bad
        if "range" in self._holding and self._good * self._new_bad > 3 * (self._new - self._good):
            self._set("range", None)  # rule of three: at the rate they came, another would have come by now
        if "range" not in self._holding:
            self._seen, self._seen_bad = self._seen + self._new, self._seen_bad + self._new_bad
            self._new = self._new_bad = 0

    def _look_at_runs(self, values: Floats, learned: bool) -> None:
        runs, lengths = run_lengths(values)
        if runs[0] == self._run[0]:
            lengths[0] += self._run[1]
        elif self._run[1]:
            self._greatest.note(run=self._run[1])
        if len(runs) > 1:
            self._greatest.note(run=int(lengths[:-1].max()))  # only runs that ended: a stuck one must not be learned
        self._run = (float(runs[-1]), int(lengths[-1]))
        longest = int(lengths.argmax())
        value, length = float(runs[longest]), int(lengths[longest])
        if not learned:
            return
        usual = max(FROZEN_RUN, 3 * self._greatest["run"])
        total = int(self._reference.sum())
        if total and self._reference[buckets_of(np.array([value]))[0]] >= COMMON_SHARE * total:
            usual = max(usual, COMMON_DAYS * total / self._days)
        evidence = {
            "value": value,
            "run": length,
            "longest_run_before": int(self._greatest["run"]),
            "limit": int(usual),
        }
        self._set("run", Finding("frozen", 1.0, evidence) if length > usual else None)

    def _look_at_collapse(self, ordered: Floats, learned: bool) -> None:
        atoms, counts = run_lengths(ordered)
        share = float(counts.max() / len(ordered))
        self._greatest.note(atom=share)
        if not learned:
            return
        limit = max(0.8, self._greatest["atom"] + 0.2)
        evidence = {"value": float(atoms[counts.argmax()]), "share": round(share, 4), "share_limit": round(limit, 4)}
        self._set(
            "collapse", Finding("frozen", share, evidence) if share > limit and len(ordered) >= FROZEN_RUN else None
        )

    def _look_at_step(self, median: float, learned: bool) -> None:
        if len(self._medians) == 2:
            step = abs(median - self._medians[0])  # two looks apart: a fault may begin inside the one between
            if learned and step > 1.5 * self._greatest["step"]:
                self._step = (self._medians[0], median, 0)
            self._greatest.note(step=step)
        self._medians = [*self._medians[-1:], median]

    def _jumped_by(self, unit: Unit) -> bool:
        """True if the median lately jumped to about where this unit would take it."""
        if self._step is None:
            return False
        before, after, _ = self._step
        return abs(before * unit.scale + unit.offset - after) <= 0.25 * abs(after - before)

    def _look_at_unit(self, look: str, values: Floats, learned: bool) -> None:
        total = int(self._reference.sum())
        if self._days < 3 or total < 100:
            return
        reached = np.cumsum(self._reference)
        counts = np.bincount(buckets_of(values), minlength=BUCKETS)
        lowest, highest = np.searchsorted(reached, [0.001 * total, 0.999 * total], side="left")
        outside = 1 - float(counts[lowest : highest + 1].sum()) / len(values)
        up, down = ks_sides(_magnitudes(self._reference), _magnitudes(counts))
        apart = max(up, down, ks_distance(self._reference, counts))
        usual = {name: self._greatest[f"{look}_{name}"] for name in ("up", "down", "outside", "apart")}
        self._greatest.note(
            **{f"{look}_up": up, f"{look}_down": down, f"{look}_outside": outside, f"{look}_apart": apart}
        )
        if not learned:
            return
        far = up > max(0.5, usual["up"] + 0.1) or down > max(0.5, usual["down"] + 0.1)
        far = far or outside > max(0.3, usual["outside"] + 0.2)
        if not far:
            self._set(f"unit_{look}", None)
            self._small_factor_days = 0 if look == "day" else self._small_factor_days
            return
        candidates = [unit for unit in UNITS if unit.plain or (look == "day" and self._jumped_by(unit))]
        fit, unit = min(((self._fit(values, unit), unit) for unit in candidates), key=lambda candidate: candidate[0])
        accepted = fit <= 0.6 * apart and fit <= (min(max(0.4, usual["apart"]), 0.6) if unit.plain else 0.15)
        if accepted and not unit.plain:
            self._small_factor_days += 1
            accepted = self._small_factor_days >= 2
        if accepted:
            evidence = {
                "factor": unit.says,
                "scale": unit.scale,
                "distance_as_reported": round(apart, 4),
                "distance_converted": round(fit, 4),
                "values": len(values),
                "look": look,
                "before": dict(zip(("q10", "q50", "q90"), self._quantiles(), strict=True)),
                "after": dict(
                    zip(("q10", "q50", "q90"), np.quantile(values, [0.1, 0.5, 0.9]).round(6).tolist(), strict=True)
                ),
            }
            self._set(f"unit_{look}", Finding("unit", 1.0, evidence))

    def _fit(self, values: Floats, unit: Unit) -> float:
        """Distance to the history after undoing a unit; 1 where whole numbers would not become whole numbers."""
        restored = (values - unit.offset) / unit.scale
        if self._whole:
            nearest = np.round(restored)
            if np.mean(np.abs(restored - nearest) <= 1e-6 * np.maximum(1.0, np.abs(nearest))) < 0.99:
                return 1.0
            restored = nearest
        counts = np.bincount(buckets_of(restored + 0.0), minlength=BUCKETS)
        return max(ks_distance(self._reference, counts), ks_distance(_magnitudes(self._reference), _magnitudes(counts)))

    def _quantiles(self) -> list[float]:
        reached = np.cumsum(self._reference)
        places = np.searchsorted(reached, np.array([0.1, 0.5, 0.9]) * reached[-1], side="left")
        return [float(BUCKET_LOW[place]) for place in places]


class SourceWatch:
    """One event type: silence, lag, and its fields.

    silence_us : shortest silence that counts, None where silence is not watched. quality : watch lag and values.
    """

    def __init__(self, spec: SourceSpec, *, silence_us: int | None, quality: bool) -> None:
        self.spec, self._quality = spec, quality
        self._silence_us = None if spec.is_table else silence_us
        self.rows = Rows()
        low, high = spec.low, spec.high
        self.fields = [
            FieldWatch(f"{spec.event}.{name}", low.get(name, -np.inf), high.get(name, np.inf))
            for name in spec.numeric_fields
        ]
        self._greatest = Greatest()
        self._first_us = self._last_us = 0
        self._hour: int | None = None
        self._days = 0
        self._clean = True
        self._lags: list[Ints] = []
        self._late_looks = 0
        self._late: Finding | None = None

    def advance(self, clock_us: int, observe: Callable[[str, Sequence[Finding], int], None]) -> None:
        """Look at every whole hour that ended by the clock, telling `observe` what holds at its end."""
        end = clock_us // HOUR_US
        if self._hour is None:
            first_us = self.rows.first_us
            if first_us is None or first_us >= end * HOUR_US:
                return
            self._hour, self._first_us, self._last_us = first_us // HOUR_US, first_us, first_us
        if self._hour >= end:
            return
        taken = self.rows.take(end * HOUR_US)
        hours = range(self._hour, end)
        self._hour = end
        ends = [0] * len(hours)
        if taken is not None:
            ends = np.searchsorted(taken[0], np.arange(hours[0] + 1, end + 1) * HOUR_US, side="left").tolist()
        start = 0
        for hour, stop in zip(hours, ends, strict=True):
            rows = None if taken is None or stop == start else tuple(column[start:stop] for column in taken)
            self._look((hour + 1) * HOUR_US, rows, observe)
            start = stop

    def _look(
        self,
        at_us: int,
        rows: tuple[npt.NDArray[Any], ...] | None,
        observe: Callable[[str, Sequence[Finding], int], None],
    ) -> None:
        learned = self._days >= DAYS_LEARNED and at_us - self._first_us >= DAYS_LEARNED * DAY_US
        day_ends = at_us % DAY_US == 0
        findings = [*self._look_at_silence(at_us, rows, learned)]
        if self._quality:
            if rows is not None and not self.spec.is_table:
                self._look_at_lag(rows[0] - rows[1], learned)
            if self._late is not None:
                findings.append(self._late)
        observe(self.spec.event, findings, at_us)
        held = bool(findings)
        for place, field in enumerate(self.fields if self._quality else ()):
            values, nonfinite = _NOTHING, 0
            if rows is not None:
                present = rows[2 + 2 * place][rows[3 + 2 * place]]
                values = present[np.isfinite(present)] + 0.0
                nonfinite = len(present) - len(values)
            holding = field.hour(values, nonfinite, day_ends, learned)
            observe(field.cause, holding, at_us)
            held = held or bool(holding)
        self._clean = self._clean and not held
        if day_ends:
            self._greatest.close_day(self._clean)
            for field in self.fields:
                field.close_day(self._clean)
            self._days += self._clean
            self._clean = True

    def _look_at_silence(
        self, at_us: int, rows: tuple[npt.NDArray[Any], ...] | None, learned: bool
    ) -> tuple[Finding, ...]:
        since_us = self._last_us
        silent_us = at_us - since_us
        if rows is not None:
            gaps = np.diff(rows[0], prepend=self._last_us)
            longest = int(gaps.argmax())
            self._greatest.note(gap=int(gaps[longest]))
            self._last_us = int(rows[0][-1])
            since_us, silent_us = int(rows[0][longest] - gaps[longest]), int(gaps[longest])
        limit_us = max(self._silence_us or 0, 1.5 * self._greatest["gap"])
        if self._silence_us is None or not learned or silent_us <= limit_us:
            return ()
        evidence = {
            "last_event": instant(since_us),
            "silent_hours": round(silent_us / HOUR_US, 2),
            "longest_silence_before_hours": round(self._greatest["gap"] / HOUR_US, 2),
            "limit_hours": round(limit_us / HOUR_US, 2),
        }
        return (Finding("missing_source", 1.0, evidence),)

    def _look_at_lag(self, lags_us: Ints, learned: bool) -> None:
        self._lags.append(lags_us)
        if sum(map(len, self._lags)) < LATE_EVENTS:
            return
        lags = np.concatenate(self._lags)
        self._lags = []
        median_us = float(np.median(lags))
        self._greatest.note(lag=median_us)
        before_us = self._greatest["lag"]
        limit_us = max(2 * before_us, before_us + LATE_MARGIN_US)
        if learned and median_us > limit_us:
            all_late = len(lags) >= LATE_AT_ONCE and float(np.quantile(lags, 0.1)) > limit_us
            self._late_looks += 2 if all_late else 1
        else:
            self._late_looks = 0
        self._late = None
        if self._late_looks >= 2:
            evidence = {
                "median_lag_minutes": round(median_us / MINUTE_US, 2),
                "highest_median_lag_before_minutes": round(before_us / MINUTE_US, 2),
                "limit_minutes": round(limit_us / MINUTE_US, 2),
                "declared_lateness_minutes": round(self.spec.lateness_us / MINUTE_US, 2),
                "events": len(lags),
            }
            self._late = Finding("late_data", median_us / (2 * limit_us), evidence)


_NOTHING: Floats = np.zeros(0)


def _magnitudes(counts: Ints) -> Ints:
    """Counts by magnitude, whatever the sign: shape (BUCKETS // 2 + 1,)."""
    return np.concatenate([counts[ZERO : ZERO + 1], counts[ZERO + 1 :] + counts[:ZERO][::-1]])
