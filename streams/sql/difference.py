"""By how much vectors differ: what was served, and what it should have been."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.transport import position

TOLERANCE = 1e-9


def slack_of(name: str) -> str:
    """The column that says how far off another one may be."""
    return f"_slack.{name}"


@dataclass(frozen=True)
class Difference:
    """How one column differs: rows compared, those that differ, and the greatest absolute difference of two numbers.

    greatest : of times in seconds; of conditions 1; 0 for text and lists.
    differs : for each compared row, in order of position, whether it differs; the same rows for every column.
    greatest_relative : to the expected number, where that is not zero. null_served, null_expected : rows with one side only.
    """

    compared: int
    mismatched: int
    greatest: float
    differs: cols.BoolArray = field(repr=False, compare=False)
    greatest_relative: float = 0.0
    null_served: int = 0
    null_expected: int = 0


def difference(served: pa.Table, expected: pa.Table, columns: Sequence[str]) -> dict[str, Difference]:
    """Compare columns of the rows that both tables have, joined by `_partition` and `_offset`.

    Whole numbers, conditions, times, text and lists are compared exactly (a list's floats are values as they came, never
    computed); floats may be apart by ``TOLERANCE`` times the greater of them and 1, which is what rounding does where
    nothing cancels. To that comes the column that `slack_of` names, if ``expected`` has it: what the order of additions, or
    an estimate, may do in each row, by the bounds of `streams.sql.aggregates` (`point_in_time` with ``slack``). Where the
    slack is infinite, as where sums overflow in one order and not in another, nothing is compared.
    """
    left, right = same_rows(served, expected)
    found = {}
    for name in columns:
        a, b = served[name].combine_chunks().take(left), expected[name].combine_chunks().take(right)
        slack = np.zeros(len(left))
        if slack_of(name) in expected.column_names:
            slack = _floats(expected[slack_of(name)].combine_chunks().take(right)).values
        apart, wrong = _apart(a, b, slack)
        there = [part.is_valid().to_numpy(zero_copy_only=False).astype(np.bool_) for part in (a, b)]
        found[name] = Difference(
            len(left),
            int(wrong.sum()),
            float(apart.max(initial=0.0)),
            wrong,
            _relative(apart, b),
            int((wrong & ~there[0] & there[1]).sum()),
            int((wrong & there[0] & ~there[1]).sum()),
        )
    return found


def _relative(apart: cols.Float64Array, expected: pa.Array[Any]) -> float:
    """The greatest of some differences, as shares of what was expected, where that is a number and not zero."""
    if not (pa.types.is_floating(expected.type) or pa.types.is_integer(expected.type)):
        return 0.0
    # a great whole number may become the float next to it
    size = np.abs(cols.from_arrow(expected.cast(pa.float64(), safe=False), Kind.FLOAT).values)
    there = (size > 0) & np.isfinite(size)
    return float((apart[there] / size[there]).max(initial=0.0))


def _apart(a: pa.Array[Any], b: pa.Array[Any], slack: cols.Float64Array) -> tuple[cols.Float64Array, cols.BoolArray]:
    """How far apart two columns are, and where too far."""
    if pa.types.is_floating(a.type) or pa.types.is_floating(b.type):
        x, y = _floats(a), _floats(b)
        with np.errstate(invalid="ignore", over="ignore"):  # infinity minus itself
            apart = np.where(x.valid & y.valid & (x.values != y.values), np.abs(x.values - y.values), 0.0)
            bound = TOLERANCE * np.maximum(1.0, np.maximum(np.abs(x.values), np.abs(y.values))) + slack
        wrong = (x.valid != y.valid) | (apart > bound) | np.isinf(apart)
    elif pa.types.is_integer(a.type) or pa.types.is_boolean(a.type) or pa.types.is_timestamp(a.type):
        unit = 1e6 if pa.types.is_timestamp(a.type) else 1.0
        x, y = _whole(a), _whole(b)
        unequal = x.valid & y.valid & (x.values != y.values)
        apart = np.where(unequal, np.abs(x.values.astype(np.float64) - y.values.astype(np.float64)), 0.0) / unit
        # two great whole numbers may be the same float
        wrong = (x.valid != y.valid) | (unequal & ((slack == 0) | (apart > slack)))
    else:
        wrong = np.array([one != other for one, other in zip(a.to_pylist(), b.to_pylist(), strict=True)], np.bool_)
        apart = np.zeros(len(wrong))
    return apart, wrong & ~np.isinf(slack)


def _whole(column: pa.Array[Any]) -> cols.ColumnData:
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    elif pa.types.is_timestamp(column.type):
        column = column.cast(cols.ARROW[Kind.TIME])
    return cols.from_arrow(column.cast(pa.int64()), Kind.INT)


def _floats(column: pa.Array[Any]) -> cols.ColumnData:
    return cols.from_arrow(column.cast(pa.float64()), Kind.FLOAT)


def same_rows(served: pa.Table, expected: pa.Table) -> tuple[cols.Int64Array, cols.Int64Array]:
    """The rows of either table that have the same `_partition` and `_offset`, in order of position."""
    places = [
        position(
            np.asarray(table["_partition"].to_numpy(), np.int64), np.asarray(table["_offset"].to_numpy(), np.int64)
        )
        for table in (served, expected)
    ]
    _, left, right = np.intersect1d(places[0], places[1], return_indices=True)
    return left, right
