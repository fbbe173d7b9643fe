"""Two fields of a source that may have been exchanged: the values of each fit what is usual for the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.monitors.detectors import Detectors
from samestream.monitors.incidents import Finding
from samestream.monitors.number_evidence import swapped_numbers
from samestream.monitors.number_watch import NumberWatch
from samestream.monitors.slots import MANY, Slots
from samestream.monitors.text_evidence import swapped_texts
from samestream.monitors.text_watch import TextWatch

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PAIRS = 28
"""Pairs of fields of one source that may be exchanged: those of the first eight fields."""


class NumberSwaps:
    """Pairs of numeric fields that may have been exchanged."""

    def __init__(self, fields: Sequence[NumberWatch]) -> None:
        self.pairs = _pairs(fields)
        self._fields = fields
        self.detectors = Detectors([f"{fields[one].cause} and {fields[other].cause}" for one, other in self.pairs])
        self._last = [np.full((MANY + 1, 2), np.nan) for _ in self.pairs]
        self._last_at = [np.zeros(MANY + 1, np.int64) for _ in self.pairs]
        self._began = [np.zeros(2, np.int64) for _ in self.pairs]

    def look(self, columns: Sequence[Any], slots: Slots, known_us: Ints, group: int) -> None:
        """Look at the next rows. columns : of each field, (values, valid)."""
        for at, (one, other) in enumerate(self.pairs):
            first, second = self._fields[one].table, self._fields[other].table
            if first is None or second is None:
                return
            swapped_numbers(
                columns[one][0], columns[other][0], columns[one][1] & columns[other][1], slots.of,
                first.by_step and second.by_step, group,
                first.usual, second.usual, first.moves, second.moves,
                self._last[at], self._last_at[at], self._began[at], at, *self.detectors.arrays,
            )  # fmt: skip
        self.detectors.settle(known_us)


class TextSwaps:
    """Pairs of fields of texts that may have been exchanged."""

    def __init__(self, fields: Sequence[TextWatch]) -> None:
        self.pairs = _pairs(fields)
        self._fields = fields
        self.detectors = Detectors([f"{fields[one].cause} and {fields[other].cause}" for one, other in self.pairs])
        self._usual: list[Floats] = []

    def look(self, columns: Sequence[Ints], known_us: Ints) -> None:
        """Look at the next rows. columns : the codes of each field."""
        if not self._usual:
            return
        for at, (one, other) in enumerate(self.pairs):
            if self._fields[one].crowded or self._fields[other].crowded:
                self.detectors.stop_one(at)
                continue
            swapped_texts(
                columns[one], columns[other], self._usual[one], self._usual[other], at, *self.detectors.arrays
            )
        self.detectors.settle(known_us)

    def close_day(self) -> None:
        """Take note of what the fields learned."""
        tables = [field.table for field in self._fields]
        if all(table is not None for table in tables):
            size = max((len(table.usual) for table in tables if table is not None), default=0)
            self._usual = [_finite(table.usual, size) for table in tables if table is not None]


def _pairs(fields: Sequence[Any]) -> list[tuple[int, int]]:
    places = range(len(fields))
    return [(one, other) for one in places for other in places if one < other][:PAIRS]


def exchanged(swaps: NumberSwaps | TextSwaps, fields: Sequence[Any]) -> list[tuple[str, Finding]]:
    """The cause and the finding of each pair that seems exchanged."""
    found = []
    for at, since_us in swaps.detectors.active.items():
        one, other = (fields[place].cause for place in swaps.pairs[at])
        evidence = {
            "exchanged": [one, other],
            "nats": round(float(swaps.detectors.levels[at]), 2),
            "limit_nats": round(float(swaps.detectors.limits[at]), 2),
        }
        score = float(swaps.detectors.scores[at])
        found.append((one, Finding("swapped", 1.0, evidence, score=score, since_us=since_us)))
    return found


def _finite(usual: Floats, size: int) -> Floats:
    """Log shares of codes, -10 where a code was never seen in a field. Shape (size,)."""
    found = np.full(size, -10.0)
    found[: len(usual)] = np.maximum(usual, -10.0)
    return found
