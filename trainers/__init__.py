"""Logs to artifacts: training sets with a manifest, trainers, the validation gate, publishing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from samestream.schemas import Trainer
from samestream.schemas.durations import Duration
from samestream.trainers.declared import GRADIENT_BOOSTING, LINEAR, declared

if TYPE_CHECKING:
    from samestream.trainers.observed import vectors_at

__all__ = ["gradient_boosting", "linear", "vectors_at"]


def __getattr__(name: str) -> Any:
    """What reads the log is imported when it is first asked for: declarations need none of it."""
    if name == "vectors_at":
        from samestream.trainers.observed import vectors_at

        return vectors_at
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def gradient_boosting(*, every: Duration, history: Duration, **params: Any) -> Trainer:
    """Gradient-boosted trees (scikit-learn's histogram boosting), trained in batch from the log.

    A classifier, a regressor, or a classifier of several classes, as the model's label says.

    Parameters
    ----------
    every : how often it should be trained anew; nothing schedules that yet, `samestream train` does it once
    history : how much of the log to train on, by event time, ending where training begins
    params : some of ``max_iter``, ``learning_rate``, ``max_leaf_nodes``, ``min_samples_leaf`` and ``l2_regularization``

    Raises DeclarationError for a parameter that it does not have, and for a duration of no length.
    """
    return declared("gradient_boosting", every, history, params, GRADIENT_BOOSTING)


def linear(*, every: Duration, history: Duration, **params: Any) -> Trainer:
    """Logistic, ridge or multinomial regression, as the model's label says, on scaled inputs; trained as the one above.

    A yardstick: simple, quick, and what a cleverer trainer has to beat.

    Parameters
    ----------
    every, history : as for `gradient_boosting`
    params : ``regularization`` (default 1.0) and ``max_iter``

    Raises DeclarationError as `gradient_boosting` does.
    """
    return declared("linear", every, history, params, LINEAR)
