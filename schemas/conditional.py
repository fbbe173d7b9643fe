"""Conditions joined, and values chosen by them; what is done about nulls."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Generic, TypeVar, overload

from samestream.schemas.aggregable import T_co
from samestream.schemas.comparisons import Equal
from samestream.schemas.errors import DeclarationError
from samestream.schemas.expressions import C, E, Expr, Number, Text
from samestream.schemas.kinds import Kind
from samestream.schemas.operation import Operation, same_kind

P = TypeVar("P")


class Logic(Operation[Any]):
    """An operation on conditions, three-valued: a null is one that is not known."""

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `Operation.result_kind`."""
        if any(kind is not Kind.BOOL for kind in kinds):
            raise self.refuse("conditions (true or false)", "compare each side with something first, in parentheses.")
        return Kind.BOOL


class And(Logic):
    """Whether both hold; false as soon as one side is false, even if the other is null."""

    written, symbol = "and", "&"
    commutes = True


class Or(Logic):
    """Whether either holds; true as soon as one side is true, even if the other is null."""

    written, symbol = "or", "|"
    commutes = True


class Not(Logic):
    """Whether it does not hold."""

    written, symbol = "not", "~"

    def __repr__(self) -> str:
        inside = self.args[0]
        if isinstance(inside, Equal):
            return f"({inside.args[0]!r} != {inside.args[1]!r})"
        return f"(~{inside!r})"


class Fill(Operation[Any]):
    """The first argument, or the second where the first is null."""

    written = "fill"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.item = self.args[0].item

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `Operation.result_kind`."""
        return same_kind(
            self, self.args, "a replacement of the same kind", "fill numbers with a number and text with text."
        )[0]


class IsNull(Operation[Any]):
    """Whether there is no value."""

    written = "is_null"

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `Operation.result_kind`."""
        return Kind.BOOL


class When(Operation[T_co]):
    """The value of the first condition that is true; a null condition counts as false. Null, or ``otherwise``, if none is."""

    written = "when"

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `Operation.result_kind`."""
        branches, otherwise = self.branches(self.args)
        for condition, _ in branches:
            if condition.kind is not Kind.BOOL:
                raise self.refuse("conditions (true or false) in `when`", "compare the value with something.")
        chosen = [value for _, value in branches] + ([otherwise] if otherwise is not None else [])
        kind, self.item = same_kind(
            self, tuple(chosen), "values of one kind", "choose between numbers, or between texts; cast the others."
        )
        return kind

    def branches(self, parts: Sequence[P]) -> tuple[list[tuple[P, P]], P | None]:
        """What belongs to its arguments, by branch (condition, value), and what belongs to the one for all else."""
        paired = len(parts) // 2 * 2
        return list(zip(parts[:paired:2], parts[1:paired:2], strict=True)), (parts[-1] if len(parts) > paired else None)

    def when(self, condition: Expr[bool | None]) -> Then[T_co]:
        """A further branch, for rows that none so far has taken."""
        self._must_be_open("when")
        return Then(*self.args, condition)

    @overload
    def otherwise(self: When[bool], value: Expr[bool | None] | bool) -> Expr[bool]: ...
    @overload
    def otherwise(self: When[int], value: Expr[int | None] | int) -> Expr[int]: ...
    @overload
    def otherwise(self: When[Number], value: Expr[Number | None] | Number) -> Expr[float]: ...
    @overload
    def otherwise(self: When[Text], value: Expr[Text | None] | Text) -> Expr[str]: ...
    @overload
    def otherwise(self: When[datetime], value: Expr[datetime | None] | datetime) -> Expr[datetime]: ...
    @overload
    def otherwise(self: When[date], value: Expr[date | None] | date) -> Expr[date]: ...
    @overload
    def otherwise(self: When[E], value: Expr[E | None]) -> Expr[E]: ...
    def otherwise(self: When[Any], value: Any) -> Expr[Any]:
        """The value for rows that no branch takes."""
        self._must_be_open("otherwise")
        return When(*self.args, value)

    def _must_be_open(self, method: str) -> None:
        if len(self.args) % 2:
            raise DeclarationError(
                f"nothing comes after `otherwise`, so no `{method}`",
                where=repr(self),
                hint="put every when(...).then(...) before it.",
            )

    def __repr__(self) -> str:
        branches, otherwise = self.branches(self.args)
        written = ".".join(f"when({condition!r}).then({value!r})" for condition, value in branches)
        return written if otherwise is None else f"{written}.otherwise({otherwise!r})"


class Then(Generic[T_co]):
    """Branches of which the last waits for its value."""

    def __init__(self, *parts: Any) -> None:
        self._parts = parts

    @overload
    def then(self: Then[bool], value: Expr[bool | None] | bool) -> When[bool]: ...
    @overload
    def then(self: Then[int], value: Expr[int | None] | int) -> When[int]: ...
    @overload
    def then(self: Then[Number], value: Expr[Number | None] | Number) -> When[float]: ...
    @overload
    def then(self: Then[Text], value: Expr[Text | None] | Text) -> When[str]: ...
    @overload
    def then(self: Then[datetime], value: Expr[datetime | None] | datetime) -> When[datetime]: ...
    @overload
    def then(self: Then[date], value: Expr[date | None] | date) -> When[date]: ...
    @overload
    def then(self: Then[E], value: Expr[E | None]) -> When[E]: ...
    def then(self: Then[Any], value: Any) -> When[Any]:
        """The value where the condition is true."""
        return When(*self._parts, value)


class First:
    """The first condition, which waits for its value."""

    def __init__(self, condition: Any) -> None:
        self._condition = condition

    @overload
    def then(self, value: Expr[C | None] | C) -> When[C]: ...
    @overload
    def then(self, value: Expr[E | None]) -> When[E]: ...
    def then(self, value: Any) -> When[Any]:
        """The value where the condition is true."""
        return When(self._condition, value)


def when(condition: Expr[bool | None]) -> First:
    """Choose between values by conditions: ``when(late).then("late").when(early).then("early").otherwise("on time")``."""
    return First(condition)
