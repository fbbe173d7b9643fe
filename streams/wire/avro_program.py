"""Programs: how the compiled decoder reads one writer schema, resolved once against the reader's (`avro_kernel` runs them).

Covered are records of primitives, enums, fixed, nested records that are always there or may be null, and unions of these,
projected by path onto the columns, with defaults, the promotions of the Avro specification and the logical types of
`avro_values`. A union may hold arrays and maps too: the records that do have one there take the general path. Where a schema
is not covered, `NotCovered` says why, and all its records take the general path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from samestream.schemas import avro
from samestream.schemas.avro_names import Names, kind_of_type, simple_name
from samestream.schemas.errors import SchemaError
from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.columns import ColumnData, Int64Array
from samestream.streams.wire import avro_kernel as kernel
from samestream.streams.wire.avro_kernel import Bytes
from samestream.streams.wire.avro_values import (
    DECIMAL,
    IDENTIFIER,
    PLAIN,
    SCALED,
    SYMBOL,
    UNITS,
    Reading,
    Rows,
    reading,
)

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


class NotCovered(Exception):
    """A schema that only the general path can read; says why."""


@dataclass(frozen=True, eq=False)
class Program:
    """How the records of one writer schema fill the columns.

    header : the bytes that such a record begins with
    codes : for enums, which of the reader's symbols each of the writer's is; -1 where it is none
    defaults : for columns that the writer does not have, a column of one row
    symbols : the texts of columns that are enums
    """

    header: Bytes
    fields: Int64Array
    branches: Int64Array
    codes: Int64Array
    defaults: Mapping[str, ColumnData]
    symbols: Mapping[str, tuple[str, ...]]

    @classmethod
    def compile(
        cls,
        writer: avro.Schema,
        reader: avro.Schema,
        columns: Mapping[str, Kind],
        key: str = "",
        header: bytes | None = None,
    ) -> Program:
        """The program that fills ``columns``, leaves of ``reader``; raises `NotCovered` for what only the general path can read.

        header : where it is not the writer's in single-object encoding
        """
        if key and columns[key] not in _KEYS:
            raise NotCovered(f"the key {key} is neither text nor a whole number")
        if simple_name(writer) != simple_name(reader):
            raise NotCovered(f"{writer['name']} is not {reader['name']}")
        resolved = _Resolution(writer, reader, columns, key)
        start = header if header is not None else avro.MARKER + avro.schema_fingerprint(writer)
        return cls(
            np.frombuffer(bytearray(start), np.uint8),
            np.array([*resolved.fields, len(resolved.rows)], np.int64),
            np.array(resolved.rows, np.int64).reshape(-1, kernel.BRANCH),
            np.array(resolved.codes or [0], np.int64),
            resolved.defaults,
            resolved.symbols,
        )


class _Resolution:
    """Walks the writer's record, and the reader's beside it."""

    def __init__(self, writer: avro.Schema, reader: avro.Schema, columns: Mapping[str, Kind], key: str) -> None:
        self._written, self._asked = Names(writer), Names(reader)
        # as the general path: where the two are one, the reader's aliases and docs play no part
        self._same = avro.schema_fingerprint(writer) == avro.schema_fingerprint(reader)
        self._reader, self._columns, self._key = reader, columns, key
        self._slots = {name: slot for slot, name in enumerate(columns)}
        self._inside: list[str] = []
        self.fields: list[int] = []
        self.rows: list[list[int]] = []
        self.codes: list[int] = []
        self.defaults: dict[str, ColumnData] = {}
        self.symbols: dict[str, tuple[str, ...]] = {}
        self._found: set[str] = set()
        self._record(self._written.schema, self._asked.schema, "", False)
        if missing := [name for name in columns if name not in self._found]:
            raise NotCovered(f"the reader has no field {missing[0]}")

    def _record(self, written: Any, asked: Any | None, prefix: str, optional: bool) -> None:
        if written["name"] in self._inside:
            raise NotCovered(f"{written['name']} holds itself")
        self._inside.append(written["name"])
        theirs, mine = _fields(written), _fields(asked) if asked is not None else {}
        if not self._same and any("aliases" in field for field in mine.values()):
            raise NotCovered("the reader has aliases")
        for name, field in mine.items():
            if name not in theirs:
                self._default(prefix + name, field, optional)
        for name, field in theirs.items():
            self._field(prefix + name, field["type"], mine[name]["type"] if name in mine else None, optional)
        self._inside.pop()

    def _field(self, path: str, written: Any, asked: Any | None, optional: bool) -> None:
        types = self._written.members(written)
        targets = self._asked.members(asked) if asked is not None else None
        union = int(isinstance(self._written.find(written), list))
        if any(kind_of_type(type_) in ("record", "error") for type_ in types):
            self._group(path, types, targets, union, optional)
            return
        rows = [[*self._branch(path, type_, targets, bool(union)), union] for type_ in types]
        if all(row[kernel.STORE] == kernel.REFUSE for row in rows):
            raise NotCovered(f"{path} cannot be read as the reader's type")
        self._found |= {path, path + UNITS} if targets is not None else set()
        self.fields.append(len(self.rows))
        self.rows += [_row(row) for row in rows]

    def _group(self, path: str, types: list[Any], targets: list[Any] | None, union: int, optional: bool) -> None:
        """A nested record: its fields follow as fields of their own, and are jumped over where it is null."""
        records = [type_ for type_ in types if type_ != "null"]
        asked = None
        if targets is not None:
            asked = next((part for part in targets if kind_of_type(part) == "record"), None)
            if asked is None or len([part for part in targets if part != "null"]) > 1:
                raise NotCovered(f"{path} is no nested record of the reader's")
            if simple_name(asked) != simple_name(records[0]):
                raise NotCovered(f"{path} is a {records[0]['name']}, not a {asked['name']}")
        if len(records) > 1 or "aliases" in (asked or {}):
            raise NotCovered(f"{path} may be one of several types")
        self.fields.append(len(self.rows))
        first, nulls = len(self.fields), []
        for type_ in types:
            refused = type_ == "null" and targets is not None and "null" not in targets
            kind = kernel.NULL if type_ == "null" else kernel.GROUP
            row = _row([kind, 0, kernel.REFUSE if refused else kernel.SKIP, 0, 0, 0, union])
            self.rows.append(row)
            nulls += [row] if type_ == "null" else []
        self._record(records[0], asked, f"{path}.", optional or bool(nulls))
        for row in nulls:
            row[kernel.SIZE] = len(self.fields) - first

    def _default(self, path: str, field: Mapping[str, Any], optional: bool) -> None:
        """Fill the columns of a field that only the reader has."""
        default = field.get("default", ...)
        leaves = [name for name in self._columns if name in (path, path + UNITS) or name.startswith(f"{path}.")]
        if default is ... or self._key in leaves:
            raise NotCovered(f"{path} is not in the writer's schema, and has no default")
        if optional and default is not None:
            raise NotCovered(f"{path} has a default within a record that may be null")
        self._found |= set(leaves)
        content: Any = default
        for part in reversed(path.split(".")):
            content = {part: content}
        try:
            row = Rows(self._reader, leaves).row(content)
        except (SchemaError, TypeError, KeyError) as error:
            raise NotCovered(f"{path} has a default that is no value of its type") from error
        for name in leaves:
            kind = self._columns[name]
            if not _is_plain(row[name], kind):
                raise NotCovered(f"{name} has a default that only Python holds")
            self.defaults[name] = cols.from_values([row[name]], kind)

    def _branch(self, path: str, type_: Any, targets: list[Any] | None, union: bool) -> list[int]:
        """One row of the kernel's branches, but for its last word."""
        name = kind_of_type(type_)
        if name not in _TYPES:
            if union and name in ("array", "map"):
                return [kernel.NESTED, 0, kernel.SKIP, 0, 0, 0]
            raise NotCovered(f"{path} is {'an' if name == 'array' else 'a'} {name}")
        code, size = _TYPES[name], int(type_["size"]) if name == "fixed" else 0
        if name == "enum":
            size = len(type_["symbols"])
        if size < 0:
            raise NotCovered(f"{path} has a size below 0")
        if targets is None:
            return [code, size, kernel.SKIP, 0, 0, 0]
        known = targets if not self._same else [type_]
        if any(kind_of_type(target) not in _TYPES for target in known) and name != "null":
            raise NotCovered(f"{path} may be one of several types")
        allowed = _PROMOTIONS.get(name, (name,))
        match = next((target for target in known if kind_of_type(target) in allowed), None)
        if match is None:
            return [code, size, kernel.REFUSE, 0, 0, 0]
        if not self._same and name == "fixed":
            raise NotCovered(f"{path} is fixed in another schema")  # resolved by names and sizes: rare enough
        codes = self._codes(path, type_, match) if name == "enum" else 0
        if name == "null":
            return [code, size, kernel.SKIP, 0, 0, 0]
        if path not in self._slots and path + UNITS not in self._slots:
            if (name, kind_of_type(match)) == ("bytes", "string"):
                raise NotCovered(f"{path} is bytes read as text")  # the general path converts it all the same
            unread = kernel.SKIP if name != "enum" else kernel.CODED
            return [code, size, unread, -1, codes, 0]
        target = next(part for part in targets if kind_of_type(part) == kind_of_type(match))
        try:
            how = reading(self._asked, target, (self._written, type_))
        except SchemaError as error:
            raise NotCovered(f"{path} has other digits") from error
        return self._store(path, code, size, kind_of_type(match), how, codes, target)

    def _store(self, path: str, code: int, size: int, match: str, how: Reading, codes: int, target: Any) -> list[int]:
        slot, kind = self._slots.get(path, -1), self._columns.get(path)
        if how.form == DECIMAL and code == kernel.BYTES:
            return [code, how.bound, kernel.DECIMAL, slot, how.factor, self._slots.get(path + UNITS, -1)]
        if how.form == SCALED and kind is Kind.TIME and path != self._key:
            return [code, size, kernel.SCALED, slot, how.factor, 0]
        if how.form == IDENTIFIER and kind is Kind.STRING and code == kernel.STRING:
            return [code, size, kernel.IDENTIFIER, slot, 0, 0]
        if how.form == SYMBOL and kind is Kind.STRING and path != self._key:
            self.symbols[path] = tuple(target["symbols"])
            return [code, size, kernel.CODED, slot, codes, 0]
        store = _STORES.get((kind, match)) if kind is not None else None
        if how.form != PLAIN or store is None:
            raise NotCovered(f"{path} needs Python to become {kind.value if kind is not None else 'a column'}")
        return [code, size, store, slot, 0, 0]

    def _codes(self, path: str, written: Any, asked: Any) -> int:
        """Where in ``codes`` the reader's number of each of the writer's symbols begins."""
        if not self._same and (simple_name(written) != simple_name(asked) or "aliases" in asked):
            raise NotCovered(f"{path} is an enum of another name")
        numbers = {symbol: number for number, symbol in enumerate(asked["symbols"])}
        other = numbers.get(asked.get("default"), -1) if not self._same else -1
        self.codes += [numbers.get(symbol, other) for symbol in written["symbols"]]
        return len(self.codes) - len(written["symbols"])


def _row(words: list[int]) -> list[int]:
    assert len(words) == kernel.BRANCH
    return words


def _fields(schema: Any) -> dict[str, dict[str, Any]]:
    """The fields of a record by name."""
    if kind_of_type(schema) != "record":
        raise NotCovered("it is no record")
    named = {field["name"]: field for field in schema["fields"]}
    if len(named) < len(schema["fields"]):
        raise NotCovered("two fields have one name")
    return named


def _is_plain(default: Any, kind: Kind) -> bool:
    """Whether a default is null, or a value of the column's own kind (a bool is no whole number)."""
    if default is None:
        return True
    if type(default) is int and not -(2**63) <= default < 2**63:
        return False
    return type(default) in _DEFAULTS.get(kind, ())
