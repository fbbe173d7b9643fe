"""What peers watch: columns of the year by days, and the faults that they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from flights_year import DAY_US, Column, Ints

Floats = npt.NDArray[np.float64]
FROM_DAY, DAYS = 63, 365
ROWS = ""
"""Stands for a field: how many rows there were."""


@dataclass
class Stream:
    """One column of the year, as numbers; texts by their codes. bounds : where days begin, shape (366,)."""

    known_us: Ints
    values: Floats
    is_text: bool
    bounds: Ints
    rows_a_day: Floats
    null_share: Floats

    def before(self, day: int, days: int) -> Floats:
        """The values of so many days before one."""
        return self.values[self.bounds[day - days] : self.bounds[day]]


@dataclass(frozen=True)
class Job:
    """A day's window of one column to be judged. values : those that are there. rows : nulls, too."""

    group: str
    field: str
    day: int
    values: Floats
    rows: int


@dataclass
class Injection:
    """What the peers see of a fault. columns : those that came otherwise, from the midnight before on."""

    group: str
    at_us: int
    faulty_us: Ints
    columns: Mapping[str, Column]
    known_us: Ints


@dataclass
class Year:
    """Columns by group and name; a group's alarms on days in a row are one incident."""

    start_us: int
    streams: dict[tuple[str, str], Stream] = field(default_factory=dict)
    codes: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)

    def add(self, group: str, name: str, known_us: Ints, column: Column) -> None:
        """Take a column of the clean year, in known-time order."""
        values, valid = self.numbers(group, name, column)
        edges = self.start_us + np.arange(DAYS + 1) * DAY_US
        there = known_us[valid]
        every, held = np.searchsorted(known_us, edges), np.searchsorted(there, edges)
        rows = np.diff(every).astype(np.float64)
        nulls = 1 - np.diff(held) / np.maximum(rows, 1)
        is_text = (group, name) in self.codes
        self.streams[group, name] = Stream(there, values[valid], is_text, held, rows, nulls)

    def numbers(self, group: str, name: str, column: Column) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """A column as numbers: texts by their codes."""
        values, valid = column
        if values.dtype != object:
            return values.astype(np.float64), valid
        codes = self.codes.setdefault((group, name), {})
        return np.array([codes.setdefault(str(text), len(codes)) for text in values.tolist()], np.float64), valid

    def day(self, at_us: int) -> int:
        """The day of an instant."""
        return (at_us - self.start_us) // DAY_US


def incidents(alarms: Mapping[str, npt.NDArray[np.bool_]]) -> int:
    """Runs of days, over all groups. alarms : by group, shape (DAYS,)."""
    return sum(int(np.count_nonzero(days & ~np.concatenate([[False], days[:-1]]))) for days in alarms.values())
