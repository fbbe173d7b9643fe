"""Expressions: what can be computed from the fields of one event, or from the features of one vector.

One class per operation. An expression is a value: it can be printed, compared by meaning and translated to every engine
(`streams.evaluate` runs it on columns, `streams.sql` renders it), because it never hides inside a function body.

Null rules, the same in every engine: an operation on a null gives null; dividing by zero gives null; ``where=`` counts a
null condition as false; NaN never appears (a NaN in an event is read as null).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, ClassVar

from samestream.schemas.aggregable import Aggregable, C, T_co
from samestream.schemas.errors import DeclarationError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Kind(Enum):
    """The type of a value: how it is held in a column and written in Avro."""

    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    STRING = "string"
    TIME = "time"
    LIST = "list"
    MAP = "map"

    @property
    def is_number(self) -> bool:
        """Whether arithmetic is defined on it."""
        return self in (Kind.INT, Kind.FLOAT)


class Expr(Aggregable[T_co]):
    """A computation of one value; ``kind`` is its type and ``args`` are the expressions it is computed from.

    ``item`` is the kind of a list's elements or a map's values, None for all else.
    """

    kind: Kind
    item: Kind | None = None
    args: tuple[Expr[Any], ...] = ()
    __hash__ = object.__hash__

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
        return Add(self, other)

    def __radd__(self: Expr[float | None], other: float) -> Expr[float]:
        return Add(other, self)

    def __sub__(self: Expr[float | None], other: Expr[float | None] | float) -> Expr[float]:
        return Subtract(self, other)

    def __rsub__(self: Expr[float | None], other: float) -> Expr[float]:
        return Subtract(other, self)

    def __mul__(self: Expr[float | None], other: Expr[float | None] | float) -> Expr[float]:
        return Multiply(self, other)

    def __rmul__(self: Expr[float | None], other: float) -> Expr[float]:
        return Multiply(other, self)

    def __truediv__(self: Expr[float | None], other: Expr[float | None] | float) -> Expr[float]:
        return Divide(self, other)

    def __rtruediv__(self: Expr[float | None], other: float) -> Expr[float]:
        return Divide(other, self)

    def __neg__(self: Expr[float | None]) -> Expr[float]:
        return Subtract(0, self)

    def abs(self: Expr[float | None]) -> Expr[float]:
        """The value without its sign."""
        return Absolute(self)

    # Comparison and logic -----------------------------------------------------------------------
    def __lt__(self: Expr[C | None], other: Expr[C | None] | C) -> Expr[bool]:
        return Less(self, other)

    def __le__(self: Expr[C | None], other: Expr[C | None] | C) -> Expr[bool]:
        return LessOrEqual(self, other)

    def __gt__(self: Expr[C | None], other: Expr[C | None] | C) -> Expr[bool]:
        return Greater(self, other)

    def __ge__(self: Expr[C | None], other: Expr[C | None] | C) -> Expr[bool]:
        return GreaterOrEqual(self, other)

    def __eq__(self: Expr[C | None], other: Expr[C | None] | C) -> Expr[bool]:  # type: ignore[override]
        return Equal(self, other)

    def __ne__(self: Expr[C | None], other: Expr[C | None] | C) -> Expr[bool]:  # type: ignore[override]
        return Not(Equal(self, other))

    def __and__(self: Expr[bool | None], other: Expr[bool | None] | bool) -> Expr[bool]:
        return And(self, other)

    def __or__(self: Expr[bool | None], other: Expr[bool | None] | bool) -> Expr[bool]:
        return Or(self, other)

    def __invert__(self: Expr[bool | None]) -> Expr[bool]:
        return Not(self)

    # Nulls --------------------------------------------------------------------------------------
    def fill(self: Expr[C | None], value: Expr[C | None] | C) -> Expr[C]:
        """``value`` where this is null."""
        return Fill(self, value)

    def is_null(self) -> Expr[bool]:
        """Whether there is no value."""
        return IsNull(self)


class Literal(Expr[T_co]):
    """A constant written in the declaration."""

    def __init__(self, value: Any) -> None:
        self.kind = _literal_kind(value)
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise DeclarationError(
                    "a datetime needs a time zone", where=repr(value), hint="add tzinfo=timezone.utc or another zone."
                )
            value = (value - EPOCH) // timedelta(microseconds=1)
        if self.kind is Kind.INT and not -(2**63) <= value < 2**63:
            raise DeclarationError(
                "a whole number does not fit 64 bits",
                where=repr(value),
                hint="write it as a float: it is no exact count.",
            )
        self.value = value

    def meaning(self) -> list[Any]:
        """See `Expr.meaning`."""
        return ["Literal", self.kind.value, self.value]

    def __repr__(self) -> str:
        return repr(self.value)


class Column(Expr[T_co]):
    """A named column of a batch: what plans put in place of fields and windowed aggregates."""

    def __init__(self, name: str, kind: Kind) -> None:
        self.name, self.kind = name, kind

    def meaning(self) -> list[Any]:
        """See `Expr.meaning`."""
        return ["Column", self.name, self.kind.value]

    def __repr__(self) -> str:
        return self.name


class _Operation(Expr[Any]):
    """An operation on expressions and constants; checks the kinds of its arguments when declared."""

    symbol: ClassVar[str] = ""
    commutes: ClassVar[bool] = False
    """Whether the order of its two arguments changes nothing, not even the last bit."""

    def meaning(self) -> list[Any]:
        """See `Expr.meaning`; arguments that commute stand in one order."""
        args = [arg.meaning() for arg in self.args]
        if self.commutes and (self.kind is Kind.BOOL or self.kind.is_number):
            args.sort(key=json.dumps)
        return [type(self).__name__, *args]

    def __init__(self, *args: Any) -> None:
        self.args = tuple(arg if isinstance(arg, Expr) else Literal(arg) for arg in args)
        self.kind = self.result_kind(*(arg.kind for arg in self.args))

    def result_kind(self, *kinds: Kind) -> Kind:
        """The kind of the result; raises DeclarationError when the arguments do not fit."""
        raise NotImplementedError

    def refuse(self, expected: str, hint: str) -> DeclarationError:
        """The error for arguments of the wrong kind."""
        found = " and ".join(f"{arg!r} ({arg.kind.value})" for arg in self.args)
        return DeclarationError(
            f"`{self.symbol or type(self).__name__.lower()}` does not fit its values",
            where=repr(self),
            found=found,
            expected=expected,
            hint=hint,
        )

    def __repr__(self) -> str:
        if self.symbol and len(self.args) == 2:
            return f"({self.args[0]!r} {self.symbol} {self.args[1]!r})"
        return f"{type(self).__name__.lower()}({', '.join(map(repr, self.args))})"


class _Arithmetic(_Operation):
    def result_kind(self, *kinds: Kind) -> Kind:
        if not all(kind.is_number for kind in kinds):
            raise self.refuse("numbers", "compare or aggregate the text or time first, so that a number comes out.")
        return Kind.INT if all(kind is Kind.INT for kind in kinds) else Kind.FLOAT


class Add(_Arithmetic):
    """The sum of two numbers; whole numbers wrap at 64 bits."""

    symbol = "+"
    commutes = True


class Subtract(_Arithmetic):
    """The difference of two numbers; whole numbers wrap at 64 bits."""

    symbol = "-"


class Multiply(_Arithmetic):
    """The product of two numbers; whole numbers wrap at 64 bits."""

    symbol = "*"
    commutes = True


class Divide(_Arithmetic):
    """The quotient of two numbers, always a float; null where the divisor is zero."""

    symbol = "/"

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `_Operation.result_kind`."""
        super().result_kind(*kinds)
        return Kind.FLOAT


class Absolute(_Arithmetic):
    """A number without its sign."""


class _Comparison(_Operation):
    def result_kind(self, *kinds: Kind) -> Kind:
        left, right = kinds
        if left is not right and not (left.is_number and right.is_number):
            raise self.refuse("two values of one kind", "compare numbers with numbers and text with text.")
        return Kind.BOOL


class Less(_Comparison):
    """Whether left is less than right."""

    symbol = "<"


class LessOrEqual(_Comparison):
    """Whether left is less than or equal to right."""

    symbol = "<="


class Greater(_Comparison):
    """Whether left is greater than right."""

    symbol = ">"

    def meaning(self) -> list[Any]:
        """See `Expr.meaning`: that of `Less` the other way round."""
        return [Less.__name__, *(arg.meaning() for arg in reversed(self.args))]


class GreaterOrEqual(_Comparison):
    """Whether left is greater than or equal to right."""

    symbol = ">="

    def meaning(self) -> list[Any]:
        """See `Expr.meaning`: that of `LessOrEqual` the other way round."""
        return [LessOrEqual.__name__, *(arg.meaning() for arg in reversed(self.args))]


class Equal(_Comparison):
    """Whether both sides are the same value."""

    symbol = "=="
    commutes = True


class _Logic(_Operation):
    def result_kind(self, *kinds: Kind) -> Kind:
        if any(kind is not Kind.BOOL for kind in kinds):
            raise self.refuse("conditions (true or false)", "compare each side with something first, in parentheses.")
        return Kind.BOOL


class And(_Logic):
    """Whether both hold; false as soon as one side is false, even if the other is null."""

    symbol = "&"
    commutes = True


class Or(_Logic):
    """Whether either holds; true as soon as one side is true, even if the other is null."""

    symbol = "|"
    commutes = True


class Not(_Logic):
    """Whether it does not hold."""


class Fill(_Operation):
    """The first argument, or the second where the first is null."""

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `_Operation.result_kind`."""
        left, right = kinds
        if left is right:
            return left
        if left.is_number and right.is_number:
            return Kind.FLOAT
        raise self.refuse("a replacement of the same kind", "fill numbers with a number and text with text.")


class IsNull(_Operation):
    """Whether there is no value."""

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `_Operation.result_kind`."""
        return Kind.BOOL


def _literal_kind(value: Any) -> Kind:
    for python, kind in (
        (bool, Kind.BOOL),
        (int, Kind.INT),
        (float, Kind.FLOAT),
        (str, Kind.STRING),
        (datetime, Kind.TIME),
    ):
        if isinstance(value, python):
            if kind is Kind.FLOAT and value != value:
                break
            return kind
    raise DeclarationError(
        "this constant cannot stand in an expression",
        where=repr(value),
        found=type(value).__name__,
        expected="a bool, int, float, str or datetime",
        hint="use is_null() and fill() for missing values.",
    )
