"""What the other numbers of an event say of one: of a zero where another is none, and of a value that stays where another moved.

Two fields may tell of one thing: minutes and hours of a delay, an amount in two currencies. Where one of them was never zero
while the other was not, such a zero says more than zeros by themselves; and where one has always moved with the other, that it
stays says that it is stuck. What goes with what is learned from good days: a field is a witness of another if what it says
makes the zero, or the repeat, `PLAINLY` less likely. That two fields contradict each other does not say which of them is wrong.
So a witness is heard only where nothing is odd about itself: it has just moved, is not zero, and neither it nor its last value
is among the outermost hundredths of what it usually says. Else a value is judged as it would be alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.monitors.usual import DAYS_KEPT, UNSEEN_WEIGHT

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

FIELDS = 8
"""Fields of one source that may be each other's witnesses: the first so many."""
PLAINLY = 3.0
"""Nats by which a witness must make a value less likely: what only tends to go together is no contradiction."""
OUTERMOST = 0.01
OF_ZEROS, OF_STAYS = range(2)


@dataclass(frozen=True)
class Beside:
    """What witnesses say of the values of one field.

    values : of the witness of zeros, and of that of values that stay, NaN where there is none to be heard; shape (2, n).
    lifts : nats by which they make a zero, or a repeat, less likely where they deny it, at most 0; shape (2,).
    never : no zero came yet that its witness denied.
    """

    values: Floats
    lifts: Floats
    never: bool = False


def nothing_beside(n: int) -> Beside:
    """No witness for any of n values."""
    return Beside(np.full((2, n), np.nan), np.zeros(2))


class Witnesses:
    """The witnesses of each numeric field of a source. fields : how many it has."""

    def __init__(self, fields: int) -> None:
        self._fields = min(fields, FIELDS)
        self._today: list[tuple[Floats, Ints]] = []
        self._days: list[tuple[Ints, Floats]] = []
        self._usual: Floats = np.full((2, self._fields), np.nan)
        self._by: Ints = np.full((2, self._fields), -1, np.int64)
        self._lifts = np.zeros((2, self._fields))
        self._never: Bools = np.zeros(self._fields, np.bool_)

    def beside(self, field: int, columns: Sequence[Any]) -> Beside:
        """What is said of the next values of a field. columns : of each field, (values, valid)."""
        said = nothing_beside(len(columns[field][0]))
        if field >= self._fields or not self._lifts[:, field].any():
            return said
        for what in (OF_ZEROS, OF_STAYS):
            by = int(self._by[what, field])
            if by >= 0:
                values, (low, high) = _finite(*columns[by]), self._usual[:, by]
                said.values[what] = np.where((values != 0) & (values >= low) & (values <= high), values, np.nan)
        return Beside(said.values, self._lifts[:, field], bool(self._never[field]))

    def tell_of_one(self, field: int, other: int) -> bool:
        """Whether one of two fields is a witness of the other."""
        if max(field, other) >= self._fields:
            return False
        return other in self._by[:, field].tolist() or field in self._by[:, other].tolist()

    def note(self, columns: Sequence[Any], slots: Ints) -> None:
        """Keep the day's next events. columns : of each field, (values, valid); slots : of each event, shape (n,)."""
        if self._fields > 1:
            self._today.append((np.array([_finite(*column) for column in columns[: self._fields]]), slots))

    def close_day(self, learn: bool) -> None:
        """Learn the day if it was good, and begin another."""
        if learn and self._today:
            values = np.concatenate([part for part, _ in self._today], axis=1)
            tallies = _tallies(values, np.concatenate([part for _, part in self._today]))
            self._days.append((tallies, _outermost(values)))
            del self._days[:-DAYS_KEPT]
            self._choose()
        self._today = []

    def _choose(self) -> None:
        hits, cases, hits_anyway, cases_anyway = np.sum([tallies for tallies, _ in self._days], axis=0)
        anyway = np.log((hits_anyway + 0.5) / (cases_anyway + 1))
        careful = np.log((hits + 0.5) / (cases + 1)) - anyway  # few cases are no proof
        self._by = np.argmin(careful, axis=2)
        plain = np.min(careful, axis=2) <= -PLAINLY
        lifts = np.log((hits + UNSEEN_WEIGHT) / (cases + 1)) - anyway
        self._lifts = np.where(plain, np.take_along_axis(lifts, self._by[..., None], axis=2)[..., 0], 0.0)
        self._never = plain[OF_ZEROS] & (np.take_along_axis(hits, self._by[..., None], axis=2)[OF_ZEROS, :, 0] == 0)
        self._by[~plain] = -1
        bounds = np.array([bounds for _, bounds in self._days])
        known = np.isfinite(bounds)
        self._usual = np.where(known, bounds, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)


def _finite(values: Floats, valid: npt.NDArray[np.bool_]) -> Floats:
    """NaN where there is no number."""
    return np.where(valid & np.isfinite(values), values, np.nan)


def _outermost(values: Floats) -> Floats:
    """Between what a field's values lie but for the outermost, NaN without any; shape (2, fields). values : shape (fields, n)."""
    found = np.full((2, len(values)), np.nan)
    for field, column in enumerate(values):
        if np.isfinite(column).any():
            found[:, field] = np.nanquantile(column, [OUTERMOST, 1 - OUTERMOST])
    return found


def _tallies(values: Floats, slots: Ints) -> Ints:
    """Of zeros and of repeats, by field and witness: how often where the witness denies it, of how many; and anyway.

    values : shape (fields, n). slots : shape (n,). Returns shape (4, 2, fields, fields); of a field and itself, nothing.
    """
    fields = len(values)
    found = np.zeros((4, 2, fields, fields), np.int64)
    for field in range(fields):
        there = np.isfinite(values[field])
        order = np.argsort(slots[there], kind="stable")
        own, places = values[field][there][order], slots[there][order]
        pairs = places[1:] == places[:-1]
        zero, stays = own == 0, (own[1:] == own[:-1])[pairs]
        for witness in range(fields):
            if witness == field:
                continue
            other = values[witness][there][order]
            known = np.isfinite(other)
            denies = known & (other != 0)
            both = (known[1:] & known[:-1])[pairs]
            moved = both & (other[1:] != other[:-1])[pairs]
            for what, hit, case, among in ((OF_ZEROS, zero, denies, known), (OF_STAYS, stays, moved, both)):
                counts = (hit & case, case, hit & among, among)
                found[:, what, field, witness] = [np.count_nonzero(part) for part in counts]
    return found
