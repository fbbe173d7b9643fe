"""Consuming incidents in an application, to alert somebody or to hold a model back::

with Drift(flights, bootstrap="localhost:9092", group="pager") as drift:
    for incident in drift:
        if incident.event == "open":
            page(incident.subject, incident.verdict, incident.evidence)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from samestream.schemas import records
from samestream.schemas.app import app_of
from samestream.streams.clients.producer import Declared
from samestream.streams.clients.subscription import Position, Source, Start, Subscription, instant
from samestream.streams.kafka.connection import Connection
from samestream.streams.transport import Transport

_EVENTS = ("open", "update", "close")


@dataclass(frozen=True, slots=True)
class Incident:
    """What the monitors say of one thing that is wrong: when it opens, when more is known, and when it is over.

    incident : names it in all three
    subject, cause : what suffers (a feature, a score), and what from
    verdict : what kind of fault it is, such as "unit" or "missing_source"
    evidence : the figures, what the verdict means, and what to do
    opened_at, at : event times; known_time : of the record
    """

    incident: str
    event: Literal["open", "update", "close"]
    subject: str
    cause: str
    verdict: str
    severity: float
    opened_at: datetime
    at: datetime
    evidence: Mapping[str, Any]
    known_time: datetime
    position: Position


class Drift(Subscription[Incident]):
    """The incidents of an app, as they come: iterate over it, with ``for`` or ``async for``. Parameters as for `Predictions`."""

    def __init__(
        self,
        declared: Declared,
        *,
        start: Start = "latest",
        group: str = "",
        commit: Literal["auto", "manual"] = "auto",
        idle_s: float | None = None,
        name: str = "",
        namespace: str = "",
        bootstrap: str = "",
        properties: Mapping[str, str] = {},
        transport: Transport | None = None,
    ) -> None:
        app = app_of(declared, name, namespace)
        super().__init__(
            Connection("Drift", bootstrap, properties, transport),
            Source(app.drift, app.schemas, records.INCIDENT, _incident),
            start=start,
            group=app.within(group) if group else "",
            commit=commit,
            idle_s=idle_s,
            who=f"Drift of {app.name}",
        )


def _incident(record: Mapping[str, Any], known: datetime, position: Position) -> Incident:
    if record["event"] not in _EVENTS:
        raise ValueError(f"event {record['event']!r} is none of {', '.join(_EVENTS)}")
    evidence = json.loads(record["evidence"])
    if not isinstance(evidence, dict):
        raise ValueError("the evidence is no JSON object")
    return Incident(
        incident=record["incident"],
        event=cast(Literal["open", "update", "close"], record["event"]),
        subject=record["subject"],
        cause=record["cause"],
        verdict=record["verdict"],
        severity=record["severity"],
        opened_at=instant(record["opened_at"]),
        at=instant(record["at"]),
        evidence=evidence,
        known_time=known,
        position=position,
    )
