"""Many events of one type, column by column, as the example data hands them over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.schemas.avro_events import plain_record
from samestream.schemas.errors import SchemaError
from samestream.schemas.events import Event
from samestream.schemas.kinds import EPOCH

Int64s = npt.NDArray[np.int64]
Column = list[Any] | npt.NDArray[Any]


@dataclass(frozen=True)
class EventBatch:
    """Events of one type in the order in which they became known.

    event : name of the event class, such as ``Departure``.
    columns : field name -> one value per event. A numpy array where the field is a number without nulls, else a list
        with ``None`` for null. Instants are int64 microseconds UTC.
    key : the Kafka key of each event.
    known_us : shape (events,), the instant at which the event was really known, in microseconds UTC. It becomes the
        Kafka record timestamp, which has milliseconds only, so every value is a multiple of 1000.
    Raises SchemaError if the lengths differ or a known time is finer than a millisecond.
    """

    event: str
    columns: dict[str, Column]
    key: list[Any]
    known_us: Int64s

    def __post_init__(self) -> None:
        lengths = {"known_us": len(self.known_us), "key": len(self.key)}
        lengths |= {name: len(values) for name, values in self.columns.items()}
        if len(set(lengths.values())) != 1:
            raise SchemaError(
                "the columns differ in length",
                where=self.event,
                found=lengths,
                expected="one value per event everywhere",
                hint="build every column from the same rows.",
            )
        if np.any(self.known_us % 1000):
            raise SchemaError(
                "a known time is finer than a millisecond",
                where=f"{self.event}.known_us",
                found=int(self.known_us[np.argmax(self.known_us % 1000 != 0)]),
                expected="multiples of 1000 microseconds",
                hint="Kafka would truncate it; round it up, so that nothing is known before it happened.",
            )

    def __len__(self) -> int:
        return len(self.known_us)

    def take(self, rows: Int64s) -> EventBatch:
        """Return the events at these positions, in this order. rows : shape (wanted,), each below ``len(self)``."""
        positions = rows.tolist()

        def taken(values: Sequence[Any]) -> list[Any]:
            return [values[row] for row in positions]

        columns: dict[str, Column] = {
            name: values[rows] if isinstance(values, np.ndarray) else taken(values)
            for name, values in self.columns.items()
        }
        return EventBatch(self.event, columns, taken(self.key), self.known_us[rows])

    def by_known_time(self) -> EventBatch:
        """Return the same events ordered by known time; events known at the same instant keep their order."""
        return self.take(np.argsort(self.known_us, kind="stable").astype(np.int64))


def in_batches(happened: Iterable[tuple[Event, datetime]]) -> dict[str, EventBatch]:
    """Events, each with the instant at which it was known, as one batch per type, ordered by known time."""
    columns: dict[str, dict[str, list[Any]]] = {}
    known: dict[str, list[int]] = {}
    keys: dict[str, list[Any]] = {}
    for event, known_at in happened:
        name, values = type(event).__name__, plain_record(event)
        of_event = columns.setdefault(name, {column: [] for column in values})
        for column, value in values.items():
            of_event[column].append(value)
        keys.setdefault(name, []).append(values[type(event).key_field.name])
        known.setdefault(name, []).append(-((EPOCH - known_at) // timedelta(milliseconds=1)) * 1000)
    made = (EventBatch(name, {**columns[name]}, keys[name], np.array(known[name], np.int64)) for name in columns)
    return {batch.event: batch.by_known_time() for batch in made}


def split(batches: Mapping[str, EventBatch], at: datetime) -> tuple[dict[str, EventBatch], dict[str, EventBatch]]:
    """The events known before an instant, and the others."""
    at_us = (at - EPOCH) // timedelta(microseconds=1)
    early = {name: batch.take(np.flatnonzero(batch.known_us < at_us)) for name, batch in batches.items()}
    late = {name: batch.take(np.flatnonzero(batch.known_us >= at_us)) for name, batch in batches.items()}
    return early, late
