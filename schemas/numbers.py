"""Functions of one number: roots and logarithms, rounding, bounds."""

from __future__ import annotations

from typing import Any

from samestream.schemas.arithmetic import Arithmetic
from samestream.schemas.errors import DeclarationError
from samestream.schemas.kinds import Kind
from samestream.schemas.leaves import Literal

# 10**22 is the greatest power of ten that a float holds exactly.
MOST_DIGITS = 22


class FloatFunction(Arithmetic):
    """A function of a number that results in a float; a whole number is taken as a float."""

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `Operation.result_kind`."""
        super().result_kind(*kinds)
        return Kind.FLOAT


class Log(FloatFunction):
    """The natural logarithm; null unless the number is above 0."""

    written = "log"


class Exp(FloatFunction):
    """The exponential; infinity where it does not fit."""

    written = "exp"


class SquareRoot(FloatFunction):
    """The square root; null below 0."""

    written = "sqrt"


class Floor(FloatFunction):
    """The greatest whole number that is not above the number, as a float."""

    written = "floor"


class Ceiling(FloatFunction):
    """The least whole number that is not below the number, as a float."""

    written = "ceil"


class Round(FloatFunction):
    """Rounded to ``digits`` after the point; ``x * 10**digits`` is rounded, a half to the even neighbour.

    A number so great that it has no such digits stays as it is.
    """

    written, params = "round", ("digits",)

    def __init__(self, value: Any, digits: int = 0) -> None:
        self.digits = digits
        super().__init__(value)
        if type(digits) is not int or not -MOST_DIGITS <= digits <= MOST_DIGITS:
            raise DeclarationError(
                "these are no digits to round to",
                where=repr(self),
                found=repr(digits),
                expected=f"a whole number from -{MOST_DIGITS} to {MOST_DIGITS}",
                hint="round(2) keeps cents, round(-3) thousands.",
            )


class Clip(Arithmetic):
    """The number, or ``low`` where it is below, or ``high`` where it is above; either may be missing."""

    written, params = "clip", ("low", "high")

    def __init__(self, value: Any, low: Any = None, high: Any = None) -> None:
        self.low: Literal[Any] | None = Literal(low) if low is not None else None
        self.high: Literal[Any] | None = Literal(high) if high is not None else None
        super().__init__(value)
        if self.low is None and self.high is None:
            raise DeclarationError(
                "`clip` needs a bound", where=repr(self), expected="low, high, or both", hint="clip(low=0)."
            )
        if self.low is not None and self.high is not None and self.low.value > self.high.value:
            raise DeclarationError(
                "the bounds of `clip` are in the wrong order",
                where=repr(self),
                found=f"{self.low!r} above {self.high!r}",
                expected="low, then high",
                hint=f"clip({self.high!r}, {self.low!r}).",
            )

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `Operation.result_kind`; a bound that is a float makes a float."""
        return super().result_kind(*kinds, *(bound.kind for bound in (self.low, self.high) if bound is not None))

    def written_arguments(self) -> list[str]:
        """See `Operation.written_arguments`."""
        bounds = (("low", self.low), ("high", self.high))
        return [f"{name}={bound!r}" for name, bound in bounds if bound is not None]
