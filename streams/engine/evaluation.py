"""What the rules of `streams.engine.evaluate` are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.schemas.kinds import Kind
from samestream.streams.columns import DTYPES, ZEROS, BoolArray, ColumnData

# From an operation and the columns of its arguments to its column.
Rule = Callable[[Any, list[ColumnData]], ColumnData]


def finished(values: npt.NDArray[Any], valid: BoolArray, kind: Kind) -> ColumnData:
    """A column with NaN read as null (infinity minus infinity gives one), and zeros where there is no value."""
    if kind is Kind.FLOAT:
        valid = valid & ~np.isnan(values)
    if valid.all():
        return ColumnData(values, valid)
    zero = np.empty((), DTYPES[kind])
    zero[()] = ZEROS[kind]
    return ColumnData(np.where(valid, values, zero), valid)


def floats(column: ColumnData) -> npt.NDArray[np.float64]:
    """The values of a column of numbers as floats."""
    return column.values.astype(np.float64, copy=False)


def as_kind(column: ColumnData, kind: Kind) -> npt.NDArray[Any]:
    """The values of a column in the type of a kind: a whole number becomes a float, all else is so already."""
    return column.values.astype(DTYPES[kind], copy=False)


def both(args: Sequence[ColumnData]) -> BoolArray:
    """Where every argument has a value."""
    valid: BoolArray = np.logical_and.reduce([arg.valid for arg in args])
    return valid
