"""Fields: what an event or a nested record is made of.

On the class, a field is an expression (``Departure.dep_delay > 15``); on an instance it is the value. A type that has no
arithmetic of its own stands in expressions as what it is there: a Decimal as a float, a date as a time, a UUID as text.
"""

from __future__ import annotations

import copy
import typing
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Generic, cast, overload
from uuid import UUID

from samestream.schemas.about import About, as_tags
from samestream.schemas.aggregable import T_co
from samestream.schemas.annotations import field_type
from samestream.schemas.errors import DeclarationError, ValueRefusedError
from samestream.schemas.expressions import EPOCH, Expr, Kind
from samestream.schemas.field_types import FieldType, Money, Whole

# A time near the epoch is a lost one, or seconds taken for milliseconds. The far end is bounded by `ahead` in any case.
EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
MISSING: Any = type("Missing", (), {"__repr__": lambda self: "nothing"})()


class Field(Expr[T_co], Generic[T_co]):
    """A field of an event: an expression on the class, a value on an instance.

    event : the class it belongs to; of a nested record's field the event that nests it
    name : the column's, as in ``address.city``
    symbols : what an enum's text can be; empty for all else
    """

    event: Any
    name: str
    nullable: bool
    type_: FieldType
    symbols: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        role: str = "",
        default: Any = MISSING,
        about: About | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.role, self.default, self.options = role, default, options or {}
        self.about = about or About()
        self.low, self.high = self.about.low, self.about.high
        self.is_loose = False

    @property
    def unit(self) -> str:
        """What one of it is: min, mi, USD."""
        return self.about.unit

    @property
    def doc(self) -> str:
        """What it means."""
        return self.about.doc

    @property
    def pii(self) -> bool:
        """Whether it says something about a person."""
        return self.about.pii

    # A float is an int too for type checkers, a datetime a date: so the order of these matters.
    @overload
    def __get__(self: Field[Decimal], instance: None, owner: type[Any]) -> Field[float]: ...
    @overload
    def __get__(self: Field[Decimal | None], instance: None, owner: type[Any]) -> Field[float | None]: ...
    @overload
    def __get__(self: Field[UUID], instance: None, owner: type[Any]) -> Field[str]: ...
    @overload
    def __get__(self: Field[UUID | None], instance: None, owner: type[Any]) -> Field[str | None]: ...
    @overload
    def __get__(self: Field[date], instance: None, owner: type[Any]) -> Field[datetime]: ...
    @overload
    def __get__(self: Field[date | None], instance: None, owner: type[Any]) -> Field[datetime | None]: ...
    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Field[T_co]: ...
    @overload
    def __get__(self, instance: object, owner: type[Any]) -> T_co: ...
    def __get__(self, instance: Any, owner: type[Any]) -> Any:
        """The expression from the class, the value from an instance."""
        if instance is not None:
            return instance.__dict__.get(self.name)
        if self.is_loose:
            raise DeclarationError(
                "a record's field is read through the event that nests it",
                where=f"{self.event.__name__}.{self.name}",
                hint=f"such as Order.{self.event.__name__.lower()}.{self.name}.",
            )
        return self

    def __set__(self, instance: Any, value: Any) -> None:
        """Set the value on an instance. Raises ValueRefusedError for one that does not fit."""
        instance.__dict__[self.name] = self.accept(value)

    def minor_units(self) -> Field[int]:
        """The unscaled whole number of a Decimal, exact: cents, where it has two digits after the point."""
        if not isinstance(self.type_, Money):
            raise DeclarationError(
                "only a Decimal has minor units",
                where=repr(self),
                found=self.type_.written,
                expected="Field[Decimal]",
                hint="round it and cast it to int.",
            )
        units: Field[Any] = copy.copy(self)
        units.name, units.type_, units.kind, units.role = f"{self.name}.minor_units", Whole(), Kind.INT, ""
        return cast("Field[int]", units)

    def declare(self, owner: type[Any], name: str, hint: Any) -> None:
        """Learn one's class, name and type. Raises DeclarationError."""
        where = f"{owner.__name__}.{name}"
        self.event, self.name = owner, name
        inside = typing.get_args(hint)[0] if typing.get_origin(hint) is Field and typing.get_args(hint) else None
        self.type_, self.nullable = field_type(inside, self.options, where)
        self.kind, self.item, self.symbols = self.type_.kind, self.type_.item, self.type_.symbols
        self.about.checked(where, is_number=self.kind.is_number)
        if name.startswith("_") or not name.isascii():
            raise DeclarationError(
                "a field name is ASCII and does not start with an underscore",
                where=where,
                found=name,
                expected="letters a to z, digits and underscores, a letter first",
                hint="Avro knows no others, and those with an underscore are kept for the log.",
            )
        if self.default is not MISSING:
            try:
                self.default = self.accept(self.default)
            except ValueRefusedError as error:
                raise DeclarationError(
                    "the default does not fit the field",
                    where=where,
                    found=error.found,
                    expected=error.expected,
                    hint="a default is a value that the field could have.",
                ) from error

    def bound(self, event: type[Any], prefix: str, nullable: bool) -> Field[T_co]:
        """The same field of a record, as a column of the event that nests it."""
        column = copy.copy(self)
        column.event, column.name, column.is_loose = event, prefix + self.name, False
        column.nullable = self.nullable or nullable
        return column

    def accept(self, value: Any) -> Any:
        """The value as an instance holds it: a NaN is null, as everywhere. Raises ValueRefusedError."""
        if self.nullable and (value is None or (isinstance(value, float) and value != value)):
            return None
        try:
            return self.type_.accept(value)
        except ValueError as error:
            refused = str(error)
        optional = "" if self.nullable else f", or declare it Field[{self.type_.written} | None]"
        raise ValueRefusedError(
            "a value does not fit its field",
            where=f"{self.event.__name__}.{self.name}",
            found=f"{value!r:.80} ({type(value).__name__}), which {refused}",
            expected=self.type_.written + (" | None" if self.nullable else ""),
            hint=f"pass a {self.type_.written}{optional if value is None else ''}.",
        )

    def absent(self) -> Any:
        """The value of an instance that is given none. Raises ValueRefusedError where there must be one."""
        if self.default is not MISSING:
            return copy.copy(self.default)
        if self.nullable:
            return None
        raise ValueRefusedError(
            "a value is missing",
            where=f"{self.event.__name__}.{self.name}",
            expected=self.type_.written,
            hint=f"pass {self.name}=..., declare it Field[{self.type_.written} | None], or give it a default.",
        )

    def meaning(self) -> list[Any]:
        """See `Expr.meaning`."""
        return ["Field", self.event.__name__, self.name, self.kind.value]

    def __repr__(self) -> str:
        return f"{self.event.__name__}.{self.name}" if hasattr(self, "event") else "field()"


def field(
    *,
    default: Any = MISSING,
    doc: str = "",
    owner: str = "",
    tags: str | Iterable[str] = (),
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    pii: bool = False,
    precision: str | None = None,
    digits: int | None = None,
    scale: int | None = None,
) -> Any:
    """A plain field.

    default : the value where a constructor is given none, and where an older writer's schema lacks the field
    low, high : watched by monitors, not enforced
    precision : of a datetime: "us" or "ms"
    digits, scale : of a Decimal: how many digits, and how many of them after the point
    """
    about = About(doc, owner, as_tags(tags), unit, low, high, pii)
    return Field(default=default, about=about, options={"precision": precision, "digits": digits, "scale": scale})


def key(*, doc: str = "", owner: str = "", tags: str | Iterable[str] = (), pii: bool = False) -> Any:
    """The field that is also the Kafka key: it decides the partition, and one key's events keep their order."""
    return Field(role="key", about=About(doc, owner, as_tags(tags), pii=pii))


def event_time(
    *, earliest: datetime = EARLIEST, latest: datetime = LATEST, doc: str = "", precision: str | None = None
) -> Any:
    """When the event happened; one outside ``[earliest, latest)`` is dead.

    Raises DeclarationError unless these are instants, the earlier one first.
    """
    bounds = (earliest, latest)
    if not all(isinstance(bound, datetime) and bound.tzinfo is not None for bound in bounds) or earliest >= latest:
        raise DeclarationError(
            "an event time lies between two instants",
            where="event_time()",
            found=f"earliest={earliest!r}, latest={latest!r}",
            expected="datetimes with a time zone, the earlier one first",
            hint="event_time(earliest=datetime(2013, 1, 1, tzinfo=UTC)).",
        )
    time: Field[Any] = Field(role="event_time", about=About(doc), options={"precision": precision})
    time.low = (earliest - EPOCH).total_seconds()
    time.high = (latest - EPOCH).total_seconds()
    return time
