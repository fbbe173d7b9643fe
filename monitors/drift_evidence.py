"""What is told of a feature or a score that moved: effect sizes, both histograms, where it sits and rows that show it.

Everything is from the profiles that the alarm itself was judged by, and from the samples of `monitors.slices`. It is bounded:
see `MOST_BYTES`.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.monitors.distances import (
    jensen_shannon,
    ks_distance,
    l_infinity,
    psi,
    unseen_share,
    wasserstein,
)
from samestream.monitors.slices import SampledRows, where_it_sits
from samestream.monitors.windows import Limit, Measured, Window
from samestream.streams.models.category_profile import CategoryProfile, Profile, side_by_side
from samestream.streams.models.profile import BUCKET_HIGH, BUCKET_LOW, BUCKETS, NumericProfile, buckets_of

MOST_BYTES = 8192
"""Of the evidence of one feature as JSON; what is over goes, in the order of `_SPARED`."""
_SPARED = ("examples", "slices", "new", "histogram", "after", "before")
TEXTS_SHOWN = 16
NEW_SHOWN = 5


def evidence_of(
    name: str, measured: Measured, limit: Limit, window: Window, before: SampledRows | None
) -> dict[str, Any]:
    """What is told of a window that moved, as JSON holds it.

    before : rows of calm windows, to tell where the move sits.
    """
    reference, profile = limit.reference, window.profiles[name]
    where = where_it_sits(name, before, window.rows) if window.rows is not None else {}
    return bounded(
        {
            "psi": round(measured.psi, 4),
            "psi_limit": round(measured.psi_limit, 4),
            "null_share": round(measured.null_share, 4),
            "null_share_limit": round(measured.null_share_limit, 4),
            "null_share_before": round(reference.null_share, 4),
            "rows": profile.n,
            "rows_before": reference.n,
            "effect_sizes": effect_sizes(reference, profile),
            "before": summary(reference),
            "after": summary(profile),
            **({"histogram": found} if (found := histogram(reference, profile)) else {}),
            **({"new": new} if (new := new_values(reference, profile)) else {}),
            **where,
        }
    )


def effect_sizes(reference: Profile, current: Profile) -> dict[str, float | None]:
    """How far two profiles are apart, by every measure that means something for what they hold; see `monitors.distances`.

    ``psi``, ``jensen_shannon`` and, of numbers, ``l_infinity`` are over the groups of the reference (sixteenths of its
    numbers, or its 16 commonest texts and all others) and null, as the alarm is; ``l_infinity`` of texts over each text;
    ``unseen_share`` over texts, or the buckets of numbers. ``ks`` and ``wasserstein`` are over the buckets of numbers, nulls
    left out. None where a side holds nothing to measure. Of more than 1024 texts the rare ones are not known one by one: there
    ``unseen_share`` counts a rare one that came again as new.
    Returns nothing for numbers against texts.
    """
    grouped = side_by_side(reference, current)
    if grouped is None or not grouped[0].sum() or not grouped[1].sum():
        return {}
    sizes: dict[str, float | None] = {
        "psi": psi(*grouped),
        "jensen_shannon": jensen_shannon(*grouped),
        "l_infinity": l_infinity(*grouped),
    }
    if isinstance(reference, NumericProfile) and isinstance(current, NumericProfile):
        there = bool(reference.values and current.values)
        counts = reference.counts, current.counts
        sizes["ks"] = ks_distance(*counts) if there else None
        sizes["wasserstein"] = wasserstein(*counts, _places(reference, current)) if there else None
        sizes["unseen_share"] = unseen_share(*counts) if there else None
    elif isinstance(reference, CategoryProfile) and isinstance(current, CategoryProfile):
        every = _by_text(reference, current)
        sizes["l_infinity"] = l_infinity(*every)
        there = bool(every[0][:-1].sum() and every[1][:-1].sum())
        sizes["unseen_share"] = unseen_share(every[0][:-1], every[1][:-1]) if there else None
    return {name: None if size is None else round(size, 4) for name, size in sizes.items()}


def histogram(reference: Profile, current: Profile) -> dict[str, Any]:
    """Shares of rows on both sides over at most 18 bins and null: ``null_share`` is told beside it.

    Of numbers ``from`` holds the lower bounds (None: unbounded), of texts ``texts`` their names, the last one of all others.
    Returns nothing for numbers against texts, or where a side has no rows.
    """
    if not reference.n or not current.n:
        return {}
    if isinstance(reference, NumericProfile) and isinstance(current, NumericProfile):
        edges = reference.edges()
        sides = [profile.bins(edges)[:-1] / profile.n for profile in (reference, current)]
        bounds = [None, *(_rounded(float(BUCKET_LOW[edge])) if edge < BUCKETS else None for edge in edges.tolist())]
        return {"from": bounds, "before": _shares(sides[0]), "after": _shares(sides[1])}
    if isinstance(reference, CategoryProfile) and isinstance(current, CategoryProfile):
        changed = {
            text: abs(reference.counts.get(text, 0) / reference.n - current.counts.get(text, 0) / current.n)
            for text in {*reference.counts, *current.counts}
        }
        shown = list(reference.groups()[: TEXTS_SHOWN // 2])
        rest = sorted(changed.keys() - set(shown), key=lambda text: (-changed[text], text))
        shown += rest[: TEXTS_SHOWN - len(shown)]
        sides = [profile.bins(tuple(shown))[:-1] / profile.n for profile in (reference, current)]
        return {"texts": [*map(_cut, shown), None], "before": _shares(sides[0]), "after": _shares(sides[1])}
    return {}


def new_values(reference: Profile, current: Profile) -> list[Any]:
    """The commonest values, each a hundredth of the rows at least, that the reference never had: new texts, sentinels."""
    counts: dict[Any, int] = {}
    if isinstance(reference, NumericProfile) and isinstance(current, NumericProfile):
        if not reference.atoms_exact:
            empty = reference.counts == 0  # what was never counted by itself may only be called new where its bucket is
            counts = {value: count for value, count in current.atoms.items() if empty[_bucket(value)]}
        else:
            counts = {value: count for value, count in current.atoms.items() if value not in reference.atoms}
    elif isinstance(reference, CategoryProfile) and isinstance(current, CategoryProfile) and not reference.others:
        counts = {text: count for text, count in current.counts.items() if text not in reference.counts}
    common = [value for value, count in counts.items() if count >= current.n / 100]
    common.sort(key=lambda value: (-counts[value], value))
    return [_cut(value) if isinstance(value, str) else _rounded(value) for value in common[:NEW_SHOWN]]


def summary(profile: Profile) -> dict[str, float | None]:
    """What people are shown of a profile: quantiles of numbers, shares of the most frequent texts."""
    if not isinstance(profile, NumericProfile):
        return {_cut(text): float(f"{profile.counts[text] / profile.n:.4g}") for text in profile.groups()[:5]}
    quantiles = {name: profile.quantile(q) for name, q in (("q10", 0.1), ("q50", 0.5), ("q90", 0.9))}
    return {name: None if value is None else float(f"{value:.6g}") for name, value in quantiles.items()}


def bounded(evidence: dict[str, Any], most: int = MOST_BYTES) -> dict[str, Any]:
    """Evidence that is at most so many bytes as JSON: what is over goes, the least needed first, and ``left_out`` names it."""
    left_out: list[str] = []
    for name in _SPARED:
        if len(json.dumps(evidence)) <= most:
            break
        if evidence.pop(name, None) is not None:
            left_out.append(name)
            evidence["left_out"] = left_out
    return evidence


def _places(*profiles: NumericProfile) -> npt.NDArray[np.float64]:
    """Where the buckets lie: their middles, but no further out than any value was."""
    low = min(profile.min for profile in profiles if profile.min is not None)
    high = max(profile.max for profile in profiles if profile.max is not None)
    return np.clip((BUCKET_LOW + BUCKET_HIGH) / 2, low, high)


def _by_text(*profiles: CategoryProfile) -> list[npt.NDArray[np.int64]]:
    """Rows by text, for every text of either side; those let go as one more; and null, last."""
    texts = sorted({text for profile in profiles for text in profile.counts})
    return [
        np.array([*(profile.counts.get(text, 0) for text in texts), profile.others, profile.nulls], np.int64)
        for profile in profiles
    ]


def _bucket(value: float) -> int:
    return int(buckets_of(np.array([value]))[0])


def _shares(counts: npt.NDArray[np.float64]) -> list[float]:
    return [round(share, 4) for share in counts.tolist()]


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _cut(text: str) -> str:
    return text if len(text) <= 64 else text[:61] + "..."
