"""Records inside events.

::

    class Address(Record):
        city: Field[str] = field()
        zip: Field[str | None] = field(pii=True)

    class Order(Event, topic="shop.orders"):
        ...
        address: Nested[Address] = nested()

``Order.address.city`` is an expression, ``order.address.city`` a value. Columns, and the log, are flat: ``address.city``.
"""

from __future__ import annotations

import copy
import inspect
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Generic, TypeVar, dataclass_transform, overload

from samestream.schemas.about import About, about_class, as_tags
from samestream.schemas.class_body import refuse_kept, stray
from samestream.schemas.errors import DeclarationError, ValueRefusedError
from samestream.schemas.fields import Field, field

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Nested(Generic[R_co]):
    """A record as a member: on the class its fields are expressions, on an instance it is the record."""

    event: Any
    name: str
    nullable: bool
    record: type[Record]
    columns: type[Any]

    def __init__(self, about: About | None = None) -> None:
        self.about = about or About()

    @overload
    def __get__(self: Nested[R | None], instance: None, owner: type[Any]) -> type[R]: ...
    @overload
    def __get__(self, instance: object, owner: type[Any]) -> R_co: ...
    def __get__(self, instance: Any, owner: type[Any]) -> Any:
        """The record's fields as expressions from the class, the record from an instance."""
        return self.columns if instance is None else instance.__dict__.get(self.name)

    def __set__(self, instance: Any, value: Any) -> None:
        """Set the record on an instance. Raises ValueRefusedError for anything else."""
        if not isinstance(value, self.record) and not (value is None and self.nullable):
            raise ValueRefusedError(
                "a value does not fit its field",
                where=f"{type(instance).__name__}.{self.name}",
                found=f"{value!r:.80} ({type(value).__name__})",
                expected=self.record.__name__ + (" | None" if self.nullable else ""),
                hint=f"{self.name}={self.record.__name__}(...).",
            )
        instance.__dict__[self.name] = value

    def declare(self, owner: type[Any], name: str, hint: Any) -> None:
        """Learn one's class, name and record. Raises DeclarationError."""
        inside = typing.get_args(hint)[0] if typing.get_origin(hint) is Nested and typing.get_args(hint) else None
        members = typing.get_args(inside) if typing.get_origin(inside) in (typing.Union, types.UnionType) else (inside,)
        records = [member for member in members if isinstance(member, type) and issubclass(member, Record)]
        if len(records) != 1 or len(members) > 2 or (len(members) == 2 and types.NoneType not in members):
            raise DeclarationError(
                "a nested field needs its record",
                where=f"{owner.__name__}.{name}",
                found="no annotation" if hint is None else str(hint),
                expected="Nested[Address] or Nested[Address | None], where Address derives from Record",
                hint=f"{name}: Nested[Address] = nested().",
            )
        self.about.checked(f"{owner.__name__}.{name}", is_number=False)
        self.event, self.name, self.record, self.nullable = owner, name, records[0], len(members) == 2
        self.columns = types.new_class(self.record.__name__)

    def bound(self, event: type[Any], prefix: str, nullable: bool) -> Nested[R_co]:
        """The same record as columns of an event."""
        inner = copy.copy(self)
        inner.event, inner.nullable = event, self.nullable or nullable
        inner.columns = types.new_class(self.record.__name__)
        for name, member in self.record.members.items():
            setattr(inner.columns, name, member.bound(event, f"{prefix}{self.name}.", inner.nullable))
        return inner

    def leaves(self) -> Iterator[Field[Any]]:
        """All its fields, those of records inside it too, as columns."""
        for member in (vars(self.columns)[name] for name in self.record.members):
            yield from member.leaves() if isinstance(member, Nested) else (member,)

    def absent(self) -> None:
        """The value of an instance that is given none. Raises ValueRefusedError where there must be one."""
        if not self.nullable:
            raise ValueRefusedError(
                "a value is missing",
                where=f"{self.event.__name__}.{self.name}",
                expected=self.record.__name__,
                hint=f"pass {self.name}={self.record.__name__}(...), or declare it Nested[... | None].",
            )


def nested(*, doc: str = "", owner: str = "", tags: str | Iterable[str] = (), pii: bool = False) -> Any:
    """A record inside an event or another record."""
    return Nested(About(doc, owner, as_tags(tags), pii=pii))


Members = dict[str, Field[Any] | Nested[Any]]


@dataclass_transform(kw_only_default=True, field_specifiers=(field, nested))
class Record:
    """A group of fields to be nested in events; subclass it. ``owner`` and ``tags`` may be said in the class statement."""

    members: ClassVar[Members]
    about: ClassVar[About]

    def __init_subclass__(cls, *, owner: str = "", tags: str | Iterable[str] = (), **options: Any) -> None:
        cls.members = collect(cls)
        cls.about = about_class(cls, owner, tags)
        if options or not cls.members:
            raise DeclarationError(
                "a record is made of fields",
                where=cls.__name__,
                found=", ".join(options) or "none",
                hint="city: Field[str] = field().",
            )
        for name, member in cls.members.items():
            if isinstance(member, Field):
                if member.role:
                    raise DeclarationError(
                        "keys and event times belong to the event",
                        where=f"{cls.__name__}.{name}",
                        found=f"{member.role}()",
                        hint="declare it there, or as a plain field() here.",
                    )
                member.is_loose = True

    def __init__(self, **values: Any) -> None:
        fill(self, self.members, values)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.members)})"


def grouped(name: str, columns: Mapping[str, Any]) -> type[Any]:
    """A class with the columns as attributes, those of nested records in classes of their own: ``found.address.city``."""
    inside: dict[str, dict[str, Any]] = {}
    own: dict[str, Any] = {}
    for path, column in columns.items():
        first, dot, rest = path.partition(".")
        if dot:
            inside.setdefault(first, {})[rest] = column
        else:
            own[first] = column
    return type(name, (), {**{first: grouped(first, parts) for first, parts in inside.items()}, **own})


def collect(cls: type[Any]) -> Members:
    """The fields and records that a class declares, in order. Raises DeclarationError."""
    refuse_kept(cls, "members")
    try:
        hints = typing.get_type_hints(cls)
    except NameError as error:
        raise DeclarationError(
            "a type annotation could not be read",
            where=cls.__name__,
            found=str(error),
            hint="import the name at the top of the module.",
        ) from error
    for name in inspect.get_annotations(cls):
        if typing.get_origin(hints[name]) not in (Field, Nested, ClassVar) and not name.startswith("_"):
            raise DeclarationError(
                "a field is annotated as one",
                where=f"{cls.__name__}.{name}",
                found=getattr(hints[name], "__name__", str(hints[name])),
                expected="Field[...], or Nested[...] for a record",
                hint=f"{name}: Field[float] = field().",
            )
    members: Members = {}
    for name, member in list(vars(cls).items()):
        if isinstance(member, Field | Nested):
            member.declare(cls, name, hints.get(name))
            members[name] = member
        elif not (name.startswith("_") or name in hints or callable(member) or hasattr(member, "__get__")):
            raise stray(cls, name, member, f"a field, {name}: Field[float] = field()")
    for name, hint in hints.items():
        if typing.get_origin(hint) in (Field, Nested) and name not in members:
            made = "field()" if typing.get_origin(hint) is Field else "nested()"
            raise DeclarationError(
                "a field is annotated but not declared",
                where=f"{cls.__name__}.{name}",
                found="no value" if name not in vars(cls) else f"{vars(cls)[name]!r:.80}",
                expected=made,
                hint=f"{name}: ... = {made}.",
            )
    return members


def fill(instance: Any, members: Members, values: dict[str, Any]) -> None:
    """Give an instance its values. Raises ValueRefusedError naming all that are missing, unknown or do not fit."""
    here = type(instance).__name__
    wrong = [
        ValueRefusedError(
            "no such field", where=f"{here}.{name}", found=name, expected=", ".join(members), hint="check the spelling."
        )
        for name in values
        if name not in members
    ]
    for name, member in members.items():
        try:
            if name in values:
                member.__set__(instance, values[name])
            else:
                instance.__dict__[name] = member.absent()
        except ValueRefusedError as error:
            wrong.append(error)
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        raise ValueRefusedError(
            f"{len(wrong)} values do not fit",
            where=here,
            found="; ".join(f"{error.where}: {error.what if error.found is None else error.found}" for error in wrong),
            expected="; ".join(f"{error.where}: {error.expected}" for error in wrong),
            hint=f"compare them with the fields that {here} declares.",
        )
