"""Aggregates: what can be computed over the events of one window.

Every aggregate is an algebra (zero, add, merge, result). The state of a tile is made of *cells*, each a small algebra that the
kernel knows (`streams.kernel`); an aggregate names its cells, and `streams.results` turns merged cells into the value.
A new aggregate is one class here and one result rule there; the law suite then tests it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from samestream.schemas import durations
from samestream.schemas.durations import Duration
from samestream.schemas.errors import DeclarationError
from samestream.schemas.expressions import Expr, Kind

if TYPE_CHECKING:
    from samestream.schemas.events import Event

# The largest tile that still cuts the window in sixty: a window then has 60 to a few hundred tiles (DESIGN section 2).
TILES_US = tuple(
    durations.parse(text)
    for text in ("1ms", "5ms", "20ms", "100ms", "500ms", "1s", "5s", "15s", "1m", "5m", "15m", "1h", "6h", "1d", "7d")
)
LEAST_TILES = 60


def default_tile_us(window_us: int) -> int:
    """The tile of a window for which none is declared, in microseconds.

    >>> default_tile_us(durations.parse("3h")) == durations.parse("1m")
    True
    """
    fitting = [tile for tile in TILES_US if tile * LEAST_TILES <= window_us]
    return fitting[-1] if fitting else TILES_US[0]


class Aggregate:
    """A summary of many values, by the algebra of its cells; nulls are skipped, an empty window gives null (count: 0)."""

    cells: ClassVar[tuple[str, ...]]
    number_only: ClassVar[bool] = True

    def __init__(self, input: Expr[Any] | None) -> None:
        self.input = input
        if input is not None and self.number_only and not input.kind.is_number:
            raise DeclarationError(
                f"`{self.name}` needs numbers",
                where=repr(input),
                found=input.kind.value,
                expected="int or float",
                hint="count() and last() take any kind; or aggregate a condition, such as count(where=...).",
            )

    @property
    def name(self) -> str:
        """The aggregate as users write it: ``mean``."""
        return type(self).__name__.lower()

    @property
    def kind(self) -> Kind:
        """The kind of the result."""
        assert self.input is not None
        return self.input.kind

    def cell_ops(self) -> tuple[str, ...]:
        """The names of the kernel cells (`streams.tiles.CellOp`) that hold its state, for this input kind."""
        suffix = "FLOAT" if self.input is not None and self.input.kind is Kind.FLOAT else "INT"
        return tuple(cell.replace("*", suffix) for cell in self.cells)

    def meaning(self) -> list[Any]:
        """See `Expr.meaning`."""
        return [type(self).__name__, self.input.meaning() if self.input is not None else None]


class Count(Aggregate):
    """How many rows the window holds; of a field, how many values."""

    cells = ("COUNT",)
    number_only = False

    @property
    def kind(self) -> Kind:
        """See `Aggregate.kind`."""
        return Kind.INT


class Sum(Aggregate):
    """The total; whole numbers wrap at 64 bits."""

    cells = ("COUNT", "SUM_*")


class Mean(Aggregate):
    """The arithmetic mean: the total divided by the count."""

    cells = ("COUNT", "SUM_*")

    @property
    def kind(self) -> Kind:
        """See `Aggregate.kind`."""
        return Kind.FLOAT


class Min(Aggregate):
    """The least value."""

    cells = ("COUNT", "MIN_*")


class Max(Aggregate):
    """The greatest value."""

    cells = ("COUNT", "MAX_*")


class Std(Aggregate):
    """The population standard deviation, by Welford's and Chan's updates."""

    cells = ("MOMENTS",)

    @property
    def kind(self) -> Kind:
        """See `Aggregate.kind`."""
        return Kind.FLOAT


class Last(Aggregate):
    """The latest value by (event time, position in the log)."""

    cells = ("COUNT", "LAST")


class Windowed(Expr[Any]):
    """An aggregate over a sliding window of one event's stream."""

    def __init__(
        self,
        aggregate: Aggregate,
        *,
        over: Duration,
        where: Expr[bool] | None = None,
        tile: Duration | None = None,
        event: type[Event] | None = None,
    ) -> None:
        here = f"{aggregate.name}({aggregate.input!r})" if aggregate.input is not None else aggregate.name
        self.aggregate, self.where, self.kind, self._event = aggregate, where, aggregate.kind, event
        self.over_us = durations.parse(over, here)
        if self.over_us < 1_000:
            raise DeclarationError(
                "a window is too short", where=here, found=repr(over), expected="1ms or more", hint='write over="1h".'
            )
        self.tile_us = durations.parse(tile, here) if tile is not None else default_tile_us(self.over_us)
        if not 0 < self.tile_us <= self.over_us:
            raise DeclarationError(
                "a tile must be shorter than its window",
                where=here,
                found=f"tile {durations.text(self.tile_us)}, window {durations.text(self.over_us)}",
                hint="leave tile= out: the default cuts the window in 60 to a few hundred tiles.",
            )
        if self.over_us // self.tile_us > 2_000:
            raise DeclarationError(
                "a window has too many tiles",
                where=here,
                found=f"{self.over_us // self.tile_us} tiles of {durations.text(self.tile_us)}",
                expected="at most 2000",
                hint=f"leave tile= out: {durations.text(default_tile_us(self.over_us))} would be used.",
            )
        if where is not None and (not isinstance(where, Expr) or where.kind is not Kind.BOOL):
            raise DeclarationError(
                "`where` must be a condition",
                where=here,
                found=repr(where),
                hint="compare a field: where=Departure.dep_delay > 15.",
            )

    @property
    def event(self) -> type[Event]:
        """The event whose stream it summarises; raises DeclarationError when fields of two events are mixed."""
        inside = [part for part in (self.aggregate.input, self.where) if part is not None]
        events: set[type[Event]] = {leaf.event for part in inside for leaf in part.leaves() if hasattr(leaf, "event")}
        if self._event is not None:
            events.add(self._event)
        if len(events) != 1:
            raise DeclarationError(
                "an aggregate is over the fields of one event",
                where=repr(self),
                found=", ".join(sorted(event.__name__ for event in events)) or "no field",
                hint="aggregate each event in its own Features class and combine the features in the Model.",
            )
        return events.pop()

    def meaning(self) -> list[Any]:
        """See `Expr.meaning`."""
        return [
            "Windowed",
            self.event.__name__,
            self.aggregate.meaning(),
            self.over_us,
            self.tile_us,
            self.where.meaning() if self.where is not None else None,
        ]

    def __repr__(self) -> str:
        of = (
            repr(self.aggregate.input)
            if self.aggregate.input is not None
            else self._event.__name__
            if self._event
            else ""
        )
        where = f", where={self.where!r}" if self.where is not None else ""
        tile = f", tile={durations.text(self.tile_us)!r}" if self.tile_us != default_tile_us(self.over_us) else ""
        return f"{of}{'.' if of else ''}{self.aggregate.name}(over={durations.text(self.over_us)!r}{where}{tile})"
