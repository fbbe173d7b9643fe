"""Why a feature has its value: the expression, its windows, and what became of each event that might count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from samestream.schemas.aggregates import Windowed
from samestream.schemas.events import Event, Field
from samestream.schemas.expressions import Expr
from samestream.schemas.features import FeatureRef
from samestream.schemas.kinds import EPOCH
from samestream.schemas.models import Model, lookup_keys
from samestream.streams.subscription import Position
from samestream.testing.day import Day
from samestream.testing.found import Sent, Vector

_MICROSECOND = timedelta(microseconds=1)


class Explanation:
    """Explains the features of one vector.

    sent : everything that was sent, in the order in which it became known
    rejected : what was late or dead, by position, with the reason
    """

    def __init__(
        self, model: type[Model], vector: Vector, sent: Sequence[Sent], rejected: Mapping[Position, str], day: Day
    ) -> None:
        self._model, self._vector, self._sent, self._rejected, self._day = model, vector, sent, rejected, day
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
        instant_us = (self._instant - EPOCH) // _MICROSECOND
        start_us = windowed.window.start_us(instant_us)
        start = None if start_us is None or start_us <= 0 else EPOCH + start_us * _MICROSECOND
        begins = "its session began" if start_us is None else self._day.shown(start) if start else "everything"
        of = ""
        if keys is not None:
            of = " of " + ", ".join(f"{part.name}={key!r}" for part, key in zip(view.by, keys, strict=True))
        yield f"  {windowed!r}: {kind.__name__}s{of} from {begins} to before {self._day.shown(self._instant)}"
        found = False
        for index, one in enumerate(self._sent):
            if one.kind is not kind or one.event is None:
                continue
            if (
                keys is not None
                and tuple(_value(one.event, part) for part in view.by if isinstance(part, Field)) != keys
            ):
                continue
            found = True
            yield f"    {self._shown(one.event, windowed)}: {self._fate(index, one, start)}"
        if not found:
            yield f"    no {kind.__name__}{of} was sent"

    def _fate(self, index: int, one: Sent, start: datetime | None) -> str:
        """Whether an event is in the window, or why not."""
        assert one.event is not None
        assert one.kind.time_field is not None
        at: datetime = _value(one.event, one.kind.time_field)
        if reason := self._rejected.get(one.position):
            return f"not applied: {reason}"
        if index > self._trigger:
            return f"known only at {self._day.shown(one.known)}, after the trigger"
        if at >= self._instant:
            return "at the instant or after it, so outside"
        if start is not None and at < start:
            return "before the window"
        return "in the window"

    def _shown(self, event: Event, windowed: Windowed) -> str:
        """An event by its time, its key and the fields that are aggregated."""
        kind = type(event)  # on an instance, its fields are values
        assert kind.time_field is not None
        asked = [part for part in (windowed.aggregate.input, windowed.where) if part is not None]
        names = dict.fromkeys(leaf.name for part in asked for leaf in part.leaves() if isinstance(leaf, Field))
        values = "".join(f" {name}={_value(event, kind.fields[name])!r}" for name in names if name in kind.fields)
        return f"{self._day.shown(_value(event, kind.time_field))} {_value(event, kind.key_field)}{values}"


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
