"""Training: the log to an artifact, through a validation gate, published to the models topic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from samestream.schemas.errors import TrainingError
from samestream.schemas.expressions import Kind
from samestream.schemas.outputs import Output
from samestream.streams import columns as cols
from samestream.streams.columns import Float64Array
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.models import artifact, model_registry
from samestream.streams.models.artifact import Artifact
from samestream.streams.models.category_profile import profile_of
from samestream.streams.models.estimator import load_estimator
from samestream.streams.models.model_registry import ModelVersion
from samestream.streams.models.predictor import Predictor
from samestream.streams.models.scoring_metrics import (
    accuracy,
    auc,
    log_loss,
    mean_absolute_error,
    multiclass_log_loss,
    root_mean_squared_error,
)
from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.transport import Transport
from samestream.trainers import boosted_trees, linear_models, training_set
from samestream.trainers.fitting import MIN_ROWS, Fit, Fitted
from samestream.trainers.importance import importance_of
from samestream.trainers.training_set import TrainingSet

_HOLDOUT = 0.2  # the latest fifth of the rows judges the model before it is trained on all of them
IMPORTANCE_ROWS = 4000
"""Of these, the rows by which it is told what each input is to the model."""
_BASELINES: dict[Output, str] = {
    "probability": "the base rate",
    "number": "the mean of the labels",
    "class": "the shares of the classes",
}
Metrics = dict[str, float]

TRAINERS: dict[str, Fit] = {"gradient_boosting": boosted_trees.fit, "linear": linear_models.fit}


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
    """Train on the log, and publish the artifact if it beats the baseline on the held-out end of the training set.

    The baseline knows no inputs: the base rate (by log loss), the mean (by root mean squared error), or the shares of the
    classes (by log loss).

    from_us, to_us : range of trigger event times; by default the declared history, up to the end of the log
    applies_from_us : known time from which vectors are scored by it; by default just after the last one in the log
    force : publish even if the gate refuses
    Raises TrainingError when there is too little to train on, or when the gate refuses.
    """
    rows = training_set.build(plan, model, log, from_us, to_us)
    if from_us is None:
        start_us = int(rows.event_time_us[-1]) - model.trainer.history_us
        rows = rows if start_us <= int(rows.event_time_us[0]) else training_set.build(plan, model, log, start_us, to_us)
    metrics, importance = _holdout(model, rows)
    if metrics["holdout_loss"] >= metrics["holdout_baseline_loss"] and not force:
        raise TrainingError(
            f"the model is no better than {_BASELINES[model.output]}, so it is not published",
            where=model.name,
            found=f"loss {metrics['holdout_loss']:.4f} on the latest fifth of {len(rows)} rows",
            expected=f"less than {metrics['holdout_baseline_loss']:.4f}",
            hint="train on more history, or publish it all the same with --force.",
        )
    fitted = _fit(model, rows)
    applies_us = applies_from_us if applies_from_us is not None else _after(plan, model, log, rows)
    made = Artifact(
        model=model.name,
        version=f"{_digits(applies_us)}-{rows.manifest['digest'][:8]}",
        fingerprint=model.fingerprint,
        inputs=rows.encoding.inputs,
        output=model.output,
        applies_from_us=applies_us,
        manifest=rows.manifest,
        metrics=metrics,
        reference={**_reference(model, rows, fitted.estimator), "importance": importance},
        estimator=fitted.estimator,
        categories=rows.encoding.categories,
        classes=rows.classes,
    )
    uri, digest = artifact.save(made, artifacts)
    version = ModelVersion(
        model.name, made.version, applies_us, uri, digest, model.fingerprint, len(rows), metrics=metrics
    )
    model_registry.publish(transport, plan.registry, version)
    return Trained(version, len(rows), metrics)


def _fit(model: ModelPlan, rows: TrainingSet) -> Fitted:
    return TRAINERS[model.trainer.name](
        rows.x,
        rows.places(rows.classes),
        model.trainer.params,
        output=model.output,
        categorical=rows.encoding.categorical,
    )


def _predictor(model: ModelPlan, rows: TrainingSet, estimator: bytes) -> Predictor:
    return Predictor(load_estimator(estimator, model.output), rows.encoding.inputs, model.output, rows.classes)


def _holdout(model: ModelPlan, rows: TrainingSet) -> tuple[dict[str, float], dict[str, float]]:
    """How a model of the earlier rows does on the latest fifth, and how one does that knows no inputs; what each input is to it."""
    cut = int(len(rows) * (1 - _HOLDOUT))
    # What was not yet known at the first held-out trigger could not have been trained on. It is the horizon that must be over:
    # where one outcome is known sooner than the other, the labels that happen to be there are mostly of the sooner one.
    is_over = rows.event_time_us[:cut] + model.label.within_us < rows.event_time_us[cut]
    is_known = rows.label_known_us[:cut] < rows.known_us[cut]
    early, late = rows.take(np.flatnonzero(is_over & is_known)), rows.take(slice(cut, None))
    if len(early) < MIN_ROWS:
        raise TrainingError(
            "the history is too short to judge a model on its latest fifth",
            where=model.name,
            found=f"{len(early)} of {len(rows)} rows whose horizon was over when that fifth began",
            expected=f"at least {MIN_ROWS}",
            hint="wait for more history, or declare a shorter horizon (`within`) for the label.",
        )
    fitted = _fit(model, early)
    predictor, x = _predictor(model, early, fitted.estimator), early.encoding.matrix(late.features)
    found = JUDGES[model.output](early, late, predictor, x) | fitted.metrics
    asked = (
        np.arange(len(late))
        if len(late) <= IMPORTANCE_ROWS
        else np.arange(IMPORTANCE_ROWS) * len(late) // IMPORTANCE_ROWS
    )
    some = late.take(asked)
    importance = importance_of(
        rows.encoding.inputs,
        x[asked],
        lambda changed: JUDGES[model.output](early, some, predictor, changed)["holdout_loss"],
    )
    if model.output != "class":
        found |= {"base_rate" if model.output == "probability" else "mean_label": float(rows.y.mean())}
    return found, importance


def _judged_probability(early: TrainingSet, late: TrainingSet, predictor: Predictor, x: Float64Array) -> Metrics:
    scores, base = predictor.predict(x), np.full(len(late), early.y.mean())
    found = {"holdout_loss": log_loss(late.y, scores), "holdout_baseline_loss": log_loss(late.y, base)}
    if 0 < late.y.mean() < 1:
        found["holdout_auc"] = auc(late.y, scores)
    return found


def _judged_number(early: TrainingSet, late: TrainingSet, predictor: Predictor, x: Float64Array) -> Metrics:
    scores, base = predictor.predict(x), np.full(len(late), early.y.mean())
    return {
        "holdout_loss": root_mean_squared_error(late.y, scores),
        "holdout_baseline_loss": root_mean_squared_error(late.y, base),
        "holdout_mean_absolute_error": mean_absolute_error(late.y, scores),
        "holdout_baseline_mean_absolute_error": mean_absolute_error(late.y, base),
    }


def _judged_class(early: TrainingSet, late: TrainingSet, predictor: Predictor, x: Float64Array) -> Metrics:
    chances, actual = predictor.chances(x), late.places(early.classes).astype(np.int64)
    shares = np.bincount(early.places(early.classes).astype(np.int64), minlength=len(early.classes)) / len(early)
    base = np.tile(shares, (len(late), 1))
    return {
        "holdout_loss": multiclass_log_loss(actual, chances),
        "holdout_baseline_loss": multiclass_log_loss(actual, base),
        "holdout_accuracy": accuracy(actual, chances.argmax(axis=1)),
        "holdout_baseline_accuracy": accuracy(actual, base.argmax(axis=1)),
    }


JUDGES: dict[Output, Callable[[TrainingSet, TrainingSet, Predictor, Float64Array], Metrics]] = {
    "probability": _judged_probability,
    "number": _judged_number,
    "class": _judged_class,
}


def _reference(model: ModelPlan, rows: TrainingSet, estimator: bytes) -> dict[str, Any]:
    """What monitors compare with: a profile of every input and of what the model says, on the training rows."""
    features = {name: profile_of(column.values, column.valid).to_json() for name, column in rows.features.items()}
    predictor = _predictor(model, rows, estimator)
    if model.output == "class":
        shares = {name: float((rows.y == name).mean()) for name in rows.classes}
        said = np.array(rows.classes, object)[predictor.chances(rows.x).argmax(axis=1)]
        return {"features": features, "scores": profile_of(said).to_json(), "label_shares": shares}
    scores = profile_of(predictor.predict(rows.x)).to_json()
    return {"features": features, "scores": scores, "label_mean": float(rows.y.mean())}


def _after(plan: Plan, model: ModelPlan, log: FeatureLog, rows: TrainingSet) -> int:
    """The first whole millisecond after every vector in the log and every label it was trained on."""
    known = cols.from_arrow(log.read(model.topics["features"], columns=["_known"])["_known"], Kind.TIME)
    return (max(int(known.values.max()), int(rows.label_known_us.max())) // 1000 + 1) * 1000


def _digits(time_us: int) -> str:
    """A known time as it stands in a version's name: ``20130201T045959Z``."""
    return str(np.datetime64(time_us // 1_000_000, "s")).replace("-", "").replace(":", "") + "Z"
