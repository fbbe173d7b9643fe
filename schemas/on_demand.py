"""Features computed at the request: expressions of the trigger's own fields and of other features, named once, used in any model.

::

    class Excess(OnDemand, on=Boarding):
        local_hour = Boarding.at.hour("America/New_York")
        delay = OriginNow.mean_delay_1h - CarrierNow.mean_delay_3h
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from typing import Any, ClassVar

from samestream.schemas.about import About, about_class
from samestream.schemas.aggregates import Windowed
from samestream.schemas.class_body import public, refuse_kept, stray
from samestream.schemas.errors import DeclarationError
from samestream.schemas.events import Event, Field
from samestream.schemas.expressions import Expr
from samestream.schemas.tables import AsOf, Table, bound


class Requested(Expr[Any]):
    """An on-demand feature; in a model it stands for its expression."""

    def __init__(self, view: type[OnDemand], name: str, expression: Expr[Any]) -> None:
        self.view, self.name, self.expression = view, name, expression
        self.kind, self.item = expression.kind, expression.item
        self.about = expression.about.within(view.about)

    def meaning(self) -> list[Any]:
        """That of its expression: a name means nothing."""
        return self.expression.meaning()

    def __repr__(self) -> str:
        return f"{self.view.__name__}.{self.name}"


class OnDemand:
    """Features of a request; subclass it with ``on=`` the event that is the request.

    ``owner=`` and ``tags=`` of the class statement hold for its features.
    """

    about: ClassVar[About]
    on: ClassVar[type[Event]]
    features: ClassVar[dict[str, Requested]]

    def __init_subclass__(
        cls, *, on: type[Event] | None = None, owner: str = "", tags: str | Iterable[str] = (), **options: Any
    ) -> None:
        here = cls.__name__
        refuse_kept(cls, "features")
        declared = public(cls)
        cls.about = about_class(cls, owner, tags)
        if options or not (isinstance(on, type) and issubclass(on, Event)) or issubclass(on, Table):
            raise DeclarationError(
                "on-demand features need their request",
                where=here,
                found=", ".join(options) or f"on={getattr(on, '__name__', repr(on))}",
                expected="on=an Event class, and no table",
                hint=f"class {here}(OnDemand, on=Boarding).",
            )
        cls.on, cls.features = on, {}
        for name, value in declared.items():
            if not isinstance(value, Expr):
                raise stray(cls, name, value, f"a feature: an expression of fields of {on.__name__} and other features")
            where = f"{here}.{name}"
            expression = resolved(value, on, where)
            check_readable(expression, on, where)
            cls.features[name] = Requested(cls, name, expression)
            setattr(cls, name, cls.features[name])
        if not cls.features:
            time = on.time_field.name if on.time_field is not None else "at"
            raise DeclarationError(
                "on-demand features are declared without any",
                where=here,
                hint=f"add one, such as hour = {on.__name__}.{time}.hour().",
            )


def resolved(value: Expr[Any], on: type[Event], where: str) -> Expr[Any]:
    """The expression over what the request reads: on-demand features by their expressions, tables looked up by its fields.

    Raises DeclarationError where it uses an on-demand feature of another request.
    """

    def expand(leaf: Expr[Any]) -> Expr[Any]:
        if not isinstance(leaf, Requested):
            return leaf
        if leaf.view.on is not on:
            raise DeclarationError(
                "an on-demand feature is of another request",
                where=where,
                found=f"{leaf!r}, which needs {leaf.view.on.__name__}",
                expected=f"features of {on.__name__}",
                hint=f"declare it for {on.__name__} too: class {leaf.view.__name__}(OnDemand, on={on.__name__}).",
            )
        return leaf.expression

    found = bound(value.replace_leaves(expand), on, where)
    if isinstance(value, Requested):  # what is said of the feature holds for what it stands for
        found = copy(found)
        found.about = value.about
    return found


def check_readable(value: Expr[Any], on: type[Event], where: str) -> None:
    """Raise DeclarationError for a leaf that cannot be known when the request comes: it would be a leak, or an aggregate astray."""
    for leaf in value.leaves():
        if isinstance(leaf, Windowed):
            raise DeclarationError(
                "an aggregate belongs in a view",
                where=where,
                found=repr(leaf),
                hint="declare it in a Features class, which says by which key.",
            )
        if isinstance(leaf, (Field, AsOf)) and leaf.event is not on:
            raise DeclarationError(
                "fields of its trigger only can be read",
                where=where,
                found=repr(leaf),
                expected=f"a field of {on.__name__}",
                hint="aggregate the other event in a Features class, or this would be a leak from the future.",
            )
