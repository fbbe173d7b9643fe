"""Logs to artifacts: training sets with a manifest, trainers, the validation gate, publishing."""

from __future__ import annotations

from typing import Any

from samestream.schemas import Trainer, durations
from samestream.schemas.durations import Duration

__all__ = ["gradient_boosting"]


def gradient_boosting(*, every: Duration, history: Duration, **params: Any) -> Trainer:
    """Gradient-boosted trees (scikit-learn's histogram boosting), trained in batch from the log.

    Parameters
    ----------
    every : how often it should be trained anew; nothing schedules that yet, `samestream train` does it once
    history : how much of the log to train on, by event time, ending where training begins
    params : any parameter of the estimator, such as ``max_iter=300``
    """
    return Trainer("gradient_boosting", durations.parse(every), durations.parse(history), params)
