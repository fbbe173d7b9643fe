"""A test of an app: sends events to the production engine on a log in memory, and asks what came of them."""

from __future__ import annotations

import difflib
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from types import ModuleType, TracebackType
from typing import Any, Self

import numpy as np

from samestream.schemas import avro, avro_schemas, durations, records
from samestream.schemas.app import App, app_of
from samestream.schemas.avro_events import plain_record
from samestream.schemas.errors import ExpectationError, SettingsError
from samestream.schemas.events import Event
from samestream.schemas.kinds import EPOCH
from samestream.schemas.models import Model
from samestream.streams.clients.predictions import Prediction, prediction_of
from samestream.streams.clients.subscription import Position, instant
from samestream.streams.columns import Columns
from samestream.streams.deploy import provision
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.engine.processor import Health, Processor, Task
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryBroker, MemoryTransport
from samestream.streams.models import artifact, model_registry
from samestream.streams.models.outcomes import OutcomeTask
from samestream.streams.models.scorer import ScorerTask
from samestream.streams.plan import ModelPlan
from samestream.streams.transport import Fetched, Outgoing, Partition, partition_of, send_all
from samestream.streams.wire.decode import Decoder
from samestream.testing.day import Day
from samestream.testing.explanation import Explanation
from samestream.testing.found import Outcome, Rejected, Sent, Vector
from samestream.testing.given_model import Answer, GivenArtifact, Row, given_artifact

_TICK = timedelta(milliseconds=1)
_PATIENCE_S = 60.0
_NEAR = 1e-9


class AppTest:
    """An app under test; use it in a ``with`` block.

    declared : the module that declares it, its name or path, an `App`, or classes of it
    day, zone : what `at` counts from

    Events become known in the order in which they are sent: each when it happens, or a millisecond after the one before it,
    whichever is later, unless `known` says otherwise. Everything else follows from the log, as in production: windows,
    lateness, what is dead, and which model scores.
    """

    def __init__(
        self,
        declared: App | ModuleType | str | Iterable[type],
        *,
        day: str = "2026-01-01",
        zone: str = "UTC",
        name: str = "",
    ) -> None:
        classes = not isinstance(declared, (App, ModuleType, str))
        self.app = app_of(declared, name or ("test" if classes else ""))
        self.at = Day(day, zone)
        self._plan = compile_app(self.app)
        self._transport = MemoryTransport(MemoryBroker())
        provision.provision(self._transport, self.app, self._plan)
        self._store = provision.store(self._transport, self._plan)
        self._sent: list[Sent] = []
        self._ends: dict[tuple[str, int], int] = {}
        self._known: datetime = EPOCH + timedelta(seconds=1)  # of the last event; nothing is known before the first
        self._given: dict[str, GivenArtifact] = {}
        self._settled: dict[str, int] = {}

    def send(self, *events: Event, known: datetime | None = None) -> None:
        """Send events; `known` is when the log learns of them, and never before that of an event sent earlier.

        Events that a producer would refuse, because they would be dead, are sent all the same.
        """
        for event in events:
            kind = self._kind(type(event))
            values = plain_record(event)
            codec = avro.Codec(avro_schemas.event_schema(kind))
            key = str(values[kind.key_field.name]).encode()
            self._append(kind, event, key, codec.encode(values), known)

    def send_bytes(self, kind: type[Event], key: bytes, value: bytes | None, known: datetime | None = None) -> None:
        """Send bytes as they are to an event's topic, such as a broken event, or None to delete a table's row."""
        self._append(self._kind(kind), None, key, value, known)

    def _kind(self, kind: type[Event]) -> type[Event]:
        if self.app.events.get(kind.__name__) is not kind:
            raise SettingsError(
                f"{kind.__name__} is no event of this app",
                where="AppTest",
                expected=", ".join(self.app.events),
                hint="import the classes from the module under test; one loaded by path declares classes of its own.",
            )
        return kind

    def _append(
        self, kind: type[Event], event: Event | None, key: bytes, value: bytes | None, known: datetime | None
    ) -> None:
        if known is None:
            at = event.__dict__[kind.time_field.name] if event is not None and kind.time_field is not None else None
            known = self._known + _TICK if at is None else max(at, self._known + _TICK)
        elif known.tzinfo is None:
            raise SettingsError(
                "an instant needs a time zone",
                where=f"AppTest.send({kind.__name__})",
                found=f"known={known!r}",
                expected="a datetime with a time zone",
                hint='known=app.at("10:30").',
            )
        elif known < self._known:
            raise SettingsError(
                "the log does not learn backwards",
                where=f"AppTest.send({kind.__name__})",
                found=f"known {self.at.shown(known)}",
                expected=f"{self.at.shown(self._known)} or later, as the event before",
                hint="send events in the order in which they become known.",
            )
        known_us = (known - EPOCH) // timedelta(microseconds=1)  # pyright: ignore[reportOptionalOperand]
        known_us = -(-known_us // 1000) * 1000  # whole milliseconds, as Kafka's; never before the event
        self._known = instant(known_us)
        topic = self.app.topic(kind)
        partition = partition_of(key, self._transport.topics()[topic])
        offset = self._ends.get((topic, partition), 0)
        self._ends[topic, partition] = offset + 1
        send_all(self._transport, [Outgoing(topic, key, value, known_us, partition)])
        self._sent.append(Sent(kind, event, value, Position(topic, partition, offset), self._known))

    # what came of it

    def vectors(self, model: type[Model]) -> list[Vector]:
        """The vectors of a model, in the order of their triggers."""
        part = self._model(model)
        self._settle(FeatureTask(self._plan))
        codec, found = avro.Codec(part.vector_schema), []
        for record, _, _ in self._read(part.topics["features"], codec):
            values = {name: record[name] for name in part.outputs}
            found.append(Vector(record["entity"], instant(record["event_time"]), values, _trigger(record)))
        order = {one.position: index for index, one in enumerate(self._sent)}
        return sorted(found, key=lambda vector: order[vector.trigger])

    def vector(self, model: type[Model], entity: str | int) -> dict[str, Any]:
        """The features of an entity's latest trigger, by name. Raises ExpectationError, saying why, where there is none."""
        return dict(self._latest(model, entity).values)

    def expect(self, model: type[Model], entity: str | int, **values: Any) -> None:
        """Compare some features of an entity's latest trigger; floats to nine digits, anything else exactly.

        Raises ExpectationError that tells, for each feature that differs, which events were in its windows.
        """
        vector = self._latest(model, entity)
        for name in values:
            self._check_feature(model, name)
        wrong = [name for name, value in values.items() if not _is_near(vector.values[name], value)]
        if wrong:
            raise ExpectationError(
                "the vector is not as expected",
                where=f"{model.__name__} {entity!r} at {self.at.shown(vector.event_time)}",
                found=", ".join(f"{name}={vector.values[name]!r}" for name in wrong),
                expected=", ".join(f"{name}={values[name]!r}" for name in wrong)
                + "".join(f"\n{self._explanation(model, vector).of(name)}" for name in wrong),
                hint="the lines above say what became of every event that might count.",
            )

    def explain(self, model: type[Model], entity: str | int, feature: str) -> str:
        """Where the value of a feature comes from: its windows, and what became of every event that might count."""
        self._check_feature(model, feature)
        vector = self._latest(model, entity)
        return f"{vector.values[feature]!r}\n{self._explanation(model, vector).of(feature)}"

    def late(self, kind: type[Event]) -> list[Rejected]:
        """The events of this type that came too late."""
        return self._rejected(self._kind(kind), "late")

    def dead(self, kind: type[Event]) -> list[Rejected]:
        """The events of this type that could not be read, or make no sense."""
        return self._rejected(self._kind(kind), "dead")

    def give_model(
        self, model: type[Model], answer: Answer | Callable[[Row], Answer], classes: tuple[str, ...] = ()
    ) -> None:
        """Let a model answer so from now on: the triggers that become known later are scored by it.

        answer : a score; for a model of classes every class's probability; or a function of the vector, by feature name.
        classes : what a function for a model of classes may answer
        """
        part = self._model(model)
        version = f"given-{len([one for one in self._given.values() if one.model == part.name]) + 1}"
        applies_from_us = (self._known + _TICK - EPOCH) // timedelta(microseconds=1)
        given = given_artifact(part, version, applies_from_us, answer, classes)
        self._known = instant(applies_from_us)
        uri = f"given:{part.name}/{version}"
        self._given[uri] = given
        switch = model_registry.ModelVersion(part.name, version, applies_from_us, uri, "given", part.fingerprint, 0)
        model_registry.publish(self._transport, self._plan.registry, switch)

    def predictions(self, model: type[Model]) -> list[Prediction]:
        """The predictions of a model, in the order of their triggers."""
        self.vectors(model)
        self._settle(ScorerTask(self._plan, self._model(model), self._load))
        topic = self._model(model).topics["predictions"]
        found = [prediction_of(*read) for read in self._read(topic, avro.Codec(records.PREDICTION))]
        order = {one.position: index for index, one in enumerate(self._sent)}
        return sorted(found, key=lambda prediction: order[prediction.trigger])

    def prediction(self, model: type[Model], entity: str | int) -> Prediction:
        """The prediction for an entity's latest trigger. Raises ExpectationError where there is none."""
        found = [one for one in self.predictions(model) if one.entity == entity]
        if not found:
            vector = self._latest(model, entity)
            raise ExpectationError(
                f"there is no prediction for {entity!r}",
                where=model.__name__,
                found=f"its vector at {self.at.shown(vector.event_time)}, and no model that applied by then",
                hint="call give_model before the trigger is sent.",
            )
        return found[-1]

    def outcomes(self, model: type[Model]) -> list[Outcome]:
        """The predictions joined with their labels, in the order in which they were joined.

        One that waits for its label is not there; it becomes unlabelled when its horizon is over, which only an event of the
        label's type tells, once it is so much later in every partition.
        """
        part = self._model(model)
        self.predictions(model)
        self._settle(OutcomeTask(self._plan, part))
        found = self._read(part.topics["outcomes"], avro.Codec(records.OUTCOME))
        return [_outcome(record) for record, _, _ in sorted(found, key=lambda item: item[1])]

    def outcome(self, model: type[Model], entity: str | int) -> Outcome:
        """The latest outcome of an entity. Raises ExpectationError where there is none yet."""
        found = [one for one in self.outcomes(model) if one.entity == entity]
        if not found:
            prediction, label = self.prediction(model, entity), model.outcome
            raise ExpectationError(
                f"there is no outcome for {entity!r} yet",
                where=model.__name__,
                found=f"a prediction at {self.at.shown(prediction.event_time)} that waits for its label",
                expected=f"a {label.event.__name__} with {label.by!r} == {entity!r}, within {durations.text(label.within_us)}",
                hint="send it; or a later one, to see the horizon close.",
            )
        return found[-1]

    # how

    def _model(self, model: type[Model]) -> ModelPlan:
        if self.app.models.get(model.__name__) is not model:
            raise SettingsError(
                f"{model.__name__} is no model of this app",
                where="AppTest",
                expected=", ".join(self.app.models) or "an app with models",
                hint="import the classes from the module under test.",
            )
        return self._plan.models[model.__name__]

    def _check_feature(self, model: type[Model], name: str) -> None:
        if name not in self._model(model).outputs:
            near = difflib.get_close_matches(name, model.inputs, n=1)
            raise SettingsError(
                "no such feature",
                where=model.__name__,
                found=name,
                expected=", ".join(model.inputs),
                hint=f"did you mean `{near[0]}`?" if near else "these are the inputs that the model declares.",
            )

    def _latest(self, model: type[Model], entity: str | int) -> Vector:
        every = self.vectors(model)
        found = [vector for vector in every if vector.entity == entity]
        if found:
            return found[-1]
        rejected = [one for one in (*self.late(model.on), *self.dead(model.on)) if one.key == str(entity)]
        raise ExpectationError(
            f"there is no vector for {entity!r}",
            where=model.__name__,
            found="; ".join(f"its {model.on.__name__} was not applied: {one.reason}, {one.detail}" for one in rejected)
            or "vectors for " + (", ".join(repr(vector.entity) for vector in every) or "nobody"),
            expected=f"a {model.on.__name__} with {model.on.key_field.name}={entity!r}",
            hint="a vector is made for each trigger that is applied.",
        )

    def _explanation(self, model: type[Model], vector: Vector) -> Explanation:
        reasons: dict[Position, str] = {}
        for kind in self.app.events.values():
            if kind.__name__ in self._plan.inputs:
                reasons |= {one.position: one.reason for one in (*self.late(kind), *self.dead(kind))}
        return Explanation(model, vector, self._sent, reasons, self._columns, self.at)

    def _columns(self, one: Sent) -> Columns:
        """An event as the engine sees it."""
        at = one.position
        known_us = np.array([(one.known - EPOCH) // timedelta(microseconds=1)], np.int64)
        fetched = Fetched(Partition(at.topic, at.partition), np.array([at.offset]), known_us, [None], [one.value])
        part = replace(self._plan.events[one.kind.__name__], key="")  # its key was judged when it was read
        return Decoder(part, self._store).decode(fetched, 0).columns

    def _rejected(self, kind: type[Event], fate: str) -> list[Rejected]:
        keeper = self._plan.gatekeeper(kind.__name__)
        for part in self._plan.models.values():
            if keeper == f"outcomes.{part.name}":
                self.outcomes(self.app.models[part.name])
        self._settle(FeatureTask(self._plan))
        sent = {one.position: one.event for one in self._sent}
        found = []
        for record, _, _ in self._read(f"{self.app.topic(kind)}.{fate}", avro.Codec(records.REJECTED)):
            position = Position(record["topic"], record["partition"], record["offset"])
            key = (record["key"] or b"").decode(errors="replace")
            found.append(Rejected(sent[position], key, record["reason"], record["detail"], position))
        return found

    def _read(self, topic: str, codec: avro.Codec) -> list[tuple[dict[str, Any], datetime, Position]]:
        """The records of a topic with their known times and positions, by partition."""
        found = []
        for fetched in self._transport.read_all(topic):
            rows = zip(fetched.offsets.tolist(), fetched.known_us.tolist(), fetched.values, strict=True)
            for offset, known_us, value in rows:
                position = Position(topic, fetched.partition.partition, offset)
                found.append((codec.decode(value or b""), instant(known_us), position))
        return found

    def _load(self, uri: str, digest: str) -> artifact.Artifact:
        return self._given[uri]

    def _settle(self, task: Task) -> None:
        """Run a task until it has judged every record of its inputs; each time anew, so recovery is tested along."""
        count = sum(len(fetched) for part in task.inputs for fetched in self._transport.read_all(part.topic))
        if self._settled.get(task.name) == count:
            return
        worker = Processor(self._transport, self._plan.app, self._plan.journal, task, self._store, wait_s=0.0)
        worker.run(_WorkedOff(worker.health, count))
        self._settled[task.name] = count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transport.close()


class _WorkedOff(threading.Event):
    """Stops a processor, in the thread that runs it, once it has judged so many records."""

    def __init__(self, health: Health, count: int) -> None:
        super().__init__()
        self._health, self._count = health, count
        self._deadline_s = time.monotonic() + _PATIENCE_S

    def is_set(self) -> bool:
        """Whether everything is judged."""
        if time.monotonic() > self._deadline_s:
            raise ExpectationError(
                "the engine did not finish",
                where=self._health.name,
                found=f"{self._health.events} of {self._count} records judged in {_PATIENCE_S:g} s",
                hint="this is a fault of samestream's: please report it, with the test.",
            )
        return self._health.state == "running" and self._health.events >= self._count


def _trigger(record: Mapping[str, Any]) -> Position:
    return Position(record["trigger_topic"], record["trigger_partition"], record["trigger_offset"])


def _outcome(record: Mapping[str, Any]) -> Outcome:
    label = record["label_value"] if record["label_value"] is not None else record["label"]
    label_time = instant(record["label_time"]) if record["label_time"] is not None else None
    return Outcome(
        entity=record["entity"],
        event_time=instant(record["event_time"]),
        version=record["version"],
        score=record["score"],
        value=record["value"],
        state=record["state"],
        label=label,
        label_time=label_time,
    )


def _is_near(found: Any, expected: Any) -> bool:
    if type(found) is float and type(expected) in (float, int):
        return math.isclose(found, expected, rel_tol=_NEAR, abs_tol=1e-12) or found == expected
    if isinstance(found, bool) != isinstance(expected, bool) and isinstance(expected, (bool, int, float)):
        return False
    return bool(found == expected)
