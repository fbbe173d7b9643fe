"""Features: what is known of an entity at an instant, computed from one event's stream.

::

    class CarrierNow(Features, by=Departure.carrier):
        mean_delay_3h = Departure.dep_delay.mean(over="3h")

``CarrierNow.mean_delay_3h`` is then looked up by the trigger's field of the same name as the key, or explicitly:
``CarrierNow.of(Boarding.carrier).mean_delay_3h``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

from samestream.schemas.about import About, about_class
from samestream.schemas.aggregable import Several
from samestream.schemas.aggregates import Windowed
from samestream.schemas.class_body import public, refuse_kept, stray
from samestream.schemas.errors import DeclarationError
from samestream.schemas.events import Event, Field
from samestream.schemas.expressions import Expr, Kind, Literal
from samestream.schemas.tables import AsOf, is_table

Key = Field[Any] | AsOf


class FeatureRef(Expr[Any]):
    """A feature of a view, to be looked up at a trigger's instant by the trigger's key."""

    def __init__(
        self, view: type[Features], name: str, expression: Expr[Any], by: tuple[Key, ...] | None = None
    ) -> None:
        self.view, self.name, self.expression, self.by = view, name, expression, by
        self.kind, self.item = expression.kind, expression.item
        self.about = expression.about.within(view.about)

    def meaning(self) -> list[Any]:
        """See `Expr.meaning`."""
        keys = [field.meaning() for field in self.view.by]
        return [
            "Feature",
            keys,
            self.expression.meaning(),
            [key.meaning() for key in self.by] if self.by is not None else None,
        ]

    def __repr__(self) -> str:
        return f"{self.view.__name__}.{self.name}"


class Features:
    """A view: features of one entity, all from one event; subclass it with ``by=`` the field (or fields) that name the entity.

    ``owner=`` and ``tags=`` of the class statement hold for its features; what else is to be said of one is said by
    ``Departure.dep_delay.mean(over="3h").described(unit="min", low=-60)``.
    """

    about: ClassVar[About]
    by: ClassVar[tuple[Key, ...]]
    event: ClassVar[type[Event]]
    features: ClassVar[dict[str, FeatureRef]]
    several: ClassVar[dict[str, dict[str, str]]]
    """What was declared over several windows in one line: the features' names by length."""

    def __init_subclass__(
        cls,
        *,
        by: Key | tuple[Key, ...] | None = None,
        owner: str = "",
        tags: str | Iterable[str] = (),
        **options: Any,
    ) -> None:
        here = cls.__name__
        refuse_kept(cls, "features")
        declared = public(cls)
        cls.about = about_class(cls, owner, tags)
        keys = by if isinstance(by, tuple) else (by,)
        if options or not keys or not all(is_key(part) for part in keys):
            raise DeclarationError(
                "a view needs the field that names its entity",
                where=here,
                found=", ".join(options) or repr(by),
                expected="by=Event.field, or by=(Event.field, Event.other)",
                hint=f"class {here}(Features, by=Departure.carrier); a table's field by Plane.of(Departure.tailnum).maker.",
            )
        cls.by = tuple(part for part in keys if part is not None)
        if many := [part for part in cls.by if part.kind in (Kind.LIST, Kind.MAP)]:
            raise DeclarationError(
                "a list or a map names no entity",
                where=here,
                found=f"{many[0]!r} ({many[0].kind.value})",
                expected="a number, condition, time or text",
                hint="keep what names the entity in a field of its own.",
            )
        cls.event = cls.by[0].event
        if any(part.event is not cls.event for part in cls.by):
            raise DeclarationError(
                "the keys of a view belong to one event",
                where=here,
                found=", ".join(map(repr, cls.by)),
                expected=f"fields of {cls.event.__name__}",
                hint="declare one view per event.",
            )
        cls.features, cls.several = {}, {}
        for name, value in declared.items():
            if isinstance(value, Expr):
                cls._declare(name, value)
            elif isinstance(value, Several):
                cls.several[name] = {over: f"{name}_{over}" for over in value}
                for over, each in value.items():
                    cls._declare(f"{name}_{over}", each)
                setattr(cls, name, cls._of_several(name, cls.features))
            else:
                raise stray(cls, name, value, "a feature: an expression of aggregates")
        if not cls.features:
            raise DeclarationError(
                "a view declares no feature",
                where=here,
                found="none",
                expected="at least one, computed from aggregates",
                hint=f'add one, such as count_1h = {cls.event.__name__}.count(over="1h").',
            )

    @classmethod
    def _declare(cls, name: str, value: Expr[Any]) -> None:
        if name in cls.features or (isinstance(vars(cls).get(name), Expr) and vars(cls)[name] is not value):
            raise DeclarationError(
                "two features have one name",
                where=f"{cls.__name__}.{name}",
                found="a feature over several windows takes the names of all of them",
                expected=f"{name} declared once",
                hint="rename one of the two.",
            )
        _check_feature(cls, name, value)
        cls.features[name] = FeatureRef(cls, name, value)
        setattr(cls, name, cls.features[name])

    @classmethod
    def _of_several(cls, name: str, features: Mapping[str, FeatureRef]) -> Several[Any]:
        return Several({over: features[each] for over, each in cls.several[name].items()})

    @classmethod
    def of(cls, *keys: Key) -> type[Self]:
        """The same view looked up by other fields of the trigger, or of tables, in the order of ``by``."""
        kinds = [part.kind for part in cls.by]
        if [getattr(key, "kind", None) for key in keys] != kinds:
            raise DeclarationError(
                "the keys do not fit the view",
                where=f"{cls.__name__}.of",
                found=", ".join(f"{key!r} ({key.kind.value})" if is_key(key) else repr(key) for key in keys)
                or "no key",
                expected=", ".join(f"{part!r} ({part.kind.value})" for part in cls.by),
                hint="pass one trigger field for each key of the view, in its order.",
            )
        bound = {name: FeatureRef(cls, name, feature.expression, keys) for name, feature in cls.features.items()}
        several = {name: cls._of_several(name, bound) for name in cls.several}
        return type(cls.__name__, (), {**bound, **several})


def is_key(part: Any) -> bool:
    """Whether it can name an entity: a field of an event, or of a table that is looked up by one."""
    return isinstance(part, AsOf) or (isinstance(part, Field) and not is_table(part))


def _check_feature(view: type[Features], name: str, value: Expr[Any]) -> None:
    where = f"{view.__name__}.{name}"
    for leaf in value.leaves():
        if isinstance(leaf, Literal):
            continue
        if not isinstance(leaf, Windowed):
            raise DeclarationError(
                "a feature is computed from aggregates",
                where=where,
                found=repr(leaf),
                expected="an aggregate over a window",
                hint=f'say which: {leaf!r}.mean(over="1h") or {leaf!r}.last(over="1d").',
            )
        if leaf.event is not view.event:
            raise DeclarationError(
                "a feature aggregates the event of its view",
                where=where,
                found=leaf.event.__name__,
                expected=view.event.__name__,
                hint=f"declare it in another view: class {leaf.event.__name__}Now(Features, by={leaf.event.__name__}.<field>).",
            )
