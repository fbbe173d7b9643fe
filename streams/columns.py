"""Columns: how values travel in batches between decoding, engines, logs and models.

A column is a pair of equally long arrays: values, and whether each is there. Where it is not, the value is a zero of its
kind, never read. Numbers are int64 and float64, conditions are bool, times are int64 microseconds since 1970 (UTC), text is
an object array of str, made when it is first asked for: until then it is the bytes it came in. Lists and maps are object
arrays of Python lists and dicts, whose elements are of the column's item kind (a time again in microseconds) or None; nobody
changes one that stands in a column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samestream.schemas.expressions import Kind
from samestream.streams.wire.packed import Packed

if TYPE_CHECKING:
    from samestream.streams.wire.texts import Texts

Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

DTYPES: dict[Kind, Any] = {
    Kind.INT: np.int64,
    Kind.FLOAT: np.float64,
    Kind.BOOL: np.bool_,
    Kind.TIME: np.int64,
    Kind.STRING: object,
    Kind.LIST: object,
    Kind.MAP: object,
}
ZEROS: dict[Kind, Any] = {
    Kind.INT: 0,
    Kind.FLOAT: 0.0,
    Kind.BOOL: False,
    Kind.TIME: 0,
    Kind.STRING: "",
    Kind.LIST: [],
    Kind.MAP: {},
}
ARROW: dict[Kind, pa.DataType] = {
    Kind.INT: pa.int64(),
    Kind.FLOAT: pa.float64(),
    Kind.BOOL: pa.bool_(),
    Kind.TIME: pa.timestamp("us", "UTC"),
    Kind.STRING: pa.string(),
}


def arrow_type(kind: Kind, item: Kind | None = None) -> pa.DataType:
    """The Arrow type of a column; ``item`` is the kind of a list's elements or a map's values."""
    if kind is Kind.LIST:
        return pa.list_(ARROW[item or Kind.STRING])
    if kind is Kind.MAP:
        return pa.map_(pa.string(), ARROW[item or Kind.STRING])
    return ARROW[kind]


class ColumnData:
    """Values and their presence, each of shape (rows,). Nobody changes them once they are handed on.

    values : None where ``raw`` holds them, of which they are then made when they are asked for
    """

    __slots__ = ("_values", "raw", "valid")

    def __init__(self, values: npt.NDArray[Any] | None, valid: BoolArray, raw: Texts | None = None) -> None:
        self._values, self.valid, self.raw = values, valid, raw

    @property
    def values(self) -> npt.NDArray[Any]:
        """The values."""
        if self._values is None:
            assert self.raw is not None
            self._values = self.raw.objects()
        return self._values

    @property
    def is_object(self) -> bool:
        """Whether the values are Python objects, or will be."""
        return self.raw is not None or self.values.dtype == object

    @property
    def held_bytes(self) -> int:
        """The bytes of its arrays: of objects, those of the references; of texts that are none yet, of where they lie."""
        return self.valid.nbytes + (self.values.nbytes if self.raw is None else self.raw.words.nbytes)

    def take(self, rows: Any) -> ColumnData:
        """The rows chosen by an index array, a mask or a slice."""
        if self.raw is not None:
            values = None if self._values is None else self._values[rows]
            return ColumnData(values, self.valid[rows], self.raw.take(rows))
        return ColumnData(self.values[rows], self.valid[rows])

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        yield self.values
        yield self.valid


class CodedText(ColumnData):
    """Text of which each value is also known by its place in ``texts``, for what can use that: the values are ``texts[codes]``.

    codes : int32, shape (rows,); of a row that is not there, any
    texts : object array of str; they may repeat, and not all need occur
    """

    __slots__ = ("codes", "texts")

    def __init__(self, codes: npt.NDArray[np.int32], texts: npt.NDArray[Any], valid: BoolArray) -> None:
        super().__init__(None, valid)
        self.codes, self.texts = codes, texts

    @property
    def values(self) -> npt.NDArray[Any]:
        """The texts, made when they are first asked for."""
        if self._values is None:
            self._values = self.texts[self.codes]
        return self._values

    @property
    def is_object(self) -> bool:
        """Always."""
        return True

    def take(self, rows: Any) -> ColumnData:
        """See `ColumnData.take`."""
        return CodedText(self.codes[rows], self.texts, self.valid[rows])


Columns = Mapping[str, ColumnData]


class Made(Mapping[str, ColumnData]):
    """Columns that are made when they are first asked for: of many that an event has, few are read.

    names : of all; ``make`` gives the column of a name
    """

    def __init__(self, names: Iterable[str], make: Callable[[str], ColumnData]) -> None:
        self._make = make
        self._made: dict[str, ColumnData | None] = dict.fromkeys(names)

    def __getitem__(self, name: str) -> ColumnData:
        made = self._made[name]
        if made is None:
            made = self._made[name] = self._make(name)
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


def from_values(values: Sequence[Any], kind: Kind) -> ColumnData:
    """A column of Python values, None where there is none; a NaN counts as none."""
    zero = ZEROS[kind]
    valid = np.fromiter((value is not None for value in values), np.bool_, len(values))
    if valid.all():
        filled: Sequence[Any] = values
    else:
        filled = [zero if value is None else value for value in values]
    if kind in (Kind.LIST, Kind.MAP):  # an assignment would take lists of one length for a second dimension
        return ColumnData(np.fromiter(filled, object, len(filled)), valid)
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
    texts = [part.raw for part in parts if part.raw is not None]
    if texts and len(texts) == len(parts):
        return ColumnData(None, np.concatenate([part.valid for part in parts]), texts[0].joined(texts))
    return ColumnData(np.concatenate([part.values for part in parts]), np.concatenate([part.valid for part in parts]))


def empty(kind: Kind) -> ColumnData:
    """A column of no rows."""
    return ColumnData(np.empty(0, DTYPES[kind]), np.empty(0, np.bool_))


def to_arrow(column: ColumnData, kind: Kind, item: Kind | None = None) -> pa.Array[Any]:
    """The column as Arrow, null where there is no value."""
    values: Any = column.values
    mask = ~column.valid
    if kind is Kind.STRING:
        # a key of whole numbers in a column that may also hold text: as text
        values = [str(value) for value in values.tolist()]
    elif kind in (Kind.LIST, Kind.MAP):
        taken = to_python(column)
        if kind is Kind.MAP:
            taken = [None if value is None else list(value.items()) for value in taken]
        return pa.array(taken, type=arrow_type(kind, item))
    return pa.array(values, type=ARROW[kind] if kind is not Kind.TIME else pa.int64(), mask=mask).cast(ARROW[kind])


def from_arrow(array: pa.Array[Any] | pa.ChunkedArray[Any], kind: Kind, item: Kind | None = None) -> ColumnData:
    """An Arrow array as a column."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if kind in (Kind.LIST, Kind.MAP):
        if item is Kind.TIME:  # first as what it says it is, so that another unit is converted
            array = array.cast(arrow_type(kind, item))
            array = array.cast(pa.list_(pa.int64()) if kind is Kind.LIST else pa.map_(pa.string(), pa.int64()))
        taken = array.to_pylist()
        if kind is Kind.MAP:
            taken = [None if value is None else dict(value) for value in taken]
        return from_values(taken, kind)
    if kind is Kind.TIME:
        array = (array if array.type == ARROW[kind] else array.cast(ARROW[kind])).cast(pa.int64())
    valid = np.asarray(array.is_valid()) if array.null_count else np.ones(len(array), np.bool_)
    if kind is Kind.STRING and isinstance(array, pa.DictionaryArray):
        texts = np.append(np.asarray(array.dictionary.to_numpy(zero_copy_only=False), object), "")  # for null
        codes = array.indices.fill_null(len(texts) - 1).to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
        return CodedText(codes, texts, valid)
    values = array.fill_null(ZEROS[kind]) if array.null_count else array
    if kind is Kind.STRING:
        return ColumnData(np.asarray(values.to_numpy(zero_copy_only=False), dtype=object), valid)
    return without_nan(ColumnData(np.ascontiguousarray(values.to_numpy(zero_copy_only=False), DTYPES[kind]), valid))


def to_python(column: ColumnData) -> list[Any]:
    """The column as Python values, None where there is none."""
    values = column.values.tolist()
    if column.valid.all():
        return values  # type: ignore[no-any-return]
    return [value if there else None for value, there in zip(values, column.valid.tolist(), strict=True)]


def utf8(column: ColumnData) -> Packed:
    """The texts as bytes side by side; where there is none, no bytes. Raises ArrowTypeError where one is no text."""
    if column.raw is not None:
        return column.raw.packed
    values, rows = column.values, len(column.values)
    buffers: Any = pa.array(values, pa.large_string(), from_pandas=False).buffers()
    _, offsets, data = buffers
    # copies: compiled code would be compiled a second time for read-only memory
    bounds = np.frombuffer(offsets, np.int64, rows + 1).copy() if rows else np.zeros(1, np.int64)
    held = np.frombuffer(data, np.uint8).copy() if data is not None and data.size else np.zeros(1, np.uint8)
    return Packed(held, bounds, np.ones(rows, np.uint8))


def plain(column: pa.ChunkedArray[Any]) -> pa.ChunkedArray[Any]:
    """An Arrow column with times as whole microseconds, also in a list or map."""
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.int64())
    if pa.types.is_list(column.type) and pa.types.is_timestamp(column.type.value_type):
        return column.cast(pa.list_(pa.int64()))
    if pa.types.is_map(column.type) and pa.types.is_timestamp(column.type.item_type):
        return column.cast(pa.map_(column.type.key_type, pa.int64()))
    return column
