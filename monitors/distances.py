"""How far apart two histograms over the same bins are: effect sizes, never p-values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from samestream.schemas.errors import EmptyWindowError

Counts = npt.NDArray[np.int64]

SMOOTHING = 0.5


def psi(reference: Counts, current: Counts) -> float:
    """Population stability index, in nats; 0 when identical.

    Each bin gets half a count more on both sides, so that an empty bin costs a finite amount that shrinks with the size
    of the window.

    reference, current : bin counts, shape (bins,), non-negative.
    Raises EmptyWindowError if either sums to zero.

    >>> round(psi(np.array([50, 50]), np.array([50, 50])), 6)
    0.0
    >>> round(psi(np.array([900, 100]), np.array([500, 500])), 3)
    0.876
    """
    _check(reference, current)
    expected = (reference + SMOOTHING) / (reference.sum() + SMOOTHING * len(reference))
    found = (current + SMOOTHING) / (current.sum() + SMOOTHING * len(current))
    return float(np.sum((found - expected) * np.log(found / expected)))


def ks_sides(reference: Counts, current: Counts) -> tuple[float, float]:
    """Greatest excess of one distribution function over the other, 0 to 1 each.

    reference, current : bin counts in the order of the values, shape (bins,), non-negative.
    Returns (up, down): `up` is large when `current` holds greater values than `reference`, `down` when smaller ones.
    Raises EmptyWindowError if either sums to zero.
    """
    _check(reference, current)
    apart = np.cumsum(reference) / reference.sum() - np.cumsum(current) / current.sum()
    return max(float(apart.max()), 0.0), max(float(-apart.min()), 0.0)


def ks_distance(reference: Counts, current: Counts) -> float:
    """Kolmogorov-Smirnov distance over the bins, 0 to 1; 0 when identical.

    reference, current : bin counts in the order of the values, shape (bins,), non-negative.
    Raises EmptyWindowError if either sums to zero.

    >>> ks_distance(np.array([2, 2]), np.array([1, 3]))
    0.25
    """
    return max(ks_sides(reference, current))


def _check(reference: Counts, current: Counts) -> None:
    for side, counts in (("reference", reference), ("current", current)):
        if counts.sum() == 0:
            raise EmptyWindowError(
                "a distance from nothing is not defined",
                where=side,
                found="0 values",
                expected="at least one",
                hint="wait for a window that holds values.",
            )
