"""Conditions joined, and values chosen by them; what is done about nulls."""

from __future__ import annotations

from typing import Any

from samestream.schemas.comparisons import Equal
from samestream.schemas.kinds import Kind
from samestream.schemas.operation import Operation, same_kind


class Logic(Operation):
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


class Fill(Operation):
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


class IsNull(Operation):
    """Whether there is no value."""

    written = "is_null"

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `Operation.result_kind`."""
        return Kind.BOOL
