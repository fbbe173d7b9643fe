"""Expressions: what can be computed from the fields of one event, or from the features of one vector.

One class per operation, in `arithmetic`, `comparisons`, `conditional` and their neighbours. An expression is a value: it can
be printed, compared by meaning and translated to every engine (`streams.engine.evaluate` runs it, `streams.sql.dialect` renders
it), because it never hides inside a function body.

Null rules, the same in every engine: an operation on a null gives null; dividing by zero gives null; ``where=`` counts a
null condition as false; NaN never appears (a NaN in an event is read as null).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Self, TypeVar, overload
from uuid import UUID

from samestream.schemas.about import About, as_tags
from samestream.schemas.aggregable import Aggregable, T_co
from samestream.schemas.errors import DeclarationError
from samestream.schemas.kinds import EPOCH, Kind

__all__ = ["EPOCH", "Column", "Expr", "Kind", "Literal"]

Number = float | Decimal
Text = str | UUID
C = TypeVar("C", int, float, Decimal, str, UUID, datetime, date, bool)
E = TypeVar("E")


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
        """The same expression with something said about it, for the schema, the monitors and the marketplace.

        Raises DeclarationError for what they could not hold, such as a range of texts.
        """
        same = copy.copy(self)
        said = About(doc, owner, as_tags(tags), unit, low, high, pii)
        same.about = said.checked(repr(self), is_number=self.kind.is_number)
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
    @overload
    def __add__(self: Expr[int | None], other: Expr[int | None] | int) -> Expr[int]: ...
    @overload
    def __add__(self: Expr[Number | None], other: Expr[Number | None] | Number) -> Expr[float]: ...
    @overload
    def __add__(self: Expr[Text | None], other: Expr[Text | None] | Text) -> Expr[str]: ...
    def __add__(self: Any, other: Any) -> Any:
        return text.plus(self, other)

    @overload
    def __radd__(self: Expr[int | None], other: int) -> Expr[int]: ...
    @overload
    def __radd__(self: Expr[Number | None], other: Number) -> Expr[float]: ...
    @overload
    def __radd__(self: Expr[Text | None], other: Text) -> Expr[str]: ...
    def __radd__(self: Any, other: Any) -> Any:
        return text.plus(other, self)

    @overload
    def __sub__(self: Expr[int | None], other: Expr[int | None] | int) -> Expr[int]: ...
    @overload
    def __sub__(self: Expr[Number | None], other: Expr[Number | None] | Number) -> Expr[float]: ...
    @overload
    def __sub__(self: Expr[date | None], other: Expr[date | None] | date) -> Expr[float]: ...
    def __sub__(self: Any, other: Any) -> Any:
        return calendar.minus(self, other)

    @overload
    def __rsub__(self: Expr[int | None], other: int) -> Expr[int]: ...
    @overload
    def __rsub__(self: Expr[Number | None], other: Number) -> Expr[float]: ...
    @overload
    def __rsub__(self: Expr[date | None], other: date) -> Expr[float]: ...
    def __rsub__(self: Any, other: Any) -> Any:
        return calendar.minus(other, self)

    @overload
    def __mul__(self: Expr[int | None], other: Expr[int | None] | int) -> Expr[int]: ...
    @overload
    def __mul__(self: Expr[Number | None], other: Expr[Number | None] | Number) -> Expr[float]: ...
    def __mul__(self: Any, other: Any) -> Any:
        return arithmetic.Multiply(self, other)

    @overload
    def __rmul__(self: Expr[int | None], other: int) -> Expr[int]: ...
    @overload
    def __rmul__(self: Expr[Number | None], other: Number) -> Expr[float]: ...
    def __rmul__(self: Any, other: Any) -> Any:
        return arithmetic.Multiply(other, self)

    def __truediv__(self: Expr[Number | None], other: Expr[Number | None] | Number) -> Expr[float]:
        return arithmetic.Divide(self, other)

    def __rtruediv__(self: Expr[Number | None], other: Number) -> Expr[float]:
        return arithmetic.Divide(other, self)

    @overload
    def __floordiv__(self: Expr[int | None], other: Expr[int | None] | int) -> Expr[int]: ...
    @overload
    def __floordiv__(self: Expr[Number | None], other: Expr[Number | None] | Number) -> Expr[float]: ...
    def __floordiv__(self: Any, other: Any) -> Any:
        return arithmetic.FloorDivide(self, other)

    @overload
    def __rfloordiv__(self: Expr[int | None], other: int) -> Expr[int]: ...
    @overload
    def __rfloordiv__(self: Expr[Number | None], other: Number) -> Expr[float]: ...
    def __rfloordiv__(self: Any, other: Any) -> Any:
        return arithmetic.FloorDivide(other, self)

    @overload
    def __mod__(self: Expr[int | None], other: Expr[int | None] | int) -> Expr[int]: ...
    @overload
    def __mod__(self: Expr[Number | None], other: Expr[Number | None] | Number) -> Expr[float]: ...
    def __mod__(self: Any, other: Any) -> Any:
        return arithmetic.Modulo(self, other)

    @overload
    def __rmod__(self: Expr[int | None], other: int) -> Expr[int]: ...
    @overload
    def __rmod__(self: Expr[Number | None], other: Number) -> Expr[float]: ...
    def __rmod__(self: Any, other: Any) -> Any:
        return arithmetic.Modulo(other, self)

    @overload
    def __neg__(self: Expr[int | None]) -> Expr[int]: ...
    @overload
    def __neg__(self: Expr[Number | None]) -> Expr[float]: ...
    def __neg__(self: Any) -> Any:
        return arithmetic.Negate(self)

    @overload
    def __abs__(self: Expr[int | None]) -> Expr[int]: ...
    @overload
    def __abs__(self: Expr[Number | None]) -> Expr[float]: ...
    def __abs__(self: Any) -> Any:
        return arithmetic.Absolute(self)

    @overload
    def abs(self: Expr[int | None]) -> Expr[int]: ...
    @overload
    def abs(self: Expr[Number | None]) -> Expr[float]: ...
    def abs(self: Any) -> Any:
        """The value without its sign."""
        return arithmetic.Absolute(self)

    # Functions of a number ----------------------------------------------------------------------
    def log(self: Expr[Number | None]) -> Expr[float]:
        """The natural logarithm; null unless the number is above 0."""
        return numbers.Log(self)

    def exp(self: Expr[Number | None]) -> Expr[float]:
        """The exponential; infinity where it does not fit."""
        return numbers.Exp(self)

    def sqrt(self: Expr[Number | None]) -> Expr[float]:
        """The square root; null below 0."""
        return numbers.SquareRoot(self)

    def floor(self: Expr[Number | None]) -> Expr[float]:
        """Rounded down to a whole number, as a float: ``cast(int)`` makes it one."""
        return numbers.Floor(self)

    def ceil(self: Expr[Number | None]) -> Expr[float]:
        """Rounded up to a whole number, as a float: ``cast(int)`` makes it one."""
        return numbers.Ceiling(self)

    def round(self: Expr[Number | None], digits: int = 0) -> Expr[float]:
        """Rounded to digits after the point, a half to the even neighbour; below 0, to tens, hundreds and so on."""
        return numbers.Round(self, digits)

    @overload
    def clip(self: Expr[int | None], low: int | None = None, high: int | None = None) -> Expr[int]: ...
    @overload
    def clip(self: Expr[Number | None], low: Number | None = None, high: Number | None = None) -> Expr[float]: ...
    def clip(self: Any, low: Any = None, high: Any = None) -> Any:
        """The number, or the bound that it is beyond."""
        return numbers.Clip(self, low, high)

    # Comparison and logic -----------------------------------------------------------------------
    @overload
    def __lt__(self: Expr[Number | None], other: Expr[Number | None] | Number) -> Expr[bool]: ...
    @overload
    def __lt__(self: Expr[Text | None], other: Expr[Text | None] | Text) -> Expr[bool]: ...
    @overload
    def __lt__(self: Expr[date | None], other: Expr[date | None] | date) -> Expr[bool]: ...
    def __lt__(self: Any, other: Any) -> Any:
        return comparisons.Less(self, other)

    @overload
    def __le__(self: Expr[Number | None], other: Expr[Number | None] | Number) -> Expr[bool]: ...
    @overload
    def __le__(self: Expr[Text | None], other: Expr[Text | None] | Text) -> Expr[bool]: ...
    @overload
    def __le__(self: Expr[date | None], other: Expr[date | None] | date) -> Expr[bool]: ...
    def __le__(self: Any, other: Any) -> Any:
        return comparisons.LessOrEqual(self, other)

    @overload
    def __gt__(self: Expr[Number | None], other: Expr[Number | None] | Number) -> Expr[bool]: ...
    @overload
    def __gt__(self: Expr[Text | None], other: Expr[Text | None] | Text) -> Expr[bool]: ...
    @overload
    def __gt__(self: Expr[date | None], other: Expr[date | None] | date) -> Expr[bool]: ...
    def __gt__(self: Any, other: Any) -> Any:
        return comparisons.Greater(self, other)

    @overload
    def __ge__(self: Expr[Number | None], other: Expr[Number | None] | Number) -> Expr[bool]: ...
    @overload
    def __ge__(self: Expr[Text | None], other: Expr[Text | None] | Text) -> Expr[bool]: ...
    @overload
    def __ge__(self: Expr[date | None], other: Expr[date | None] | date) -> Expr[bool]: ...
    def __ge__(self: Any, other: Any) -> Any:
        return comparisons.GreaterOrEqual(self, other)

    @overload  # type: ignore[override]
    def __eq__(self: Expr[Number | None], other: Expr[Number | None] | Number) -> Expr[bool]: ...
    @overload
    def __eq__(self: Expr[Text | None], other: Expr[Text | None] | Text) -> Expr[bool]: ...
    @overload
    def __eq__(self: Expr[date | None], other: Expr[date | None] | date) -> Expr[bool]: ...
    def __eq__(self: Any, other: Any) -> Any:
        return comparisons.Equal(self, other)

    @overload  # type: ignore[override]
    def __ne__(self: Expr[Number | None], other: Expr[Number | None] | Number) -> Expr[bool]: ...
    @overload
    def __ne__(self: Expr[Text | None], other: Expr[Text | None] | Text) -> Expr[bool]: ...
    @overload
    def __ne__(self: Expr[date | None], other: Expr[date | None] | date) -> Expr[bool]: ...
    def __ne__(self: Any, other: Any) -> Any:
        return conditional.Not(comparisons.Equal(self, other))

    @overload
    def is_in(self: Expr[Number | None], *options: Number) -> Expr[bool]: ...
    @overload
    def is_in(self: Expr[Text | None], *options: Text) -> Expr[bool]: ...
    @overload
    def is_in(self: Expr[date | None], *options: date) -> Expr[bool]: ...
    def is_in(self: Any, *options: Any) -> Any:
        """Whether the value equals one of some constants."""
        return comparisons.IsIn(self, *options)

    def __and__(self: Expr[bool | None], other: Expr[bool | None] | bool) -> Expr[bool]:
        return conditional.And(self, other)

    def __rand__(self: Expr[bool | None], other: bool) -> Expr[bool]:
        return conditional.And(other, self)

    def __or__(self: Expr[bool | None], other: Expr[bool | None] | bool) -> Expr[bool]:
        return conditional.Or(self, other)

    def __ror__(self: Expr[bool | None], other: bool) -> Expr[bool]:
        return conditional.Or(other, self)

    def __invert__(self: Expr[bool | None]) -> Expr[bool]:
        return conditional.Not(self)

    # Nulls and kinds ----------------------------------------------------------------------------
    @overload
    def fill(self: Expr[bool | None], value: Expr[bool | None] | bool) -> Expr[bool]: ...
    @overload
    def fill(self: Expr[int | None], value: Expr[int | None] | int) -> Expr[int]: ...
    @overload
    def fill(self: Expr[Number | None], value: Expr[Number | None] | Number) -> Expr[float]: ...
    @overload
    def fill(self: Expr[Text | None], value: Expr[Text | None] | Text) -> Expr[str]: ...
    @overload
    def fill(self: Expr[datetime | None], value: Expr[datetime | None] | datetime) -> Expr[datetime]: ...
    @overload
    def fill(self: Expr[date | None], value: Expr[date | None] | date) -> Expr[date]: ...
    @overload
    def fill(self: Expr[E | None], value: Expr[E | None]) -> Expr[E]: ...
    def fill(self: Any, value: Any) -> Any:
        """``value`` where this is null."""
        return conditional.Fill(self, value)

    def is_null(self) -> Expr[bool]:
        """Whether there is no value."""
        return conditional.IsNull(self)

    @overload
    def cast(self: Expr[float | None], target: type[bool]) -> Expr[bool]: ...
    @overload
    def cast(self: Expr[Number | Text | date | None], target: type[int]) -> Expr[int]: ...
    @overload
    def cast(self: Expr[Number | Text | None], target: type[float]) -> Expr[float]: ...
    @overload
    def cast(self: Expr[int | Text | None], target: type[str]) -> Expr[str]: ...
    def cast(self: Any, target: type) -> Any:
        """The value as an ``int``, ``float``, ``str`` or ``bool``; null where it cannot be read as one."""
        return casts.cast(self, target)

    # Text ---------------------------------------------------------------------------------------
    def lower(self: Expr[Text | None]) -> Expr[str]:
        """With small letters for A to Z."""
        return text.Lower(self)

    def upper(self: Expr[Text | None]) -> Expr[str]:
        """With capitals for a to z."""
        return text.Upper(self)

    def length(self: Expr[Text | list[Any] | None]) -> Expr[int]:
        """How many code points a text has, or how many elements a list."""
        return lists.ListLength(self) if self.kind is Kind.LIST else text.Length(self)

    def concat(self: Expr[Text | None], *others: Expr[Text | None] | Text) -> Expr[str]:
        """This text and then the others."""
        return text.Concat(self, *others)

    def starts_with(self: Expr[Text | None], start: Expr[Text | None] | Text) -> Expr[bool]:
        """Whether the text begins with another."""
        return text.StartsWith(self, start)

    @overload
    def contains(self: Expr[Text | None], value: Expr[Text | None] | Text) -> Expr[bool]: ...
    @overload
    def contains(self: Expr[list[C] | list[C | None] | None], value: Expr[C | None] | C) -> Expr[bool]: ...
    def contains(self: Any, value: Any) -> Any:
        """Whether another text stands in this one, or whether a list has an element that equals the value."""
        return lists.ListContains(self, value) if self.kind is Kind.LIST else text.Contains(self, value)

    def hash_bucket(self: Expr[Text | int | date | None], n: int) -> Expr[int]:
        """One of ``n`` buckets, 0 to n-1, by the MD5 of the value's text."""
        return text.HashBucket(self, n)

    # Lists and maps -----------------------------------------------------------------------------
    def at(self: Expr[list[E] | None], index: int) -> Expr[E]:
        """The element at a place, from 0; below 0 from the end; null where there is none."""
        return lists.At(self, index)

    def get(self: Expr[dict[str, E] | None], key: str) -> Expr[E]:
        """The value under a key of a map; null where there is none."""
        return lists.Get(self, key)

    # The calendar -------------------------------------------------------------------------------
    def year(self: Expr[date | None], zone: str = "UTC") -> Expr[int]:
        """The year in a zone."""
        return calendar.Year(self, zone)

    def month(self: Expr[date | None], zone: str = "UTC") -> Expr[int]:
        """The month in a zone, 1 to 12."""
        return calendar.Month(self, zone)

    def day(self: Expr[date | None], zone: str = "UTC") -> Expr[int]:
        """The day of the month in a zone, 1 to 31."""
        return calendar.Day(self, zone)

    def hour(self: Expr[date | None], zone: str = "UTC") -> Expr[int]:
        """The hour in a zone, 0 to 23."""
        return calendar.Hour(self, zone)

    def minute(self: Expr[date | None], zone: str = "UTC") -> Expr[int]:
        """The minute in a zone, 0 to 59."""
        return calendar.Minute(self, zone)

    def weekday(self: Expr[date | None], zone: str = "UTC") -> Expr[int]:
        """The day of the week in a zone; Monday is 0."""
        return calendar.Weekday(self, zone)

    def day_of_year(self: Expr[date | None], zone: str = "UTC") -> Expr[int]:
        """The day of the year in a zone, 1 to 366."""
        return calendar.DayOfYear(self, zone)


# The operations are expressions themselves, so they can be imported only now that `Expr` is there.
from samestream.schemas import (  # noqa: E402
    arithmetic,
    calendar,
    casts,
    comparisons,
    conditional,
    lists,
    numbers,
    text,
)
from samestream.schemas.leaves import Column, Literal  # noqa: E402
