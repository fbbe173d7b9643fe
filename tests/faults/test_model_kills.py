"""The scorer and the outcome join, killed over input at rest: the same predictions and outcomes, record by record."""

from __future__ import annotations

import random
import time
from pathlib import Path

import harness
import numpy as np
import pytest
from harness import START_US
from own_shop import HOUR_US, OwnShop
from sklearn.ensemble import HistGradientBoostingClassifier

from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.engine.processor import Task
from samestream.streams.models import artifact, model_registry
from samestream.streams.models.estimator import dump_estimator
from samestream.streams.models.model_registry import ModelVersion
from samestream.streams.models.outcomes import OutcomeTask
from samestream.streams.models.scorer import ScorerTask
from samestream.streams.transport import Transport

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
KILLS = 8


def versions(shop: OwnShop, folder: Path) -> list[ModelVersion]:
    """Two champions, the second from the middle of the events on."""
    draw, made = np.random.default_rng(1), []
    for version, applies_from_us in (("1", START_US), ("2", START_US + 30 * HOUR_US)):
        x = draw.normal(20.0, 30.0, size=(300, len(shop.model.outputs)))
        estimator = HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(x, x[:, 0] + x[:, 1] > 40)
        uri, digest = artifact.save(
            artifact.Artifact(
                shop.model.name,
                version,
                shop.model.fingerprint,
                tuple(shop.model.outputs),
                "probability",
                applies_from_us,
                {},
                {},
                {},
                dump_estimator(estimator),
            ),
            folder,
        )
        made.append(
            ModelVersion(
                shop.model.name, version, applies_from_us, uri, digest, shop.model.fingerprint, trained_rows=300
            )
        )
    return made


def kill_again_and_again(shop: OwnShop, role: str, task: Task, draw: random.Random) -> None:
    """Work the input off with kills in between."""
    targets = shop.targets(task)
    for number in range(KILLS):
        child = shop.start(role, batch_records=10)
        if number % 2:
            shop.await_batches(task, 1, child)
        time.sleep(draw.uniform(0.0, 0.05 if number % 2 else 0.2))
        assert child.kill() == -9, child.said()
    assert not shop.reached(task, targets), "it was done before the last kill"
    shop.work_off(role, task, targets)
    shop.check_journal(task, targets)


def test_predictions_and_outcomes(shop: OwnShop, tmp_path: Path, round: int) -> None:
    events, draw = shop.events(4000, seed=round), random.Random(round)
    models, memory, model = versions(shop, tmp_path), shop.memory(), shop.model
    kafka: Transport = shop.kafka
    for transport in (memory, kafka):
        harness.send(transport, events)
        for version in models:
            model_registry.publish(transport, shop.plan.registry, version)
    for task in (FeatureTask(shop.plan), ScorerTask(shop.plan, model), OutcomeTask(shop.plan, model)):
        harness.work_off(memory, task, shop.plan)

    features = FeatureTask(shop.plan)
    shop.work_off("features", features, shop.targets(features), batch_records=1000)
    kill_again_and_again(shop, "scorer", ScorerTask(shop.plan, model), draw)
    topics = [model.topics["predictions"]]
    expected = harness.contents(memory, topics)
    assert harness.contents(kafka, topics) == expected
    assert len(expected[topics[0]]) > 500

    kill_again_and_again(shop, "outcomes", OutcomeTask(shop.plan, model), draw)
    orders = shop.plan.events["Order"].topic
    topics = [model.topics["outcomes"], f"{orders}.late", f"{orders}.dead"]
    expected = harness.contents(memory, topics)
    assert harness.contents(kafka, topics) == expected
    assert min(map(len, expected.values())) > 5
