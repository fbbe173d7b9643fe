"""Arithmetic of numbers. Whole numbers stay whole and wrap at 64 bits; a float on either side gives a float."""

from __future__ import annotations

from typing import Any

from samestream.schemas.kinds import Kind
from samestream.schemas.operation import Operation


class Arithmetic(Operation[Any]):
    """An operation on numbers only."""

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `Operation.result_kind`."""
        if not all(kind.is_number for kind in kinds):
            raise self.refuse(
                "numbers", "cast(int) or cast(float) reads a number off text; two times subtract to seconds."
            )
        return Kind.INT if all(kind is Kind.INT for kind in kinds) else Kind.FLOAT


class Add(Arithmetic):
    """The sum of two numbers."""

    written, symbol = "add", "+"
    commutes = True


class Subtract(Arithmetic):
    """The difference of two numbers."""

    written, symbol = "subtract", "-"


class Multiply(Arithmetic):
    """The product of two numbers."""

    written, symbol = "multiply", "*"
    commutes = True


class Divide(Arithmetic):
    """The quotient of two numbers, always a float; null where the divisor is zero."""

    written, symbol = "divide", "/"

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `Operation.result_kind`."""
        super().result_kind(*kinds)
        return Kind.FLOAT


class FloorDivide(Arithmetic):
    """The quotient rounded down; null where the divisor is zero."""

    written, symbol = "floor_divide", "//"


class Modulo(Arithmetic):
    """What the quotient rounded down leaves, of the sign of the divisor; null where that is zero."""

    written, symbol = "modulo", "%"


class Negate(Arithmetic):
    """A number with its sign turned; of the least whole number, itself."""

    written, symbol = "negate", "-"

    def __repr__(self) -> str:
        return f"(-{self.args[0]!r})"


class Absolute(Arithmetic):
    """A number without its sign; of the least whole number, itself."""

    written = "abs"
