"""Columns: how values travel in batches between decoding, engines, logs and models.

A column is a pair of equally long arrays: values, and whether each is there. Where it is not, the value is a zero of its
kind, never read. Numbers are int64 and float64, conditions are bool, times are int64 microseconds since 1970 (UTC), text is
an object array of str.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samestream.schemas.expressions import Kind

Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

DTYPES: dict[Kind, Any] = {
    Kind.INT: np.int64,
    Kind.FLOAT: np.float64,
    Kind.BOOL: np.bool_,
    Kind.TIME: np.int64,
    Kind.STRING: object,
}
_ZEROS: dict[Kind, Any] = {Kind.INT: 0, Kind.FLOAT: 0.0, Kind.BOOL: False, Kind.TIME: 0, Kind.STRING: ""}
ARROW: dict[Kind, pa.DataType] = {
    Kind.INT: pa.int64(),
    Kind.FLOAT: pa.float64(),
    Kind.BOOL: pa.bool_(),
    Kind.TIME: pa.timestamp("us", "UTC"),
    Kind.STRING: pa.string(),
}


class ColumnData(NamedTuple):
    """Values and their presence, each of shape (rows,)."""

    values: npt.NDArray[Any]
    valid: BoolArray

    def take(self, rows: Any) -> ColumnData:
        """The rows chosen by an index array, a mask or a slice."""
        return ColumnData(self.values[rows], self.valid[rows])


Columns = Mapping[str, ColumnData]


def from_values(values: Sequence[Any], kind: Kind) -> ColumnData:
    """A column of Python values, None where there is none; a NaN counts as none."""
    zero = _ZEROS[kind]
    valid = np.fromiter((value is not None for value in values), np.bool_, len(values))
    if valid.all():
        filled: Sequence[Any] = values
    else:
        filled = [zero if value is None else value for value in values]
    array = np.empty(len(values), DTYPES[kind])
    array[:] = filled
    return without_nan(ColumnData(array, valid))


def without_nan(column: ColumnData) -> ColumnData:
    """The column with NaN read as null."""
    if column.values.dtype != np.float64:
        return column
    missing = np.isnan(column.values)
    if not missing.any():
        return column
    return ColumnData(np.where(missing, 0.0, column.values), column.valid & ~missing)


def concatenate(parts: Sequence[ColumnData]) -> ColumnData:
    """Columns one after the other."""
    if len(parts) == 1:
        return parts[0]
    return ColumnData(np.concatenate([part.values for part in parts]), np.concatenate([part.valid for part in parts]))


def empty(kind: Kind) -> ColumnData:
    """A column of no rows."""
    return ColumnData(np.empty(0, DTYPES[kind]), np.empty(0, np.bool_))


def to_arrow(column: ColumnData, kind: Kind) -> pa.Array[Any]:
    """The column as Arrow, null where there is no value."""
    values: Any = column.values
    if kind is Kind.STRING:
        # a key of whole numbers in a column that may also hold text: as text
        values = [str(value) for value in values.tolist()]
    return pa.array(values, type=ARROW[kind] if kind is not Kind.TIME else pa.int64(), mask=~column.valid).cast(
        ARROW[kind]
    )


def from_arrow(array: pa.Array[Any] | pa.ChunkedArray[Any], kind: Kind) -> ColumnData:
    """An Arrow array as a column."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if kind is Kind.TIME:
        array = array.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    valid = np.asarray(array.is_valid())
    values = array.fill_null(_ZEROS[kind]) if array.null_count else array
    if kind is Kind.STRING:
        return ColumnData(np.asarray(values.to_numpy(zero_copy_only=False), dtype=object), valid)
    return without_nan(ColumnData(np.ascontiguousarray(values.to_numpy(zero_copy_only=False), DTYPES[kind]), valid))


def to_python(column: ColumnData) -> list[Any]:
    """The column as Python values, None where there is none."""
    values = column.values.tolist()
    if column.valid.all():
        return values  # type: ignore[no-any-return]
    return [value if there else None for value, there in zip(values, column.valid.tolist(), strict=True)]
