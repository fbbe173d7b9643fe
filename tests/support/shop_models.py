"""The shop of `shop.py`, served and scored by two champions, on the log in memory."""

from __future__ import annotations

import tempfile
from functools import cache

import harness
import numpy as np
from harness import PLAN, SECOND_US, START_US
from sklearn.ensemble import HistGradientBoostingClassifier

from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.models import artifact, model_registry
from samestream.streams.models.estimator import dump_estimator
from samestream.streams.models.model_registry import ModelVersion

MODEL = PLAN.models["Buys"]
COUNT = 900


@cache
def folder() -> str:
    """Where the champions lie."""
    return tempfile.mkdtemp(prefix="shop-models-")


@cache
def champion(version: str) -> tuple[str, str]:
    """The address and the digest of a champion."""
    draw = np.random.default_rng(int(version))
    x = draw.normal(20.0, 30.0, size=(300, len(MODEL.outputs)))
    estimator = HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(x, x[:, 0] + x[:, 1] > 40)
    made = artifact.Artifact(
        MODEL.name,
        version,
        MODEL.fingerprint,
        tuple(MODEL.outputs),
        "probability",
        START_US,
        {},
        {},
        {},
        dump_estimator(estimator),
    )
    return artifact.save(made, folder())


def scored_shop() -> MemoryTransport:
    """A broker with events, and with two champions, the second from the middle on; vectors and predictions are still to come."""
    transport = harness.fresh()
    harness.send(transport, harness.shop_events(COUNT))
    for version, applies_from_us in (("1", START_US), ("2", START_US + COUNT // 2 * 7 * SECOND_US)):
        model_registry.publish(
            transport,
            PLAN.registry,
            ModelVersion(MODEL.name, version, applies_from_us, *champion(version), MODEL.fingerprint, trained_rows=300),
        )
    return transport
