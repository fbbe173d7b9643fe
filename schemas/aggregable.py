"""What every expression can be asked to become: an aggregate over a window. The aggregates are in `schemas.aggregates`.

Every method takes the keywords of a window (docs/language.md): ``over``, ``every`` and ``zone``, or ``session``; with any of
them ``tile`` and ``where``, a condition. A tuple of lengths declares several windows at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, Required, TypedDict, TypeVar, Unpack, cast, overload
from uuid import UUID

from samestream.schemas.about import Said
from samestream.schemas.durations import Duration
from samestream.schemas.errors import DeclarationError

if TYPE_CHECKING:
    from samestream.schemas.algebra import Aggregate
    from samestream.schemas.expressions import Expr

T_co = TypeVar("T_co", covariant=True)
N = TypeVar("N", int, float)
V = TypeVar("V", int, float, Decimal, str, UUID, date, datetime)
S = TypeVar("S", bool, int, float, Decimal, str, UUID, date, datetime)
E = TypeVar("E", bound=int | str | UUID | date)  # no float: its text differs between engines


class OneWindow(TypedDict, total=False):
    """The keywords of one window."""

    over: Duration
    every: Duration
    zone: str
    session: Duration
    tile: Duration
    where: Expr[bool | None] | None


class ManyWindows(TypedDict, total=False):
    """The keywords of several sliding windows."""

    over: Required[tuple[Duration, ...]]
    tile: Duration
    where: Expr[bool | None] | None


class Several(Generic[T_co]):
    """One aggregate over several windows: in a view, a feature each; by length, ``CarrierNow.mean_delay["1h"]``."""

    def __init__(self, expressions: Mapping[str, Expr[T_co]]) -> None:
        self._expressions = dict(expressions)

    def __getitem__(self, over: str) -> Expr[T_co]:
        """The one over this window; raises DeclarationError if there is none."""
        if over not in self._expressions:
            raise DeclarationError(
                "no such window",
                where=repr(self),
                found=repr(over),
                expected=" or ".join(map(repr, self)),
                hint="write the length as it was declared.",
            )
        return self._expressions[over]

    def __iter__(self) -> Iterator[str]:
        return iter(self._expressions)

    def described(self, **about: Unpack[Said]) -> Several[T_co]:
        """The same with something said about each, as by `Expr.described`."""
        return Several({over: expression.described(**about) for over, expression in self._expressions.items()})

    def items(self) -> list[tuple[str, Expr[T_co]]]:
        """Every length with the aggregate over it, as declared."""
        return list(self._expressions.items())

    def __repr__(self) -> str:
        return f"[{', '.join(map(repr, self._expressions.values()))}]"


class Aggregable(Generic[T_co]):
    """The aggregates of an expression, one method each; `Expr` inherits them."""

    @overload
    def count(self, **window: Unpack[OneWindow]) -> Expr[int]: ...
    @overload
    def count(self, **windows: Unpack[ManyWindows]) -> Several[int]: ...
    def count(self, **window: Any) -> Any:
        """How many events in the window have a value here."""
        return self._windowed("Count", window)

    @overload
    def sum(self: Aggregable[N | None], **window: Unpack[OneWindow]) -> Expr[N]: ...
    @overload
    def sum(self: Aggregable[Decimal | None], **window: Unpack[OneWindow]) -> Expr[float]: ...
    @overload
    def sum(self: Aggregable[N | None], **windows: Unpack[ManyWindows]) -> Several[N]: ...
    @overload
    def sum(self: Aggregable[Decimal | None], **windows: Unpack[ManyWindows]) -> Several[float]: ...
    def sum(self, **window: Any) -> Any:
        """The total; null when there is no value."""
        return self._windowed("Sum", window)

    @overload
    def mean(self: Aggregable[float | Decimal | None], **window: Unpack[OneWindow]) -> Expr[float]: ...
    @overload
    def mean(self: Aggregable[float | Decimal | None], **windows: Unpack[ManyWindows]) -> Several[float]: ...
    def mean(self, **window: Any) -> Any:
        """The arithmetic mean; null when there is no value."""
        return self._windowed("Mean", window)

    @overload
    def variance(self: Aggregable[float | Decimal | None], **window: Unpack[OneWindow]) -> Expr[float]: ...
    @overload
    def variance(self: Aggregable[float | Decimal | None], **windows: Unpack[ManyWindows]) -> Several[float]: ...
    def variance(self, **window: Any) -> Any:
        """The population variance; null when there is no value."""
        return self._windowed("Variance", window)

    @overload
    def std(self: Aggregable[float | Decimal | None], **window: Unpack[OneWindow]) -> Expr[float]: ...
    @overload
    def std(self: Aggregable[float | Decimal | None], **windows: Unpack[ManyWindows]) -> Several[float]: ...
    def std(self, **window: Any) -> Any:
        """The population standard deviation; null when there is no value."""
        return self._windowed("Std", window)

    @overload
    def min(self: Aggregable[V | None], **window: Unpack[OneWindow]) -> Expr[V]: ...
    @overload
    def min(self: Aggregable[V | None], **windows: Unpack[ManyWindows]) -> Several[V]: ...
    def min(self, **window: Any) -> Any:
        """The least value; null when there is none."""
        return self._windowed("Min", window)

    @overload
    def max(self: Aggregable[V | None], **window: Unpack[OneWindow]) -> Expr[V]: ...
    @overload
    def max(self: Aggregable[V | None], **windows: Unpack[ManyWindows]) -> Several[V]: ...
    def max(self, **window: Any) -> Any:
        """The greatest value; null when there is none."""
        return self._windowed("Max", window)

    @overload
    def first(self: Aggregable[S | None], **window: Unpack[OneWindow]) -> Expr[S]: ...
    @overload
    def first(self: Aggregable[S | None], **windows: Unpack[ManyWindows]) -> Several[S]: ...
    def first(self, **window: Any) -> Any:
        """The earliest value by (event time, position); null when there is none."""
        return self._windowed("First", window)

    @overload
    def last(self: Aggregable[S | None], **window: Unpack[OneWindow]) -> Expr[S]: ...
    @overload
    def last(self: Aggregable[S | None], **windows: Unpack[ManyWindows]) -> Several[S]: ...
    def last(self, **window: Any) -> Any:
        """The latest value by (event time, position); null when there is none."""
        return self._windowed("Last", window)

    @overload
    def last_n(self: Aggregable[S | None], n: int, **window: Unpack[OneWindow]) -> Expr[list[S]]: ...
    @overload
    def last_n(self: Aggregable[S | None], n: int, **windows: Unpack[ManyWindows]) -> Several[list[S]]: ...
    def last_n(self, n: int, **window: Any) -> Any:
        """The latest n values by (event time, position), newest last; null when there is none."""
        return self._windowed("LastN", window, n)

    @overload
    def distinct(
        self: Aggregable[int | str | UUID | date | None], exact: int = 1024, **window: Unpack[OneWindow]
    ) -> Expr[int]: ...
    @overload
    def distinct(
        self: Aggregable[int | str | UUID | date | None], exact: int = 1024, **windows: Unpack[ManyWindows]
    ) -> Several[int]: ...
    def distinct(self, exact: int = 1024, **window: Any) -> Any:
        """How many different values: exact up to a bound, above it within a few per cent; 0 when there is none."""
        return self._windowed("Distinct", window, exact)

    @overload
    def most_frequent(self: Aggregable[E | None], **window: Unpack[OneWindow]) -> Expr[E]: ...
    @overload
    def most_frequent(self: Aggregable[E | None], **windows: Unpack[ManyWindows]) -> Several[E]: ...
    @overload
    def most_frequent(self: Aggregable[E | None], k: int, **window: Unpack[OneWindow]) -> Expr[list[E]]: ...
    @overload
    def most_frequent(self: Aggregable[E | None], k: int, **windows: Unpack[ManyWindows]) -> Several[list[E]]: ...
    def most_frequent(self, k: int | None = None, **window: Any) -> Any:
        """The value that occurs most often, or a list of the k that do; of equally frequent ones the least first."""
        return self._windowed("MostFrequent", window, k)

    @overload
    def quantile(self: Aggregable[float | Decimal | None], q: float, **window: Unpack[OneWindow]) -> Expr[float]: ...
    @overload
    def quantile(
        self: Aggregable[float | Decimal | None], q: float, **windows: Unpack[ManyWindows]
    ) -> Several[float]: ...
    def quantile(self, q: float, **window: Any) -> Any:
        """The value that the share q of the values does not exceed, at most 0.8 % too small in size; null when there is none."""
        return self._windowed("Quantile", window, q)

    @overload
    def median(self: Aggregable[float | Decimal | None], **window: Unpack[OneWindow]) -> Expr[float]: ...
    @overload
    def median(self: Aggregable[float | Decimal | None], **windows: Unpack[ManyWindows]) -> Several[float]: ...
    def median(self, **window: Any) -> Any:
        """``quantile(0.5)``."""
        return self._windowed("Quantile", window, 0.5)

    @overload
    def share(self: Aggregable[bool | None], **window: Unpack[OneWindow]) -> Expr[float]: ...
    @overload
    def share(self: Aggregable[bool | None], **windows: Unpack[ManyWindows]) -> Several[float]: ...
    def share(self, **window: Any) -> Any:
        """The part of the conditions that is true; null when there is none."""
        return self._windowed("Share", window)

    @overload
    def decayed_sum(
        self: Aggregable[float | Decimal | None], half_life: Duration, **window: Unpack[OneWindow]
    ) -> Expr[float]: ...
    @overload
    def decayed_sum(
        self: Aggregable[float | Decimal | None], half_life: Duration, **windows: Unpack[ManyWindows]
    ) -> Several[float]: ...
    def decayed_sum(self, half_life: Duration, **window: Any) -> Any:
        """A sum in which a value counts half after every half-life; null when there is no value."""
        return self._windowed("DecayedSum", window, half_life)

    @overload
    def decayed_mean(
        self: Aggregable[float | Decimal | None], half_life: Duration, **window: Unpack[OneWindow]
    ) -> Expr[float]: ...
    @overload
    def decayed_mean(
        self: Aggregable[float | Decimal | None], half_life: Duration, **windows: Unpack[ManyWindows]
    ) -> Several[float]: ...
    def decayed_mean(self, half_life: Duration, **window: Any) -> Any:
        """A mean in which a value counts half after every half-life; null when there is no value."""
        return self._windowed("DecayedMean", window, half_life)

    @overload
    def time_since_last(self, **window: Unpack[OneWindow]) -> Expr[float]: ...
    @overload
    def time_since_last(self, **windows: Unpack[ManyWindows]) -> Several[float]: ...
    def time_since_last(self, **window: Any) -> Any:
        """Seconds from the latest event with a value here to the instant; null when there is none."""
        return self._windowed("TimeSinceLast", window)

    def _windowed(self, name: str, window: Mapping[str, Any], *parameters: Any) -> Any:
        from samestream.schemas import aggregates

        make = cast("type[Aggregate]", getattr(aggregates, name))
        return aggregates.declare_aggregate(make(cast("Expr[Any]", self), *parameters), window)
