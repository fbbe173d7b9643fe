"""How old vectors are when they are scored is told by quantiles of the newest predictions."""

from __future__ import annotations

import harness
import numpy as np

from samestream.streams.engine.measures import measures_of
from samestream.streams.models.prediction_age import PredictionAge
from samestream.streams.models.scorer import ScorerTask


def told(age: PredictionAge) -> dict[tuple[str, str], float]:
    return {(one.name, one.labels["quantile"]): one.value for one in age.measures()}


def test_nothing_is_told_before_the_first_prediction() -> None:
    assert told(PredictionAge("Buys")) == {}
    names = {one.name for one in measures_of(ScorerTask(harness.PLAN, harness.PLAN.models["Buys"]))}
    assert names == {"vectors_of_another_definition_total", "vectors_without_model_total"}  # of what is not scored


def test_quantiles_are_of_the_newest() -> None:
    age = PredictionAge("Buys", clock=lambda: 1000.0)
    known = np.full(5000, 990_000_000, np.int64)
    age.note(known, known - 3_000_000)
    known = np.full(4096, 998_000_000, np.int64) + np.arange(4096) % 2 * 1_000_000
    age.note(known[:1000], known[:1000] - 500_000)
    assert told(age)["prediction_latency_seconds", "0.5"] == 10.0
    age.note(known[1000:], known[1000:] - 500_000)
    found = told(age)
    assert found["prediction_latency_seconds", "0.99"] == 2.0
    assert found["prediction_freshness_seconds", "0.5"] == 0.5
    assert len(found) == 6
