"""Expressions: what can be computed from the fields of one event, or from the features of one vector.

One class per operation, in `arithmetic`, `comparisons`, `conditional` and their neighbours. An expression is a value: it can
be printed, compared by meaning and translated to every engine (`streams.evaluate` runs it on columns, `streams.sql` renders
it), because it never hides inside a function body.

Null rules, the same in every engine: an operation on a null gives null; dividing by zero gives null; ``where=`` counts a
null condition as false; NaN never appears (a NaN in an event is read as null).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, Self

from samestream.schemas.about import About, as_tags
from samestream.schemas.aggregable import Aggregable, C, T_co
from samestream.schemas.errors import DeclarationError
from samestream.schemas.kinds import EPOCH, Kind, constant

__all__ = ["EPOCH", "Column", "Expr", "Kind", "Literal"]


class Expr(Aggregable[T_co]):
    """A computation of one value; ``kind`` is its type and ``args`` are the expressions it is computed from.

    ``item`` is the kind of a list's elements or a map's values, None for all else.
    """

    kind: Kind
    item: Kind | None = None
    about: About = About()
    args: tuple[Expr[Any], ...] = ()
    __hash__ = object.__hash__

    def described(
        self,
        *,
        doc: str = "",
        owner: str = "",
        tags: str | Iterable[str] = (),
        unit: str = "",
        low: float | None = None,
        high: float | None = None,
        pii: bool = False,
    ) -> Self:
        """The same expression with something said about it, for the schema, the monitors and the marketplace."""
        same = copy.copy(self)
        same.about = About(doc, owner, as_tags(tags), unit, low, high, pii)
        return same

    def meaning(self) -> list[Any]:
        """The expression as nested lists: equal for equal meaning, whatever the variable names and spacing."""
        return [type(self).__name__, *(arg.meaning() for arg in self.args)]

    def leaves(self) -> Iterator[Expr[Any]]:
        """Every expression in the tree that is computed from no other."""
        if not self.args:
            yield self
        for arg in self.args:
            yield from arg.leaves()

    def replace_leaves(self, replacement: Callable[[Expr[Any]], Expr[Any]]) -> Expr[Any]:
        """The same computation over other leaves."""
        if not self.args:
            return replacement(self)
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.args = tuple(arg.replace_leaves(replacement) for arg in self.args)
        return copy

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.args))})"

    def __bool__(self) -> bool:
        raise DeclarationError(
            "an expression has no truth value while it is being declared",
            where=repr(self),
            hint="join conditions with & and |, negate with ~, and put each side in parentheses.",
        )

    # Arithmetic ---------------------------------------------------------------------------------
    def __add__(self: Expr[float | None], other: Expr[float | None] | float) -> Expr[float]:
        return arithmetic.Add(self, other)

    def __radd__(self: Expr[float | None], other: float) -> Expr[float]:
        return arithmetic.Add(other, self)

    def __sub__(self: Expr[float | None], other: Expr[float | None] | float) -> Expr[float]:
        return arithmetic.Subtract(self, other)

    def __rsub__(self: Expr[float | None], other: float) -> Expr[float]:
        return arithmetic.Subtract(other, self)

    def __mul__(self: Expr[float | None], other: Expr[float | None] | float) -> Expr[float]:
        return arithmetic.Multiply(self, other)

    def __rmul__(self: Expr[float | None], other: float) -> Expr[float]:
        return arithmetic.Multiply(other, self)

    def __truediv__(self: Expr[float | None], other: Expr[float | None] | float) -> Expr[float]:
        return arithmetic.Divide(self, other)

    def __rtruediv__(self: Expr[float | None], other: float) -> Expr[float]:
        return arithmetic.Divide(other, self)

    def __neg__(self: Expr[float | None]) -> Expr[float]:
        return arithmetic.Negate(self)

    def abs(self: Expr[float | None]) -> Expr[float]:
        """The value without its sign."""
        return arithmetic.Absolute(self)

    # Comparison and logic -----------------------------------------------------------------------
    def __lt__(self: Expr[C | None], other: Expr[C | None] | C) -> Expr[bool]:
        return comparisons.Less(self, other)

    def __le__(self: Expr[C | None], other: Expr[C | None] | C) -> Expr[bool]:
        return comparisons.LessOrEqual(self, other)

    def __gt__(self: Expr[C | None], other: Expr[C | None] | C) -> Expr[bool]:
        return comparisons.Greater(self, other)

    def __ge__(self: Expr[C | None], other: Expr[C | None] | C) -> Expr[bool]:
        return comparisons.GreaterOrEqual(self, other)

    def __eq__(self: Expr[C | None], other: Expr[C | None] | C) -> Expr[bool]:  # type: ignore[override]
        return comparisons.Equal(self, other)

    def __ne__(self: Expr[C | None], other: Expr[C | None] | C) -> Expr[bool]:  # type: ignore[override]
        return conditional.Not(comparisons.Equal(self, other))

    def __and__(self: Expr[bool | None], other: Expr[bool | None] | bool) -> Expr[bool]:
        return conditional.And(self, other)

    def __or__(self: Expr[bool | None], other: Expr[bool | None] | bool) -> Expr[bool]:
        return conditional.Or(self, other)

    def __invert__(self: Expr[bool | None]) -> Expr[bool]:
        return conditional.Not(self)

    # Nulls --------------------------------------------------------------------------------------
    def fill(self: Expr[C | None], value: Expr[C | None] | C) -> Expr[C]:
        """``value`` where this is null."""
        return conditional.Fill(self, value)

    def is_null(self) -> Expr[bool]:
        """Whether there is no value."""
        return conditional.IsNull(self)


class Literal(Expr[T_co]):
    """A constant written in the declaration; its value is as columns hold it (`kinds.constant`)."""

    def __init__(self, value: Any) -> None:
        self.kind, self.value = constant(value)

    def meaning(self) -> list[Any]:
        """See `Expr.meaning`."""
        return ["Literal", self.kind.value, self.value]

    def __repr__(self) -> str:
        if self.kind is Kind.TIME:
            return repr(EPOCH + timedelta(microseconds=self.value))
        return repr(self.value)


class Column(Expr[T_co]):
    """A named column of a batch: what plans put in place of fields and windowed aggregates."""

    def __init__(self, name: str, kind: Kind, item: Kind | None = None) -> None:
        self.name, self.kind, self.item = name, kind, item

    def meaning(self) -> list[Any]:
        """See `Expr.meaning`."""
        of = [self.item.value] if self.item is not None else []
        return ["Column", self.name, self.kind.value, *of]

    def __repr__(self) -> str:
        return self.name


# The operations are expressions themselves, so they can be imported only now that `Expr` is there.
from samestream.schemas import arithmetic, comparisons, conditional  # noqa: E402
