"""Predictions against the announced artifacts: equal to the bit, and one that is not is told with the first."""

from __future__ import annotations

from typing import Any

import harness
import numpy as np
import pytest
import shop_models
from harness import PLAN, SHOP, START_US
from shop_models import MODEL

from samestream.monitors.incidents import HOUR_US, IncidentBook, IncidentRecord, Lineage
from samestream.monitors.score_parity import ScoreParity
from samestream.monitors.task import MonitorTask, parse
from samestream.schemas import records
from samestream.schemas.avro import Codec
from samestream.schemas.errors import ArtifactError
from samestream.streams.columns import ColumnData
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.models import artifact
from samestream.streams.models.scorer import ScorerTask

_PREDICTION = Codec(records.PREDICTION)
TOPIC = MODEL.topics["predictions"]


def scored(load: Any = artifact.load) -> MemoryTransport:
    """The shop, scored by a scorer that finds artifacts by ``load``."""
    transport = shop_models.scored_shop()
    harness.work_off(transport, FeatureTask(PLAN))
    harness.work_off(transport, ScorerTask(PLAN, MODEL, load))
    return transport


def other(uri: str, digest: str) -> artifact.Artifact:
    """The first champion stands for the second, under its name."""
    found = artifact.load(uri, digest)
    if found.version != "2":
        return found
    first = artifact.load(*shop_models.champion("1"))
    return artifact.Artifact(**{**vars_of(found), "estimator": first.estimator})


def vars_of(found: artifact.Artifact) -> dict[str, Any]:
    return {name: getattr(found, name) for name in artifact.Artifact.__dataclass_fields__}


def watched(transport: MemoryTransport, batch_records: int = 50) -> tuple[list[IncidentRecord], dict[str, float]]:
    """What a monitor says, and what it counted."""
    task = MonitorTask(PLAN, SHOP.monitors["BuysHealth"])
    harness.work_off(transport, task, batch_records=batch_records)
    found = [parse(value) for _, _, value, _ in harness.contents(transport, [PLAN.drift])[PLAN.drift]]
    return [one for one in found if one is not None and one.verdict == "model_swapped"], {
        one.name: one.value for one in task.measures()
    }


def predictions(transport: MemoryTransport) -> list[dict[str, Any]]:
    every = harness.contents(transport, [TOPIC])[TOPIC]
    return [{**_PREDICTION.decode(value or b""), "known_us": known} for _, _, value, known in every]


def test_what_the_announced_models_say_is_equal_to_the_bit() -> None:
    transport = scored()
    told, counted = watched(transport)
    assert told == []
    assert {said["version"] for said in predictions(transport)} == {"1", "2"}
    assert counted["predictions_compared_total"] == len(predictions(transport)) > 400
    assert counted["predictions_mismatched_total"] == counted["predictions_unjudged_total"] == 0


@pytest.mark.parametrize("batch_records", [7, 50, 5000])
def test_another_model_under_the_name_is_told_at_its_first_wrong_prediction(batch_records: int) -> None:
    right = {(one["trigger_partition"], one["trigger_offset"]): one["score"] for one in predictions(scored())}
    transport = scored(other)
    wrong = [
        one for one in predictions(transport) if one["score"] != right[one["trigger_partition"], one["trigger_offset"]]
    ]
    told, counted = watched(transport, batch_records)
    assert counted["predictions_mismatched_total"] == len(wrong) > 50
    first = min(wrong, key=lambda one: one["known_us"])
    opened = told[0]
    assert (opened.event, opened.subject, opened.cause) == ("open", "Buys.score", "artifact")
    assert opened.at_us == first["known_us"]
    assert opened.evidence["version"] == "2"
    assert opened.evidence["digest"] == shop_models.champion("2")[1]
    assert opened.evidence["served_score"] != opened.evidence["score_of_artifact"]
    assert [one.event for one in told] == ["open"]


def renamed(uri: str, digest: str) -> artifact.Artifact:
    """A scorer that calls the second champion by a version nobody announced."""
    found = artifact.load(uri, digest)
    return found if found.version != "2" else artifact.Artifact(**{**vars_of(found), "version": "9"})


def test_a_version_that_nobody_announced_is_told() -> None:
    transport = scored(renamed)
    told, _ = watched(transport, 100)
    first = min(one["known_us"] for one in predictions(transport) if one["version"] == "9")
    assert [(one.event, one.at_us, one.evidence["announced"]) for one in told] == [("open", first, False)]


def test_an_artifact_that_cannot_be_had_here_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = scored()

    def lost(uri: str, digest: str) -> artifact.Artifact:
        raise ArtifactError("gone", where=uri, hint="bring it back.")

    monkeypatch.setattr(artifact, "load", lost)
    told, counted = watched(transport)
    assert told == []
    assert counted["predictions_compared_total"] == 0
    assert counted["predictions_unjudged_total"] == len(predictions(transport))


def test_an_incident_closes_after_six_hours_of_right_predictions() -> None:
    book = IncidentBook(Lineage("Buys", tuple(MODEL.outputs), {}), 1.0)
    parity = ScoreParity(book, tuple(MODEL.outputs))
    parity.announce("1", *shop_models.champion("1"))
    made = artifact.load(*shop_models.champion("1"))
    count = 200
    known = START_US + np.arange(count) * HOUR_US // 10
    draw, there = np.random.default_rng(3), np.ones(count, np.bool_)
    vectors = {name: ColumnData(draw.normal(20, 30, count), there) for name in MODEL.outputs}
    scores = made.predictor().predict(made.encoding.matrix(vectors))
    scores[10:20] += 1e-15
    said = {
        "version": ColumnData(np.full(count, "1", object), there),
        "score": ColumnData(scores, there),
        "value": ColumnData(np.full(count, "", object), ~there),
    }
    keys = np.array([str(row) for row in range(count)], object)
    # vectors and predictions come in unequal pieces
    for rows, part in (
        (slice(0, 50), "v"),
        (slice(0, 15), "p"),
        (slice(15, 90), "p"),
        (slice(50, 200), "v"),
        (slice(90, 200), "p"),
    ):
        columns = {name: one.take(rows) for name, one in (vectors if part == "v" else said).items()}
        take = parity.on_vectors if part == "v" else parity.on_predictions
        take(known[rows], np.arange(count)[rows], keys[rows], columns)
        parity.compare(artifact.load)
    opened, closed = book.records()
    assert (opened.event, opened.at_us, opened.evidence["entity"]) == ("open", known[10], "10")
    assert (closed.event, closed.at_us) == ("close", known[20] + 6 * HOUR_US)
    assert (parity.compared, parity.mismatched) == (count, 10)
