"""What the scorer says of classes and texts, and which artifacts it refuses."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pytest
from harness import SECOND_US, START_US

from samestream.schemas import records
from samestream.schemas.app import load
from samestream.schemas.avro import Codec
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.models import artifact, model_registry
from samestream.streams.models.artifact import Artifact
from samestream.streams.models.model_registry import ModelVersion
from samestream.streams.models.predictor import Predictor
from samestream.streams.models.scorer import ScorerTask
from samestream.streams.plan import ModelPlan
from samestream.streams.transport import Outgoing
from samestream.trainers.train import TRAINERS

KINDS = load(str(Path(harness.__file__).with_name("kinds.py")))
PLAN = compile_app(KINDS)
MODEL = PLAN.models["Place"]
CARRIERS = ("a", "b", "c")
_PREDICTION = Codec(records.PREDICTION)


def made(version: str, output: Any = "class", **changes: Any) -> Artifact:
    """An artifact of `Place`: carrier a goes to the box, b to the door, c to the shop."""
    draw = np.random.default_rng(1)
    x = np.column_stack([draw.integers(0, 3, 300), draw.integers(0, 2, 300), draw.normal(0, 0.01, 300)])
    y = x[:, 0] if output != "probability" else x[:, 0] > 0
    fitted = TRAINERS["linear"](x, y, output=output, categorical=(0, 1))
    classes = ("box", "door", "shop") if output == "class" else ()
    categories = {"carrier": CARRIERS, "service": ("day", "night")}
    whole = Artifact(
        "Place", version, MODEL.fingerprint, tuple(MODEL.outputs), output, START_US, {}, {}, {}, fitted.estimator
    )
    return replace(whole, **({"categories": categories, "classes": classes} | changes))


def publish(transport: MemoryTransport, folder: Path, one: Artifact, at_us: int) -> None:
    uri, digest = artifact.save(one, folder)
    version = ModelVersion(one.model, one.version, at_us, uri, digest, one.fingerprint, 300, metrics={})
    model_registry.publish(transport, PLAN.registry, version)


def vector(number: int, model: ModelPlan = MODEL, **features: Any) -> Outgoing:
    at_us = START_US + number * SECOND_US
    place = {"trigger_topic": "kinds.parcels", "trigger_partition": 0, "trigger_offset": number}
    value = {"entity": f"n{number}", "event_time": at_us, **place, "fingerprint": model.fingerprint}
    value |= {"carrier": "a", "service": "day", "weight": 0.001} | features
    return Outgoing(model.topics["features"], f"n{number}".encode(), Codec(model.vector_schema).encode(value), at_us)


def scored(transport: MemoryTransport, model: ModelPlan = MODEL) -> list[dict[str, Any]]:
    harness.work_off(transport, ScorerTask(PLAN, model), PLAN)
    topic = model.topics["predictions"]
    found = [_PREDICTION.decode(value or b"") for _, _, value, _ in harness.contents(transport, [topic])[topic]]
    return sorted(found, key=lambda said: said["trigger_offset"])


@pytest.fixture
def transport() -> MemoryTransport:
    return harness.fresh(KINDS, PLAN)


def test_the_class_that_wins_and_the_probability_of_each(transport: MemoryTransport, tmp_path: Path) -> None:
    publish(transport, tmp_path, made("1"), START_US)
    odd = [{"carrier": None}, {"carrier": "never seen"}, {"service": None, "weight": None}, {"weight": np.inf}]
    cases = [{"carrier": carrier} for carrier in CARRIERS] + odd
    harness.send(transport, [vector(number, **case) for number, case in enumerate(cases, 1)])
    found = scored(transport)
    assert [said["value"] for said in found[:3]] == ["box", "door", "shop"]
    assert len(found) == len(cases)
    for said in found:
        assert list(said["probabilities"]) == ["box", "door", "shop"]
        assert said["score"] == max(said["probabilities"].values()) == said["probabilities"][said["value"]]
    assert found[3]["probabilities"] == found[4]["probabilities"]  # a text never seen counts as none
    assert found[6]["probabilities"] != found[0]["probabilities"]


@pytest.mark.parametrize("model", ["Place", "Hours"])
def test_what_no_number_can_score_is_a_prediction_of_nothing(
    transport: MemoryTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    said = PLAN.models[model]
    one = made("1", said.output, model=model, fingerprint=said.fingerprint, inputs=tuple(MODEL.outputs))
    publish(transport, tmp_path, one, START_US)
    harness.send(transport, [vector(1, said, hours=None), vector(2, said, hours=None)])
    for name in ("chances", "predict"):
        right = getattr(Predictor, name)
        monkeypatch.setattr(Predictor, name, lambda self, x, right=right: lost(right(self, x)))
    first, second = scored(transport, said)
    assert (first["score"], first["value"], first["probabilities"]) == (None, None, None)
    assert isinstance(second["score"], float)


def lost(found: Any) -> Any:
    """The first row's scores lost."""
    found = found.copy()
    found[0] = np.nan
    return found


def test_an_artifact_of_another_output_is_refused_and_the_old_one_stays(
    transport: MemoryTransport, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(transport, tmp_path, made("1"), START_US)
    publish(transport, tmp_path, made("2", "probability"), START_US + 2 * SECOND_US)
    publish(transport, tmp_path, made("3", "number"), START_US + 2 * SECOND_US)
    broken = made("4", classes=("box", "door"))
    publish(transport, tmp_path, broken, START_US + 2 * SECOND_US)
    harness.send(transport, [vector(number) for number in range(1, 5)])
    with caplog.at_level(logging.ERROR):
        found = scored(transport)
    assert [said["version"] for said in found] == ["1"] * 4
    told = [record.getMessage() for record in caplog.records]
    assert told[0] == (
        "scorer.Place: refused model version 2; the previous one stays. Place 2: the artifact gives something else than the"
        " model declares. Found: a probability. Expected: a class, as the kind of label where says. Hint: the label was"
        " changed: train again with `samestream train`."
    )
    assert "refused model version 3" in told[1]
    assert "refused model version 4" in told[2]
    assert "does not fit the artifact's classes" in told[2]


def test_a_restart_does_not_hang_on_a_model_of_the_former_label(
    transport: MemoryTransport, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(transport, tmp_path, made("1"), START_US)
    harness.send(transport, [vector(1)])
    assert len(scored(transport)) == 1
    changed = replace(MODEL, label=PLAN.models["Slow"].label)
    publish(transport, tmp_path, made("2", "probability"), START_US + 5 * SECOND_US)
    harness.send(transport, [vector(2), vector(7)])
    with caplog.at_level(logging.ERROR):
        found = scored(transport, changed)
    assert [(said["trigger_offset"], said["version"], said["value"]) for said in found] == [
        (1, "1", "box"),
        (7, "2", None),
    ]
    assert "vectors are passed over until a model fits. Place 1: the artifact gives" in caplog.text


@pytest.mark.parametrize("change", [{"inputs": ("carrier", "gone", "weight")}, {"categories": {"carrier": ("a", "b")}}])
def test_vectors_that_an_artifact_cannot_read_are_not_scored(
    transport: MemoryTransport, tmp_path: Path, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    one = made("1", **({"categories": {"carrier": CARRIERS}} | change))
    publish(transport, tmp_path, one, START_US)
    harness.send(transport, [vector(1), vector(2)])
    assert scored(transport) == []
    assert "2 vectors of another definition are not scored" in caplog.text


def test_vectors_that_are_passed_over_are_counted_by_why(transport: MemoryTransport, tmp_path: Path) -> None:
    task = ScorerTask(PLAN, MODEL)
    harness.send(transport, [vector(1), vector(2), vector(3)])
    harness.work_off(transport, task, PLAN)
    assert counted(task) == {"vectors_of_another_definition_total": 0, "vectors_without_model_total": 3}
    publish(transport, tmp_path, made("1"), START_US + 10 * SECOND_US)
    harness.send(transport, [vector(20), vector(21, fingerprint="ffff")])
    harness.work_off(transport, task, PLAN)
    assert counted(task) == {"vectors_of_another_definition_total": 1, "vectors_without_model_total": 3}


def counted(task: ScorerTask) -> dict[str, float]:
    return {one.name: one.value for one in task.measures() if one.name.startswith("vectors_")}
