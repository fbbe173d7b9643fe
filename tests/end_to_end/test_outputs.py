"""Models that say a probability, a number or a class, by both trainers: learned, scored, judged, and the same again."""

from __future__ import annotations

import math
import random
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import SECOND_US, START_US

from samestream.monitors.task import MonitorTask
from samestream.monitors.vector_parity import verify
from samestream.schemas import records
from samestream.schemas.app import load
from samestream.schemas.avro import Codec
from samestream.streams.deploy import provision
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.engine.processor import Processor, Task
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.models import artifact
from samestream.streams.models.outcomes import OutcomeTask
from samestream.streams.models.performance import performance
from samestream.streams.models.scorer import ScorerTask
from samestream.streams.plan import ModelPlan
from samestream.streams.transport import Outgoing
from samestream.trainers import gradient_boosting, linear
from samestream.trainers.train import train

KINDS = load(str(Path(harness.__file__).with_name("kinds.py")))
PLAN = compile_app(KINDS)
PARCELS = 2400
MINUTE_US = 60 * SECOND_US
CUT_US = START_US + PARCELS * 2 // 3 * 3 * MINUTE_US
TRAINERS = {
    "linear": linear(every="1d", history="30d"),
    "gradient_boosting": gradient_boosting(every="1d", history="30d", max_iter=40),
}
_PREDICTION, _OUTCOME = Codec(records.PREDICTION), Codec(records.OUTCOME)


def events(count: int = PARCELS) -> list[Outgoing]:
    """Parcels every three minutes, delivered some hours later; what decides is the carrier, the service and the weight."""
    draw, out = random.Random(7), []
    for number in range(count):
        at = START_US + number * 3 * MINUTE_US + draw.randrange(1000)
        parcel, carrier = f"n{number}", draw.choice("abcé")
        service = draw.choice([None, "day", "night", "", f"special {number}"])
        weight = None if draw.random() < 0.1 else draw.expovariate(0.5)
        hours = 8 + {"a": 0, "b": 4, "c": 2, "é": 9}[carrier] + 0.5 * (weight or 2) + draw.gauss(0, 1)
        hours -= 3 if service == "night" else 0
        place = {"day": "door", "night": "box", "": "shop"}.get(service or "?", "door" if carrier < "c" else "shop")
        place = draw.choice(["door", "box", "lost"]) if draw.random() < 0.1 else place
        known = at // 1000 * 1000 + 1000
        values: dict[str, Any] = {"parcel": parcel, "carrier": carrier, "service": service, "weight": weight, "at": at}
        out.append(harness.encode(PLAN, "Parcel", parcel, known, **values))
        if draw.random() < 0.95:
            later = at + round(hours * 20) * MINUTE_US  # a third of the hours, so that the test is short
            values = {"parcel": parcel, "carrier": carrier, "hours": hours, "place": place, "at": later}
            out.append(harness.encode(PLAN, "Delivery", parcel, later // 1000 * 1000 + 1000, **values))
    return sorted(out, key=lambda record: record.known_us)


@dataclass
class Served:
    """A broker on which features were computed, and their log."""

    transport: MemoryTransport
    log: FeatureLog
    folder: Path


@pytest.fixture(scope="module", params=list(TRAINERS))
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Served]:
    folder = tmp_path_factory.mktemp("outputs")
    transport = harness.fresh(KINDS, PLAN)
    harness.send(transport, events())
    harness.work_off(transport, FeatureTask(PLAN), PLAN)
    return request.param, Served(transport, harness.write_log(transport, FeatureLog(folder / "log"), PLAN), folder)


def contents(transport: MemoryTransport, topic: str) -> list[Any]:
    return harness.contents(transport, [topic])[topic]


def decoded(transport: MemoryTransport, codec: Codec, topic: str) -> list[dict[str, Any]]:
    return [codec.decode(value or b"") for _, _, value, _ in contents(transport, topic)]


class Fell(Exception):
    """What a task raises that falls over."""


def interrupted(transport: MemoryTransport, task: type[Any], model: ModelPlan) -> None:
    """Work a task off in small batches; twice it falls over on the way and is begun anew."""
    for batches in (3, 4):
        made: Task = task(PLAN, model)
        process, left = made.process, iter(range(batches))

        def falling(batch: Any, clocks: Any, process: Any = process, left: Any = left) -> Any:
            if next(left, None) is None:
                raise Fell
            return process(batch, clocks)

        made.process = falling  # type: ignore[method-assign]
        store = provision.store(transport, PLAN)
        processor = Processor(transport, PLAN.app, PLAN.journal, made, store, batch_records=53, wait_s=0.0)
        with pytest.raises(Fell):
            processor.run(threading.Event())
    harness.work_off(transport, task(PLAN, model), PLAN, batch_records=97)


@pytest.mark.parametrize("name", ["Slow", "Hours", "Place"])
def test_learned_scored_judged_and_the_same_again(served: tuple[str, Served], name: str) -> None:
    trainer, world = served
    model = replace(PLAN.models[name], trainer=TRAINERS[trainer])
    done = train(
        PLAN, model, world.log, world.transport, str(world.folder), to_us=CUT_US, applies_from_us=CUT_US // 1000 * 1000
    )
    assert done.metrics["holdout_loss"] < 0.8 * done.metrics["holdout_baseline_loss"]
    made = artifact.load(done.version.artifact, done.version.digest)
    assert (made.output, made.categories["carrier"]) == (model.output, ("a", "b", "c", "é"))
    assert made.classes == (("box", "door", "late", "lost", "shop") if name == "Place" else ())

    again = harness.fresh(KINDS, PLAN)
    for topic in (*(part.topic for part in PLAN.events.values()), model.topics["features"], PLAN.registry):
        copied = [
            Outgoing(topic, key, value, known, part) for part, key, value, known in contents(world.transport, topic)
        ]
        harness.send(again, sorted(copied, key=lambda record: record.known_us))
    for task, topic in ((ScorerTask, "predictions"), (OutcomeTask, "outcomes")):
        harness.work_off(world.transport, task(PLAN, model), PLAN)
        interrupted(again, task, model)
        assert contents(again, model.topics[topic]) == contents(world.transport, model.topics[topic])

    predictions = decoded(world.transport, _PREDICTION, model.topics["predictions"])
    assert len(predictions) > PARCELS / 4
    for said in predictions:
        if name == "Place":
            assert set(said["probabilities"]) == set(made.classes)
            assert math.isclose(sum(said["probabilities"].values()), 1, rel_tol=1e-12)
            assert said["score"] == said["probabilities"][said["value"]] == max(said["probabilities"].values())
        else:
            assert said["value"] is said["probabilities"] is None
    outcomes = decoded(world.transport, _OUTCOME, model.topics["outcomes"])
    assert {one["state"] for one in outcomes} == {"labelled", "unlabelled"}
    usual = {"Slow": "base_rate", "Hours": "mean_label"}
    told = made.reference["label_shares"] if name == "Place" else made.metrics[usual[name]]
    found = performance(model.output, outcomes, told)
    loss = "root_mean_squared_error" if name == "Hours" else "log_loss"
    assert found["rows"] == sum(one["state"] == "labelled" for one in outcomes)
    assert found[loss] < 0.8 * found[f"baseline_{loss}"]
    assert found["auc"] > 0.9 if name == "Slow" else True
    assert found["accuracy"] > 0.8 if name == "Place" else True

    monitor = MonitorTask(PLAN, KINDS.monitors[f"{name}Health"])
    harness.work_off(world.transport, monitor, PLAN)
    assert contents(world.transport, PLAN.drift) == []
    again_scored = {one.name: one.value for one in monitor.measures()}
    assert again_scored["predictions_compared_total"] == len(predictions)
    assert again_scored["predictions_mismatched_total"] == again_scored["predictions_unjudged_total"] == 0
    logged = harness.write_log(world.transport, world.log, PLAN).read(model.topics["predictions"])
    assert logged["value"].to_pylist() == [said["value"] for said in logged_order(predictions, logged)]
    assert [dict(row) if row else row for row in logged["probabilities"].to_pylist()] == [
        said["probabilities"] for said in logged_order(predictions, logged)
    ]


def logged_order(predictions: list[dict[str, Any]], logged: Any) -> list[dict[str, Any]]:
    by_trigger = {(said["trigger_partition"], said["trigger_offset"]): said for said in predictions}
    places = zip(logged["trigger_partition"].to_pylist(), logged["trigger_offset"].to_pylist(), strict=True)
    return [by_trigger[place] for place in places]


def test_vectors_with_texts_are_equal_offline(served: tuple[str, Served]) -> None:
    _, world = served
    for found in verify(PLAN, world.transport, world.log).values():
        assert (found.compared, found.mismatched) == (PARCELS, 0)
        assert (found.as_known_compared, found.as_known_mismatched) == (PARCELS, 0)
