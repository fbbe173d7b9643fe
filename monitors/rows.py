"""Rows that wait until a clock has passed them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


class Rows:
    """Rows held back until the clock has passed them, as columns; the first column is known time."""

    def __init__(self) -> None:
        self._chunks: list[tuple[npt.NDArray[Any], ...]] = []
        self._floor_us = np.iinfo(np.int64).min

    def add(self, known_us: Ints, *columns: npt.NDArray[Any]) -> None:
        """Append rows. known_us : shape (n,), raised to the greatest seen, or taken before, where it falls back."""
        if len(known_us) == 0:
            return
        known = np.maximum(np.maximum.accumulate(np.asarray(known_us, np.int64)), self._floor_us)
        self._floor_us = int(known[-1])
        self._chunks.append((known, *columns))

    @property
    def first_us(self) -> int | None:
        """Known time of the first row held."""
        return int(self._chunks[0][0][0]) if self._chunks else None

    def cut(self, ends_us: Ints) -> tuple[tuple[npt.NDArray[Any], ...] | None, list[int]]:
        """The rows known before the last of these instants, and how many of them were known before each; 0 comes first."""
        taken = self.take(int(ends_us[-1]))
        if taken is None:
            return None, [0] * (len(ends_us) + 1)
        return taken, [0, *np.searchsorted(taken[0], ends_us, side="left").tolist()]

    def take(self, before_us: int) -> tuple[npt.NDArray[Any], ...] | None:
        """Remove and return the rows known before an instant; None if there are none."""
        taken, kept = [], []
        for chunk in self._chunks:
            cut = int(np.searchsorted(chunk[0], before_us, side="left"))
            if cut:
                taken.append(tuple(column[:cut] for column in chunk))
            if cut < len(chunk[0]):
                kept.append(tuple(column[cut:] for column in chunk))
        self._chunks = kept
        self._floor_us = max(self._floor_us, before_us)
        return tuple(np.concatenate(parts) for parts in zip(*taken, strict=True)) if taken else None
