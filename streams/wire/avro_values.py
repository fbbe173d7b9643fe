"""From plain Avro values to those that columns hold, and back: logical types, nested records, lists and maps.

The column of a nested record's field is named by its path, ``address.city``; that of a decimal's unscaled whole number
``price.minor_units``. A time is understood in the unit that its writer's schema says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from samestream.schemas.avro import Schema
from samestream.schemas.avro_names import Names, kind_of_type, logical
from samestream.schemas.errors import SchemaError
from samestream.schemas.expressions import Kind

UNITS = ".minor_units"
PLAIN, SCALED, DECIMAL, IDENTIFIER, SYMBOL, MANY = range(6)
UNIT_US = {"date": 86_400_000_000, "timestamp-millis": 1000, "timestamp-micros": 1}
_KINDS = {
    "int": Kind.INT,
    "long": Kind.INT,
    "float": Kind.FLOAT,
    "double": Kind.FLOAT,
    "boolean": Kind.BOOL,
    "string": Kind.STRING,
    "enum": Kind.STRING,
    "array": Kind.LIST,
    "map": Kind.MAP,
}


class Reading(NamedTuple):
    """How a plain value becomes a column's.

    factor : microseconds of a time's unit; of a decimal ``10**scale``
    bound : of a decimal ``10**digits``, which its unscaled whole number stays below
    units : whether a decimal is read as its unscaled whole number
    inner : how the elements of a list or map are read
    """

    form: int = PLAIN
    factor: int = 1
    bound: int = 0
    units: bool = False
    inner: Reading | None = None

    def value(self, plain: Any) -> Any:
        """What the column holds. Raises ValueError for a value outside its logical type."""
        if self.form == SCALED:
            if not -(2**63) <= plain * self.factor < 2**63:
                raise ValueError(f"{plain} is a time beyond 64 bits of microseconds")
            return plain * self.factor
        if self.form == DECIMAL:
            # a default is text in the schema
            content = plain.encode("latin-1") if isinstance(plain, str) else plain
            number = int.from_bytes(content, "big", signed=True)
            if not content or abs(number) >= self.bound:
                raise ValueError(f"0x{content[:20].hex()} has more than {len(str(self.bound)) - 1} digits, or none")
            return number if self.units else self.as_float(number)
        if self.form == IDENTIFIER:
            if len(plain) != 36:
                raise ValueError(f"{plain[:80]!r} is no UUID in its canonical form")
            try:
                return str(UUID(plain))
            except ValueError as error:
                raise ValueError(f"{plain[:80]!r} is no UUID") from error
        if self.form == MANY and self.inner is not None:
            if isinstance(plain, dict):
                return {name: self.inner._element(part) for name, part in plain.items()}
            return [self.inner._element(part) for part in plain]
        return plain

    def as_float(self, units: int) -> float:
        """A decimal's unscaled whole number as expressions see it."""
        return float(units) / float(self.factor)

    def plain(self, value: Any) -> Any:
        """The plain value of a column's; a time is rounded down to its unit."""
        if self.form == SCALED:
            return value // self.factor
        if self.form == DECIMAL:
            number = value if self.units else round(value * self.factor)
            return number.to_bytes(16, "big", signed=True)
        if self.form == MANY and self.inner is not None:
            inner = self.inner
            if isinstance(value, dict):
                return {name: None if part is None else inner.plain(part) for name, part in value.items()}
            return [None if part is None else inner.plain(part) for part in value]
        return value

    def _element(self, plain: Any) -> Any:
        if plain is None or plain != plain:
            return None
        return self.value(plain)


def reading(names: Names, type_: Any, writer: tuple[Names, Any] | None = None, units: bool = False) -> Reading:
    """How values of a reader's type are read.

    writer : the type they were written with, which decides the unit of a time
    Raises SchemaError where a decimal was written with other digits: the bytes alone would mean another number.
    """
    found = _valued(names, type_)
    written: Any = _valued(*writer) if writer is not None else "null"
    kind, meant = kind_of_type(found), logical(found)
    if kind in ("int", "long") and meant in UNIT_US:
        unit = logical(written) if logical(written) in UNIT_US else meant
        return Reading(SCALED, UNIT_US[unit]) if unit != "timestamp-micros" else Reading()
    if kind == "bytes" and meant == "decimal":
        digits = found["precision"], found.get("scale", 0)
        if logical(written) == "decimal" and (written["precision"], written.get("scale", 0)) != digits:
            raise SchemaError(
                "a decimal has other digits",
                found=f"decimal({written['precision']}, {written.get('scale', 0)})",
                expected=f"decimal({digits[0]}, {digits[1]})",
                hint="write it with the digits and scale that are declared.",
            )
        return Reading(DECIMAL, 10 ** digits[1], 10 ** digits[0], units)
    if kind == "string" and meant == "uuid":
        return Reading(IDENTIFIER)
    if kind in ("array", "map"):
        part = "items" if kind == "array" else "values"
        inside = (writer[0], written[part]) if writer and kind_of_type(written) == kind else None
        return Reading(MANY, inner=reading(names, found[part], inside))
    return Reading(SYMBOL) if kind == "enum" else Reading()


class Rows:
    """How records become rows, a value per column, and back.

    writer : the schema they were written with, if it is not the reader's
    Raises SchemaError naming the field for a decimal of other digits than the reader's.
    """

    def __init__(self, schema: Schema, columns: Iterable[str], writer: Schema | None = None) -> None:
        names, written = Names(schema), Names(writer) if writer is not None else None
        self._columns: list[tuple[str, tuple[str, ...], Reading]] = []
        for name in columns:
            path, type_ = leaf(names, name)
            other = leaf(written, name)[1] if written is not None else None
            source = (written, other) if written is not None and other is not None else None
            try:
                how = reading(names, type_, source, name.endswith(UNITS) and path[-1] != UNITS[1:])
            except SchemaError as error:
                raise SchemaError(
                    error.what, where=name, found=error.found, expected=error.expected, hint=error.hint
                ) from error
            self._columns.append((name, path, how))
        inside = {path[:end] for _, path, _ in self._columns for end in range(1, len(path))}
        self._optional = {path for path in inside if "null" in names.members(leaf(names, ".".join(path))[1])}

    def row(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """A plain record as a row. Raises SchemaError for a value outside its logical type."""
        found = {}
        for name, path, how in self._columns:
            value: Any = record
            for part in path:
                value = value[part] if value is not None else None
            try:
                found[name] = None if value is None else how.value(value)
            except ValueError as error:
                raise SchemaError("invalid_value", found=f"{name}: {error}") from error
        return found

    def record(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row as a plain record; a nested record that may be null is so where all its fields are.

        A decimal is taken from its minor units, where these are there and the float does not say otherwise.
        """
        found: dict[str, Any] = {}
        for name, path, how in self._columns:
            inside = found
            for part in path[:-1]:
                inside = inside.setdefault(part, _Inner())
            value = row[name]
            if how.units and value is not None and row.get(name.removesuffix(UNITS)) not in (None, how.as_float(value)):
                continue
            if value is not None or path[-1] not in inside:
                inside[path[-1]] = None if value is None else how.plain(value)
        for path in sorted(self._optional, key=len, reverse=True):  # the innermost first
            inside = found
            for part in path[:-1]:
                inside = inside[part]
            if inside[path[-1]].is_empty():
                inside[path[-1]] = None
        return found


class _Inner(dict[str, Any]):
    """A nested record, as opposed to a map."""

    def is_empty(self) -> bool:
        """Whether no field has a value."""
        return all(part is None or (isinstance(part, _Inner) and part.is_empty()) for part in self.values())


def leaf(names: Names, column: str) -> tuple[tuple[str, ...], Any]:
    """Where a column's value stands in a record, and its type; the type is None where the schema has no such field."""
    path: list[str] = []
    type_: Any = names.schema
    parts = column.split(".")
    for number, part in enumerate(parts):
        record = next((member for member in names.members(type_) if kind_of_type(member) == "record"), None)
        if record is None:  # of a decimal: its minor units
            decimal = part == UNITS[1:] and number == len(parts) - 1 and logical(_valued(names, type_)) == "decimal"
            return tuple(path if decimal else parts), type_ if decimal else None
        field = next((field for field in record["fields"] if field["name"] == part), None)
        if field is None:
            return tuple(parts), None
        type_ = field["type"]
        path.append(part)
    return tuple(path), type_


def described(schema: Schema) -> dict[str, dict[str, Any]]:
    """What a schema says of each field that becomes a column, by the column's name, those of nested records too."""
    names = Names(schema)
    found: dict[str, dict[str, Any]] = {}

    def walk(record: Any, prefix: str, inside: tuple[str, ...]) -> None:
        for field in record["fields"]:
            inner = _valued(names, field["type"])
            if kind_of_type(inner) != "record":
                found[prefix + field["name"]] = field
            elif inner["name"] not in inside:
                walk(inner, f"{prefix}{field['name']}.", (*inside, inner["name"]))

    walk(names.schema, "", (names.schema["name"],))
    return found


def column_kind(schema: Schema, column: str) -> tuple[Kind, Kind | None]:
    """The kind of a column that a schema's field becomes, and of its elements if it is a list or map.

    A union of text and whole numbers is text.
    """
    names = Names(schema)
    return _kind(names, leaf(names, column)[1])


def _kind(names: Names, type_: Any) -> tuple[Kind, Kind | None]:
    members = [member for member in names.members(type_) if member != "null"]
    if len(members) != 1:
        return Kind.STRING, None
    kind, meant = kind_of_type(members[0]), logical(members[0])
    if meant in UNIT_US:
        return Kind.TIME, None
    if meant == "decimal":
        return Kind.FLOAT, None
    if kind in ("array", "map"):
        return _KINDS[kind], _kind(names, members[0]["items" if kind == "array" else "values"])[0]
    return _KINDS[kind], None


def _valued(names: Names, type_: Any) -> Any:
    """The first member that is not null."""
    return next((member for member in names.members(type_) if member != "null"), "null")
