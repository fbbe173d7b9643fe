"""The keys of a source, numbered: where the same few come again and again, a value is judged by the last of its key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

MANY = 1024
"""Different keys from which they count as names of single things."""
OFTEN = 12
"""Events a key must have had on average for a value to be judged by the one before it."""


@dataclass(frozen=True)
class Slots:
    """of : the number of each event's key, 0 to `MANY`; all 0 if not keyed; shape (n,)."""

    of: Ints
    keyed: bool


class Keys:
    """Numbers keys in the order in which they first come; all beyond the first `MANY` are one.

    keyed : whether values are judged by the last of their key; it changes at the end of a day only.
    """

    def __init__(self) -> None:
        self._number: dict[Any, int] = {}
        self._events, self._greatest = 0, -1
        self.keyed = False

    def number(self, keys: Sequence[Any] | None, count: int) -> Ints:
        """The number of each key, shape (count,); all 0 without keys."""
        found = np.zeros(count, np.int64)
        for row, key in enumerate(keys if keys is not None else ()):
            number = self._number.get(key, -1)
            if number < 0:
                number = min(len(self._number), MANY)
                if number < MANY:
                    self._number[key] = number
            found[row] = number
        return found

    def slots(self, numbers: Ints) -> Slots:
        """The slots of events, by the numbers of their keys."""
        return Slots(numbers if self.keyed else np.zeros(len(numbers), np.int64), self.keyed)

    def close_day(self, numbers: Ints) -> None:
        """See whether keys come often enough. numbers : of the day's events."""
        self._events += len(numbers)
        self._greatest = max(self._greatest, int(numbers.max(initial=-1)))
        self.keyed = 0 < self._greatest < MANY and self._events >= OFTEN * (self._greatest + 1)
