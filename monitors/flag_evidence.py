"""Evidence in columns of true and false: missing, stuck, exchanged for each other, and one that hardly ever came.

What all functions take and do is told in `evidence`.
"""

# What is compiled reads single words; NumPy's stubs cannot tell an element of an array from an array.
# pyright: reportArgumentType=false, reportIndexIssue=false

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from samestream.monitors.evidence import WEIGHED, step
from samestream.monitors.number_evidence import lately, remember
from samestream.streams.engine.compiling import compiled

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NULLS, FROZEN, SENTINEL, INVERTED = range(4)
"""Detectors."""
NONE = 2
"""What a key said last, where it said nothing yet."""
HELD = 0.995
"""Of a stuck flag, the share that repeats: with two values only, the other is heard by chance soon enough."""
COIN = math.log(0.5)
"""What is exchanged must be told from what came to be as likely as not, too: a bad day is no mistake."""
SHARE = 0.05
"""Of a value that hardly ever came, the share of all that it is taken to be once it comes."""


@compiled
def flags(
    said: Ints,
    slots: Ints,
    group: int,
    usual: Floats,
    rare: float,
    null_share: float,
    last: Ints,
    last_at: Ints,
    began: Ints,
    previous: Ints,
    local: Ints,
    ring: Ints,
    remembers: bool,
    levels: Floats,
    scores: Floats,
    peaks: Floats,
    limits: Floats,
    crossed: Ints,
) -> None:
    """Look at one column of flags.

    said : 0 or 1, -1 for null. slots : number of each event's key, shape (n,), all 0 where keys do not come again and again.
    usual : log of the share of each value after each last one of its key, by part of the day, shape (groups, 3, 2).
    rare : the value that hardly ever came; -1 if both did. null_share : of nulls.
    last, last_at : of each slot the last value, `NONE` at first, and its number; shape (slots,).
    began : the number of the event at which the level of `INVERTED` rose from 0, and how many there were, shape (2,).
    previous : the last value of any key, -1 at first, shape (1,).
    local, ring : see `number_evidence.remember`; shape (2,) and (WINDOW + 1,). remembers : nothing is wrong.

    A stuck source says one value whatever the key, so what is weighed is that all say the same as the one before, against
    how likely each is to say so by itself.
    """
    nulled = max(0.5, min(0.95, 3 * null_share))
    for row in range(len(said)):
        x = said[row]
        began[1] += 1
        if x < 0:
            step(NULLS, row, math.log(nulled / null_share), levels, scores, peaks, limits, crossed)
            continue
        step(NULLS, row, math.log((1 - nulled) / (1 - null_share)), levels, scores, peaks, limits, crossed)
        slot = slots[row]
        before = last[slot]
        as_is = max(usual[group, before, x], lately(x, local, ring))
        if remembers:
            remember(x, local, ring)
        stuck = math.log(HELD) if x == previous[0] else math.log(1 - HELD)
        step(FROZEN, row, stuck - as_is if previous[0] >= 0 else 0.0, levels, scores, peaks, limits, crossed)
        if rare >= 0:
            more = math.log(1 - SHARE + (SHARE * math.exp(-as_is) if x == rare else 0.0))
            step(SENTINEL, row, more, levels, scores, peaks, limits, crossed)
        was = before
        if before != NONE and levels[INVERTED] > 0 and last_at[slot] >= began[0]:
            was = 1 - before
        if levels[INVERTED] == 0:
            began[0] = began[1]
        careful = max(as_is, COIN)
        step(INVERTED, row, usual[group, was, 1 - x] - careful, levels, scores, peaks, limits, crossed)
        if levels[INVERTED] > 0:
            scores[INVERTED] += min(
                careful - as_is, WEIGHED
            )  # other explanations are weighed against the history alone
        last[slot], last_at[slot], previous[0] = x, began[1], x
