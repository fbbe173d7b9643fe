"""The types of fields: one class each, which says how a value is checked, written in Avro and held in expressions.

A *plain* Avro value is what the bytes hold before any logical type is applied: a time is a whole number of microseconds, a
decimal is the bytes of its unscaled whole number.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from samestream.schemas.errors import DeclarationError
from samestream.schemas.expressions import EPOCH, Kind

MOST_DIGITS = 18  # more would not fit the 64 bits of `minor_units`
SYMBOL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FIRST_DAY = date(1970, 1, 1).toordinal()
Known = dict[str, Any]
"""Named Avro types written so far, by name: a second use of one is by its name alone."""


class FieldType:
    """One type of value."""

    kind: ClassVar[Kind]
    item: Kind | None = None
    symbols: tuple[str, ...] = ()
    written: str = ""
    """As messages name it."""

    def avro(self, known: Known) -> Any:
        """The Avro type."""
        raise NotImplementedError

    def accept(self, value: Any) -> Any:
        """The value as an instance holds it. Raises ValueError saying what is wrong."""
        raise NotImplementedError

    def plain(self, value: Any) -> Any:
        """An accepted value as a plain Avro value."""
        return value

    def value(self, plain: Any) -> Any:
        """What an instance holds, from a plain Avro value. Raises ValueError for one outside the type."""
        return plain

    def default(self, value: Any) -> Any:
        """An accepted value as the JSON of an Avro default."""
        return self.plain(value)


class Text(FieldType):
    """``str``, as an Avro string."""

    kind, written = Kind.STRING, "str"

    def avro(self, known: Known) -> Any:
        """See `FieldType.avro`."""
        return "string"

    def accept(self, value: Any) -> str:
        """See `FieldType.accept`."""
        if not isinstance(value, str):
            raise ValueError("is no text")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError("cannot be written as UTF-8: it holds half of a surrogate pair") from error
        return str(value)


class Whole(FieldType):
    """``int`` of 64 bits, as an Avro long."""

    kind, written = Kind.INT, "int"

    def avro(self, known: Known) -> Any:
        """See `FieldType.avro`."""
        return "long"

    def accept(self, value: Any) -> int:
        """See `FieldType.accept`."""
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise ValueError("is no whole number")
        if not -(2**63) <= int(value) < 2**63:
            raise ValueError("does not fit 64 bits")
        return int(value)


class Real(FieldType):
    """``float``, as an Avro double."""

    kind, written = Kind.FLOAT, "float"

    def avro(self, known: Known) -> Any:
        """See `FieldType.avro`."""
        return "double"

    def accept(self, value: Any) -> float:
        """See `FieldType.accept`."""
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise ValueError("is no number")
        try:
            number = float(value)
        except OverflowError as error:
            raise ValueError("does not fit a float") from error
        if math.isnan(number):
            raise ValueError("is no number: streams read a NaN as null")
        return number


class Condition(FieldType):
    """``bool``, as an Avro boolean."""

    kind, written = Kind.BOOL, "bool"

    def avro(self, known: Known) -> Any:
        """See `FieldType.avro`."""
        return "boolean"

    def accept(self, value: Any) -> bool:
        """See `FieldType.accept`."""
        if not isinstance(value, bool):
            raise ValueError("is neither True nor False")
        return value


class Instant(FieldType):
    """``datetime``, as a timestamp of microseconds or milliseconds; what is finer is cut off."""

    kind, written = Kind.TIME, "datetime"

    def __init__(self, unit_us: int = 1) -> None:
        self._unit_us = unit_us

    def avro(self, known: Known) -> Any:
        """See `FieldType.avro`."""
        return {"type": "long", "logicalType": "timestamp-micros" if self._unit_us == 1 else "timestamp-millis"}

    def accept(self, value: Any) -> datetime:
        """See `FieldType.accept`."""
        if not isinstance(value, datetime):
            raise ValueError("is no datetime")
        if value.tzinfo is None:
            raise ValueError("has no time zone: add tzinfo=UTC, or the zone it is meant in")
        return value - timedelta(microseconds=value.microsecond % self._unit_us)

    def plain(self, value: datetime) -> int:
        """See `FieldType.plain`."""
        return (value - EPOCH) // timedelta(microseconds=self._unit_us)

    def value(self, plain: int) -> datetime:
        """See `FieldType.value`."""
        try:
            return EPOCH + timedelta(microseconds=plain * self._unit_us)
        except OverflowError as error:
            raise ValueError("is outside the years 1 to 9999") from error


class Day(FieldType):
    """``date``, as an Avro date: days since 1970."""

    kind, written = Kind.TIME, "date"

    def avro(self, known: Known) -> Any:
        """See `FieldType.avro`."""
        return {"type": "int", "logicalType": "date"}

    def accept(self, value: Any) -> date:
        """See `FieldType.accept`."""
        if not isinstance(value, date) or isinstance(value, datetime):
            raise ValueError("is no date")
        return value

    def plain(self, value: date) -> int:
        """See `FieldType.plain`."""
        return value.toordinal() - _FIRST_DAY

    def value(self, plain: int) -> date:
        """See `FieldType.value`."""
        try:
            return date.fromordinal(plain + _FIRST_DAY)
        except (ValueError, OverflowError) as error:
            raise ValueError("is outside the years 1 to 9999") from error


class Money(FieldType):
    """``Decimal`` with a fixed number of digits, as an Avro decimal in bytes."""

    kind, written = Kind.FLOAT, "Decimal"

    def __init__(self, digits: int, scale: int) -> None:
        self.digits, self.scale = digits, scale

    def avro(self, known: Known) -> Any:
        """See `FieldType.avro`."""
        return {"type": "bytes", "logicalType": "decimal", "precision": self.digits, "scale": self.scale}

    def accept(self, value: Any) -> Decimal:
        """See `FieldType.accept`."""
        if isinstance(value, int) and not isinstance(value, bool):
            value = Decimal(value)
        if not isinstance(value, Decimal):
            raise ValueError("is no Decimal")
        if not value.is_finite():
            raise ValueError("is no number")
        self._units(value)
        return value

    def plain(self, value: Decimal) -> bytes:
        """See `FieldType.plain`."""
        units = self._units(value)
        return units.to_bytes((units if units >= 0 else ~units).bit_length() // 8 + 1, "big", signed=True)

    def value(self, plain: bytes) -> Decimal:
        """See `FieldType.value`."""
        units = int.from_bytes(plain, "big", signed=True)
        if not plain or abs(units) >= 10**self.digits:
            raise ValueError(f"has more than {self.digits} digits" if plain else "is empty")
        sign, digits = int(units < 0), tuple(map(int, str(abs(units))))
        return Decimal((sign, digits, -self.scale))

    def default(self, value: Decimal) -> str:
        """See `FieldType.default`."""
        return self.plain(value).decode("latin-1")

    def _units(self, value: Decimal) -> int:
        sign, digits, exponent = value.as_tuple()
        assert isinstance(exponent, int)
        shift = exponent + self.scale
        if len(digits) + shift > 2 * MOST_DIGITS and any(digits):
            raise ValueError(f"has more than {self.digits} digits")
        units = int("".join(map(str, digits)))
        if shift < 0:
            units, rest = divmod(units, int(10 ** min(-shift, len(digits) + 1)))
            if rest:
                raise ValueError(f"has more than {self.scale} digits after the point")
        units *= int(10 ** max(0, min(shift, 2 * MOST_DIGITS)))
        if units >= 10**self.digits:
            raise ValueError(f"has more than {self.digits} digits")
        return -units if sign else units


class Uuid(FieldType):
    """``UUID``, as an Avro string in the canonical lower-case form."""

    kind, written = Kind.STRING, "UUID"

    def avro(self, known: Known) -> Any:
        """See `FieldType.avro`."""
        return {"type": "string", "logicalType": "uuid"}

    def accept(self, value: Any) -> UUID:
        """See `FieldType.accept`."""
        if not isinstance(value, UUID):
            raise ValueError("is no UUID")
        return value

    def plain(self, value: UUID) -> str:
        """See `FieldType.plain`."""
        return str(value)

    def value(self, plain: str) -> UUID:
        """See `FieldType.value`."""
        return UUID(plain)


class Symbol(FieldType):
    """A ``StrEnum``, as an Avro enum; in expressions it is text."""

    kind = Kind.STRING

    def __init__(self, python: type[StrEnum], where: str) -> None:
        self._python, self.written = python, python.__name__
        self.symbols = tuple(member.value for member in python)
        wrong = [symbol for symbol in self.symbols if not SYMBOL.fullmatch(symbol)]
        if wrong or not self.symbols:
            raise DeclarationError(
                "an enum's symbols are names in Avro",
                where=where,
                found=", ".join(map(repr, wrong)) or f"no member of {python.__name__}",
                expected="letters, digits and underscores, not starting with a digit",
                hint="change the members' values; what people read belongs elsewhere.",
            )

    def avro(self, known: Known) -> Any:
        """See `FieldType.avro`."""
        type_ = {"type": "enum", "name": self._python.__name__, "symbols": list(self.symbols)}
        return named(type_, self._python, known)

    def accept(self, value: Any) -> StrEnum:
        """See `FieldType.accept`."""
        if not isinstance(value, str) or value not in self.symbols:
            raise ValueError(f"is none of {', '.join(self.symbols)}")
        return self._python(value)

    def plain(self, value: StrEnum) -> str:
        """See `FieldType.plain`."""
        return str(value.value)

    def value(self, plain: str) -> StrEnum:
        """See `FieldType.value`."""
        return self._python(plain)


class ListOf(FieldType):
    """``list[T]``, as an Avro array."""

    kind = Kind.LIST

    def __init__(self, element: FieldType, nullable: bool) -> None:
        self._element, self._nullable, self.item = element, nullable, element.kind
        self.written = f"list[{element.written}{' | None' if nullable else ''}]"

    def avro(self, known: Known) -> Any:
        """See `FieldType.avro`."""
        return {"type": "array", "items": optional(self._element.avro(known), self._nullable)}

    def accept(self, value: Any) -> list[Any]:
        """See `FieldType.accept`."""
        if not isinstance(value, list | tuple):
            raise ValueError("is no list")
        return [_accepted(part, self._element, self._nullable, f"element {at}") for at, part in enumerate(value)]

    def plain(self, value: list[Any]) -> list[Any]:
        """See `FieldType.plain`."""
        return [None if part is None else self._element.plain(part) for part in value]

    def value(self, plain: list[Any]) -> list[Any]:
        """See `FieldType.value`."""
        return [None if part is None else self._element.value(part) for part in plain]

    def default(self, value: list[Any]) -> Any:
        """See `FieldType.default`."""
        return [None if part is None else self._element.default(part) for part in value]


class MapOf(FieldType):
    """``dict[str, T]``, as an Avro map."""

    kind = Kind.MAP

    def __init__(self, element: FieldType, nullable: bool) -> None:
        self._element, self._nullable, self.item = element, nullable, element.kind
        self.written = f"dict[str, {element.written}{' | None' if nullable else ''}]"

    def avro(self, known: Known) -> Any:
        """See `FieldType.avro`."""
        return {"type": "map", "values": optional(self._element.avro(known), self._nullable)}

    def accept(self, value: Any) -> dict[str, Any]:
        """See `FieldType.accept`."""
        if not isinstance(value, Mapping):
            raise ValueError("is no dict")
        names = {name: _accepted(name, Text(), False, f"key {name!r}") for name in value}
        return {names[k]: _accepted(part, self._element, self._nullable, f"at {k!r}") for k, part in value.items()}

    def plain(self, value: dict[str, Any]) -> dict[str, Any]:
        """See `FieldType.plain`."""
        return {name: None if part is None else self._element.plain(part) for name, part in value.items()}

    def value(self, plain: dict[str, Any]) -> dict[str, Any]:
        """See `FieldType.value`."""
        return {name: None if part is None else self._element.value(part) for name, part in plain.items()}

    def default(self, value: dict[str, Any]) -> Any:
        """See `FieldType.default`."""
        return {name: None if part is None else self._element.default(part) for name, part in value.items()}


def optional(type_: Any, nullable: bool) -> Any:
    """The Avro type, or its union with null."""
    return ["null", type_] if nullable else type_


def named(type_: dict[str, Any], declared: type[Any], known: Known) -> Any:
    """A named type where it is first used, its name afterwards. Raises DeclarationError where two classes share a name."""
    name = type_["name"]
    if name not in known:
        known[name] = declared
        return type_
    if known[name] is not declared:
        raise DeclarationError(
            "two types of one schema have one name",
            where=name,
            found=f"one in {known[name].__module__}, another in {declared.__module__}",
            hint="rename one of the classes.",
        )
    return name


def _accepted(value: Any, type_: FieldType, nullable: bool, what: str) -> Any:
    if value is None and nullable:
        return None
    try:
        return type_.accept(value)
    except ValueError as error:
        raise ValueError(f"{what}: {value!r:.80} {error}") from error
