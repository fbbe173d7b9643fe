"""How often a monitor alarmed, beside how often it may: incidents by the week, with an interval that is exact for counts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Rate:
    """Incidents a week, and the ends of the interval of rates that do not contradict the count (Garwood, 1936)."""

    per_week: float
    low: float
    high: float


def rate(opened: int, weeks: float, confidence: float = CONFIDENCE) -> Rate | None:
    """The rate of so many incidents in so many weeks, were they independent of each other; None for no time at all.

    >>> found = rate(3, 12.0)
    >>> round(found.per_week, 3), round(found.low, 4), round(found.high, 4)
    (0.25, 0.0516, 0.7306)
    >>> rate(0, 4.0).low, round(rate(0, 4.0).high, 4)
    (0.0, 0.9222)
    """
    if weeks <= 0:
        return None
    tail = (1 - confidence) / 2
    # at the low end so many or more are as unlikely as the tail, at the high end so many or fewer
    low = _mean_where(lambda mean: at_most(opened - 1, mean), 1 - tail, opened) if opened else 0.0
    return Rate(opened / weeks, low / weeks, _mean_where(lambda mean: at_most(opened, mean), tail, opened) / weeks)


def at_most(count: int, mean: float) -> float:
    """The chance of so many events or fewer where so many are expected (Poisson).

    >>> round(at_most(1, 2.0), 6)
    0.406006
    """
    if mean <= 0:
        return 1.0
    return min(sum(math.exp(n * math.log(mean) - mean - math.lgamma(n + 1)) for n in range(count + 1)), 1.0)


def _mean_where(chance: Callable[[float], float], wanted: float, near: int) -> float:
    """The mean at which a chance that falls with it is as wanted."""
    low, high = 0.0, near + 10 * math.sqrt(near + 1) + 10
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if chance(middle) > wanted else (low, middle)
    return high
