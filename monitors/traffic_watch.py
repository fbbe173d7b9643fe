"""The traffic of one source: silent, late, a clock that is off, repeated events, a silent partition, unreadable events."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.monitors.cells import cells_of
from samestream.monitors.detectors import GONE, Detectors
from samestream.monitors.diagnosis import instant
from samestream.monitors.evidence import ABOVE, CEILING, MOST
from samestream.monitors.incidents import DAY_US, HOUR_US, Finding
from samestream.monitors.side_by_side import numbers_side_by_side
from samestream.monitors.traffic_evidence import (
    CLOCK_AHEAD,
    CLOCK_BACK,
    DUPLICATED,
    IMPOSSIBLE,
    LATE,
    PACE_WEIGHT,
    PARTITIONS_FROM,
    traffic,
)
from samestream.monitors.usual import SLOTS, NumbersTable, UsualNumbers, UsualTraffic
from samestream.streams.models.profile import BUCKET_LOW
from samestream.streams.zones import offset_us

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

SECOND_US = 1_000_000
SLOT_US = DAY_US // SLOTS
LATE_MARGIN_S = 15 * 60
REMEMBERED = 1 << 14
"""Slots for the identities of the latest events: a repeated one is recognised among about so many."""
LAGS_SHOWN = 200
MIN_SHARE = 0.02
"""Share of the events that a partition must have had for its silence to say anything."""
LATELY_US, BEFORE_US = 1.5 * HOUR_US, 3 * HOUR_US
"""Today's pace is that of about so long: a source's before it was silent, and what a partition's silence is judged by."""
LEAST_PACE = 0.25
"""Share of its usual traffic to which a source may have come down and be missed none the later."""
NAMES = ("duplicated", "late", "clock back", "clock ahead", "impossible")
VERDICT_OF = ("duplicated", "late_data", "clock", "clock", "clock")
SILENT, UNREADABLE = range(2)  # detectors that are not moved by compiled code


class TrafficWatch:
    """See the module.

    silence_us : shortest silence that counts, None where silence is not watched. timely : whether the source's events
    are to come soon after their time; those of a reference table are not, and it is never silent. zone : in whose hours it lives.
    """

    def __init__(
        self, event: str, lateness_us: int, *, silence_us: int | None, timely: bool, zone: str = "UTC"
    ) -> None:
        self._zone = zone
        self.cause, self._lateness_us = event, lateness_us
        self._silence_us, self._timely = silence_us, timely
        self.detectors = Detectors(NAMES)
        self.own = Detectors(("silent", "unreadable"), lasting=True)
        self._lags: NumbersTable | None = None
        self._usual_lags, self._usual = UsualNumbers(groups=1), UsualTraffic()
        self._expects = self._usual.table()
        self._lately = np.zeros(2)  # events that came, and that were expected, each the less the longer ago
        self._before = np.zeros(2)  # the same, of longer
        self._pace = 1.0  # when the last event came
        self._due = 0.0  # expected since the last event
        self._since: Floats = np.zeros((4, 0))  # see `traffic`
        self._bounds = np.zeros(2)
        self._duplicate = self._unreadable = 0.0
        self._counted: Ints = np.zeros(0, np.int64)  # learned: events by partition
        self._shares: Floats = np.zeros(0)
        self._heard_us: Ints = np.zeros(0, np.int64)  # the last event of each partition
        self._seen: Ints = np.zeros(REMEMBERED, np.int64)
        self._latest_lags: Floats = np.zeros(0)
        self._last_us: int | None = None
        self._gap: tuple[int, int] = (0, 0)  # the silence that is judged: from, until
        self._counted_today: Ints = np.zeros(SLOTS, np.int64)
        self._today: list[tuple[Floats, Ints]] = []
        self._repeats: Ints = np.zeros(1, np.int64)
        self._today_read = self._today_unreadable = 0
        self._read = self._repeated = self._rejected = 0  # learned

    def look(
        self,
        known_us: Ints,
        time_us: Ints,
        identities: Ints,
        partitions: Ints,
        unreadable: int,
        at_us: int,
        tick_us: int,
        again: Bools | None = None,
    ) -> list[Finding]:
        """Look at the events of one tick, none or more, and return what holds at its end.

        known_us, time_us, identities, partitions : shape (n,); an identity of 0 is not known. unreadable : rejected events.
        again : set to True where an event is a repeated one, shape (n,).
        """
        start_us = at_us - tick_us
        slot = (start_us + offset_us(self._zone, start_us)) // SLOT_US % SLOTS
        # by the day of UTC, of which each slot of the zone is in one
        expected = float(self._expects.expected[start_us // DAY_US % 7, slot]) / SLOT_US
        due, before = self._due_of(known_us, expected, at_us, tick_us), self._before
        self._counted_today[slot] += len(known_us)
        now = np.array([len(known_us), expected * tick_us])
        self._lately = self._lately * math.exp(-tick_us / LATELY_US) + now
        self._before = before * math.exp(-tick_us / BEFORE_US) + now
        self._look_at_silence(known_us, expected * float(self._expects.worth[slot]), at_us, tick_us)
        self._look_at_unreadable(len(known_us), unreadable, at_us)
        if len(known_us):
            inside = partitions < len(self._heard_us)
            self._heard_us[partitions[inside]] = known_us[inside]  # the last of several stays
            lags = np.round((known_us - time_us) / SECOND_US)
            if self._lags is not None:
                table = self._lags
                again = np.zeros(len(lags), np.bool_) if again is None else again
                traffic(
                    identities, lags, partitions, table.usual[0], self._bounds, self._duplicate, self._shares,
                    due, before, self._since, self._seen, self._repeats, again, *self.detectors.arrays,
                )  # fmt: skip
                self.detectors.settle(known_us)
            self._today.append((lags, partitions))
            self._latest_lags = np.concatenate([self._latest_lags, lags])[-LAGS_SHOWN:]
        held = [self._finding(place, since) for place, since in self.detectors.active.items()]
        return held + [self._own_finding(place, since) for place, since in self.own.active.items()]

    def odd(self, verdict: str, lags_s: Floats) -> Bools:
        """Which lags show late data, or a clock that is off, shape (n,). lags_s : whole seconds."""
        if verdict == "late_data" or self._lags is None:
            return np.asarray(lags_s > self._bounds[0])
        here, back, ahead = (self._lags.usual[0][cells_of(lags_s + by)] for by in (0.0, -3600.0, 3600.0))
        return np.asarray((np.maximum(back, ahead) > here) | (lags_s < self._bounds[1]))

    def lags_side_by_side(self, lags_s: Floats) -> dict[str, Any]:
        """Histograms of the lags of the history and of the latest events."""
        found = numbers_side_by_side(self._usual_lags.buckets(), lags_s)
        return {"histogram": {"of": "lag in seconds", **found["histogram"]}} if found else {}

    def close_day(self, learn: bool, weekday: int) -> None:
        """Learn the day if it was good, and begin another. weekday : 0 to 6."""
        if learn:
            lags = np.concatenate([lags for lags, _ in self._today]) if self._today else np.zeros(0)
            partitions = np.concatenate([part for _, part in self._today]) if self._today else np.zeros(0, np.int64)
            self._usual.learn(weekday, self._counted_today)
            self._expects = self._usual.table()
            self._learn_partitions(partitions)
            self._read += self._today_read
            self._repeated += int(self._repeats[0])
            self._rejected += self._today_unreadable
            self._duplicate = float(np.log((self._repeated + 0.5) / (self._read + 1)))
            self._unreadable = (self._rejected + 0.5) / (self._read + self._rejected + 1)
            if self._timely:
                self._learn_lags(lags)
        self._today, self._counted_today = [], np.zeros(SLOTS, np.int64)
        self._today_read = self._today_unreadable = self._repeats[0] = 0

    def _learn_lags(self, lags: Floats) -> None:
        none = np.zeros(len(lags), np.int64)
        self._usual_lags.learn(lags, none, none, 0)
        self._lags = self._usual_lags.table()
        reached = np.cumsum(self._usual_lags.buckets())
        if reached[-1]:
            lowest, highest = (
                lower_bound(int(np.searchsorted(reached, q * reached[-1], side="left"))) for q in (0.001, 0.999)
            )
            self._bounds = np.array([max(2 * highest, highest + LATE_MARGIN_S), lowest - LATE_MARGIN_S])

    def _learn_partitions(self, partitions: Ints) -> None:
        counts = np.bincount(partitions, minlength=len(self._counted))
        new = len(counts) - len(self._counted)
        if new:
            self.detectors.grow([f"partition {len(self._counted) + place}" for place in range(new)], exact=True)
            self._since = np.concatenate([self._since, np.zeros((4, new))], axis=1)
            self._counted, self._heard_us = (
                np.concatenate([part, np.zeros(new, np.int64)]) for part in (self._counted, self._heard_us)
            )
        self._counted = self._counted + counts
        shares = self._counted / max(int(self._counted.sum()), 1)
        # one of all is silence, and one that hardly speaks is never missed
        self._shares = np.where((shares < MIN_SHARE) | (shares > 1 - MIN_SHARE), 0.0, shares)

    def _due_of(self, known_us: Ints, expected: float, at_us: int, tick_us: int) -> Floats:
        """Events that were to be expected from the one before to each, shape (n,). expected : events a microsecond."""
        if not len(known_us):
            self._due += expected * tick_us
            return np.zeros(0)
        due = expected * np.diff(known_us, prepend=at_us - tick_us)
        due[0] += self._due
        self._due = expected * float(at_us - known_us[-1])
        return due

    def _look_at_silence(self, known_us: Ints, nats: float, at_us: int, tick_us: int) -> None:
        """Nats of a silence: the events that were to be expected since the last one, by what each is worth.

        A day on which little came until then is one on which little comes: what is expected is less by as much.
        nats : what tells against the source in a microsecond without an event, at the usual pace.
        """
        if self._silence_us is None:
            return
        start_us, own = at_us - tick_us, self.own
        if len(known_us):
            first, last = int(known_us[0]), int(known_us[-1])
            self._judge_silence(nats * self._pace, start_us, first)
            own.active.pop(SILENT, None)
            usual = (self._lately[0] + PACE_WEIGHT) / (self._lately[1] + PACE_WEIGHT)
            self._pace = min(max(float(usual), LEAST_PACE), 1.0)
            own.levels[SILENT] = nats * self._pace * (at_us - last)
            self._last_us = last
        else:
            self._judge_silence(nats * self._pace, start_us, at_us)

    def _judge_silence(self, rate: float, from_us: int, until_us: int) -> None:
        """Go on in silence. rate : nats a microsecond."""
        own, limit = self.own, float(self.own.limits[SILENT])
        if self._last_us is None or self._silence_us is None:
            return
        before = float(own.levels[SILENT])
        own.levels[SILENT] = level = before + rate * (until_us - from_us)
        long_us = self._last_us + self._silence_us
        if until_us < long_us:
            return
        own.peaks[SILENT] = max(own.peaks[SILENT], level)
        if level > limit:
            passed_us = from_us + math.ceil(max(limit - before, 0.0) / rate) if rate else from_us
            own.active.setdefault(SILENT, min(max(passed_us, long_us, from_us), until_us))
        self._gap = (self._last_us, until_us)

    def _look_at_unreadable(self, read: int, unreadable: int, at_us: int) -> None:
        self._today_read += read
        self._today_unreadable += unreadable
        own = self.own
        if self._unreadable == 0.0 or not read + unreadable:
            return
        more = unreadable * min(float(np.log(0.5 / self._unreadable)), MOST) + read * float(np.log(0.5))
        limit = own.limits[UNREADABLE]
        own.levels[UNREADABLE] = min(max(own.levels[UNREADABLE] + more, 0.0), CEILING, ABOVE * limit)
        own.peaks[UNREADABLE] = max(own.peaks[UNREADABLE], own.levels[UNREADABLE])
        if own.levels[UNREADABLE] > limit:
            own.active.setdefault(UNREADABLE, at_us)
        elif own.levels[UNREADABLE] < GONE * limit:
            own.active.pop(UNREADABLE, None)

    def _own_finding(self, place: int, since_us: int) -> Finding:
        evidence: dict[str, Any] = {
            "nats": round(float(self.own.levels[place]), 2),
            "limit_nats": round(float(self.own.limits[place]), 2),
        }
        if place == SILENT:
            since, until = self._gap
            evidence |= {"last_event": instant(since), "silent_hours": round((until - since) / HOUR_US, 2)}
            score = float(self.own.levels[place])
            return Finding("missing_source", 1.0, evidence, score=score, since_us=since_us, stopped_us=since)
        evidence["unreadable_today"] = self._today_unreadable
        return Finding("unreadable", 1.0, evidence, score=float(self.own.levels[place]), since_us=since_us)

    def _finding(self, place: int, since_us: int) -> Finding:
        verdict = VERDICT_OF[place] if place < len(VERDICT_OF) else "missing_partition"
        stopped_us: int | None = None
        evidence: dict[str, Any] = {
            "nats": round(float(self.detectors.levels[place]), 2),
            "limit_nats": round(float(self.detectors.limits[place]), 2),
        }
        if place in (LATE, CLOCK_BACK, CLOCK_AHEAD, IMPOSSIBLE):
            counts = self._usual_lags.buckets()
            middle = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2, side="left"))
            evidence |= {
                "median_lag_minutes": round(float(np.median(self._latest_lags[-20:])) / 60, 2),
                "median_lag_before_minutes": round(lower_bound(middle) / 60, 2),
                "limit_minutes": round(self._bounds[0] / 60, 2),
                "declared_lateness_minutes": round(self._lateness_us / 60 / SECOND_US, 2),
            }
        elif place >= PARTITIONS_FROM:
            partition = place - PARTITIONS_FROM
            stopped_us = int(self._heard_us[partition])
            evidence |= {"partition": partition, "share_before": round(float(self._shares[partition]), 4)}
        elif place == DUPLICATED:
            evidence["share_before"] = round(float(np.exp(self._duplicate)), 6)
        score = float(self.detectors.scores[place])
        return Finding(verdict, 1.0, evidence, score=score, since_us=since_us, stopped_us=stopped_us)


def lower_bound(bucket: int) -> float:
    """The lower bound of a bucket."""
    return float(BUCKET_LOW[bucket])


def identities_of(keys: Sequence[Any] | None, time_us: Ints) -> Ints:
    """A number for each event by its key and time, never 0; all 0 where there are no keys."""
    if keys is None:
        return np.zeros(len(time_us), np.int64)
    hashed = (zlib.crc32(str(key).encode()) for key in keys)  # the same in every process, as `hash` is not
    mixed = (np.fromiter(hashed, np.int64, len(time_us)) << 31) ^ time_us
    return np.where(mixed == 0, 1, mixed)
