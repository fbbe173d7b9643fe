"""Aggregates: what can be computed over the events of one window. One class each; all of them are algebras (`algebra`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from samestream.schemas import durations, windows
from samestream.schemas.aggregable import Several
from samestream.schemas.algebra import Aggregate
from samestream.schemas.errors import DeclarationError
from samestream.schemas.expressions import Column, Expr, Kind, Literal
from samestream.schemas.extremes import First, Last, LastN, Max, Min, TimeSinceLast
from samestream.schemas.sums import Count, DecayedMean, DecayedSum, Mean, Share, Std, Sum, Variance
from samestream.schemas.value_sets import Distinct, MostFrequent, Quantile
from samestream.schemas.windows import Window

if TYPE_CHECKING:
    from samestream.schemas.events import Event

__all__ = [
    "AGGREGATES",
    "Aggregate",
    "Count",
    "DecayedMean",
    "DecayedSum",
    "Distinct",
    "First",
    "Last",
    "LastN",
    "Max",
    "Mean",
    "Min",
    "MostFrequent",
    "Quantile",
    "Share",
    "Std",
    "Sum",
    "TimeSinceLast",
    "Variance",
    "Windowed",
    "declare_aggregate",
]

AGGREGATES: tuple[type[Aggregate], ...] = (
    Count,
    Sum,
    Mean,
    Variance,
    Std,
    Min,
    Max,
    First,
    Last,
    LastN,
    Distinct,
    Quantile,
    MostFrequent,
    Share,
    DecayedSum,
    DecayedMean,
    TimeSinceLast,
)
"""Every aggregate there is, in the order of docs/language.md."""


class Windowed(Expr[Any]):
    """An aggregate over a window of one event's stream."""

    def __init__(
        self,
        aggregate: Aggregate,
        window: Window,
        *,
        where: Expr[bool] | None = None,
        event: type[Event] | None = None,
    ) -> None:
        self.aggregate, self.window, self.where, self._event = aggregate, window, where, event
        self.kind, self.item = aggregate.kind, aggregate.item
        if where is not None and (not isinstance(where, Expr) or where.kind is not Kind.BOOL):
            raise DeclarationError(
                "`where` must be a condition",
                where=_written(aggregate),
                found=repr(where),
                expected="true or false of each event",
                hint="compare a field: where=Departure.dep_delay > 15.",
            )
        for part in (aggregate.input, where):
            _check_of_events(aggregate, part)

    @property
    def event(self) -> type[Event]:
        """The event whose stream it summarises; raises DeclarationError when fields of two events are mixed."""
        inside = [part for part in (self.aggregate.input, self.where) if part is not None]
        read = [getattr(leaf, "event", None) for part in inside for leaf in part.leaves()]
        events: set[type[Event]] = {event for event in read if event is not None}
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
            self.window.meaning(),
            self.where.meaning() if self.where is not None else None,
        ]

    def __repr__(self) -> str:
        aggregate = self.aggregate
        inside = self._event.__name__ if self._event else "" if aggregate.input is None else repr(aggregate.input)
        where = f", where={self.where!r}" if self.where is not None else ""
        first = f"{aggregate.arguments()}, " if aggregate.arguments() else ""
        return f"{inside}{'.' if inside else ''}{aggregate.name}({first}{self.window!r}{where})"


def declare_aggregate(aggregate: Aggregate, options: Mapping[str, Any], event: type[Event] | None = None) -> Any:
    """The aggregate over the window, or the several windows, that keywords name (`schemas.aggregable`)."""
    here = _written(aggregate)
    unknown = sorted(options.keys() - {"over", "every", "zone", "session", "tile", "where"})
    if unknown:
        raise DeclarationError(
            "unknown option of an aggregate",
            where=here,
            found=", ".join(unknown),
            expected="over, every, zone, session, tile, where",
            hint='write for example over="1h".',
        )
    named = {name: value for name, value in options.items() if name != "where"}
    where = options.get("where")
    if not isinstance(named.get("over"), tuple):
        return Windowed(aggregate, windows.parse(here, **named), where=where, event=event)
    names = [over if isinstance(over, str) else durations.text(durations.parse(over, here)) for over in named["over"]]
    if not names or len(set(names)) < len(names) or not all(name.strip().isalnum() for name in names):
        raise DeclarationError(
            "several windows need names of their own",
            where=here,
            found=repr(named["over"]),
            expected="different lengths, each a whole number and a unit",
            hint='write over=("1h", "3h", "24h"): the features are then named ..._1h, ..._3h and ..._24h.',
        )
    return Several(
        {
            name.strip(): Windowed(aggregate, windows.parse(here, **{**named, "over": over}), where=where, event=event)
            for name, over in zip(names, named["over"], strict=True)
        }
    )


def _check_of_events(aggregate: Aggregate, part: Expr[Any] | None) -> None:
    """Raise DeclarationError for a leaf that is no event's: an aggregate or a feature, which only an instant has."""
    for leaf in part.leaves() if part is not None else ():
        if isinstance(leaf, Windowed) or not (isinstance(leaf, (Literal, Column)) or hasattr(leaf, "event")):
            raise DeclarationError(
                "an aggregate is over fields, not over other aggregates or features",
                where=_written(aggregate),
                found=repr(leaf),
                expected="fields of one event",
                hint="aggregate the field itself; what is computed from several aggregates is an expression of them.",
            )


def _written(aggregate: Aggregate) -> str:
    return f"{aggregate.name}({aggregate.input!r})" if aggregate.input is not None else aggregate.name
