"""How far apart two histograms over the same bins are: effect sizes, never p-values.

A p-value says how sure it is that two samples differ, and at this size any two do: January's and March's delays have a
Kolmogorov-Smirnov p of 1e-17 and an index of 0.010. What is asked here is how *much* they differ.

=================  ============  ===================================================  ==========================
function           of            says                                                 from 0 to
=================  ============  ===================================================  ==========================
psi                any bins      how surprising each side is to the other, in nats    no bound
jensen_shannon     any bins      how well one row tells which side it is of           1: nothing in common
l_infinity         any bins      the share of the bin that changed most               1
unseen_share       any bins      what lies in bins that the reference left empty      1
ks_distance        ordered bins  the greatest gap of the distribution functions       1
wasserstein        placed bins   how far values went, in standard deviations          no bound
=================  ============  ===================================================  ==========================

All but `unseen_share` are symmetric, but for the unit of `wasserstein`, which is the reference's spread.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from samestream.schemas.errors import EmptyWindowError

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

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


def greatest_psi(reference: Counts, rows: int) -> float:
    """The greatest index that so many rows can have: that of all of them in the bin that surprises most.

    reference : bin counts, shape (bins,), non-negative.
    Raises EmptyWindowError if it sums to zero, or there are no rows.

    >>> round(greatest_psi(np.array([900, 100]), 1000), 3)
    8.806
    """
    return max(psi(reference, rows * np.eye(len(reference), dtype=np.int64)[place]) for place in range(len(reference)))


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


def jensen_shannon(reference: Counts, current: Counts) -> float:
    """Jensen-Shannon distance: the root of the divergence in bits. 0 when identical, 1 when no bin is shared.

    It is a metric, and unlike `psi` needs no smoothing: an empty bin costs at most its share.

    reference, current : bin counts, shape (bins,), non-negative.
    Raises EmptyWindowError if either sums to zero.

    >>> jensen_shannon(np.array([5, 0]), np.array([0, 7]))
    1.0
    >>> round(jensen_shannon(np.array([900, 100]), np.array([500, 500])), 4)
    0.3831
    """
    _check(reference, current)
    expected, found = reference / reference.sum(), current / current.sum()
    middle = (expected + found) / 2
    bits = sum(float(np.sum(side[side > 0] * np.log2(side[side > 0] / middle[side > 0]))) for side in (expected, found))
    return math.sqrt(min(max(bits / 2, 0.0), 1.0))


def l_infinity(reference: Counts, current: Counts) -> float:
    """The greatest change of a bin's share, 0 to 1; 0 when identical.

    reference, current : bin counts, shape (bins,), non-negative.
    Raises EmptyWindowError if either sums to zero.

    >>> round(l_infinity(np.array([60, 30, 10]), np.array([50, 25, 25])), 6)
    0.15
    """
    _check(reference, current)
    return float(np.abs(reference / reference.sum() - current / current.sum()).max())


def unseen_share(reference: Counts, current: Counts) -> float:
    """Share of `current` that lies where `reference` holds nothing at all, 0 to 1: new categories, new atoms.

    reference, current : bin counts, shape (bins,), non-negative.
    Raises EmptyWindowError if either sums to zero.

    >>> unseen_share(np.array([6, 4, 0]), np.array([3, 4, 1]))
    0.125
    """
    _check(reference, current)
    return float(current[reference == 0].sum() / current.sum())


def wasserstein(reference: Counts, current: Counts, places: Floats) -> float | None:
    """How far values have to be moved, on average, to make one histogram of the other, in the reference's spread.

    The spread is the standard deviation of the reference over the same places; None where it is 0, since a constant has no
    unit to measure by. Over buckets the distance is off by at most half a bucket's width of each side.

    reference, current : bin counts, shape (bins,), non-negative. places : where each bin lies, ascending, shape (bins,).
    Raises EmptyWindowError if either sums to zero.

    >>> wasserstein(np.array([1, 1, 0]), np.array([0, 1, 1]), np.array([0.0, 2.0, 4.0]))
    2.0
    """
    _check(reference, current)
    held = (reference > 0) | (current > 0)
    reference, current, places = reference[held], current[held], places[held]
    expected = reference / reference.sum()
    mean = float(np.sum(expected * places))
    spread = math.sqrt(float(np.sum(expected * (places - mean) ** 2)))
    if spread == 0:
        return None
    apart = np.cumsum(expected) - np.cumsum(current / current.sum())
    return float(np.sum(np.abs(apart[:-1]) * np.diff(places))) / spread


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
