"""What every expression can be asked to become: an aggregate over a window. The aggregates are in `schemas.aggregates`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

if TYPE_CHECKING:
    from samestream.schemas.aggregates import Windowed
    from samestream.schemas.durations import Duration
    from samestream.schemas.expressions import Expr

T_co = TypeVar("T_co", covariant=True)
C = TypeVar("C", float, str, datetime, bool)


class Aggregable(Generic[T_co]):
    """The aggregates of an expression, one method each; `Expr` inherits them."""

    def count(self, *, over: Duration, where: Expr[bool] | None = None, tile: Duration | None = None) -> Expr[int]:
        """How many events in the window have a value here."""
        return self._windowed("Count", over, where, tile)

    def sum(
        self: Aggregable[C | None], *, over: Duration, where: Expr[bool] | None = None, tile: Duration | None = None
    ) -> Expr[C]:
        """The total over the window; null when it holds no value."""
        return self._windowed("Sum", over, where, tile)

    def mean(
        self: Aggregable[float | None], *, over: Duration, where: Expr[bool] | None = None, tile: Duration | None = None
    ) -> Expr[float]:
        """The arithmetic mean over the window; null when it holds no value."""
        return self._windowed("Mean", over, where, tile)

    def min(
        self: Aggregable[C | None], *, over: Duration, where: Expr[bool] | None = None, tile: Duration | None = None
    ) -> Expr[C]:
        """The least value in the window; null when it holds none."""
        return self._windowed("Min", over, where, tile)

    def max(
        self: Aggregable[C | None], *, over: Duration, where: Expr[bool] | None = None, tile: Duration | None = None
    ) -> Expr[C]:
        """The greatest value in the window; null when it holds none."""
        return self._windowed("Max", over, where, tile)

    def std(
        self: Aggregable[float | None], *, over: Duration, where: Expr[bool] | None = None, tile: Duration | None = None
    ) -> Expr[float]:
        """The population standard deviation over the window; null when it holds no value."""
        return self._windowed("Std", over, where, tile)

    def last(
        self: Aggregable[C | None], *, over: Duration, where: Expr[bool] | None = None, tile: Duration | None = None
    ) -> Expr[C]:
        """The latest value in the window by (event time, position); null when it holds none."""
        return self._windowed("Last", over, where, tile)

    def _windowed(self, name: str, over: Duration, where: Expr[bool] | None, tile: Duration | None) -> Windowed:
        from samestream.schemas import aggregates

        return aggregates.Windowed(
            getattr(aggregates, name)(cast("Expr[Any]", self)), over=over, where=where, tile=tile
        )
