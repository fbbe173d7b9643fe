"""Training: the log to an artifact, through a validation gate, published to the models topic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from samestream.schemas.errors import TrainingError
from samestream.schemas.expressions import Kind
from samestream.streams import artifact, model_registry, scoring_metrics
from samestream.streams import columns as cols
from samestream.streams.artifact import Artifact
from samestream.streams.feature_log import FeatureLog
from samestream.streams.model_registry import ModelVersion
from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.profile import NumericProfile
from samestream.streams.transport import Transport
from samestream.trainers import boosted_trees, training_set
from samestream.trainers.training_set import TrainingSet

_HOLDOUT = 0.2  # the latest fifth of the rows judges the model before it is trained on all of them

TRAINERS: dict[str, Callable[..., boosted_trees.Fitted]] = {"gradient_boosting": boosted_trees.fit}


@dataclass(frozen=True)
class Trained:
    """A published model version and how it did on the held-out end of its training set."""

    version: ModelVersion
    rows: int
    metrics: dict[str, float]


def train(
    plan: Plan,
    model: ModelPlan,
    log: FeatureLog,
    transport: Transport,
    artifacts: str,
    *,
    from_us: int | None = None,
    to_us: int | None = None,
    applies_from_us: int | None = None,
    force: bool = False,
) -> Trained:
    """Train on the log, and publish the artifact if it beats the base rate on the held-out end of the training set.

    from_us, to_us : range of trigger event times; by default the declared history, up to the end of the log
    applies_from_us : known time from which vectors are scored by it; by default just after the last one in the log
    force : publish even if the gate refuses
    Raises TrainingError when there is too little to train on, or when the gate refuses.
    """
    rows = training_set.build(plan, model, log, from_us, to_us)
    if from_us is None:
        start_us = int(rows.event_time_us[-1]) - model.trainer.history_us
        rows = rows if start_us <= int(rows.event_time_us[0]) else training_set.build(plan, model, log, start_us, to_us)
    output: Literal["probability", "number"] = "probability" if model.is_probability else "number"
    metrics = _holdout(model, rows, output)
    if metrics["holdout_loss"] >= metrics["holdout_baseline_loss"] and not force:
        raise TrainingError(
            "the model is no better than the base rate, so it is not published",
            where=model.name,
            found=f"loss {metrics['holdout_loss']:.4f} on the latest fifth of {len(rows)} rows",
            expected=f"less than {metrics['holdout_baseline_loss']:.4f}",
            hint="train on more history, or publish it all the same with --force.",
        )
    fitted = TRAINERS[model.trainer.name](rows.x, rows.y, model.trainer.params, output=output)
    applies_us = applies_from_us if applies_from_us is not None else _after(plan, model, log, rows)
    made = Artifact(
        model=model.name,
        version=f"{_digits(applies_us)}-{rows.manifest['digest'][:8]}",
        fingerprint=model.fingerprint,
        inputs=rows.inputs,
        output=output,
        applies_from_us=applies_us,
        manifest=rows.manifest,
        metrics=metrics,
        reference=_reference(rows, fitted.estimator, output),
        estimator=fitted.estimator,
    )
    uri, digest = artifact.save(made, artifacts)
    version = ModelVersion(
        model.name, made.version, applies_us, uri, digest, model.fingerprint, len(rows), metrics=metrics
    )
    model_registry.publish(transport, plan.registry, version)
    return Trained(version, len(rows), metrics)


def _holdout(model: ModelPlan, rows: TrainingSet, output: Literal["probability", "number"]) -> dict[str, float]:
    cut = int(len(rows) * (1 - _HOLDOUT))
    # what was not yet known at the first held-out trigger could not have been trained on
    seen = rows.label_known_us[:cut] < rows.known_us[cut]
    early = boosted_trees.fit(rows.x[:cut][seen], rows.y[:cut][seen], model.trainer.params, output=output)
    scores = artifact.Predictor(artifact.load_estimator(early.estimator, output), rows.inputs, output).predict(
        rows.x[cut:]
    )
    base = np.full(len(rows) - cut, rows.y[:cut][seen].mean())
    loss = scoring_metrics.log_loss if output == "probability" else scoring_metrics.mean_absolute_error
    metrics = {"holdout_loss": loss(rows.y[cut:], scores), "holdout_baseline_loss": loss(rows.y[cut:], base)}
    if output == "probability" and 0 < rows.y[cut:].mean() < 1:
        metrics["holdout_auc"] = scoring_metrics.auc(rows.y[cut:], scores)
    return metrics | {"base_rate": float(rows.y.mean()), **early.metrics}


def _reference(rows: TrainingSet, estimator: bytes, output: Literal["probability", "number"]) -> dict[str, Any]:
    """What monitors compare with: a profile of every input and of the scores, on the training rows."""
    profiles = {
        name: NumericProfile.of(column.values.astype(np.float64), column.valid).to_json()
        for name, column in rows.features.items()
    }
    scores = artifact.Predictor(artifact.load_estimator(estimator, output), rows.inputs, output).predict(rows.x)
    return {"features": profiles, "scores": NumericProfile.of(scores).to_json(), "label_mean": float(rows.y.mean())}


def _after(plan: Plan, model: ModelPlan, log: FeatureLog, rows: TrainingSet) -> int:
    """The first whole millisecond after every vector in the log and every label it was trained on."""
    known = cols.from_arrow(log.read(model.topics["features"], columns=["_known"])["_known"], Kind.TIME)
    return (max(int(known.values.max()), int(rows.label_known_us.max())) // 1000 + 1) * 1000


def _digits(time_us: int) -> str:
    """A known time as it stands in a version's name: ``20130201T045959Z``."""
    return str(np.datetime64(time_us // 1_000_000, "s")).replace("-", "").replace(":", "") + "Z"
