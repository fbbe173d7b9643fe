"""Consuming predictions in an application::

with Predictions(flights, LateArrival, bootstrap="localhost:9092", group="dispatch") as predictions:
    for prediction in predictions:
        if prediction.score is not None and prediction.score > 0.8:
            rebook(prediction.entity)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from samestream.schemas import records
from samestream.schemas.app import app_of
from samestream.schemas.errors import SettingsError
from samestream.schemas.models import Model
from samestream.streams.clients.producer import Declared
from samestream.streams.clients.subscription import Position, Source, Start, Subscription, instant
from samestream.streams.kafka.connection import Connection
from samestream.streams.transport import Transport


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model said of one trigger event.

    entity : the trigger's key
    score : a probability, a number, or the probability of the class in `value`; None where the model gave none
    value, probabilities : the class that wins and every class's probability, of models that predict classes
    version, fingerprint : the model's version, and the definition of its features
    trigger : where the trigger lies in the log, which identifies the prediction; `position`: where the prediction does
    known_time : the trigger's, by which everything is ordered
    """

    entity: str | int
    event_time: datetime
    score: float | None
    value: str | None
    probabilities: Mapping[str, float] | None
    model: str
    version: str
    fingerprint: str
    trigger: Position
    known_time: datetime
    position: Position


class Predictions(Subscription[Prediction]):
    """The predictions of one model, as they come: iterate over it, with ``for`` or ``async for``.

    declared : as for `Producer`; model : its class, or its name
    start : "earliest", "latest", or a known time; in a group only for partitions it has not yet read
    group : a consumer group, whose members share the partitions; see `Subscription` for when it commits. In a namespace
        Kafka knows it as ``dev.dispatch``
    idle_s : end the iteration when nothing has come for so long; by default it never ends, until `stop`
    bootstrap, properties, transport, name, namespace : as for `Producer`
    """

    def __init__(
        self,
        declared: Declared,
        model: type[Model] | str,
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
        app, wanted = app_of(declared, name, namespace), model if isinstance(model, str) else model.__name__
        if wanted not in app.models:
            raise SettingsError(
                f"the app {app.name} has no such model",
                where="Predictions",
                found=wanted,
                expected=", ".join(app.models) or "a module that declares models",
                hint="check the name, and that it is the right module.",
            )
        source = Source(app.predictions_topic(wanted), app.schemas, records.PREDICTION, prediction_of)
        super().__init__(
            Connection("Predictions", bootstrap, properties, transport),
            source,
            start=start,
            group=app.within(group) if group else "",
            commit=commit,
            idle_s=idle_s,
            who=f"Predictions of {wanted}",
        )


def prediction_of(record: Mapping[str, Any], known: datetime, position: Position) -> Prediction:
    """A decoded record of a predictions topic as a value."""
    return Prediction(
        entity=record["entity"],
        event_time=instant(record["event_time"]),
        score=record["score"],
        value=record["value"],
        probabilities=record["probabilities"],
        model=record["model"],
        version=record["version"],
        fingerprint=record["fingerprint"],
        trigger=Position(record["trigger_topic"], record["trigger_partition"], record["trigger_offset"]),
        known_time=known,
        position=position,
    )
