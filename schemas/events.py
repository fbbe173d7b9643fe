"""Events: what applications tell the system, one class per topic.

::

    class Departure(Event, topic="flights.departures", lateness="10m"):
        flight_id: Field[str] = key()
        dep_delay: Field[float] = field(unit="min", low=-120, high=1500)
        at: Field[datetime] = event_time()

On the class, a field is an expression (``Departure.dep_delay > 15``); on an instance it is the value.
"""

from __future__ import annotations

import types
import typing
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, TypeVar, dataclass_transform, overload

from samestream.schemas import durations
from samestream.schemas.aggregable import T_co
from samestream.schemas.aggregates import Count, Windowed
from samestream.schemas.durations import Duration
from samestream.schemas.errors import DeclarationError
from samestream.schemas.expressions import EPOCH, Expr, Kind

T = TypeVar("T")
KINDS: dict[type, Kind] = {str: Kind.STRING, bool: Kind.BOOL, int: Kind.INT, float: Kind.FLOAT, datetime: Kind.TIME}
# A time near the epoch is a lost one, or seconds taken for milliseconds. The far end is bounded by `ahead` in any case.
EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)


class Field(Expr[T_co], Generic[T_co]):
    """A field of an event: an expression on the class, a value on an instance."""

    event: type[Event]
    name: str
    nullable: bool
    symbols: tuple[str, ...] = ()
    """What an enum's text can be; empty for all else."""

    def __init__(
        self,
        *,
        role: str = "",
        unit: str = "",
        low: float | None = None,
        high: float | None = None,
        doc: str = "",
        pii: bool = False,
    ) -> None:
        self.role, self.unit, self.low, self.high, self.doc, self.pii = role, unit, low, high, doc, pii

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Field[T_co]: ...
    @overload
    def __get__(self, instance: object, owner: type[Any]) -> T_co: ...
    def __get__(self, instance: Any, owner: type[Any]) -> Any:
        """The expression from the class, the value from an instance."""
        return self if instance is None else instance.__dict__.get(self.name)

    def __set__(self, instance: Any, value: Any) -> None:
        """Set the value on an instance."""
        instance.__dict__[self.name] = value

    def meaning(self) -> list[Any]:
        """See `Expr.meaning`."""
        return ["Field", self.event.__name__, self.name, self.kind.value]

    def __repr__(self) -> str:
        return f"{self.event.__name__}.{self.name}" if hasattr(self, "event") else "field()"


def field(
    *, unit: str = "", low: float | None = None, high: float | None = None, doc: str = "", pii: bool = False
) -> Any:
    """A plain field. ``low`` and ``high`` are watched by monitors, not enforced; ``unit`` and ``doc`` reach the schema."""
    return Field(unit=unit, low=low, high=high, doc=doc, pii=pii)


def key(*, doc: str = "", pii: bool = False) -> Any:
    """The field that is also the Kafka key: it decides the partition, and one key's events keep their order."""
    return Field(role="key", doc=doc, pii=pii)


def event_time(*, earliest: datetime = EARLIEST, latest: datetime = LATEST, doc: str = "") -> Any:
    """When the event happened; one outside ``[earliest, latest)`` is dead."""
    time: Field[Any] = Field(role="event_time", doc=doc)
    time.low = (earliest - EPOCH).total_seconds()
    time.high = (latest - EPOCH).total_seconds()
    return time


@dataclass_transform(kw_only_default=True, field_specifiers=(field, key, event_time))
class Event:
    """One kind of application event; subclass it to declare a topic.

    Parameters of the class statement
    ---------------------------------
    topic : the Kafka topic
    lateness : how far behind the greatest event time of its partition an event may be and still be applied
    alignment : how far its partitions (and the other topics of the app) may be apart in event time
    ahead : how far an event time may lie after the record timestamp; beyond that the event is dead
    partitions : how many partitions `samestream apply` creates
    """

    topic: ClassVar[str]
    lateness_us: ClassVar[int]
    alignment_us: ClassVar[int]
    ahead_us: ClassVar[int]
    partitions: ClassVar[int]
    fields: ClassVar[dict[str, Field[Any]]]
    key_field: ClassVar[Field[Any]]
    time_field: ClassVar[Field[Any] | None]
    timed: ClassVar[bool] = True  # whether it must say when it happened

    def __init_subclass__(
        cls,
        *,
        topic: str = "",
        lateness: Duration = "0s",
        alignment: Duration = "1h",
        ahead: Duration = "1h",
        partitions: int = 2,
        abstract: bool = False,
        **options: Any,
    ) -> None:
        if abstract:  # a kind of event, without a topic of its own
            return
        here = cls.__name__
        if options:
            raise DeclarationError(
                "unknown option of an event",
                where=here,
                found=", ".join(options),
                expected="topic, lateness, alignment, ahead, partitions",
                hint="see `help(samestream.schemas.Event)`.",
            )
        if not topic or not set(topic) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"):
            raise DeclarationError(
                "an event needs a Kafka topic",
                where=here,
                found=repr(topic),
                expected="letters, digits, dots, dashes, underscores",
                hint=f'class {here}(Event, topic="app.{here.lower()}s").',
            )
        if partitions < 1:
            raise DeclarationError(
                "a topic needs partitions", where=here, found=partitions, expected="1 or more", hint="partitions=2."
            )
        cls.topic, cls.partitions = topic, partitions
        cls.lateness_us = durations.parse(lateness, f"{here}.lateness")
        cls.alignment_us = durations.parse(alignment, f"{here}.alignment")
        cls.ahead_us = durations.parse(ahead, f"{here}.ahead")
        cls.fields = _collect_fields(cls)
        cls.key_field = _only(cls, "key", "flight_id: Field[str] = key()")
        has_time = cls.timed or any(declared.role == "event_time" for declared in cls.fields.values())
        cls.time_field = _only(cls, "event_time", "at: Field[datetime] = event_time()") if has_time else None
        if cls.key_field.kind not in (Kind.STRING, Kind.INT) or cls.key_field.nullable:
            raise DeclarationError(
                "a key must be text or a whole number, never null",
                where=f"{here}.{cls.key_field.name}",
                found=cls.key_field.kind.value + (" | None" if cls.key_field.nullable else ""),
                expected="Field[str] or Field[int]",
                hint="declare the key so, and keep the other value in a plain field.",
            )
        if cls.time_field is not None and (cls.time_field.kind is not Kind.TIME or cls.time_field.nullable):
            raise DeclarationError(
                "the event time must be a datetime, never null",
                where=f"{here}.{cls.time_field.name}",
                found=cls.time_field.kind.value,
                expected="Field[datetime]",
                hint=f"{cls.time_field.name}: Field[datetime] = event_time().",
            )

    def __init__(self, **values: Any) -> None:
        for name in values:
            if name not in self.fields:
                raise DeclarationError(
                    "no such field",
                    where=type(self).__name__,
                    found=name,
                    expected=", ".join(self.fields),
                    hint="check the spelling.",
                )
        for name, declared in self.fields.items():
            if name not in values and not declared.nullable:
                raise DeclarationError(
                    "a value is missing",
                    where=f"{type(self).__name__}.{name}",
                    hint=f"pass {name}=..., or declare it Field[... | None].",
                )
            setattr(self, name, values.get(name))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.fields)})"

    @classmethod
    def count(cls, *, over: Duration, where: Expr[bool] | None = None, tile: Duration | None = None) -> Expr[int]:
        """How many events the window holds (0 when none)."""
        return Windowed(Count(None), over=over, where=where, tile=tile, event=cls)


def _collect_fields(cls: type[Event]) -> dict[str, Field[Any]]:
    try:
        hints = typing.get_type_hints(cls)
    except NameError as error:
        raise DeclarationError(
            "a type annotation could not be read",
            where=cls.__name__,
            found=str(error),
            hint="import the name at the top of the module.",
        ) from error
    fields = {}
    for name, declared in list(vars(cls).items()):
        if not isinstance(declared, Field):
            continue
        where = f"{cls.__name__}.{name}"
        declared.event, declared.name = cls, name
        declared.kind, declared.nullable = _kind_of(hints.get(name), where)
        if name.startswith("_"):
            raise DeclarationError(
                "a field name cannot start with an underscore", where=where, hint="those names are kept for the log."
            )
        fields[name] = declared
    for name, hint in hints.items():
        if typing.get_origin(hint) is Field and name not in fields:
            raise DeclarationError(
                "a field is annotated but not declared", where=f"{cls.__name__}.{name}", hint=f"{name}: ... = field()."
            )
    return fields


def _kind_of(hint: Any, where: str) -> tuple[Kind, bool]:
    inside = typing.get_args(hint)[0] if typing.get_origin(hint) is Field and typing.get_args(hint) else None
    nullable = False
    if typing.get_origin(inside) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(inside) if member is not type(None)]
        nullable = len(members) < len(typing.get_args(inside))
        inside = members[0] if len(members) == 1 else None
    if inside not in KINDS:
        raise DeclarationError(
            "a field needs a type that Avro knows",
            where=where,
            found="no annotation" if hint is None else str(hint),
            expected="Field[str], Field[int], Field[float], Field[bool], Field[datetime], or one of these | None",
            hint=f"{where.split('.')[-1]}: Field[float] = field().",
        )
    return KINDS[inside], nullable


def _only(cls: type[Event], role: str, example: str) -> Field[Any]:
    found = [declared for declared in cls.fields.values() if declared.role == role]
    if len(found) != 1:
        raise DeclarationError(
            f"an event has exactly one {role.replace('_', ' ')}",
            where=cls.__name__,
            found=", ".join(declared.name for declared in found) or "none",
            hint=f"declare it as {example}.",
        )
    return found[0]
