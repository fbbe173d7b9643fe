"""Aggregates that add up: counts, sums, means, variances, shares, and sums of which the past fades."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from samestream.schemas import durations
from samestream.schemas.algebra import SCALARS, Aggregate, At, present, wrap
from samestream.schemas.durations import Duration
from samestream.schemas.errors import DeclarationError
from samestream.schemas.expressions import Expr, Kind

Total = tuple[int, Any]
Moments = tuple[int, float, float]
Faded = tuple[int, float, float]

ANY_KIND = SCALARS | {Kind.LIST, Kind.MAP}
# Coefficients of the power series of 2**-x. The kernel computes weights by the same operations: `streams.engine.kernel.weight`.
HALVING = [1.0]
for _term in range(1, 18):
    HALVING.append(HALVING[-1] * -0.6931471805599453 / _term)
NO_TIME = -(2**63)


def weight(age_us: int, half_life_us: int) -> float:
    """``2 ** -(age_us / half_life_us)``, within an ulp or two; 0 from 1,023 half-lives on.

    By additions, multiplications and one division in a fixed order, so that its bits are the same on every machine.

    >>> weight(7_200_000_000, 3_600_000_000)
    0.25
    """
    halvings = age_us // half_life_us
    if halvings >= 1023:
        return 0.0
    x = float(age_us - halvings * half_life_us) / float(half_life_us)
    total = HALVING[17]
    for term in range(16, -1, -1):
        total = total * x + HALVING[term]
    return total * math.ldexp(1.0, -halvings)


class Count(Aggregate):
    """How many rows the window holds; of a field, how many values."""

    accepts = ANY_KIND
    takes_rows = True
    result_kind = Kind.INT

    def cells(self) -> tuple[tuple[str, int], ...]:
        """See `Aggregate.cells`."""
        return (("COUNT", 0),)

    def zero(self) -> int:
        """See `Aggregate.zero`."""
        return 0

    def add(self, state: int, value: Any, at: At) -> int:
        """See `Aggregate.add`."""
        return state + 1

    def merge(self, left: int, right: int) -> int:
        """See `Aggregate.merge`."""
        return left + right

    def result(self, state: int, t_us: int) -> int:
        """See `Aggregate.result`."""
        return state


class Sum(Aggregate):
    """The total; whole numbers wrap at 64 bits."""

    result_kind: ClassVar[Kind | None] = None

    def cells(self) -> tuple[tuple[str, int], ...]:
        """See `Aggregate.cells`."""
        return (("COUNT", 0), (self._typed("SUM_*"), 0))

    def zero(self) -> Total:
        """See `Aggregate.zero`; -0.0 and not 0.0, for that would change a sum of -0.0."""
        return 0, -0.0 if self._is_float else 0

    def add(self, state: Total, value: Any, at: At) -> Total:
        """See `Aggregate.add`."""
        return self.merge(state, (1, value))

    def merge(self, left: Total, right: Total) -> Total:
        """See `Aggregate.merge`."""
        total = left[1] + right[1]
        return left[0] + right[0], total if self._is_float else wrap(total)

    def result(self, state: Total, t_us: int) -> Any:
        """See `Aggregate.result`."""
        count, total = state
        return present(total) if count else None

    @property
    def _is_float(self) -> bool:
        return self.input is not None and self.input.kind is Kind.FLOAT


class Mean(Sum):
    """The arithmetic mean: the total divided by the count."""

    result_kind = Kind.FLOAT

    def result(self, state: Total, t_us: int) -> float | None:
        """See `Aggregate.result`."""
        count, total = state
        return present(float(total) / count) if count else None


class Share(Mean):
    """The part of the conditions that is true."""

    accepts = frozenset({Kind.BOOL})
    refusal = "compare it with something first: (Departure.dep_delay > 15).share(over='1h')."


class Variance(Aggregate):
    """The population variance, by Welford's and Chan's updates of (count, mean, sum of squared deviations)."""

    as_floats = True

    def cells(self) -> tuple[tuple[str, int], ...]:
        """See `Aggregate.cells`."""
        return (("MOMENTS", 0),)

    def zero(self) -> Moments:
        """See `Aggregate.zero`."""
        return 0, 0.0, 0.0

    def add(self, state: Moments, value: Any, at: At) -> Moments:
        """See `Aggregate.add`."""
        count, mean, squares = state
        x = float(value)
        apart = x - mean
        mean = mean + apart / (count + 1)
        return count + 1, mean, squares + apart * (x - mean)

    def merge(self, left: Moments, right: Moments) -> Moments:
        """See `Aggregate.merge`."""
        if not left[0]:
            return right
        if not right[0]:
            return left
        count = left[0] + right[0]
        share, apart = right[0] / count, right[1] - left[1]
        squares = (left[2] + right[2]) + (apart * apart) * (left[0] * share)
        return count, left[1] + apart * share, squares

    def result(self, state: Moments, t_us: int) -> float | None:
        """See `Aggregate.result`; rounding cannot make it negative."""
        count, _, squares = state
        return present(0.0 if squares <= 0.0 else squares / count) if count else None


class Std(Variance):
    """The population standard deviation: the root of the variance."""

    def result(self, state: Moments, t_us: int) -> float | None:
        """See `Aggregate.result`."""
        variance = super().result(state, t_us)
        return math.sqrt(variance) if variance is not None else None


class DecayedSum(Aggregate):
    """A sum in which an event counts ``2 ** -(age / half-life)``.

    The state is (latest event time, sum, weight), both as of that time. What is so old that its weight is 0 adds nothing.
    """

    as_floats = True

    def __init__(self, input: Expr[Any] | None, half_life: Duration) -> None:
        self.half_life_us = durations.parse(half_life, f"{self.name}({input!r})")
        if self.half_life_us < 1_000:
            raise DeclarationError(
                "a half-life is too short",
                where=f"{self.name}({input!r})",
                found=repr(half_life),
                expected="1ms or more",
                hint=f'write {self.name}("1h", over="1d").',
            )
        super().__init__(input)

    @property
    def params(self) -> tuple[Any, ...]:
        """See `Aggregate.params`."""
        return (self.half_life_us,)

    def arguments(self) -> str:
        """See `Aggregate.arguments`."""
        return repr(durations.text(self.half_life_us))

    def cells(self) -> tuple[tuple[str, int], ...]:
        """See `Aggregate.cells`."""
        return (("DECAYED", self.half_life_us),)

    def zero(self) -> Faded:
        """See `Aggregate.zero`."""
        return NO_TIME, -0.0, 0.0

    def add(self, state: Faded, value: Any, at: At) -> Faded:
        """See `Aggregate.add`."""
        return self.merge(state, (at[0], float(value), 1.0))

    def merge(self, left: Faded, right: Faded) -> Faded:
        """See `Aggregate.merge`."""
        if right[0] == NO_TIME or left[0] == NO_TIME:
            return left if right[0] == NO_TIME else right
        share = weight(abs(right[0] - left[0]), self.half_life_us)
        if right[0] > left[0]:
            return right[0], left[1] * share + right[1] if share else right[1], left[2] * share + right[2]
        return (left[0], left[1] + right[1] * share, left[2] + right[2] * share) if share else left

    def result(self, state: Faded, t_us: int) -> float | None:
        """See `Aggregate.result`."""
        latest, total, count = state
        if not count:
            return None
        share = weight(t_us - latest, self.half_life_us)
        return present(total * share) if share else 0.0


class DecayedMean(DecayedSum):
    """A mean in which an event counts ``2 ** -(age / half-life)``."""

    def result(self, state: Faded, t_us: int) -> float | None:
        """See `Aggregate.result`; numerator and denominator fade alike."""
        _, total, count = state
        return present(total / count) if count else None
