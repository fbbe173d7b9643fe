"""Peers that judge a column value by value: river's detectors. See `peers`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from flights_year import DAY_US, HOUR_US, Ints
from peer_year import DAYS, FROM_DAY, Floats, Injection, Year, incidents


class StreamPeer:
    """A detector of river on every value.

    grid : from the most sensitive on. by_hour : means by the hour instead of values.
    """

    every = 1

    def __init__(
        self, name: str, year: Year, grid: Sequence[Any], make: Callable[[Any], Any], by_hour: bool = False
    ) -> None:
        self.name, self._year, self._grid, self._make, self._by_hour = name, year, grid, make, by_hour
        self.limit: Any = grid[0]
        self._usual: dict[tuple[str, str], tuple[float, float, dict[int, float]]] = {}
        for place, stream in year.streams.items():
            past = stream.before(56, 56)
            rare = {}
            if stream.is_text:
                texts, counts = np.unique(past, return_counts=True)
                rare = {int(t): float(-np.log(c / len(past))) for t, c in zip(texts, counts, strict=True)}
                past = np.array([rare[int(value)] for value in past])
            self._usual[place] = (float(past.mean()), float(past.std()) or 1.0, rare)

    def tune(self, allowed: int) -> int:
        """Take the most sensitive parameter that opens no more incidents on the clean year; how many it opens."""
        opened, self.limit, best = 0, self._grid[-1], 0
        # from the calmest on: one that always alarms is a single run of days, and no calm one
        for number, limit in enumerate(reversed(self._grid)):
            alarms = {group: np.zeros(DAYS, np.bool_) for group, _ in self._year.streams}
            opened = 0
            for (group, name), stream in self._year.streams.items():
                low = stream.bounds[FROM_DAY - 7]
                at_us, steps = self._steps(group, name, stream.known_us[low:], stream.values[low:])
                detector = self._make(limit)
                for time_us, value in zip(at_us, steps, strict=True):
                    detector.update(value)
                    if detector.drift_detected:
                        day = min(self._year.day(time_us), DAYS - 1)
                        alarms[group][day] |= day >= FROM_DAY
                        detector = self._make(limit)
                opened = incidents(alarms)
                if opened > allowed and number:
                    break
            if opened > allowed:
                return best if number else opened
            self.limit, best = limit, opened
        return best

    def close(self) -> None:
        """Nothing of it runs."""

    def caught_us(self, injections: Sequence[Injection]) -> list[int | None]:
        """When each fault was first told, None where it was not."""
        return [min(found, default=None) for found in map(list, map(self._alarms, injections))]

    def _alarms(self, one: Injection) -> Iterator[int]:
        midnight_us = self._year.start_us + self._year.day(one.at_us) * DAY_US
        for name, column in one.columns.items():
            stream = self._year.streams[one.group, name]
            low, high = np.searchsorted(stream.known_us, [midnight_us - 7 * DAY_US, midnight_us])
            values, valid = self._year.numbers(one.group, name, column)
            known = np.concatenate([stream.known_us[low:high], one.known_us[valid]])
            at_us, steps = self._steps(one.group, name, known, np.concatenate([stream.values[low:high], values[valid]]))
            detector = self._make(self.limit)
            for time_us, value in zip(at_us, steps, strict=True):
                detector.update(value)
                if detector.drift_detected:
                    if time_us >= one.at_us:
                        yield time_us
                        break
                    detector = self._make(self.limit)

    def _steps(self, group: str, name: str, known_us: Ints, values: Floats) -> tuple[list[int], list[float]]:
        mean, std, rare = self._usual[group, name]
        if rare:
            values = np.array([rare.get(int(value), 12.0) for value in values.tolist()])
        steps = (values - mean) / std
        if self._by_hour and len(steps):
            hours = known_us // HOUR_US
            starts = np.flatnonzero(np.concatenate([[True], hours[1:] != hours[:-1]]))
            steps = np.add.reduceat(steps, starts) / np.diff(np.append(starts, len(hours)))
            known_us = (hours[starts] + 1) * HOUR_US
        return known_us.tolist(), steps.tolist()
