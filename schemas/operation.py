"""What every operation on expressions has in common: arguments, parameters, and kinds that are checked when declared."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from samestream.schemas.aggregable import T_co
from samestream.schemas.errors import DeclarationError
from samestream.schemas.expressions import Expr
from samestream.schemas.kinds import Kind, constant
from samestream.schemas.leaves import Literal


class Operation(Expr[T_co]):
    """An operation on expressions and constants; one class each.

    ``written`` is its method, ``symbol`` its operator, where it has one. ``params`` names the attributes that decide its
    value beside its arguments: a zone, a number of digits.
    """

    written: ClassVar[str]
    symbol: ClassVar[str] = ""
    params: ClassVar[tuple[str, ...]] = ()
    commutes: ClassVar[bool] = False
    """Whether the order of its two arguments changes nothing, not even the last bit."""

    def __init__(self, *args: Any) -> None:
        self.args = tuple(arg if isinstance(arg, Expr) else Literal(arg) for arg in args)
        self.kind = self.result_kind(*(arg.kind for arg in self.args))

    def result_kind(self, *kinds: Kind) -> Kind:
        """The kind of the result; raises DeclarationError when the arguments do not fit."""
        raise NotImplementedError

    def refuse(self, expected: str, hint: str, *values: Expr[Any]) -> DeclarationError:
        """The error for values of the wrong kind: its arguments, or those given."""
        return DeclarationError(
            f"`{self.symbol or self.written}` does not fit its values",
            where=repr(self),
            found=" and ".join(f"{arg!r} ({described(arg)})" for arg in values or self.args),
            expected=expected,
            hint=hint,
        )

    def meaning(self) -> list[Any]:
        """See `Expr.meaning`; arguments that commute stand in one order."""
        params = [_plain(getattr(self, name)) for name in self.params]
        args = [arg.meaning() for arg in self.args]
        if self.commutes:
            args.sort(key=json.dumps)
        return [type(self).__name__, *params, *args]

    def __repr__(self) -> str:
        if self.symbol and len(self.args) == 2:
            return f"({self.args[0]!r} {self.symbol} {self.args[1]!r})"
        on = f"Literal({self.args[0]!r})" if isinstance(self.args[0], Literal) else repr(self.args[0])
        return f"{on}.{self.written}({', '.join(self.written_arguments())})"

    def written_arguments(self) -> list[str]:
        """What stands between the parentheses of its method."""
        return [*map(repr, self.args[1:]), *(repr(getattr(self, name)) for name in self.params)]


def described(value: Expr[Any]) -> str:
    """The kind of an expression in words.

    >>> described(Literal(5))
    'int'
    """
    return f"{value.kind.value} of {value.item.value}" if value.item is not None else value.kind.value


def same_kind(
    operation: Operation[Any], values: tuple[Expr[Any], ...], expected: str, hint: str
) -> tuple[Kind, Kind | None]:
    """The one kind of several values, and of their elements; whole numbers beside floats are floats.

    Raises DeclarationError, as the operation refuses, when they differ.
    """
    kinds = {(value.kind, value.item) for value in values}
    if len(kinds) == 1:
        return kinds.pop()
    if all(kind.is_number for kind, _ in kinds):
        return Kind.FLOAT, None
    raise operation.refuse(expected, hint)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return value.meaning() if isinstance(value, Expr) else value


def kind_of(value: Any) -> Kind:
    """The kind of an expression or of a constant."""
    return value.kind if isinstance(value, Expr) else constant(value)[0]
