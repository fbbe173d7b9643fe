"""Why a feature has its value: the expression, its windows, and what became of each event that might count."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from samestream.schemas.aggregates import Windowed
from samestream.schemas.events import Event, Field
from samestream.schemas.expressions import Column, Expr, Literal
from samestream.schemas.features import FeatureRef, Features
from samestream.schemas.kinds import EPOCH
from samestream.schemas.models import Model, lookup_keys
from samestream.schemas.windows import Session, Window
from samestream.streams.clients.subscription import Position
from samestream.streams.columns import Columns
from samestream.streams.engine.evaluate import condition
from samestream.testing.day import Day
from samestream.testing.found import Sent, Vector

_MICROSECOND = timedelta(microseconds=1)


class Explanation:
    """Explains the features of one vector.

    sent : everything that was sent, in the order in which it became known
    rejected : what was late or dead, by position, with the reason
    columns : an event as the engine sees it
    """

    def __init__(
        self,
        model: type[Model],
        vector: Vector,
        sent: Sequence[Sent],
        rejected: Mapping[Position, str],
        columns: Callable[[Sent], Columns],
        day: Day,
    ) -> None:
        self._model, self._vector, self._sent, self._rejected, self._day = model, vector, sent, rejected, day
        self._columns = columns
        self._trigger = next(index for index, one in enumerate(sent) if one.position == vector.trigger)
        self._instant = vector.event_time

    def of(self, feature: str) -> str:
        """Lines that say where the value comes from."""
        value = self._model.inputs[feature]
        lines = [f"{feature} = {value!r}"]
        for reference in _references(value):
            if reference is not value or repr(reference.expression) != repr(value):
                lines.append(f"  {reference!r} = {reference.expression!r}")
            keys = self._keys(reference)
            for windowed in _windows(reference.expression):
                lines += self._window(windowed, reference, keys)
        return "\n".join(lines)

    def _keys(self, reference: FeatureRef) -> tuple[Any, ...] | None:
        """The values by which the feature is looked up; None where a table says them."""
        event = self._sent[self._trigger].event
        fields = lookup_keys(self._model, reference)
        if event is None or not all(isinstance(part, Field) for part in (*fields, *reference.view.by)):
            return None
        return tuple(_value(event, part) for part in fields if isinstance(part, Field))

    def _window(self, windowed: Windowed, reference: FeatureRef, keys: tuple[Any, ...] | None) -> Iterator[str]:
        view, kind = reference.view, windowed.event
        mine = [
            (index, one)
            for index, one in enumerate(self._sent)
            if one.kind is kind and one.event is not None and keys in (None, _keys_of(one.event, view))
        ]
        start = self._start(windowed.window, mine)
        of = ""
        if keys is not None:
            of = " of " + ", ".join(f"{part.name}={key!r}" for part, key in zip(view.by, keys, strict=True))
        begins = "" if start is None else f" from {self._day.shown(start)}"
        yield f"  {windowed!r}: {kind.__name__}s{of}{begins} to before {self._day.shown(self._instant)}"
        for index, one in mine:
            yield f"    {self._shown(one, windowed)}: {self._fate(index, one, start, windowed.where)}"
        if not mine:
            yield f"    no {kind.__name__}{of} was sent"

    def _start(self, window: Window, mine: Sequence[tuple[int, Sent]]) -> datetime | None:
        """Where a window begins; None for one that has no beginning."""
        if not isinstance(window, Session):
            start_us = window.start_us((self._instant - EPOCH) // _MICROSECOND)
            return EPOCH + start_us * _MICROSECOND if start_us is not None and start_us > 0 else None
        start = self._instant
        times = [_at(one) for index, one in mine if index <= self._trigger and one.position not in self._rejected]
        for at in sorted((at for at in times if at < self._instant), reverse=True):
            if start - at > window.gap_us * _MICROSECOND:
                break
            start = at
        tile_us = window.tile_us
        least_us = ((self._instant - EPOCH) // _MICROSECOND - window.longest_us) // tile_us * tile_us
        return max(start, EPOCH + least_us * _MICROSECOND)

    def _fate(self, index: int, one: Sent, start: datetime | None, where: Expr[bool] | None) -> str:
        """Whether an event is in the window, or why not."""
        at = _at(one)
        if reason := self._rejected.get(one.position):
            return f"not applied: {reason}"
        if index > self._trigger:
            return f"known only at {self._day.shown(one.known)}, after the trigger"
        if at >= self._instant:
            return "at the instant or after it, so outside"
        if start is not None and at < start:
            return "before the window"
        if where is not None and not self._holds(one, where):
            return f"in the window, but not {where!r}"
        return "in the window"

    def _holds(self, one: Sent, where: Expr[bool]) -> bool:
        """Whether a condition is true of an event; one that looks tables up is taken to be."""
        bound = where.replace_leaves(
            lambda leaf: Column(leaf.name, leaf.kind, leaf.item) if isinstance(leaf, Field) else leaf
        )
        if not all(isinstance(leaf, (Column, Literal)) for leaf in bound.leaves()):
            return True
        return bool(condition(bound, self._columns(one), 1)[0])

    def _shown(self, one: Sent, windowed: Windowed) -> str:
        """An event by its time, its key and the fields that are aggregated."""
        assert one.event is not None
        asked = [part for part in (windowed.aggregate.input, windowed.where) if part is not None]
        names = dict.fromkeys(leaf.name for part in asked for leaf in part.leaves() if isinstance(leaf, Field))
        fields = one.kind.fields
        values = "".join(f" {name}={_value(one.event, fields[name])!r}" for name in names if name in fields)
        return f"{self._day.shown(_at(one))} {_value(one.event, one.kind.key_field)}{values}"


def _references(value: Expr[Any]) -> Iterator[FeatureRef]:
    """The views' features that an input is made of, each once."""
    seen: set[str] = set()
    for leaf in [value] if isinstance(value, FeatureRef) else value.leaves():
        if isinstance(leaf, FeatureRef) and repr(leaf) not in seen:
            seen.add(repr(leaf))
            yield leaf


def _windows(value: Expr[Any]) -> Iterator[Windowed]:
    """The aggregates that a feature is made of, each once."""
    seen: set[str] = set()
    for leaf in [value] if isinstance(value, Windowed) else value.leaves():
        if isinstance(leaf, Windowed) and repr(leaf) not in seen:
            seen.add(repr(leaf))
            yield leaf


def _value(event: Event, field: Field[Any]) -> Any:
    """A field's value of an instance; fields of nested records are named with dots."""
    found: Any = event
    for name in field.name.split("."):
        found = None if found is None else found.__dict__.get(name)
    return found


def _keys_of(event: Event, view: type[Features]) -> tuple[Any, ...]:
    return tuple(_value(event, part) for part in view.by if isinstance(part, Field))


def _at(one: Sent) -> datetime:
    assert one.event is not None
    assert one.kind.time_field is not None
    at: datetime = _value(one.event, one.kind.time_field)
    return at
