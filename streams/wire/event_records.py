"""Events into records: checked against their declaration, so that what passes is never judged dead by a processor."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

from samestream.schemas import avro, avro_schemas
from samestream.schemas.avro_events import plain_record
from samestream.schemas.errors import SchemaError
from samestream.schemas.events import Event
from samestream.schemas.fields import EARLIEST, LATEST
from samestream.schemas.kinds import EPOCH
from samestream.schemas.tables import Table
from samestream.streams.transport import MAX_EVENT_BYTES, NOW, Outgoing

_LEAST_KNOWN_US = 1000
_ANY_TIME_S = ((EARLIEST - EPOCH).total_seconds(), (LATEST - EPOCH).total_seconds())
_MICROSECOND = timedelta(microseconds=1)


class Unfit(Exception):
    """A value that its field cannot hold: what was found, and what is expected instead."""

    def __init__(self, found: str, expected: str) -> None:
        self.found, self.expected = found, expected


class EventRecords:
    """Makes the records of one event type, in Avro's single-object encoding, keyed by the key field.

    topic : where they go
    header : what they begin with instead, in another encoding
    """

    def __init__(self, event: type[Event], topic: str, header: bytes | None = None) -> None:
        self.event, self.topic = event, topic
        self.schema = avro_schemas.event_schema(event)
        self._codec = avro.Codec(self.schema, header)
        self._key, time = event.key_field.name, event.time_field
        self._time = time.name if time is not None else ""
        bounds = (time.low, time.high) if time is not None else ()
        self._earliest_us, self._latest_us = (round((bound or 0) * 1_000_000) for bound in bounds or _ANY_TIME_S)

    def record(self, event: Event, known: datetime | None = None) -> Outgoing:
        """The record of an event, stamped with the instant it became known, or to be stamped by the clock.

        Raises SchemaError, naming every field that does not fit, where a processor would judge the event dead.
        """
        values = plain_record(event)  # a constructor lets nothing pass that is outside its type
        wrong: list[tuple[str, Unfit]] = []
        if values[self._key] == "":
            wrong.append((self._key, Unfit("''", "a key that is not empty")))
        known_us = NOW
        if known is not None:
            try:
                known_us = self._known_us(known)
            except Unfit as unfit:
                wrong.append(("known", unfit))
        if not wrong:
            try:
                self._judge(event, known_us)
            except Unfit as unfit:
                wrong.append((self._time, unfit))
        if wrong:
            raise self._error(event, wrong)
        value = self._codec.encode(values)
        if len(value) > MAX_EVENT_BYTES:
            too_long = Unfit(f"{len(value)} bytes", f"at most {MAX_EVENT_BYTES} bytes")
            raise self._error(event, [("the whole event", too_long)])
        return Outgoing(self.topic, str(values[self._key]).encode(), value, known_us)

    def tombstone(self, key: Any, known: datetime | None = None) -> Outgoing:
        """The record that deletes a table's row. Raises SchemaError for a key that no row can have, or of no table."""
        kind = self.event
        try:
            if not issubclass(kind, Table):
                raise Unfit(f"an event, {kind.__name__}", "a table: what has happened stays")
            try:
                plain = kind.key_field.type_.plain(kind.key_field.type_.accept(key))
            except ValueError as error:
                raise Unfit(f"{_told(key)}, which {error}", kind.key_field.type_.written) from error
            known_us = NOW if known is None else self._known_us(known)
        except Unfit as unfit:
            raise SchemaError(
                "this cannot be deleted",
                where=f"{kind.__name__}.{self._key}",
                found=unfit.found,
                expected=unfit.expected,
                hint="delete(Plane, key) deletes the row of that key.",
            ) from unfit
        return Outgoing(self.topic, str(plain).encode(), None, known_us)

    def _known_us(self, known: datetime) -> int:
        known_us = _microseconds(known)
        if not _LEAST_KNOWN_US <= known_us < self._latest_us:
            raise Unfit(repr(known), "after 1970 and before the latest event time allowed")
        return known_us

    def _judge(self, event: Event, known_us: int) -> None:
        """Raise Unfit for an event time that a processor would refuse."""
        if not self._time:  # a table's record counts from when it is known
            return
        at_us = (event.__dict__[self._time] - EPOCH) // _MICROSECOND
        if not self._earliest_us <= at_us < self._latest_us:
            raise Unfit(_shown(at_us), f"from {_shown(self._earliest_us)} to {_shown(self._latest_us)}")
        stamp_us = known_us // 1000 * 1000 if known_us != NOW else time.time_ns() // 1000
        if at_us > stamp_us + self.event.ahead_us:
            ahead = timedelta(microseconds=self.event.ahead_us)
            raise Unfit(_shown(at_us), f"at most {ahead} after it became known ({_shown(stamp_us)})")

    def _error(self, event: Event, wrong: list[tuple[str, Unfit]]) -> SchemaError:
        return SchemaError(
            "the event does not fit its declaration, so it was not sent",
            where=f"{type(event).__name__} {event.__dict__.get(self._key)!r}",
            found="; ".join(f"{name} = {unfit.found}" for name, unfit in wrong),
            expected="; ".join(f"{name}: {unfit.expected}" for name, unfit in wrong),
            hint=f"compare the values with the fields that {type(event).__name__} declares.",
        )


def _microseconds(value: Any) -> int:
    if not isinstance(value, datetime):
        raise Unfit(_told(value), "a datetime with a time zone")
    if value.utcoffset() is None:
        raise Unfit(repr(value), "a datetime with a time zone, such as tzinfo=UTC")
    return (value - EPOCH) // _MICROSECOND


def _told(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 80 else text[:77] + '...'} ({type(value).__name__})"


def _shown(instant_us: int) -> str:
    return (EPOCH + instant_us * _MICROSECOND).isoformat(sep=" ")
