"""What may be said of a trainer where a model is declared; what is wrong is refused there, not after a day of waiting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samestream.schemas import Trainer, durations
from samestream.schemas.durations import Duration
from samestream.schemas.errors import DeclarationError

GRADIENT_BOOSTING: Mapping[str, float] = {
    "max_iter": 150,
    "learning_rate": 0.06,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 200,
    "l2_regularization": 1.0,
}
"""What may be set, with scikit-learn's meanings: many small steps of small trees, which seldom need tuning."""

LINEAR: Mapping[str, float] = {"regularization": 1.0, "max_iter": 1000}
"""What may be set. regularization : weight of the squared coefficients, as ridge's alpha (logistic's 1 / C)."""


def declared(
    name: str, every: Duration, history: Duration, params: Mapping[str, Any], known: Mapping[str, float]
) -> Trainer:
    """A trainer by its name, with what is said of it.

    Raises DeclarationError for a parameter that is not among the known ones, and for a duration of no length.
    """
    lengths_us = {}
    for option, length in (("every", every), ("history", history)):
        where = f"{name}({option}=...)"
        lengths_us[option] = durations.parse(length, where)
        if not lengths_us[option]:
            raise DeclarationError(
                "a trainer needs a length of time",
                where=where,
                found=repr(length),
                expected="more than nothing",
                hint='every="1d", history="30d".',
            )
    if unknown := [param for param in params if param not in known]:
        raise DeclarationError(
            "unknown parameter of a trainer",
            where=name,
            found=", ".join(unknown),
            expected=", ".join(("every", "history", *known)),
            hint="check the spelling.",
        )
    return Trainer(name, lengths_us["every"], lengths_us["history"], dict(params))
