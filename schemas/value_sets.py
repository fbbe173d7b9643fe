"""Aggregates of which values occur and how often: distinct values, quantiles, the most frequent ones."""

from __future__ import annotations

import math
from bisect import bisect_left
from fractions import Fraction
from itertools import accumulate
from typing import Any

from samestream.schemas import hyperloglog
from samestream.schemas.algebra import EXACT, Aggregate, At, whole
from samestream.schemas.errors import DeclarationError
from samestream.schemas.expressions import Expr, Kind

Counts = tuple[tuple[Any, ...], tuple[int, ...]]  # the values, ascending, and how often each

SUB_BUCKETS = 128  # of every power of two
_LEAST_EXPONENT = -1073  # of frexp, of the smallest float
_INFINITY = (1025 - _LEAST_EXPONENT) * SUB_BUCKETS + 1
_AS_TEXT = "floats have no text that all engines agree on: round first, (x * 100).round().cast(int)."


class Distinct(Aggregate):
    """How many different values: exact up to a bound, above it an estimate (`hyperloglog`), never below bound + 1.

    The state is the set of the values, or the registers once there are more than ``exact``.
    """

    accepts = EXACT
    result_kind = Kind.INT
    refusal = _AS_TEXT

    def __init__(self, input: Expr[Any] | None, exact: int = 1024) -> None:
        super().__init__(input)
        self.exact = whole(exact, self.name, "a bound", 0, 100_000)

    @property
    def params(self) -> tuple[Any, ...]:
        """See `Aggregate.params`."""
        return (self.exact,)

    def arguments(self) -> str:
        """See `Aggregate.arguments`."""
        return "" if self.exact == 1024 else f"exact={self.exact}"

    def zero(self) -> frozenset[Any] | bytes:
        """See `Aggregate.zero`."""
        return frozenset()

    def add(self, state: frozenset[Any] | bytes, value: Any, at: At) -> frozenset[Any] | bytes:
        """See `Aggregate.add`."""
        if isinstance(state, bytes):
            return hyperloglog.add(state, value)
        return state if value in state else self._bounded(state | {value})

    def merge(self, left: frozenset[Any] | bytes, right: frozenset[Any] | bytes) -> frozenset[Any] | bytes:
        """See `Aggregate.merge`."""
        if isinstance(left, bytes) and isinstance(right, bytes):
            return hyperloglog.merge(left, right)
        if isinstance(left, frozenset) and isinstance(right, frozenset):
            return self._bounded(left | right)
        registers, values = (left, right) if isinstance(left, bytes) else (right, left)
        for value in values:
            registers = hyperloglog.add(registers, value)  # type: ignore[arg-type]
        return registers

    def result(self, state: frozenset[Any] | bytes, t_us: int) -> int:
        """See `Aggregate.result`."""
        if isinstance(state, frozenset):
            return len(state)
        return max(hyperloglog.estimate(state), self.exact + 1)

    def _bounded(self, values: frozenset[Any]) -> frozenset[Any] | bytes:
        return values if len(values) <= self.exact else self.merge(hyperloglog.EMPTY, values)


class _Counted(Aggregate):
    """An aggregate whose state is how often each value, or bucket of values, occurs, whatever its parameters."""

    def states(self) -> tuple[Any, ...]:
        """See `Aggregate.states`."""
        return (type(self).__name__,)

    def zero(self) -> Counts:
        """See `Aggregate.zero`."""
        return (), ()

    def add(self, state: Counts, value: Any, at: At) -> Counts:
        """See `Aggregate.add`."""
        values, counts = state
        place = bisect_left(values, value)
        if place < len(values) and values[place] == value:
            return values, (*counts[:place], counts[place] + 1, *counts[place + 1 :])
        return (*values[:place], value, *values[place:]), (*counts[:place], 1, *counts[place:])

    def merge(self, left: Counts, right: Counts) -> Counts:
        """See `Aggregate.merge`."""
        if not left[0] or not right[0]:
            return left if left[0] else right
        counts = dict(zip(*left, strict=True))
        for value, count in zip(*right, strict=True):
            counts[value] = counts.get(value, 0) + count
        values = tuple(sorted(counts))
        return values, tuple(map(counts.__getitem__, values))


class MostFrequent(_Counted):
    """The value that occurs most often, or the k that do; of equally frequent ones the least first."""

    accepts = EXACT
    refusal = _AS_TEXT

    def __init__(self, input: Expr[Any] | None, k: int | None = None) -> None:
        super().__init__(input)
        self.k = whole(k, self.name, "a number of values", 1, 1_000) if k is not None else None

    @property
    def params(self) -> tuple[Any, ...]:
        """See `Aggregate.params`."""
        return (self.k,)

    def arguments(self) -> str:
        """See `Aggregate.arguments`."""
        return "" if self.k is None else repr(self.k)

    @property
    def kind(self) -> Kind:
        """See `Aggregate.kind`."""
        assert self.input is not None
        return self.input.kind if self.k is None else Kind.LIST

    def result(self, state: Counts, t_us: int) -> Any:
        """See `Aggregate.result`; sorting keeps the order of equally frequent ones."""
        values, counts = state
        if not values:
            return None
        if self.k is None:
            return values[counts.index(max(counts))]
        ranked = sorted(range(len(values)), key=counts.__getitem__, reverse=True)
        return [values[place] for place in ranked[: self.k]]


class Quantile(_Counted):
    """The value of rank ``ceil(q * n)``, at least 1, rounded towards zero to the end of its bucket.

    The state counts buckets: 128 for every power of two, so that a result is at most 1 part in 128 too small in size, and
    exact for whole numbers to 256. Zero and the infinities have buckets of their own. Whole numbers are read as floats.
    """

    as_floats = True

    def __init__(self, input: Expr[Any] | None, q: float) -> None:
        super().__init__(input)
        if isinstance(q, bool) or not isinstance(q, int | float) or not 0 <= q <= 1:
            raise DeclarationError(
                "`quantile` needs a share of the values",
                where=f"quantile({input!r})",
                found=repr(q),
                expected="a number from 0 to 1",
                hint='write quantile(0.95, over="1h") for the value that 95 % do not exceed.',
            )
        self.q = float(q)
        self.fraction = Fraction(repr(self.q))
        """q as written, so that ``ceil(q * n)`` is exact: 0.07 of 100 values is the 7th."""

    @property
    def params(self) -> tuple[Any, ...]:
        """See `Aggregate.params`."""
        return (self.q,)

    def add(self, state: Counts, value: Any, at: At) -> Counts:
        """See `Aggregate.add`."""
        return super().add(state, bucket(float(value)), at)

    def result(self, state: Counts, t_us: int) -> float | None:
        """See `Aggregate.result`."""
        buckets, counts = state
        if not buckets:
            return None
        ends = list(accumulate(counts))
        rank = max(1, math.ceil(self.fraction * ends[-1]))
        return lower_end(buckets[bisect_left(ends, rank)])


def bucket(value: float) -> int:
    """The number of a float's bucket: ascending with the value, 0 for zero, negative for what is below.

    >>> bucket(1.0), bucket(1.0077), bucket(1.0079), bucket(-1.0)
    (137473, 137473, 137474, -137473)
    """
    if value == 0.0:
        return 0
    size = abs(value)
    if size == math.inf:
        number = _INFINITY
    else:
        fraction, exponent = math.frexp(size)  # 0.5 <= fraction < 1
        number = (exponent - _LEAST_EXPONENT) * SUB_BUCKETS + int(fraction * (2 * SUB_BUCKETS)) - SUB_BUCKETS + 1
    return number if value > 0 else -number


def lower_end(number: int) -> float:
    """The value in a bucket that is nearest to zero.

    >>> lower_end(bucket(255.0)), lower_end(bucket(1000.0))
    (255.0, 1000.0)
    """
    if number == 0:
        return 0.0
    exponent, sub_bucket = divmod(abs(number) - 1, SUB_BUCKETS)
    size = (
        math.inf if abs(number) >= _INFINITY else math.ldexp(SUB_BUCKETS + sub_bucket, exponent + _LEAST_EXPONENT - 8)
    )
    return math.copysign(size, number)
