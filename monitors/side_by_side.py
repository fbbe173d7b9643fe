"""How values were distributed before, and how they are: histograms that an incident is told with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.streams.models.profile import BUCKET_LOW, BUCKETS, buckets_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BINS = 12
TEXTS_SHOWN = 16


def numbers_side_by_side(counts: Ints, after: Floats) -> dict[str, Any]:
    """Quantiles and histograms of the history and of the latest values, over parts of equal mass of the history.

    counts : of the history by bucket, shape (BUCKETS,). after : finite values, shape (n,). Nothing where a side holds none.
    """
    reached = np.cumsum(counts)
    if not len(after) or not reached[-1]:
        return {}
    marks = ((0.1, "q10"), (0.5, "q50"), (0.9, "q90"))
    before = {name: float(BUCKET_LOW[np.searchsorted(reached, q * reached[-1], side="left")]) for q, name in marks}
    cuts = np.unique(np.searchsorted(reached, reached[-1] * np.arange(1, BINS) / BINS, side="left")) + 1
    bounds = np.concatenate([[0], cuts, [BUCKETS]])
    latest = np.bincount(buckets_of(after), minlength=BUCKETS)
    return {
        "before": before,
        "after": {name: round(float(np.quantile(after, q)), 6) for q, name in marks},
        "histogram": {
            "from": [None, *BUCKET_LOW[cuts].tolist()],
            "before": np.add.reduceat(counts, bounds[:-1]).tolist(),
            "after": np.add.reduceat(latest, bounds[:-1]).tolist(),
        },
    }


def texts_side_by_side(usual: Floats, codes: Ints, said: Sequence[str]) -> dict[str, Any]:
    """Shares of the texts that are common on either side, the last of all others.

    usual : log of the share of each code in the history, -inf for what was never seen, shape (codes,).
    codes : the latest, -1 for null, which is left out, shape (n,). said : the text of each code.
    """
    present = codes[codes >= 0]
    size = max(len(usual), int(present.max(initial=-1)) + 1)
    before = np.zeros(size)
    before[: len(usual)] = np.exp(usual)
    if not len(present) or not before.sum():
        return {}
    before /= before.sum()
    after = np.bincount(present, minlength=size) / len(present)
    most = np.maximum(before, after)
    common = sorted(np.flatnonzero(most).tolist(), key=lambda code: (-most[code], said[code]))
    shown = np.array(common[:TEXTS_SHOWN], np.int64)
    return {
        "histogram": {
            "texts": [*(said[code] for code in shown.tolist()), None],
            **{
                name: [*np.round(side[shown], 4).tolist(), round(max(1.0 - float(side[shown].sum()), 0.0), 4)]
                for name, side in (("before", before), ("after", after))
            },
        }
    }
