"""Gradient boosted trees by scikit-learn: null-aware, quick, and the same model for the same rows every time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from samestream.schemas.outputs import Output
from samestream.trainers.fitting import Fitted, check_params, checked, fitted

DEFAULTS: Mapping[str, float] = {
    "max_iter": 150,
    "learning_rate": 0.06,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 200,
    "l2_regularization": 1.0,
}
"""What may be set, with scikit-learn's meanings: many small steps of small trees, which seldom need tuning."""


def fit(
    x: ArrayLike,
    y: ArrayLike,
    params: Mapping[str, float] | None = None,
    seed: int = 0,
    output: Output = "probability",
    categorical: Sequence[int] = (),
) -> Fitted:
    """Train on all rows given, see `trainers.fitting`. A class costs as many trees an iteration as there are classes.

    params : settings that differ from `DEFAULTS`. The default `min_samples_leaf` is lowered to a twentieth of the rows.
    Raises TrainingError for what cannot be trained on, and for params that are unknown or out of range.
    """
    values, labels = checked(x, y, output)
    check_params(params or {}, DEFAULTS, "gradient boosting")

    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    # scikit-learn cannot bin a column without any value. As a constant it is never split on, so scores ignore it.
    values = np.where(np.isnan(values).all(axis=0), 0.0, values)
    leaf = min(int(DEFAULTS["min_samples_leaf"]), max(1, len(labels) // 20))
    chosen = {**DEFAULTS, "min_samples_leaf": leaf, **(params or {})}
    kind = HistGradientBoostingRegressor if output == "number" else HistGradientBoostingClassifier
    categories = list(categorical) or None
    model = kind(**chosen, early_stopping=False, random_state=seed, categorical_features=categories)  # pyright: ignore[reportArgumentType]
    return fitted(model, values, labels, output, DEFAULTS)
