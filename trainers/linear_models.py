"""Linear models by scikit-learn: logistic, ridge or multinomial. Simple, quick, the yardstick for anything cleverer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from samestream.schemas.outputs import Output
from samestream.streams.models.predictor import within_reach
from samestream.trainers.declared import LINEAR as DEFAULTS
from samestream.trainers.fitting import Fitted, check_params, checked, fitted


def fit(
    x: ArrayLike,
    y: ArrayLike,
    params: Mapping[str, float] | None = None,
    seed: int = 0,
    output: Output = "probability",
    categorical: Sequence[int] = (),
) -> Fitted:
    """Train on all rows given, see `trainers.fitting`. The seed decides nothing: nothing is drawn.

    A null (or infinite) number becomes the mean, then all are scaled to mean 0 and variance 1; a text becomes one column
    per category. params : settings that differ from `DEFAULTS`.
    Raises TrainingError for what cannot be trained on, and for params that are unknown or out of range.
    """
    values, labels = checked(x, y, output)
    check_params(params or {}, DEFAULTS, "the linear trainer")
    chosen = {**DEFAULTS, **(params or {})}

    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = [place for place in range(values.shape[1]) if place not in set(categorical)]
    scaled = Pipeline([("fill", SimpleImputer(keep_empty_features=True)), ("scale", StandardScaler())])
    one_each = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    prepared = ColumnTransformer([("numbers", scaled, numbers), ("texts", one_each, list(categorical))])
    last = Ridge(alpha=chosen["regularization"], solver="cholesky")
    if output != "number":
        inverse = 1 / chosen["regularization"] if chosen["regularization"] else np.inf
        last = LogisticRegression(C=inverse, max_iter=int(chosen["max_iter"]))
    model = Pipeline([("prepare", prepared), ("fit", last)])
    return fitted(model, within_reach(values), labels, output, DEFAULTS)
