"""Columns into Avro records, without a Python object per value (`streams.wire.encode_kernel` is the compiled half).

Whole numbers, times, floats, conditions and texts, each of them nullable or not, are written by compiled code. What is
something else, a list or a map, is written value by value in Python, and its bytes are put between those of the others: so
a schema has no slow path, only fields that have one. Either way the bytes are those that `schemas.avro.Codec` writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from samestream.schemas import avro
from samestream.schemas.avro import Codec
from samestream.schemas.errors import SchemaError
from samestream.streams import columns as cols
from samestream.streams.columns import ColumnData, Int64Array
from samestream.streams.wire import encode_kernel as kernel
from samestream.streams.wire.packed import Packed
from samestream.streams.wire.parcel import Parcel

_FORMS = {
    "int": kernel.LONG,
    "long": kernel.LONG,
    "double": kernel.DOUBLE,
    "boolean": kernel.BOOLEAN,
    "string": kernel.TEXT,
}
_DTYPES: dict[int, Any] = {kernel.LONG: np.int64, kernel.DOUBLE: np.float64, kernel.BOOLEAN: np.bool_}


@dataclass(frozen=True, eq=False)
class Coded:
    """A column of few different values: record ``i`` has ``values[codes[i]]``."""

    values: Sequence[Any]
    codes: Int64Array


@dataclass(frozen=True)
class Constant:
    """A column with the same value in every record."""

    value: Any


Source: TypeAlias = ColumnData | Coded | Constant


class RecordEncoder:
    """Writes records of one schema, in single-object encoding."""

    def __init__(self, schema: avro.Schema) -> None:
        self._schema, self._header = schema, Codec(schema).header
        self._forms = {field["name"]: _form(field["type"]) for field in schema["fields"]}
        self._codecs = {field["name"]: Codec({**schema, "fields": [field]}, b"") for field in schema["fields"]}

    @property
    def in_python(self) -> list[str]:
        """The fields whose values are written one by one."""
        return [name for name, (form, _) in self._forms.items() if form == kernel.RAW]

    def encode(self, columns: Mapping[str, Source], rows: int) -> Packed:
        """So many records, of a column for each field. Raises SchemaError for a value that does not fit."""
        fields = _Fields(1 + len(self._forms), rows)
        fields.raw(Packed.of([self._header]), np.zeros(rows, np.int64))
        for name, (form, null) in self._forms.items():
            self._add(fields, name, form, null, columns[name])
        packed, field = fields.encoded()
        if (row := len(packed)) < rows:
            name = list(self._forms)[field - 1]
            raise SchemaError(
                "a record does not fit its schema",
                where=f"{self._schema['name']}.{name}",
                found=f"no value in record {row} of a batch",
                expected="a value, as the field is not nullable",
                hint="compare the values with the declaration's fields and kinds.",
            )
        return packed

    def _add(self, fields: _Fields, name: str, form: int, null: int, source: Source) -> None:
        if isinstance(source, Constant):
            source = Coded([source.value], np.zeros(fields.rows, np.int64))
        if isinstance(source, Coded):
            fields.raw(self._packed(name, source.values), source.codes)
        elif form == kernel.RAW:
            fields.raw(self._packed(name, cols.to_python(source)), np.arange(fields.rows))
        elif form == kernel.TEXT:
            fields.text(cols.utf8(source), source.valid, null)
        else:
            fields.words(form, source, null)

    def _packed(self, name: str, values: Sequence[Any]) -> Packed:
        """Values of one field as Avro."""
        codec = self._codecs[name]
        return Packed.of([codec.encode({name: value}) for value in values])


class _Fields:
    """What the kernel reads, field after field."""

    def __init__(self, fields: int, rows: int) -> None:
        self.rows = rows
        self._count, self._most = 0, 1
        self._fields = np.zeros((fields, 2), np.int64)
        self._words, self._sizes = np.empty((fields, rows), np.int64), np.empty((fields, rows), np.int64)
        self._there = np.ones((fields, rows), np.uint8)
        self._data: list[Any] = []
        self._data_bytes = 0

    def words(self, form: int, column: ColumnData, null: int) -> None:
        """A field of numbers or conditions."""
        values = column.values.astype(_DTYPES[form], copy=False)
        self._words[self._count] = values.view(np.int64) if form == kernel.DOUBLE else values
        self._there[self._count] = column.valid
        self._end(form, null)

    def text(self, texts: Packed, valid: Any, null: int) -> None:
        """A field of texts."""
        self._there[self._count] = valid
        self._bytes(texts, slice(None))
        self._end(kernel.TEXT, null)

    def raw(self, values: Packed, codes: Int64Array) -> None:
        """A field whose values are Avro already."""
        self._bytes(values, codes)
        self._end(kernel.RAW, -1)

    def _bytes(self, values: Packed, rows: Any) -> None:
        self._words[self._count] = (values.bounds[:-1] + self._data_bytes)[rows]
        self._sizes[self._count] = sizes = values.lengths[rows]
        self._most += int(sizes.sum())
        self._data.append(values.data)
        self._data_bytes += len(values.data)

    def _end(self, form: int, null: int) -> None:
        self._fields[self._count] = form, null
        self._most += kernel.MOST[form] * self.rows
        self._count += 1

    def encoded(self) -> tuple[Packed, int]:
        """The records, up to the first that lacks a value, and which field that is."""
        out, bounds = np.empty(self._most, np.uint8), np.zeros(self.rows + 1, np.int64)
        data = np.concatenate(self._data)
        done, field = kernel.encode(self._fields, self._words, self._sizes, self._there, data, out, bounds)
        return Packed(out, bounds[: done + 1], np.ones(done, np.uint8)), field


def _form(type_: Any) -> tuple[int, int]:
    """How values of an Avro type are written, and which branch of it is null."""
    null = -1
    if isinstance(type_, list):
        if len(type_) != 2 or "null" not in type_:
            return kernel.RAW, -1
        null = type_.index("null")
        type_ = type_[1 - null]
    form = _FORMS.get(type_["type"] if isinstance(type_, dict) else type_, kernel.RAW)
    return form, null if form != kernel.RAW else -1


def encode_key(key: Any) -> bytes:
    """A Kafka key: text as UTF-8, whole numbers as decimal digits."""
    return str(key).encode()


def keys_of(column: ColumnData) -> Packed:
    """Kafka keys as `encode_key` makes them; every row has a value."""
    if column.raw is not None:
        return column.raw.packed
    values = column.values
    if values.dtype == object:
        with suppress(pa.ArrowTypeError):  # whole numbers in a column that may also hold text
            return cols.utf8(column)
    if values.dtype != np.int64:
        return Packed.of([encode_key(value) for value in values.tolist()])
    out, bounds = np.empty(kernel.LONGEST_NUMBER * len(values) + 1, np.uint8), np.zeros(len(values) + 1, np.int64)
    kernel.decimals(np.ascontiguousarray(values), out, bounds)
    return Packed(out, bounds, np.ones(len(values), np.uint8))


def warm() -> None:
    """Compile the kernel, or load it from numba's cache, before anything waits for it."""
    schema = {"type": "record", "name": "Warm", "fields": [{"name": "n", "type": "long"}]}
    column = ColumnData(np.zeros(1, np.int64), np.ones(1, np.bool_))
    values, keys = RecordEncoder(schema).encode({"n": column}, 1), keys_of(column)
    Parcel("", keys, values, np.zeros(1, np.int64), np.zeros(1, np.int64)).reheaded(b"", b"")
