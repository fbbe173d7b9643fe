"""Are the sources healthy? All of a model's event types together, in ticks of five minutes of known time.

What a day (UTC, of known time) held is learned unless something was evidently wrong in it, so a fault does not teach the
monitors that faults are normal; a day that exceeded a limit by a little is learned, or limits would only ever fall. Every
night the limits of all detectors are set anew from the last eight weeks, together, so that they keep the budget
(`monitors.budget`); before the shortest history for which that can be promised only declared ranges speak.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.monitors.budget import Limits, calibrated, shortest_days
from samestream.monitors.checks import NO_FILTERS, Filters
from samestream.monitors.detectors import Detectors
from samestream.monitors.evidence import CEILING
from samestream.monitors.flag_watch import FlagWatch
from samestream.monitors.group_silence import silences
from samestream.monitors.held_back import HeldBack
from samestream.monitors.incidents import DAY_US, HOUR_US, MINUTE_US, Finding
from samestream.monitors.instant_evidence import NO_INSTANT
from samestream.monitors.instant_watch import InstantWatch
from samestream.monitors.number_watch import NumberWatch
from samestream.monitors.rows import Rows
from samestream.monitors.slots import Keys
from samestream.monitors.source_evidence import SourceEvidence
from samestream.monitors.source_spec import SourceSpec
from samestream.monitors.swaps import NumberSwaps, TextSwaps, exchanged
from samestream.monitors.text_codes import TextCodes
from samestream.monitors.text_watch import MANY, TextWatch
from samestream.monitors.traffic_watch import TrafficWatch, identities_of
from samestream.monitors.usual import DAYS_KEPT, HOURS_A_GROUP
from samestream.monitors.witnesses import Witnesses
from samestream.streams.zones import offset_us

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Columns = Mapping[str, tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]]
Observe = Callable[[str, Sequence[Finding], int], bool]

TICK_US = 5 * MINUTE_US
LEARNING_DAYS = 3
"""Days whose levels say nothing, for there was nothing yet to compare with."""
SHORTEST_DAYS = 18
"""Good days without which no limit is set, whatever the budget: each day of the week at least twice."""


class SourceWatch:
    """One event type: its traffic and its fields.

    silence_us : shortest silence that counts, None where silence is not watched. quality : watch values, lags, repeats.
    filters : what must be come to before an incident opens. zone : in whose hours the source lives.
    """

    def __init__(
        self,
        spec: SourceSpec,
        *,
        silence_us: int | None,
        quality: bool,
        filters: Filters = NO_FILTERS,
        zone: str = "UTC",
    ) -> None:
        self.spec, self._quality, self._zone = spec, quality, zone
        self._is_watched = quality or silence_us is not None
        self._held_back = HeldBack(filters)
        self.rows, self.rejected = Rows(), Rows()
        silence = None if spec.is_table else silence_us
        self.traffic = TrafficWatch(
            spec.event, spec.lateness_us, silence_us=silence, timely=quality and not spec.is_table, zone=zone
        )
        self.groups = silences(spec.group_fields, silence)
        numbers, texts, flags, instants = (
            part if quality else ()
            for part in (spec.numeric_fields, spec.text_fields, spec.flag_fields, spec.instant_fields)
        )
        self.numbers = [
            NumberWatch(
                f"{spec.event}.{name}", spec.low.get(name, -np.inf), spec.high.get(name, np.inf), spec.units.get(name)
            )
            for name in numbers
        ]
        self.witnesses = Witnesses(len(self.numbers))
        self._codes = TextCodes()
        self.texts = [TextWatch(f"{spec.event}.{name}", self._codes) for name in texts]
        self.flags = [FlagWatch(f"{spec.event}.{name}") for name in flags]
        self.instants = [InstantWatch(f"{spec.event}.{name}") for name in instants]
        self.evidence = SourceEvidence(
            spec, self.traffic, self.numbers, self.texts, self.groups, self._codes.said, zone
        )
        self.number_swaps, self.text_swaps = NumberSwaps(self.numbers), TextSwaps(self.texts)
        self._keys = Keys()
        self._today: list[Ints] = []
        self._leaders: dict[str, tuple[str, int]] = {}  # cause -> the cause whose incident tells of it, and since when
        self._spoiled = False

    def add(
        self,
        known_us: Ints,
        time_us: Ints,
        fields: Columns,
        keys: Sequence[Any] | None,
        partitions: Ints | None,
        offsets: Ints | None = None,
    ) -> None:
        """Take events, which wait until the clock has passed them."""
        columns: list[npt.NDArray[Any]] = [np.asarray(time_us, np.int64), identities_of(keys, time_us)]
        columns.append(np.zeros(len(known_us), np.int64) if partitions is None else np.asarray(partitions, np.int64))
        columns.append(self._keys.number(keys, len(known_us)))
        columns.append(_objects(keys, len(known_us)))
        columns.append(np.full(len(known_us), -1, np.int64) if offsets is None else np.asarray(offsets, np.int64))
        for name in self.spec.numeric_fields:
            columns += [np.asarray(fields[name][0], np.float64), np.asarray(fields[name][1], np.bool_)]
        for at, name in enumerate(self.spec.text_fields):
            watched = self._quality and not self.texts[at].crowded
            values, valid = fields[name]
            columns.append(np.where(valid, values, _NO_TEXT) if watched else np.full(len(known_us), -1))
        for name in self.spec.flag_fields:
            values, valid = fields[name]
            columns.append(np.where(valid, values, -1).astype(np.int64))
        for name in self.spec.instant_fields:
            values, valid = fields[name]
            columns.append(np.where(valid, np.asarray(values, np.int64), NO_INSTANT))
        columns += [group.number(*fields[group.field]) for group in self.groups]
        self.rows.add(known_us, *columns)

    def _numbered(self, rows: tuple[npt.NDArray[Any], ...]) -> tuple[npt.NDArray[Any], ...]:
        """A tick's rows, with the texts that are watched as numbers."""
        start, end = (7 + 2 * len(self.spec.numeric_fields) + more for more in (0, len(self.texts)))
        texts = (watch.number(texts) for watch, texts in zip(self.texts, rows[start:end], strict=True))
        return (*rows[:start], *texts, *rows[end:]) if len(rows[0]) else rows

    @property
    def _others(self) -> list[TextWatch | FlagWatch | InstantWatch]:
        """The fields that are no numbers."""
        return [*self.texts, *self.flags, *self.instants]

    @property
    def detectors(self) -> list[Detectors]:
        """All that has a limit."""
        if not self._is_watched:
            return []
        parts = [self.traffic.own, *(group.detectors for group in self.groups)]
        if self._quality:
            parts += [self.traffic.detectors, *(field.detectors for field in self.numbers)]
            parts += [*(field.detectors for field in self._others)]
            parts += [self.number_swaps.detectors, self.text_swaps.detectors]
        return parts

    def called(self, detectors: Detectors) -> list[str]:
        """What its detectors are called for people, each with the field that it looks at."""
        # of a pair of fields that are exchanged the name is the two of them
        pair = any(detectors is part.detectors for part in (self.number_swaps, self.text_swaps))
        cause = detectors.of or self.spec.event
        return [f"{cause}: {name}{' exchanged' if pair else ''}" for name in detectors.names]

    def look(self, rows: tuple[npt.NDArray[Any], ...], rejected: int, at_us: int, observe: Observe) -> None:
        """Look at one tick's rows, none or more, that ended at an instant."""
        rows = self._numbered(rows)
        known_us, time_us, identities, partitions, keys, _, _, *columns = rows
        some = len(known_us) > 0
        again = np.zeros(len(known_us), np.bool_) if some else _NO_REPEATS
        self.evidence.turn(rows, again)
        hour = (at_us - 1 + offset_us(self._zone, at_us - 1)) // HOUR_US % 24
        hour_ends = at_us % HOUR_US == 0
        found: list[tuple[str, Finding]] = []
        traffic = self.traffic.look(known_us, time_us, identities, partitions, rejected, at_us, TICK_US, again)
        found += [(self.spec.event, finding) for finding in traffic]
        numeric = [(columns[2 * at], columns[2 * at + 1]) for at in range(len(self.numbers))]
        texts_from, groups_from = 2 * len(self.spec.numeric_fields), len(columns) - len(self.groups)
        flags_from = texts_from + len(self.spec.text_fields)
        instants_from = flags_from + len(self.spec.flag_fields)
        texts, flags = columns[texts_from:flags_from], columns[flags_from:instants_from]
        for group, numbers in zip(self.groups, columns[groups_from:], strict=True):
            found += [(self.spec.event, one) for one in group.look(numbers, known_us, at_us)]
        slots = self._keys.slots(keys)
        if some:
            self._today.append(keys)
        for at, (number, (values, valid)) in enumerate(zip(self.numbers, numeric, strict=True)):
            if some or hour_ends or number.detectors.active or number.holds_range:
                beside = self.witnesses.beside(at, numeric)
                looked = number.look(values, valid, known_us, slots, hour, hour_ends, beside)
                found += [(number.cause, one) for one in looked]
        for text, codes in zip(self.texts, texts, strict=False):
            if some or text.detectors.active:
                found += [(text.cause, one) for one in text.look(codes, known_us, hour)]
        for flag, said in zip(self.flags, flags, strict=False):
            if some or flag.detectors.active:
                found += [(flag.cause, one) for one in flag.look(said, slots, known_us, hour)]
        for instant, said in zip(self.instants, columns[instants_from:groups_from], strict=False):
            if some or instant.detectors.active:
                found += [(instant.cause, one) for one in instant.look(said, time_us, known_us, hour)]
        if some and self._quality:
            self.witnesses.note(numeric, slots.of)
            self.number_swaps.look(numeric, slots, known_us, hour // HOURS_A_GROUP)
            self.text_swaps.look(texts, known_us)
        found += [*exchanged(self.number_swaps, self.numbers), *exchanged(self.text_swaps, self.texts)]
        self._tell(found, at_us, len(known_us), observe)

    def _tell(self, found: list[tuple[str, Finding]], at_us: int, rows: int, observe: Observe) -> None:
        """Group findings: causes that show within an hour of each other are one.

        So are fields that tell of one thing, and what shows while the traffic is wrong.
        """
        if not found and not self._leaders:
            return
        self._spoiled = self._spoiled or any(finding.verdict == "bad_values" for _, finding in found)
        for cause, _ in sorted(found, key=lambda part: -part[1].score):
            if cause not in self._leaders:
                open_ones = [
                    leader
                    for other, leader in self._leaders.items()
                    if at_us - leader[1] <= HOUR_US or leader[0] == self.spec.event or self._tell_of_one(cause, other)
                ]
                self._leaders[cause] = min(open_ones, key=lambda part: part[1]) if open_ones else (cause, at_us)
        for leader in dict.fromkeys(self._leaders.values()):
            followers = [cause for cause, known in self._leaders.items() if known == leader]
            findings = [self.evidence.of(cause, finding) for cause, finding in found if cause in followers]
            others = sorted({cause for cause, _ in found if cause in followers} - {leader[0]})
            if others:
                findings = [replace(one, evidence={**one.evidence, "also": others}) for one in findings]
            findings = self._held_back.passed(leader[0], findings, at_us, rows)
            if not observe(leader[0], findings, at_us) and not self._held_back.waits(leader[0]):
                self._held_back.forget(leader[0])
                self._leaders = {cause: known for cause, known in self._leaders.items() if known != leader}

    def _tell_of_one(self, cause: str, other: str) -> bool:
        """Whether two causes are fields of which one is a witness of the other: a delay in minutes, and in hours."""
        places = [at for at, number in enumerate(self.numbers) if number.cause in (cause, other)]
        return len(places) == 2 and self.witnesses.tell_of_one(*places)

    @property
    def learnable(self) -> bool:
        """False if something was evidently wrong today."""
        return not self._spoiled and not any(part.evident for part in self.detectors)

    def close_day(self, day: int, counts: bool, kept: int) -> None:
        """Learn the day if it was good, and begin another. counts : its levels, of `kept` days, count for calibration."""
        good = self.learnable
        for part in self.detectors:
            part.close_day(day, kept if good and counts else None)
            if not counts:
                part.restart()
        if not counts:
            for number in self.numbers:
                number.restart()
        for number in self.numbers:
            number.close_day(good)
        self.witnesses.close_day(good)
        for watch in self._others:
            watch.close_day(good)
        self.text_swaps.close_day()
        self.traffic.close_day(good, day % 7)
        for group in self.groups:
            group.close_day(good, (day + 1) * DAY_US)
        self._keys.close_day(np.concatenate(self._today) if self._today else _NO_TIMES)
        self._today = []
        self._spoiled = False


class SourceFamily:
    """All sources of a model, which share their part of the budget.

    per_week : incidents a week that all of them may open together.
    """

    def __init__(self, sources: Mapping[str, SourceWatch], per_week: float) -> None:
        self.sources, self.per_week = sources, per_week
        self.limits: Limits | None = None
        self.blind: list[str] = []
        """Detectors that have no say or could never alarm, by field: ``Order.sku: unseen``."""
        self._tick: int | None = None
        self._first_us = 0
        self._days = 0

    @property
    def shortest_days(self) -> int:
        """Good days of history from which limits are set."""
        return max(SHORTEST_DAYS, shortest_days(self.per_week))

    @property
    def learned_days(self) -> int:
        """Good days of history so far, whether or not they are enough."""
        parts = [part for source in self.sources.values() for part in source.detectors]
        return len({day for part in parts for day, _ in list(part.history)})  # at once: metrics ask from another thread

    @property
    def since_us(self) -> int | None:
        """Known time of the first event; None before it was looked at."""
        return self._first_us if self._tick is not None else None

    @property
    def days_kept(self) -> int:
        """Good days whose levels limits are set by."""
        return max(DAYS_KEPT, 2 * self.shortest_days)

    def advance(self, clock_us: int, observe: Observe) -> None:
        """Look at every whole tick that ended by the clock, telling `observe` what holds at its end."""
        end = clock_us // TICK_US
        if self._tick is None:
            firsts = [source.rows.first_us for source in self.sources.values()]
            known = [first for first in firsts if first is not None and first < end * TICK_US]
            if not known:
                return
            self._first_us = min(known)
            self._tick = self._first_us // TICK_US
        if self._tick >= end:
            return
        start, self._tick = self._tick, end
        ends_us = np.arange(start + 1, end + 1, dtype=np.int64) * TICK_US
        cut = {name: (source.rows.cut(ends_us), source.rejected.cut(ends_us)) for name, source in self.sources.items()}
        for at in range(len(ends_us)):
            at_us = int(ends_us[at])
            for name, source in self.sources.items():
                (taken, bounds), (_, rejected) = cut[name]
                rows = (
                    tuple(column[bounds[at] : bounds[at + 1]] for column in taken) if taken else _nothing(source.spec)
                )
                source.look(rows, rejected[at + 1] - rejected[at], at_us, observe)
            if at_us % DAY_US == 0:
                self._close_day(at_us // DAY_US - 1)
        for source in self.sources.values():
            source.evidence.latest.let_go()

    def _close_day(self, day: int) -> None:
        self._days += 1
        whole = self._first_us <= day * DAY_US + HOUR_US  # the first day began in its middle
        for source in self.sources.values():
            source.close_day(day, whole and self._days > LEARNING_DAYS, self.days_kept)
        self._calibrate()

    def _calibrate(self) -> None:
        parts = [(name, part) for name, source in self.sources.items() for part in source.detectors]
        days = sorted({day for _, part in parts for day, _ in part.history})[-self.days_kept :]
        if len(days) < self.shortest_days:
            return
        place_of = {day: place for place, day in enumerate(days)}
        sizes = [len(part.names) for _, part in parts]
        peaks = np.zeros((len(days), sum(sizes)))
        start = 0
        for (_, part), size in zip(parts, sizes, strict=True):
            for day, found in part.history:
                if day in place_of:
                    peaks[place_of[day], start : start + len(found)] = found
            start += size
        names = list(self.sources)
        groups = np.repeat([names.index(name) for name, _ in parts], sizes)
        lasting = np.repeat([part.lasting for _, part in parts], sizes)
        exact = np.concatenate([part.exact for _, part in parts])
        self.limits = calibrated(peaks, groups, lasting, days, self.per_week, exact=exact)
        if self.limits is None:
            return
        limits, start, self.blind = self.limits.of(), 0, []
        for (name, part), size in zip(parts, sizes, strict=True):
            own = limits[start : start + size]
            start += size
            never = own >= (np.inf if part.lasting else CEILING)
            called = self.sources[name].called(part)
            self.blind += [called[place] for place in np.flatnonzero(never).tolist()]
            part.limits[:] = np.where(never, np.inf, own)
        for name, source in self.sources.items():
            seldom = [f"{name}: {said}" for group in source.groups for said in group.blind]
            crowded = [f"{text.cause}: more than {MANY:,} texts" for text in source.texts if text.crowded]
            self.blind += [said for said in (*seldom, *crowded) if said not in self.blind]


_NO_TIMES: Ints = np.zeros(0, np.int64)
_NO_REPEATS = np.zeros(0, np.bool_)
_NO_TEXT = np.array(None, object)


def _nothing(spec: SourceSpec) -> tuple[npt.NDArray[Any], ...]:
    columns: list[npt.NDArray[Any]] = [_NO_TIMES] * 7
    for _ in spec.numeric_fields:
        columns += [np.zeros(0), np.zeros(0, np.bool_)]
    groups = () if spec.is_table else spec.group_fields
    others = (*spec.text_fields, *spec.flag_fields, *spec.instant_fields, *groups)
    return (*columns, *(_NO_TIMES for _ in others))


def _objects(keys: Sequence[Any] | None, count: int) -> npt.NDArray[Any]:
    """Keys as they are, None without; shape (count,)."""
    found = np.empty(count, object)
    if keys is not None:
        found[:] = keys
    return found
