"""Avro records straight into columns, without a Python object per value (`streams.avro_kernel` is the compiled half).

A `Program` is compiled once per writer schema: what each of its fields is, and what becomes of it. It covers records of
null, boolean, int, long, float, double, string, bytes, enum, fixed and unions of these, projected by name onto the
columns, with defaults and the promotions of the Avro specification. A union may hold arrays and maps too: the records that
do have one there take the general path (`schemas.avro.Reader`). There is no program for any other schema, nor where a
value could reach its column only by way of Python: those take the general path whole.

A `Batch` holds records on their way. The programs settle what they can; the rest is for the general path to judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samestream.schemas import avro
from samestream.schemas.expressions import Kind
from samestream.streams import avro_kernel as kernel
from samestream.streams import columns as cols
from samestream.streams.avro_kernel import DEAD, GENERAL, GOOD, TODO, Bytes
from samestream.streams.columns import BoolArray, ColumnData, Int64Array

__all__ = ["DEAD", "GENERAL", "GOOD", "TODO", "Batch", "Program", "warm"]

_TYPES = {
    "null": kernel.NULL,
    "boolean": kernel.BOOLEAN,
    "int": kernel.INT,
    "long": kernel.LONG,
    "float": kernel.FLOAT,
    "double": kernel.DOUBLE,
    "string": kernel.STRING,
    "bytes": kernel.BYTES,
    "fixed": kernel.FIXED,
    "enum": kernel.ENUM,
}
_PROMOTIONS = {
    "int": ("int", "long", "float", "double"),
    "long": ("long", "float", "double"),
    "float": ("float", "double"),
    "string": ("string", "bytes"),
    "bytes": ("bytes", "string"),
}
_STORES: dict[tuple[Kind, str], int] = {
    **{(kind, type_): kernel.WORD for kind in (Kind.INT, Kind.TIME) for type_ in ("int", "long")},
    **{(Kind.FLOAT, type_): kernel.REAL for type_ in ("float", "double")},
    (Kind.BOOL, "boolean"): kernel.WORD,
    **{(Kind.STRING, type_): kernel.TEXT for type_ in ("string", "int", "long")},
}
_DEFAULTS: dict[Kind, tuple[type, ...]] = {
    Kind.INT: (int,),
    Kind.TIME: (int,),
    Kind.FLOAT: (int, float),
    Kind.BOOL: (bool,),
    Kind.STRING: (str,),
}
_KEYS = (Kind.STRING, Kind.INT, Kind.TIME)  # whose text in a Kafka key the kernel knows
_SAMPLE, _FEW = 256, 64  # texts: where so many in a row have so few different ones, each is made once


@dataclass(frozen=True, eq=False)
class Program:
    """How the records of one writer schema fill the columns.

    header : the ten bytes that such a record begins with
    defaults : for columns that the writer does not have, a column of one row
    """

    header: Bytes
    fields: Int64Array
    branches: Int64Array
    defaults: Mapping[str, ColumnData]

    @classmethod
    def compile(
        cls, writer: avro.Schema, reader: avro.Schema, columns: Mapping[str, Kind], key: str = ""
    ) -> Program | None:
        """The program that fills ``columns``, fields of ``reader``; None for what only the general path can read."""
        slots = {name: (slot, kind) for slot, (name, kind) in enumerate(columns.items())}
        written, asked = _fields(writer), _fields(reader)
        if avro.schema_fingerprint(writer) == avro.schema_fingerprint(reader):
            asked = written  # as the general path: the reader's aliases and docs play no part
        if written is None or asked is None or not set(slots) <= set(asked) or _name(writer) != _name(reader):
            return None
        if any("aliases" in field for field in asked.values()) and asked is not written:
            return None
        defaults = {}
        for name in asked.keys() - written.keys():
            default = asked[name].get("default", ...)
            if default is ... or name == key:
                return None
            if name in slots:
                kind = slots[name][1]
                if not _is_plain(default, kind):
                    return None
                defaults[name] = cols.from_values([default], kind)
        if key and columns[key] not in _KEYS:
            return None
        fields, rows = [0], []
        for name, field in written.items():
            union = isinstance(field["type"], list)
            targets = _members(asked[name]["type"]) if name in asked else None
            found = [
                [*_branch(type_, type_ if asked is written else None, targets, slots.get(name), union), int(union)]
                for type_ in _members(field["type"])
            ]
            if any(part[0] < 0 for part in found) or all(part[2] == kernel.REFUSE for part in found):
                return None
            rows += found
            fields.append(len(rows))
        header = np.frombuffer(bytearray(avro.MARKER + avro.schema_fingerprint(writer)), np.uint8)
        branches = np.array(rows, np.int64).reshape(-1, kernel.UNION + 1)
        return cls(header, np.array(fields, np.int64), branches, defaults)


class Batch:
    """Records being decoded: their bytes joined, a status each, and the columns as far as they are filled.

    values : the records, header included; None and empty ones are for the general path, as are those over ``longest``.
    status : shape (records,): TODO, GOOD, GENERAL or DEAD.
    """

    def __init__(self, values: Sequence[bytes | None], columns: Mapping[str, Kind], longest: int) -> None:
        self._columns = columns
        self._slots = {name: slot for slot, name in enumerate(columns)}
        self._data, self._bounds = _joined(values, longest)
        self.status: Bytes = np.zeros(len(values), np.uint8)
        self.status[np.diff(self._bounds) < kernel.HEADER_BYTES] = GENERAL
        self._words = np.zeros((len(columns), len(values)), np.int64)
        self._there = np.zeros((len(columns), len(values)), np.uint8)
        self._given: list[tuple[str, npt.NDArray[Any], ColumnData]] = []

    def run(self, program: Program) -> None:
        """Settle every record still to do that has the program's schema."""
        before = self.status.copy() if program.defaults else self.status
        kernel.decode(
            self._data,
            self._bounds,
            program.header,
            program.fields,
            program.branches,
            self.status,
            self._words,
            self._there,
        )
        for name, default in program.defaults.items():
            rows = np.flatnonzero((before == TODO) & (self.status == GOOD))
            self._given.append((name, rows, default.take(np.zeros(len(rows), np.int64))))

    def compare_keys(self, key: str, keys: Sequence[bytes | None]) -> Bytes:
        """How the Kafka key of each good record compares with its column ``key``: EQUAL, DIFFERENT or MISSING."""
        joined, bounds = _joined(keys, None)
        verdict: Bytes = np.zeros(len(keys), np.uint8)
        slot, text = self._slots[key], self._columns[key] is Kind.STRING
        kernel.compare(self._data, self._words[slot], self._there[slot], text, self.status, joined, bounds, verdict)
        if (verdict == kernel.ABSENT).any():
            for row in np.flatnonzero(verdict == kernel.ABSENT).tolist():
                verdict[row] = kernel.EQUAL if keys[row] == b"None" else kernel.DIFFERENT
        return verdict

    def text(self, name: str, row: int) -> str:
        """One value as Python's ``str`` writes it."""
        slot = self._slots[name]
        word, there = int(self._words[slot, row]), self._there[slot, row]
        if there == kernel.THERE and self._columns[name] is Kind.STRING:
            start = word >> kernel.LENGTH_BITS
            return self._data[start : start + (word & kernel.LONGEST)].tobytes().decode()
        return str(word) if there else "None"

    def bury(self, rows: Int64Array) -> None:
        """Take good records out of the columns: they are dead after all."""
        self.status[rows] = DEAD
        self._words[:, rows] = 0
        self._there[:, rows] = 0

    def fill(self, rows: Sequence[int], records: Sequence[Mapping[str, Any]]) -> None:
        """Put records that the general path has read into the columns."""
        at = np.array(rows, np.int64)
        self.status[at] = GOOD
        for name, kind in self._columns.items():
            self._given.append((name, at, cols.from_values([record[name] for record in records], kind)))

    def finish(self) -> dict[str, ColumnData]:
        """The columns, a row per record; rows of records that are not good are zeros, not there."""
        found = {name: self._column(slot, self._columns[name]) for name, slot in self._slots.items()}
        for name, rows, column in self._given:
            alive = self.status[rows] == GOOD
            found[name].values[rows[alive]] = column.values[alive]
            found[name].valid[rows[alive]] = column.valid[alive]
        return found

    def _column(self, slot: int, kind: Kind) -> ColumnData:
        words, there = self._words[slot], self._there[slot]
        valid: BoolArray = there != 0
        if kind is Kind.STRING:
            return ColumnData(self._texts(words, there), valid)
        if kind is Kind.BOOL:
            return ColumnData(words != 0, valid)
        if kind is Kind.MAP:
            return ColumnData(np.full(len(words), {}, object), valid)  # what is there is filled in by the general path
        return ColumnData(words.view(np.float64) if kind is Kind.FLOAT else words, valid)

    def _texts(self, words: Int64Array, there: Bytes) -> npt.NDArray[Any]:
        """The texts of a column as ``str``; those of general records follow in `finish`."""
        bounds = np.zeros(len(words) + 1, np.int64)
        np.cumsum(np.where(there == kernel.THERE, words & kernel.LONGEST, 0), out=bounds[1:])
        packed: Bytes = np.empty(bounds[-1], np.uint8)
        kernel.gather(self._data, words, bounds, packed)
        buffers: Any = pa.py_buffer(bounds), pa.py_buffer(packed)  # type: ignore[arg-type]
        array = pa.LargeStringArray.from_buffers(len(words), *buffers)
        if len(words) > _SAMPLE and len(array[:_SAMPLE].unique()) <= _FEW:
            encoded = array.dictionary_encode()
            values: npt.NDArray[Any] = encoded.dictionary.to_numpy(zero_copy_only=False)[encoded.indices.to_numpy()]
        else:
            values = np.require(array.to_numpy(zero_copy_only=False), object, "W")
        if (there == kernel.WHOLE).any():
            values[there == kernel.WHOLE] = words[there == kernel.WHOLE].tolist()
        return values


def warm() -> None:
    """Compile the kernel, or load it from numba's cache, before anything waits for it."""
    schema = {"type": "record", "name": "Warm", "fields": [{"name": "text", "type": "string"}]}
    program = Program.compile(schema, schema, {"text": Kind.STRING}, "text")
    assert program is not None
    batch = Batch([avro.Codec(schema).encode({"text": "a"})], {"text": Kind.STRING}, kernel.LONGEST)
    batch.run(program)
    batch.compare_keys("text", [b"a"])
    batch.finish()


def _joined(values: Sequence[bytes | None], longest: int | None) -> tuple[Bytes, Int64Array]:
    """The bytes in one array, and where each begins and the last ends; nothing of None and of what is too long."""
    try:
        lengths = np.fromiter(map(len, values), np.int64, len(values))  # type: ignore[arg-type]
    except TypeError:
        return _joined([value or b"" for value in values], longest)
    if longest is not None and len(lengths) and lengths.max() > longest:
        return _joined([value if value and len(value) <= longest else b"" for value in values], None)
    bounds = np.zeros(len(values) + 1, np.int64)
    np.cumsum(lengths, out=bounds[1:])
    # a bytearray: numba would compile a second version for the read-only bytes
    return np.frombuffer(bytearray().join(values) or bytearray(1), np.uint8), bounds  # type: ignore[arg-type]


def _fields(schema: avro.Schema) -> dict[str, dict[str, Any]] | None:
    """The fields of a record by name; None for what is no record, or has a name twice."""
    fields = schema.get("fields")
    if schema.get("type") != "record" or not isinstance(fields, list):
        return None
    named = {field["name"]: field for field in fields}
    return named if len(named) == len(fields) else None


def _name(schema: avro.Schema) -> str:
    return str(schema["name"]).rpartition(".")[2]


def _members(type_: Any) -> list[Any]:
    return type_ if isinstance(type_, list) else [type_]


def _plain(type_: Any) -> tuple[str, int] | None:
    """The name of a type without parts and its size (bytes of a fixed, symbols of an enum), or None."""
    if isinstance(type_, dict):
        name = type_.get("type")
        if name == "fixed":
            return (name, int(type_["size"])) if int(type_["size"]) >= 0 else None
        if name == "enum":
            return name, len(type_["symbols"])
        type_ = name
    return (type_, 0) if isinstance(type_, str) and type_ in _TYPES and type_ not in ("fixed", "enum") else None


def _branch(type_: Any, same: Any, targets: list[Any] | None, place: tuple[int, Kind] | None, union: bool) -> list[int]:
    """One row of the kernel's branches, but for its last word: type, size, store, slot; the type is -1 if not covered.

    same : the reader's type where reader and writer are equal, else None and ``targets`` are those of the reader's field
    targets : None where the reader does not have the field
    place : slot and kind of its column, if it has one
    """
    plain = _plain(type_)
    if plain is None:
        nested = union and isinstance(type_, dict) and type_.get("type") in ("array", "map")
        return [kernel.NESTED if nested else -1, 0, kernel.SKIP, 0]
    name, size = plain
    code = _TYPES[name]
    if targets is None:
        return [code, size, kernel.SKIP, 0]
    known = [_plain(target) for target in ([same] if same is not None else targets)]
    if None in known and name != "null":
        return [-1, 0, 0, 0]
    allowed = _PROMOTIONS.get(name, (name,))
    match = next((target for target, _ in filter(None, known) if target in allowed), None)
    if match is None:
        return [code, size, kernel.REFUSE, 0]
    if same is None and name in ("fixed", "enum"):
        return [-1, 0, 0, 0]  # resolved by their names, sizes and symbols: rare enough for the general path
    if place is None:
        # read all the same by the general path, which converts bytes to text where the reader asks for text
        return [-1, 0, 0, 0] if (name, match) == ("bytes", "string") else [code, size, kernel.SKIP, 0]
    slot, kind = place
    if name == "null":
        return [code, size, kernel.SKIP, slot]
    store = _STORES.get((kind, match))
    return [code, size, store, slot] if store is not None else [-1, 0, 0, 0]


def _is_plain(default: Any, kind: Kind) -> bool:
    """Whether a default is null, or a value of the column's own kind (a bool is no whole number)."""
    if type(default) is int and not -(2**63) <= default < 2**63:
        return False
    return default is None or type(default) in _DEFAULTS[kind]
