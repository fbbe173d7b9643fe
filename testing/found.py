"""What a test can ask for: vectors, outcomes and rejected events, as Python values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from samestream.schemas.events import Event
from samestream.streams.clients.subscription import Position


@dataclass(frozen=True, slots=True)
class Sent:
    """An event that a test sent.

    event : the instance; None where bytes were sent
    value : its bytes in the log
    known : when the log learned of it
    """

    kind: type[Event]
    event: Event | None
    value: bytes | None
    position: Position
    known: datetime


@dataclass(frozen=True, slots=True)
class Vector:
    """A feature vector: the inputs of a model, by name, at one trigger."""

    entity: str | int
    event_time: datetime
    values: Mapping[str, Any]
    trigger: Position


@dataclass(frozen=True, slots=True)
class Rejected:
    """An event that was late or dead, and why.

    event : the instance that was sent; None where bytes were sent
    """

    event: Event | None
    key: str
    reason: str
    detail: str
    position: Position


@dataclass(frozen=True, slots=True)
class Outcome:
    """A prediction joined with its label.

    label : 1.0 or 0.0 for a condition, a number, or a class; None where it is unlabelled
    """

    entity: str | int
    event_time: datetime
    version: str
    score: float | None
    value: str | None
    state: Literal["labelled", "unlabelled", "correction"]
    label: float | str | None
    label_time: datetime | None
