"""What every trainer shares: what it is given, what it refuses, and what it hands back.

A trainer is a function of this shape::

    fit(x, y, params=None, seed=0, output="probability", categorical=()) -> Fitted

x : shape (rows, inputs), NaN for null. y : shape (rows,): 0 or 1 for a probability, any finite number for a number, the
place of the class (0, 1, ...) for a class. categorical : places of inputs whose numbers stand for texts.
Equal arguments give equal bytes, whatever the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samestream.schemas.errors import TrainingError
from samestream.schemas.outputs import Output

MIN_ROWS = 50
MOST_CLASSES = 100


class Fitted(NamedTuple):
    """A trained estimator as `samestream.streams.models.artifact` stores it, and how it does on its own training rows.

    Metrics are named `train_...` because they flatter: judge a model on rows it has not seen.
    """

    estimator: bytes
    metrics: dict[str, float]


Fit = Callable[..., Fitted]


def checked(x: ArrayLike, y: ArrayLike, output: Output) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Inputs and labels as arrays.

    Raises TrainingError for fewer than 50 rows, shapes that do not fit, a label that is not finite, one that is not 0 or 1
    (for a probability), more than 100 classes, and labels that are always the same (for all but a number).
    """
    values, labels = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if values.ndim != 2 or values.shape[1] == 0 or labels.shape != (len(values),):
        hint = "Give x as (rows, inputs), with one input at least, and y as (rows,)."
        found = f"shapes {values.shape} and {labels.shape}"
        raise TrainingError("inputs and labels do not fit together", found=found, hint=hint)
    if len(labels) < MIN_ROWS:
        hint = "Wait for more labels, or train on a longer history."
        raise TrainingError("too few rows to train on", found=len(labels), expected=f"at least {MIN_ROWS}", hint=hint)
    if not (finite := np.isfinite(labels)).all():
        hint = "Leave rows out whose label is not known yet."
        found = f"{int((~finite).sum())} of {len(labels)} labels, the first in row {int(np.argmin(finite))}"
        raise TrainingError("a label is null or infinite", found=found, hint=hint)
    if output != "number":
        _check_classes(np.unique(labels), output)
    return values, labels


def _check_classes(classes: NDArray[np.float64], output: Output) -> None:
    if output == "probability" and not np.isin(classes, [0, 1]).all():
        hint = "Declare the label as a comparison, or the model's output as a number."
        raise TrainingError("a label is neither 0 nor 1", found=classes[:5].tolist(), hint=hint)
    if len(classes) == 1:
        hint = "Train on a longer history, in which more than one outcome occurs."
        expected = "both 0 and 1" if output == "probability" else "two classes at least"
        raise TrainingError("all labels are the same", found=classes.tolist(), expected=expected, hint=hint)
    if len(classes) > MOST_CLASSES:
        hint = "Predict a number, or group the label's texts into fewer classes with when()."
        expected = f"at most {MOST_CLASSES}"
        raise TrainingError("too many classes to train on", found=len(classes), expected=expected, hint=hint)


def check_params(params: Mapping[str, float], known: Collection[str], trainer: str) -> None:
    """Raise TrainingError for params that the trainer does not have."""
    if unknown := set(params) - set(known):
        hint = f"Params are {', '.join(known)}."
        raise TrainingError(f"unknown params of {trainer}", found=", ".join(sorted(unknown)), hint=hint)


def fitted(model: Any, x: NDArray[np.float64], y: NDArray[np.float64], output: Output, defaults: Any) -> Fitted:
    """Train an estimator on one thread, and judge it on its own rows as a scorer will load it.

    Raises TrainingError with what scikit-learn says of params or values.
    """
    from threadpoolctl import threadpool_limits

    from samestream.streams.models.estimator import dump_estimator

    with threadpool_limits(1):  # the engine needs the other cores, and sums keep one order
        try:
            model.fit(x, y)
        except ValueError as error:
            hint = f"Params have scikit-learn's meanings and ranges; the defaults are {dict(defaults)}."
            raise TrainingError("scikit-learn refuses to train", found=error, hint=hint) from error
    estimator = dump_estimator(model)
    return Fitted(estimator, {"train_rows": float(len(y)), **_metrics(estimator, x, y, output)})


def _metrics(estimator: bytes, x: NDArray[np.float64], y: NDArray[np.float64], output: Output) -> dict[str, float]:
    from samestream.streams.models import scoring_metrics as metrics
    from samestream.streams.models.estimator import load_estimator
    from samestream.streams.models.predictor import Predictor

    inputs = tuple(str(column) for column in range(x.shape[1]))
    classes = tuple(str(place) for place in range(int(y.max()) + 1)) if output == "class" else ()
    predictor = Predictor(load_estimator(estimator, output), inputs, output, classes)
    if output == "class":
        chances = predictor.chances(x)
        return {
            "train_log_loss": metrics.multiclass_log_loss(y, chances),
            "train_accuracy": metrics.accuracy(y, chances.argmax(axis=1)),
        }
    scores = predictor.predict(x)
    if output == "probability":
        found = {"train_log_loss": metrics.log_loss(y, scores), "train_auc": metrics.auc(y, scores)}
    else:
        found = {
            "train_mean_absolute_error": metrics.mean_absolute_error(y, scores),
            "train_root_mean_squared_error": metrics.root_mean_squared_error(y, scores),
        }
    return found | {"train_mean_label": float(y.mean())}
