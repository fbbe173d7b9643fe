"""Comparisons: conditions from two values of one kind. Numbers as numbers, text by code point, times as instants."""

from __future__ import annotations

from typing import Any

from samestream.schemas.kinds import Kind
from samestream.schemas.operation import Operation


class Comparison(Operation):
    """A comparison of two values of one kind; a whole number beside a float is taken as a float."""

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `Operation.result_kind`."""
        left, right = kinds
        if left is not right and not (left.is_number and right.is_number):
            raise self.refuse("two values of one kind", "compare numbers with numbers and text with text.")
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
