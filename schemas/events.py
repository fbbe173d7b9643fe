"""Events: what applications tell the system, one class per topic.

::

    class Departure(Event, topic="flights.departures", lateness="10m"):
        flight_id: Field[str] = key()
        dep_delay: Field[float] = field(unit="min", low=-120, high=1500)
        at: Field[datetime] = event_time()

On the class, a field is an expression (``Departure.dep_delay > 15``); on an instance it is the value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, ClassVar, Unpack, dataclass_transform, overload

from samestream.schemas import durations
from samestream.schemas.about import About, about_class
from samestream.schemas.aggregable import ManyWindows, OneWindow, Several
from samestream.schemas.aggregates import Count, TimeSinceLast, declare_aggregate
from samestream.schemas.durations import Duration
from samestream.schemas.errors import DeclarationError
from samestream.schemas.expressions import Expr, Kind
from samestream.schemas.field_types import Instant
from samestream.schemas.fields import Field, event_time, field, key
from samestream.schemas.nested import Members, Nested, collect, fill, nested
from samestream.schemas.topics import OPTIONS, TopicOptions

__all__ = ["Event", "Field", "event_time", "field", "key"]


@dataclass_transform(kw_only_default=True, field_specifiers=(field, key, event_time, nested))
class Event:
    """One kind of application event; subclass it to declare a topic.

    Parameters of the class statement
    ---------------------------------
    topic : the Kafka topic
    lateness : how far behind the greatest event time of its partition an event may be and still be applied
    alignment : how far its partitions (and the other topics of the app) may be apart in event time
    ahead : how far an event time may lie after the record timestamp; beyond that the event is dead
    partitions, replication, min_insync, retention, compact : how `samestream apply` makes the topic (`schemas.topics`)
    owner, tags : whose it is, and what it is found by; they reach the schema, as does the docstring

    ``members`` are the declared fields and records by name; ``fields`` are the flat columns made of them (``address.city``),
    ``columns`` those and the minor units of decimals (``price.minor_units``).
    """

    topic: ClassVar[str]
    lateness_us: ClassVar[int]
    alignment_us: ClassVar[int]
    ahead_us: ClassVar[int]
    topic_options: ClassVar[TopicOptions]
    about: ClassVar[About]
    members: ClassVar[Members]
    fields: ClassVar[dict[str, Field[Any]]]
    columns: ClassVar[dict[str, Field[Any]]]
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
        abstract: bool = False,
        owner: str = "",
        tags: str | Iterable[str] = (),
        **options: Any,
    ) -> None:
        if abstract:  # a kind of event, without a topic of its own
            return
        here = cls.__name__
        kept = {name: options.pop(name) for name in OPTIONS if name in options}
        if options:
            raise DeclarationError(
                "unknown option of an event",
                where=here,
                found=", ".join(options),
                expected=", ".join(("topic, lateness, alignment, ahead", *OPTIONS, "owner, tags")),
                hint="see `help(samestream.schemas.Event)`.",
            )
        cls.members = collect(cls)
        # Kafka takes 249 characters: the namespace, and what is added for late events, need room.
        if not isinstance(topic, str) or not re.fullmatch(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,180}", topic):
            raise DeclarationError(
                "an event needs a Kafka topic",
                where=here,
                found=repr(topic),
                expected="letters, digits, dots, dashes, underscores, at most 180",
                hint=f'class {here}(Event, topic="app.{here.lower()}s").',
            )
        cls.topic, cls.topic_options = topic, TopicOptions().with_options(here, kept)
        cls.lateness_us = durations.parse(lateness, f"{here}.lateness")
        cls.alignment_us = durations.parse(alignment, f"{here}.alignment")
        cls.ahead_us = durations.parse(ahead, f"{here}.ahead")
        cls.about = about_class(cls, owner, tags)
        cls.fields = _flat(cls)
        cls.columns = {}
        for name, part in cls.fields.items():
            cls.columns[name] = part
            if part.type_.written == "Decimal":
                cls.columns[f"{name}.minor_units"] = part.minor_units()
        cls.key_field = _only(cls, "key", "id: Field[str] = key()")
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
        time = cls.time_field
        if time is not None and (not isinstance(time.type_, Instant) or time.nullable):
            raise DeclarationError(
                "the event time must be a datetime, never null",
                where=f"{here}.{time.name}",
                found=time.type_.written + (" | None" if time.nullable else ""),
                expected="Field[datetime]",
                hint=f"{time.name}: Field[datetime] = event_time().",
            )

    def __init__(self, **values: Any) -> None:
        fill(self, self.members, values)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.members)})"

    @overload
    @classmethod
    def count(cls, **window: Unpack[OneWindow]) -> Expr[int]: ...
    @overload
    @classmethod
    def count(cls, **windows: Unpack[ManyWindows]) -> Several[int]: ...
    @classmethod
    def count(cls, **window: Any) -> Any:
        """How many events the window holds (0 when none)."""
        return declare_aggregate(Count(None), window, cls)

    @overload
    @classmethod
    def time_since_last(cls, **window: Unpack[OneWindow]) -> Expr[float]: ...
    @overload
    @classmethod
    def time_since_last(cls, **windows: Unpack[ManyWindows]) -> Several[float]: ...
    @classmethod
    def time_since_last(cls, **window: Any) -> Any:
        """Seconds from the latest event to the instant; null when the window holds none."""
        return declare_aggregate(TimeSinceLast(None), window, cls)


def _flat(cls: type[Event]) -> dict[str, Field[Any]]:
    """The fields of an event as columns; those of nested records become columns of the event."""
    found: dict[str, Field[Any]] = {}
    for name, member in cls.members.items():
        if isinstance(member, Nested):
            bound = member.bound(cls, "", False)
            setattr(cls, name, bound)
            cls.members[name] = bound
            found |= {leaf.name: leaf for leaf in bound.leaves()}
        else:
            found[name] = member
    return found


def _only(cls: type[Event], role: str, example: str) -> Field[Any]:
    found = [declared for declared in cls.fields.values() if declared.role == role]
    if len(found) != 1:
        raise DeclarationError(
            f"{'an event' if cls.timed else 'a table'} has exactly one {role.replace('_', ' ')}",
            where=cls.__name__,
            found=", ".join(declared.name for declared in found) or "none",
            expected=f"one field that is declared by {role}()",
            hint="keep one of them, and make a plain field() of every other." if found else f"declare it: {example}.",
        )
    return found[0]
