"""One group of a source's keys falls silent while the others go on: one carrier, one airport, one shop.

Nothing is known of when a group should speak but its share of what comes, by part of the day. So the evidence that it is silent
is what the others say since: each event that is not its own would have been with that share, and so tells against it by
``-log(1 - share)`` nats. Where the whole source is silent no others speak, and no group is missed: that is another cause.

A group is missed if the nats pass the limit that follows from what its silences usually come to (`monitors.budget`), and
it was silent for as long as was declared. One that is heard less often in a day than its limit has nats is blind, and told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.monitors.budget import LEAST_LIMIT
from samestream.monitors.detectors import Detectors
from samestream.monitors.diagnosis import instant
from samestream.monitors.evidence import CEILING
from samestream.monitors.incidents import DAY_US, HOUR_US, Finding
from samestream.monitors.usual import GROUPS, HOURS_A_GROUP, PART_WEIGHT

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MANY = 512
"""Different values from which a field names single things, whose silence says nothing: it is not watched."""
KEPT_DAYS = 28
GIVEN_UP_US = 14 * DAY_US
"""A group that was silent for so long is no longer waited for."""
GROUPS_TOLD = 20


class GroupSilence:
    """See the module. cause : of the source; field : whose values are the groups; silence_us : shortest silence that counts."""

    def __init__(self, field: str, silence_us: int) -> None:
        self.field, self._silence_us = field, silence_us
        self.detectors = Detectors(())
        self._number: dict[str, int] = {}
        self._told: list[str] = []
        self.is_many = False
        self._counted: Floats = np.zeros((0, GROUPS))  # learned: events of each group by part of the day
        self._today: Ints = np.zeros((0, GROUPS), np.int64)
        self._weights: Floats = np.zeros((0, GROUPS))  # nats of an event of another group
        self._last_us: Ints = np.zeros(0, np.int64)
        self._days = 0

    @property
    def blind(self) -> list[str]:
        """Groups that are heard too seldom to be missed within a day."""
        if self.is_many:
            return [f"silence by {self.field}: more than {MANY} values"]
        return [self.detectors.names[place] for place in np.flatnonzero(self._rare()).tolist()]

    def number(self, values: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> Ints:
        """The number of the group of each event, shape (n,); -1 of none, and of those beyond `MANY`."""
        found = np.full(len(values), -1, np.int64)
        for row, (value, there) in enumerate(zip(values.tolist(), valid.tolist(), strict=True)):
            if not there:
                continue
            text = value if isinstance(value, str) else f"{value:.0f}"
            number = self._number.get(text, -1)
            if number < 0 and len(self._number) < MANY:
                number = self._number[text] = len(self._number)
                self._told.append(text)
            elif number < 0:
                number = MANY  # judged when its event is looked at, so that it does not depend on batches
            found[row] = number
        return found

    def texts(self, groups: Ints) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """The groups of events as texts, and which of them have one; shape (n,) each. groups : as `number` gave them."""
        there = (groups >= 0) & (groups < len(self._told))
        values = np.full(len(groups), None, object)
        values[there] = np.array(self._told, object)[groups[there]]
        return values, there

    def look(self, groups: Ints, known_us: Ints, at_us: int) -> list[Finding]:
        """Look at the events of one tick, none or more, and return what holds at its end. groups, known_us : shape (n,)."""
        if self.is_many:
            return []
        own = self.detectors
        if len(groups):
            if groups.max() >= MANY:
                self._forget()
                return []
            part = (at_us - 1) // HOUR_US % 24 // HOURS_A_GROUP
            self._grow(int(groups.max()) + 1)
            weight = self._weights[:, part]
            present, first = np.unique(groups, return_index=True)
            last = len(groups) - 1 - np.unique(groups[::-1], return_index=True)[1]
            there = present >= 0
            present, first, last = present[there], first[there], last[there]
            np.add.at(self._today[:, part], groups[groups >= 0], 1)
            # those that spoke: their silence ended at their first event, and another began at their last
            self._reached(present, own.levels[present] + weight[present] * first, known_us[first])
            silent = np.ones(len(own.levels), np.bool_)
            silent[present] = False
            own.levels[present] = weight[present] * (len(groups) - 1 - last)
            self._last_us[present] = known_us[last]
            for place in present.tolist():
                own.active.pop(place, None)
            own.levels[silent] = np.minimum(own.levels[silent] + weight[silent] * len(groups), CEILING)
            others = np.flatnonzero(silent)
            self._reached(others, own.levels[others], np.full(len(others), known_us[-1]))
        return self._findings(at_us) if own.active else []

    def close_day(self, learn: bool, at_us: int) -> None:
        """Learn the day if it was good, and begin another."""
        self.detectors.peaks[at_us - self._last_us < self._silence_us] = 0.0
        gone = np.flatnonzero((at_us - self._last_us > GIVEN_UP_US) & (self._counted.sum(axis=1) > 0))
        if learn:
            self._counted = self._counted * (1 - 1 / KEPT_DAYS) + self._today
            self._days += 1
        self._counted[gone] = 0
        self.detectors.levels[gone] = 0.0
        for place in gone.tolist():
            self.detectors.active.pop(place, None)
        self._today = np.zeros_like(self._today)
        total = self._counted.sum(axis=0)
        share = self._counted.sum(axis=1) / max(float(total.sum()), 1.0)
        by_part = (self._counted + PART_WEIGHT * share[:, None]) / (total + PART_WEIGHT)
        # half of it the least of three parts, as silences of sources are judged
        least = np.minimum(np.minimum(np.roll(by_part, 1, axis=1), np.roll(by_part, -1, axis=1)), by_part)
        self._weights = -np.log1p(-np.minimum((by_part + least) / 2, 0.999))
        # what is all of a source is missed with the source, and rare ones would only be noise to the limit of all
        self._weights[(share > 0.98) | self._rare()] = 0.0

    def _rare(self) -> npt.NDArray[np.bool_]:
        days = (1 - (1 - 1 / KEPT_DAYS) ** self._days) * KEPT_DAYS
        limits = np.where(np.isfinite(self.detectors.limits), self.detectors.limits, LEAST_LIMIT)
        return np.asarray(self._counted.sum(axis=1) < limits * max(days, 1.0))

    def _reached(self, places: Ints, levels: Floats, now_us: Ints) -> None:
        """Take note of how far silences have come, where they are long enough to count."""
        own = self.detectors
        long = now_us - self._last_us[places] >= self._silence_us
        places, levels, now_us = places[long], levels[long], now_us[long]
        own.peaks[places] = np.maximum(own.peaks[places], levels)
        beyond = levels > own.limits[places]
        for place, at_us in zip(places[beyond].tolist(), now_us[beyond].tolist(), strict=True):
            own.active.setdefault(place, at_us)

    def _findings(self, at_us: int) -> list[Finding]:
        own = self.detectors
        order = sorted(own.active, key=lambda place: (-float(own.levels[place]), place))
        worst = order[0]
        evidence = {
            "by": self.field,
            "silent": [self._told[place] for place in order[:GROUPS_TOLD]],
            "nats": round(float(own.levels[worst]), 2),
            "limit_nats": round(float(own.limits[worst]), 2),
            "last_event": instant(int(self._last_us[worst])),
            "silent_hours": round((at_us - int(self._last_us[worst])) / HOUR_US, 2),
        }
        named = frozenset(f"{self.field}={self._told[place]}" for place in order)
        since_us = min(own.active.values())
        score, stopped_us = float(own.levels[worst]), int(self._last_us[worst])
        share = len(order) / max(len(self._told), 1)
        return [Finding("missing_group", share, evidence, score, since_us, named, stopped_us)]

    def _grow(self, size: int) -> None:
        more = size - len(self._counted)
        if more > 0:
            self.detectors.grow([f"silence of {self.field}={text}" for text in self._told[size - more : size]])
            self._counted, self._weights = (
                np.concatenate([part, np.zeros((more, GROUPS))]) for part in (self._counted, self._weights)
            )
            self._today = np.concatenate([self._today, np.zeros((more, GROUPS), np.int64)])
            self._last_us = np.concatenate([self._last_us, np.zeros(more, np.int64)])

    def _forget(self) -> None:
        self.is_many = True
        self.detectors.limits[:] = np.inf
        self.detectors.active.clear()
        self.detectors.levels[:] = self.detectors.peaks[:] = 0.0


def silences(fields: Sequence[str], silence_us: int | None) -> list[GroupSilence]:
    """A watch for each field; none where silence is not watched."""
    return [] if silence_us is None else [GroupSilence(field, silence_us) for field in fields]
