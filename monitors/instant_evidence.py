"""Evidence in columns of instants: missing, stuck, and further from the event's own time than they used to be.

What all functions take and do is told in `evidence`.
"""

# What is compiled reads single words; NumPy's stubs cannot tell an element of an array from an array.
# pyright: reportArgumentType=false, reportIndexIssue=false

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from samestream.monitors.cells import cell_of
from samestream.monitors.evidence import COMMON, STUCK, step
from samestream.monitors.incidents import HOUR_US
from samestream.streams.engine.compiling import compiled

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NULLS, FROZEN, SHIFTED = range(3)
"""Detectors."""
NO_INSTANT = int(np.iinfo(np.int64).min)
"""Stands for null."""
SHIFTED_SHARE = 0.2
"""Share of instants that are elsewhere."""
KAPPA = 0.2
"""How rare what is elsewhere is: of u, the share of all that is as rare or rarer, the density is ``KAPPA * u ** (KAPPA - 1)``."""


@compiled
def hours_between(instants: Ints, time_us: Ints) -> Floats:
    """Hours from each event's own time to an instant that it names, shape (n,); all but `NO_INSTANT`, in microseconds."""
    found = np.empty(len(instants))
    for row in range(len(instants)):
        found[row] = (float(instants[row]) - float(time_us[row])) / HOUR_US
    return found


@compiled
def instants(
    said: Ints,
    time_us: Ints,
    hours: Floats,
    group: int,
    rarity: Floats,
    null_share: float,
    repeat_share: Floats,
    previous: Ints,
    levels: Floats,
    scores: Floats,
    peaks: Floats,
    limits: Floats,
    crossed: Ints,
) -> None:
    """Look at one column of instants.

    said, time_us : the instants, and the events' own times, in microseconds. hours : see `hours_between`.
    rarity : log of the share of all distances that are as rare as those of a cell or rarer, shape (CELLS,).
    repeat_share : of instants that equal the one before them though the event's own time moved, by part of the day,
    shape (groups,). group : the part of the day.
    previous : the last instant and the time of its event, `NO_INSTANT` at first, shape (2,).
    """
    nulled = max(0.5, min(0.95, 3 * null_share))
    for row in range(len(said)):
        x = said[row]
        if x == NO_INSTANT:
            step(NULLS, row, math.log(nulled / null_share), levels, scores, peaks, limits, crossed)
            continue
        step(NULLS, row, math.log((1 - nulled) / (1 - null_share)), levels, scores, peaks, limits, crossed)
        if time_us[row] != previous[1]:  # of one moment, one instant
            more = math.log((1 - STUCK) / (1 - repeat_share[group]))
            if x == previous[0]:
                likely = math.log(repeat_share[group])
                more = math.log(STUCK) - likely if likely < COMMON else 0.0
            step(FROZEN, row, more, levels, scores, peaks, limits, crossed)
        elsewhere = math.log(KAPPA) + (KAPPA - 1) * rarity[cell_of(hours[row])]
        more = math.log(1 - SHIFTED_SHARE + SHIFTED_SHARE * math.exp(elsewhere))
        step(SHIFTED, row, more, levels, scores, peaks, limits, crossed)
        previous[0], previous[1] = x, time_us[row]
