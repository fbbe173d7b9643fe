"""Cells: which values count as the same, which steps from one value to the next, and what a value was before a mistake of units."""

# What is compiled reads single words; NumPy's stubs cannot tell an element of an array from an array.
# pyright: reportArgumentType=false, reportIndexIssue=false

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from samestream.streams.engine.compiling import compiled
from samestream.streams.models.profile_kernel import SIDE, bucket_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BUCKETS = 2 * SIDE + 1
CELLS = 2 * BUCKETS
"""A value's cell: its bucket, and whether it is a whole number."""


@compiled
def cell_of(x: float) -> int:
    """The cell of a finite value."""
    return bucket_of(x) + (BUCKETS if x == math.floor(x) else 0)


@compiled
def cells_of(values: Floats) -> Ints:
    """The cell of each value. values : shape (n,), finite."""
    cells = np.empty(len(values), np.int64)
    for row in range(len(values)):
        cells[row] = cell_of(values[row] + 0.0)
    return cells


@compiled
def moved(later: float, earlier: float) -> int:
    """The bucket of the difference of two values of one key."""
    return bucket_of(np.round((later - earlier) * 1e6) / 1e6 + 0.0)


@compiled
def moves_of(later: Floats, earlier: Floats) -> Ints:
    """The bucket of each difference. later, earlier : shape (n,), finite."""
    found = np.empty(len(later), np.int64)
    for row in range(len(later)):
        found[row] = moved(later[row], earlier[row])
    return found


@compiled
def restored(x: float, scale: float, offset: float) -> float:
    """A value with a mistake of units undone; whole where it is but for rounding."""
    before = (x - offset) / scale
    nearest = np.round(before)
    if abs(before - nearest) <= 1e-6 * max(1.0, abs(nearest)):
        before = nearest
    return before + 0.0


@compiled
def restored_cells(values: Floats, scale: float, offset: float) -> Ints:
    """The cell of each value with a mistake of units undone. values : shape (n,), finite."""
    cells = np.empty(len(values), np.int64)
    for row in range(len(values)):
        cells[row] = cell_of(restored(values[row] + 0.0, scale, offset))
    return cells
