"""Exact confidence intervals."""

from __future__ import annotations

from scipy.stats import beta, chi2


def of_share(hits: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval for a share."""
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, n - hits)) if hits < n else 1.0
    return low, high


def of_rate(events: int, weeks: float, confidence: float = 0.95) -> tuple[float, float]:
    """Garwood's interval for a rate of events a week."""
    tail = (1 - confidence) / 2
    low = float(chi2.ppf(tail, 2 * events) / 2 / weeks) if events else 0.0
    return low, float(chi2.ppf(1 - tail, 2 * events + 2) / 2 / weeks)
