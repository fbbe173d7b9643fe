"""Logs to artifacts: training sets with a manifest, trainers, the validation gate, publishing."""

from __future__ import annotations

from typing import Any

from samestream.schemas import Trainer, durations
from samestream.schemas.durations import Duration
from samestream.schemas.errors import DeclarationError

__all__ = ["gradient_boosting", "linear"]


def gradient_boosting(*, every: Duration, history: Duration, **params: Any) -> Trainer:
    """Gradient-boosted trees (scikit-learn's histogram boosting), trained in batch from the log.

    A classifier, a regressor, or a classifier of several classes, as the model's label says.

    Parameters
    ----------
    every : how often it should be trained anew; nothing schedules that yet, `samestream train` does it once
    history : how much of the log to train on, by event time, ending where training begins
    params : any parameter of the estimator, such as ``max_iter=300``
    """
    return _trainer("gradient_boosting", every, history, params)


def linear(*, every: Duration, history: Duration, **params: Any) -> Trainer:
    """Logistic, ridge or multinomial regression, as the model's label says, on scaled inputs; trained as the one above.

    A yardstick: simple, quick, and what a cleverer trainer has to beat.

    Parameters
    ----------
    every, history : as for `gradient_boosting`
    params : ``regularization`` (default 1.0) and ``max_iter``
    """
    return _trainer("linear", every, history, params)


def _trainer(name: str, every: Duration, history: Duration, params: dict[str, Any]) -> Trainer:
    return Trainer(name, _length_us(f"{name}(every=...)", every), _length_us(f"{name}(history=...)", history), params)


def _length_us(where: str, length: Duration) -> int:
    """Microseconds. Raises DeclarationError for what is no length of time, or none at all."""
    length_us = durations.parse(length, where)
    if not length_us:
        raise DeclarationError(
            "a trainer needs a length of time",
            where=where,
            found=repr(length),
            expected="more than nothing",
            hint='every="1d", history="30d".',
        )
    return length_us
