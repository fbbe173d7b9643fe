"""Aggregates that pick values: by size, or by their place in time."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any, ClassVar

from samestream.schemas.algebra import COMPARABLE, SCALARS, Aggregate, At, whole
from samestream.schemas.expressions import Expr, Kind
from samestream.schemas.sums import ANY_KIND

Extreme = tuple[Any] | None
Placed = tuple[int, int, Any]
MOST_VALUES = 1_000


class Min(Aggregate):
    """The least value; text by code point. Of 0.0 and -0.0 the first."""

    accepts = COMPARABLE
    result_kind: ClassVar[Kind | None] = None
    refusal = "compare numbers, times or text; of a condition take share()."

    def cells(self) -> tuple[tuple[str, int], ...]:
        """See `Aggregate.cells`."""
        return (("COUNT", 0), (self._typed("MIN_*"), 0)) if self._fits_kernel() else ()

    def zero(self) -> Extreme:
        """See `Aggregate.zero`."""
        return None

    def add(self, state: Extreme, value: Any, at: At) -> Extreme:
        """See `Aggregate.add`."""
        return self.merge(state, (value,))

    def merge(self, left: Extreme, right: Extreme) -> Extreme:
        """See `Aggregate.merge`."""
        if left is None or right is None:
            return right if left is None else left
        return right if right[0] < left[0] else left

    def result(self, state: Extreme, t_us: int) -> Any:
        """See `Aggregate.result`."""
        return state[0] if state is not None else None


class Max(Min):
    """The greatest value; text by code point. Of 0.0 and -0.0 the first."""

    def cells(self) -> tuple[tuple[str, int], ...]:
        """See `Aggregate.cells`."""
        return (("COUNT", 0), (self._typed("MAX_*"), 0)) if self._fits_kernel() else ()

    def merge(self, left: Extreme, right: Extreme) -> Extreme:
        """See `Aggregate.merge`."""
        if left is None or right is None:
            return right if left is None else left
        return right if right[0] > left[0] else left


class Last(Aggregate):
    """The latest value by (event time, position in the log)."""

    accepts = SCALARS
    result_kind: ClassVar[Kind | None] = None
    refusal = "aggregate a part of it, such as its length()."

    def cells(self) -> tuple[tuple[str, int], ...]:
        """See `Aggregate.cells`."""
        return (("COUNT", 0), ("LAST", 0)) if self._fits_kernel() else ()

    def zero(self) -> Placed | None:
        """See `Aggregate.zero`."""
        return None

    def add(self, state: Placed | None, value: Any, at: At) -> Placed | None:
        """See `Aggregate.add`."""
        return self.merge(state, (*at, value))

    def merge(self, left: Placed | None, right: Placed | None) -> Placed | None:
        """See `Aggregate.merge`."""
        if left is None or right is None:
            return right if left is None else left
        return right if right[:2] > left[:2] else left

    def result(self, state: Placed | None, t_us: int) -> Any:
        """See `Aggregate.result`."""
        return state[2] if state is not None else None


class First(Last):
    """The earliest value by (event time, position in the log)."""

    def cells(self) -> tuple[tuple[str, int], ...]:
        """See `Aggregate.cells`."""
        return (("COUNT", 0), ("FIRST", 0)) if self._fits_kernel() else ()

    def merge(self, left: Placed | None, right: Placed | None) -> Placed | None:
        """See `Aggregate.merge`."""
        if left is None or right is None:
            return right if left is None else left
        return right if right[:2] < left[:2] else left


class TimeSinceLast(Last):
    """Seconds from the latest row, or value, to the instant."""

    accepts = ANY_KIND
    takes_rows = True
    result_kind = Kind.FLOAT

    def cells(self) -> tuple[tuple[str, int], ...]:
        """See `Aggregate.cells`; only the time of the latest is read, so any kind will do."""
        return (("COUNT", 0), ("LAST", 0))

    def add(self, state: Placed | None, value: Any, at: At) -> Placed | None:
        """See `Aggregate.add`."""
        return self.merge(state, (*at, 0))

    def result(self, state: Placed | None, t_us: int) -> float | None:
        """See `Aggregate.result`."""
        return (t_us - state[0]) / 1e6 if state is not None else None


class LastN(Aggregate):
    """The latest n values by (event time, position in the log), newest last."""

    accepts = SCALARS
    result_kind = Kind.LIST
    refusal = "aggregate a part of it, such as its length()."

    def __init__(self, input: Expr[Any] | None, n: int) -> None:
        super().__init__(input)
        self.n = whole(n, self.name, "a number of values", 1, MOST_VALUES)

    @property
    def params(self) -> tuple[Any, ...]:
        """See `Aggregate.params`."""
        return (self.n,)

    def zero(self) -> tuple[Placed, ...]:
        """See `Aggregate.zero`."""
        return ()

    def add(self, state: tuple[Placed, ...], value: Any, at: At) -> tuple[Placed, ...]:
        """See `Aggregate.add`."""
        place = bisect_right(state, at, key=_at) if state and state[-1][:2] > at else len(state)
        if len(state) < self.n:
            return (*state[:place], (*at, value), *state[place:])
        return (*state[1:place], (*at, value), *state[place:]) if place else state

    def merge(self, left: tuple[Placed, ...], right: tuple[Placed, ...]) -> tuple[Placed, ...]:
        """See `Aggregate.merge`."""
        if not left or not right:
            return left or right
        both = left + right if left[-1][:2] <= right[0][:2] else tuple(sorted(left + right, key=_at))
        return both[-self.n :]

    def result(self, state: tuple[Placed, ...], t_us: int) -> list[Any] | None:
        """See `Aggregate.result`."""
        return [value for _, _, value in state] or None


def _at(placed: Placed) -> At:
    return placed[:2]
