"""How good scores are: numbers that trainers put into an artifact and people compare in the console."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samestream.schemas.errors import EmptyWindowError

Float64Array = NDArray[np.float64]


def log_loss(y: ArrayLike, p: ArrayLike) -> float:
    """Mean negative log likelihood of probabilities, in nats; 0 is perfect, 0.693 is a coin.

    y : what happened, 0 or 1, shape (rows,).
    p : the probability given to 1, shape (rows,); kept 2.2e-16 away from 0 and 1, so one certain error costs 36 nats.
    Raises EmptyWindowError without rows, ValueError for other values or shapes.

    >>> log_loss([1, 0], [0.5, 0.5])
    0.6931471805599453
    """
    happened, given = _pair(y, p)
    _require_binary(happened)
    if not ((given >= 0) & (given <= 1)).all():
        raise ValueError("a probability lies outside 0 to 1")
    tiny = np.finfo(np.float64).eps
    chance = np.clip(np.where(happened == 1, given, 1 - given), tiny, 1 - tiny)
    return float(-np.log(chance).mean()) + 0.0  # + 0.0 turns -0.0 into 0.0


def auc(y: ArrayLike, p: ArrayLike) -> float:
    """Share of (happened, did not) pairs that the scores put in order; a tie counts half, 0.5 is chance.

    Counted in integers over ranks, so it is exact and any increasing function of `p` gives the same number.

    y : what happened, 0 or 1, shape (rows,).
    p : scores, shape (rows,), on any scale.
    Raises EmptyWindowError unless both outcomes occur, ValueError for other values or shapes.

    >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8])
    0.875
    """
    happened, given = _pair(y, p)
    _require_binary(happened)
    if np.isnan(given).any():
        raise ValueError("a score is not a number")
    levels, at = np.unique(given, return_inverse=True)
    ones = np.bincount(at, weights=happened, minlength=len(levels)).astype(np.int64)
    zeros = np.bincount(at, minlength=len(levels)).astype(np.int64) - ones
    if not ones.sum() or not zeros.sum():
        raise EmptyWindowError(
            "AUC compares rows where it happened with rows where it did not, and one kind is missing",
            found=f"{ones.sum()} happened, {zeros.sum()} did not",
            hint="Take a longer window.",
        )
    below = np.cumsum(zeros) - zeros
    return int((ones * (2 * below + zeros)).sum()) / (2 * int(ones.sum()) * int(zeros.sum()))


def multiclass_log_loss(y: ArrayLike, chances: ArrayLike) -> float:
    """Mean negative log of the probability given to the class that happened, in nats; 0 is perfect.

    y : place of that class among the columns, shape (rows,), whole numbers; -1 for a class the model does not know.
    chances : probabilities, shape (rows, classes); kept 2.2e-16 away from 0 and 1, so one certain error costs 36 nats.
    Raises EmptyWindowError without rows, ValueError for other values or shapes.

    >>> multiclass_log_loss([0, 1], [[0.5, 0.5], [0.75, 0.25]])
    1.0397207708399179
    """
    actual, given = np.asarray(y, np.int64), np.asarray(chances, np.float64)
    if actual.ndim != 1 or given.ndim != 2 or len(actual) != len(given):
        raise ValueError(f"expected classes and a row of chances for each, found shapes {actual.shape}, {given.shape}")
    if len(actual) and not (actual.min() >= -1 and actual.max() < given.shape[1]):
        raise ValueError("a class is none of the columns")
    return class_log_loss(np.where(actual >= 0, given[np.arange(len(actual)), actual], 0.0))


def class_log_loss(given: ArrayLike) -> float:
    """The same from the probabilities that were given to what happened, shape (rows,); they may be 0.

    >>> class_log_loss([0.5, 0.25])
    1.0397207708399179
    """
    chance, _ = _pair(given, given)
    if not ((chance >= 0) & (chance <= 1)).all():
        raise ValueError("a probability lies outside 0 to 1")
    tiny = np.finfo(np.float64).eps
    return float(-np.log(np.clip(chance, tiny, 1 - tiny)).mean()) + 0.0


def accuracy(y: ArrayLike, predicted: ArrayLike) -> float:
    """Share of rows whose class was predicted, 0 to 1.

    y, predicted : classes, as text or numbers, shape (rows,).
    Raises EmptyWindowError without rows, ValueError for other shapes.

    >>> accuracy(["a", "b", "b", "c"], ["a", "b", "c", "c"])
    0.75
    """
    right = np.asarray(y) == np.asarray(predicted)
    same, _ = _pair(right, right)
    return float(same.mean())


def root_mean_squared_error(y: ArrayLike, p: ArrayLike) -> float:
    """Root of the mean squared distance of predicted from actual numbers, in the unit of `y`; 0 is perfect.

    y, p : actual and predicted, shape (rows,).
    Raises EmptyWindowError without rows, ValueError for other shapes.

    >>> root_mean_squared_error([1, 2], [1, 4])
    1.4142135623730951
    """
    actual, predicted = _pair(y, p)
    apart = np.abs(actual - predicted)
    greatest = float(apart.max())
    if not 0 < greatest < np.inf:
        return greatest
    return greatest * float(np.sqrt(np.square(apart / greatest).mean()))  # so that no square overflows


def mean_absolute_error(y: ArrayLike, p: ArrayLike) -> float:
    """Mean distance of predicted from actual numbers, in the unit of `y`; 0 is perfect.

    y, p : actual and predicted, shape (rows,).
    Raises EmptyWindowError without rows, ValueError for other shapes.

    >>> mean_absolute_error([1, 2], [1, 5])
    1.5
    """
    actual, predicted = _pair(y, p)
    return float(np.abs(actual - predicted).mean())


def _pair(y: ArrayLike, p: ArrayLike) -> tuple[Float64Array, Float64Array]:
    actual, predicted = np.asarray(y, np.float64), np.asarray(p, np.float64)
    if actual.ndim != 1 or actual.shape != predicted.shape:
        raise ValueError(f"expected two arrays of one length, found shapes {actual.shape} and {predicted.shape}")
    if not len(actual):
        raise EmptyWindowError("a score needs at least one row", found="0 rows", hint="Take a longer window.")
    return actual, predicted


def _require_binary(y: Float64Array) -> None:
    if not ((y == 0) | (y == 1)).all():
        raise ValueError("an outcome is neither 0 nor 1")
