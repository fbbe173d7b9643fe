"""Gradient boosted trees by scikit-learn: null-aware, quick, and the same model for the same rows every time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samestream.schemas.errors import TrainingError

DEFAULTS: Mapping[str, float] = {
    "max_iter": 150,
    "learning_rate": 0.06,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 200,
    "l2_regularization": 1.0,
}
"""What may be set, with scikit-learn's meanings: many small steps of small trees, which seldom need tuning."""

MIN_ROWS = 50


class Fitted(NamedTuple):
    """A trained estimator as `samestream.streams.artifact` stores it, and how it does on its own training rows."""

    estimator: bytes
    metrics: dict[str, float]


def fit(
    x: ArrayLike,
    y: ArrayLike,
    params: Mapping[str, float] | None = None,
    seed: int = 0,
    output: Literal["probability", "number"] = "probability",
) -> Fitted:
    """Train on all rows given; equal arguments give equal bytes, whatever the number of threads.

    x : shape (rows, inputs), NaN for null. y : shape (rows,), 0 or 1 for a probability, any finite number otherwise.
    params : settings that differ from `DEFAULTS`. The default `min_samples_leaf` is lowered to a twentieth of the rows.
    Metrics are named `train_...` because they flatter: judge a model on rows it has not seen.
    Raises TrainingError for fewer than 50 rows, a label that is not finite, not 0 or 1, or always the same (for a
    probability), and params that are unknown or out of range.
    """
    values, labels = np.asarray(x, np.float64), np.asarray(y, np.float64)
    _check(values, labels, output)
    if unknown := set(params or {}) - set(DEFAULTS):
        hint = f"Params are {', '.join(DEFAULTS)}."
        raise TrainingError("unknown params of gradient boosting", found=", ".join(sorted(unknown)), hint=hint)

    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    from samestream.streams.artifact import Predictor, dump_estimator, load_estimator
    from samestream.streams.scoring_metrics import auc, log_loss, mean_absolute_error

    # scikit-learn cannot bin a column without any value. As a constant it is never split on, so scores ignore it.
    values = np.where(np.isnan(values).all(axis=0), 0.0, values)
    leaf = min(int(DEFAULTS["min_samples_leaf"]), max(1, len(labels) // 20))
    chosen = {**DEFAULTS, "min_samples_leaf": leaf, **(params or {})}
    kind = HistGradientBoostingClassifier if output == "probability" else HistGradientBoostingRegressor
    model = kind(**chosen, early_stopping=False, random_state=seed)
    with threadpool_limits(1, user_api="openmp"):  # the engine needs the other cores, and sums keep one order
        try:
            model.fit(values, labels)
        except ValueError as error:
            hint = f"Params have scikit-learn's meanings and ranges; the defaults are {dict(DEFAULTS)}."
            raise TrainingError("scikit-learn refuses to train", found=error, hint=hint) from error
    estimator = dump_estimator(model)
    inputs = tuple(str(column) for column in range(values.shape[1]))
    scores = Predictor(load_estimator(estimator, output), inputs, output).predict(values)  # as a scorer will load it
    metrics = {"train_rows": float(len(labels))}
    if output == "probability":
        metrics |= {"train_log_loss": log_loss(labels, scores), "train_auc": auc(labels, scores)}
    else:
        metrics |= {"train_mean_absolute_error": mean_absolute_error(labels, scores)}
    return Fitted(estimator, {**metrics, "train_mean_label": float(labels.mean())})


def _check(x: NDArray[np.float64], y: NDArray[np.float64], output: str) -> None:
    if x.ndim != 2 or x.shape[1] == 0 or y.shape != (len(x),):
        hint = "Give x as (rows, inputs), with one input at least, and y as (rows,)."
        raise TrainingError("inputs and labels do not fit together", found=f"shapes {x.shape} and {y.shape}", hint=hint)
    if len(y) < MIN_ROWS:
        hint = "Wait for more labels, or train on a longer history."
        raise TrainingError("too few rows to train on", found=len(y), expected=f"at least {MIN_ROWS}", hint=hint)
    if not (finite := np.isfinite(y)).all():
        hint = "Leave rows out whose label is not known yet."
        found = f"{int((~finite).sum())} of {len(y)} labels, the first in row {int(np.argmin(finite))}"
        raise TrainingError("a label is null or infinite", found=found, hint=hint)
    if output == "probability":
        classes = np.unique(y)
        if not np.isin(classes, [0, 1]).all():
            hint = "Declare the label as a comparison, or the model's output as a number."
            raise TrainingError("a label is neither 0 nor 1", found=classes[:5].tolist(), hint=hint)
        if len(classes) == 1:
            hint = "Train on a longer history, in which both outcomes occur."
            raise TrainingError("all labels are the same", found=classes.tolist(), expected="both 0 and 1", hint=hint)
