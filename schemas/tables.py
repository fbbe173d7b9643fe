"""Reference tables: what is known of an entity, one record per change, looked up as of an instant.

::

    class Plane(Table, topic="flights.planes"):
        tailnum: Field[str] = key()
        year: Field[int | None] = field()

In a model on ``Boarding``, ``Boarding.at.year() - Plane.year`` is the plane's age: the trigger's field of the key's name says which
plane, or ``Plane.of(Boarding.tail).year`` names another one.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from samestream.schemas.errors import DeclarationError
from samestream.schemas.events import Event, Field
from samestream.schemas.expressions import Expr, Kind
from samestream.schemas.nested import grouped


class AsOf(Expr[Any]):
    """A field of a reference table, in the latest record of a key before the instant of the event that carries the key.

    ``by`` is a field of that event, or another table's field looked up by it.
    """

    def __init__(self, field: Field[Any], by: Field[Any] | AsOf) -> None:
        assert issubclass(field.event, Table)
        if field.kind in (Kind.LIST, Kind.MAP):
            raise DeclarationError(
                "a list or a map of a table cannot be looked up",
                where=repr(field),
                found=field.kind.value,
                expected="a number, condition, time or text",
                hint="keep what the model needs of it in a field of its own.",
            )
        self.table, self.field, self.by = field.event, field, by
        self.kind, self.item, self.about = field.kind, field.item, field.about

    @property
    def event(self) -> type[Event]:
        """The event that carries the key."""
        return self.by.event

    @property
    def name(self) -> str:
        """The column that it becomes: ``Plane(tailnum).year``."""
        return f"{self.table.__name__}({self.by.name}).{self.field.name}"

    @property
    def depth(self) -> int:
        """How many lookups it takes, one after the other."""
        return 1 + (self.by.depth if isinstance(self.by, AsOf) else 0)

    def meaning(self) -> list[Any]:
        """See `Expr.meaning`."""
        return ["AsOf", self.field.meaning(), self.by.meaning()]

    def __repr__(self) -> str:
        return f"{self.table.__name__}.of({self.by!r}).{self.field.name}"


class Table(Event, abstract=True):
    """A reference table; subclass it to declare its topic, key and fields.

    A record counts from its time on: the declared ``event_time()``, or without one the record's known time. The latest by (time,
    position) is the one that is seen, nulls included; a null value (a tombstone) deletes. Records are never late and move
    no clock.
    """

    timed: ClassVar[bool] = False

    @classmethod
    def of(cls, by: Expr[Any]) -> type[Self]:
        """The same table, looked up by a field of an event (or of another table, itself looked up)."""
        if not isinstance(by, (Field, AsOf)) or by.kind is not cls.key_field.kind or is_table(by):
            raise DeclarationError(
                "the key does not fit the table",
                where=f"{cls.__name__}.of",
                found=f"{by!r} ({by.kind.value})" if isinstance(by, Expr) else repr(by),
                expected=f"a field of an event, of the kind of {cls.key_field!r} ({cls.key_field.kind.value})",
                hint=f"{cls.__name__}.of(Boarding.{cls.key_field.name}).<field>.",
            )
        said = [field for field in cls.fields.values() if not field.role and field.kind not in (Kind.LIST, Kind.MAP)]
        return grouped(cls.__name__, {field.name: AsOf(field, by) for field in said})


def is_table(leaf: Expr[Any]) -> bool:
    """Whether this is a field of a reference table without an event that says for which key."""
    return isinstance(leaf, Field) and issubclass(leaf.event, Table)


def bound(value: Expr[Any], event: type[Event], where: str) -> Expr[Any]:
    """The expression with every field of a table looked up by the event's field of the key's name.

    Raises DeclarationError where the event has no such field of the same kind.
    """

    def look_up(leaf: Expr[Any]) -> Expr[Any]:
        if not isinstance(leaf, Field) or not is_table(leaf):
            return leaf
        key = leaf.event.key_field
        by = event.fields.get(key.name)
        if by is None or by.kind is not key.kind:
            raise DeclarationError(
                "a table cannot be looked up from the event",
                where=where,
                found=f"{leaf!r} is kept by {key!r} ({key.kind.value})",
                expected=f"a field `{key.name}` of {event.__name__} of the same kind",
                hint=f"name it: {leaf.event.__name__}.of({event.__name__}.<field>).{leaf.name}.",
            )
        return AsOf(leaf, by)

    return value.replace_leaves(look_up)
