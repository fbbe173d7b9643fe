"""Comparisons: conditions from two values of one kind. Numbers as numbers, text by code point, times as instants."""

from __future__ import annotations

import json
from typing import Any

from samestream.schemas.errors import DeclarationError
from samestream.schemas.expressions import Expr
from samestream.schemas.kinds import Kind
from samestream.schemas.leaves import Literal
from samestream.schemas.operation import Operation


class Comparison(Operation[Any]):
    """A comparison of two values of one kind; a whole number beside a float is taken as a float."""

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `Operation.result_kind`."""
        check_comparable(self, *self.args)
        return Kind.BOOL


class Less(Comparison):
    """Whether left is less than right."""

    written, symbol = "less", "<"


class LessOrEqual(Comparison):
    """Whether left is less than or equal to right."""

    written, symbol = "less_or_equal", "<="


class Greater(Comparison):
    """Whether left is greater than right."""

    written, symbol = "greater", ">"

    def meaning(self) -> list[Any]:
        """See `Expr.meaning`: that of `Less` the other way round."""
        return [Less.__name__, *(arg.meaning() for arg in reversed(self.args))]


class GreaterOrEqual(Comparison):
    """Whether left is greater than or equal to right."""

    written, symbol = "greater_or_equal", ">="

    def meaning(self) -> list[Any]:
        """See `Expr.meaning`: that of `LessOrEqual` the other way round."""
        return [LessOrEqual.__name__, *(arg.meaning() for arg in reversed(self.args))]


class Equal(Comparison):
    """Whether both sides are the same value."""

    written, symbol = "equal", "=="
    commutes = True


class IsIn(Operation[Any]):
    """Whether the value equals one of some constants."""

    written, params = "is_in", ("options",)

    def __init__(self, value: Any, *options: Any) -> None:
        self.options: tuple[Literal[Any], ...] = tuple(Literal(option) for option in options)
        super().__init__(value)
        if not options:
            raise DeclarationError(
                "`is_in` needs constants", where=repr(self), expected="one or more", hint="is_in('JFK', 'LGA')."
            )

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `Operation.result_kind`."""
        for option in self.options:
            check_comparable(self, self.args[0], option)
        return Kind.BOOL

    def meaning(self) -> list[Any]:
        """See `Expr.meaning`; the options are a set."""
        options = {json.dumps(option.meaning()): option.meaning() for option in self.options}
        return [type(self).__name__, self.args[0].meaning(), [options[name] for name in sorted(options)]]

    def written_arguments(self) -> list[str]:
        """See `Operation.written_arguments`."""
        return [repr(option) for option in self.options]


def check_comparable(operation: Operation[Any], left: Expr[Any], right: Expr[Any]) -> None:
    """Raises DeclarationError unless two values can be compared: of one kind, and an enum with its symbols only."""
    if left.kind is not right.kind and not (left.kind.is_number and right.kind.is_number):
        hint = "compare numbers with numbers and text with text."
        raise operation.refuse("two values of one kind", hint, left, right)
    if left.kind in (Kind.LIST, Kind.MAP):
        raise operation.refuse("single values", "take an element, or ask what is contained.", left, right)
    for this, that in ((left, right), (right, left)):
        _check_symbol(operation, this, that)


def _check_symbol(operation: Operation[Any], value: Expr[Any], constant: Expr[Any]) -> None:
    symbols: tuple[str, ...] = getattr(value, "symbols", ())
    if symbols and isinstance(constant, Literal) and constant.value not in symbols:
        import difflib

        near = difflib.get_close_matches(str(constant.value), symbols, n=1)
        raise DeclarationError(
            "an enum is compared with what is none of its symbols",
            where=repr(operation),
            found=repr(constant),
            expected=", ".join(map(repr, symbols)),
            hint=f"did you mean {near[0]!r}?" if near else "the comparison would never hold.",
        )
