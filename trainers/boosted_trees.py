"""Gradient boosted trees by scikit-learn: null-aware, quick, and the same model for the same rows every time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from samestream.schemas.outputs import Output
from samestream.trainers.declared import GRADIENT_BOOSTING as DEFAULTS
from samestream.trainers.fitting import Fitted, check_params, checked, fitted


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
