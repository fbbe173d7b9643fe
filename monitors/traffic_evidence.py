"""Evidence in what comes, and when: repeated events, late ones, clocks that are off, partitions that are silent.

What all functions take and do is told in `evidence`.
"""

# What is compiled reads single words; NumPy's stubs cannot tell an element of an array from an array.
# pyright: reportArgumentType=false, reportIndexIssue=false

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from samestream.monitors.cells import cell_of
from samestream.monitors.evidence import rise, step
from samestream.streams.engine.compiling import compiled
from samestream.streams.models.profile_kernel import mixed

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

DUPLICATED, LATE, CLOCK_BACK, CLOCK_AHEAD, IMPOSSIBLE, PARTITIONS_FROM = range(6)
"""Detectors."""
SPREAD = 300
"""Cells over which lags that are too long, or impossible, may be spread."""
MOST_DUE, PACE_WEIGHT = 3.0, 2.0
"""Expected events that a pause of the whole source counts as at most; events by which its pace is taken to be as usual."""


@compiled
def traffic(
    identities: Ints,
    lags_s: Floats,
    partitions: Ints,
    usual: Floats,
    bounds: Floats,
    duplicate: float,
    shares: Floats,
    due: Floats,
    lately: Floats,
    since: Floats,
    seen: Ints,
    repeated: Ints,
    again: Bools,
    levels: Floats,
    scores: Floats,
    peaks: Floats,
    limits: Floats,
    crossed: Ints,
) -> None:
    """Look at what came, and when: repeated events, late ones, clocks that are off, partitions that are silent.

    lags_s : known time minus event time, in seconds. usual : log of the share of each cell of lags, shape (CELLS,).
    bounds : the lag from which an event is late, and that below which it is impossible, shape (2,).
    duplicate : log share of repeated events. shares : of each partition among the events, shape (partitions,).
    due : events that were to be expected from the one before to each, shape (n,). lately : events that came, and that were
    expected, each the less the longer ago, shape (2,). since : of each partition the same when its last event came, and what came
    of others, and was due of all, since then, shape (4, partitions).
    seen : the last identities in slots by their hash, shape (power of two,). repeated : how many were, shape (1,).
    again : set to True where an event is a repeated one, shape (n,).
    """
    for row in range(len(identities)):
        if identities[row] != 0:
            at = mixed(identities[row]) & (len(seen) - 1)
            if seen[at] == identities[row]:
                more = math.log(0.95 + 0.05 * math.exp(-duplicate))
                repeated[0] += 1
                again[row] = True
            else:
                more = math.log(0.95)
                seen[at] = identities[row]
            step(DUPLICATED, row, more, levels, scores, peaks, limits, crossed)
        lag = lags_s[row]
        here = usual[cell_of(lag)]
        late = math.log(0.5 + 0.5 / SPREAD * math.exp(-here)) if lag > bounds[0] else math.log(0.5)
        step(LATE, row, late, levels, scores, peaks, limits, crossed)
        step(CLOCK_BACK, row, usual[cell_of(lag - 3600.0)] - here, levels, scores, peaks, limits, crossed)
        step(CLOCK_AHEAD, row, usual[cell_of(lag + 3600.0)] - here, levels, scores, peaks, limits, crossed)
        ahead = math.log(0.5 + 0.5 / SPREAD * math.exp(-here)) if lag < bounds[1] else math.log(0.5)
        step(IMPOSSIBLE, row, ahead, levels, scores, peaks, limits, crossed)
        for partition in range(len(shares)):
            at = PARTITIONS_FROM + partition
            if partition == partitions[row]:  # what speaks is not silent
                since[0, partition], since[1, partition] = lately[0], lately[1]
                since[2, partition] = since[3, partition] = levels[at] = scores[at] = 0.0
                continue
            since[2, partition] += 1
            since[3, partition] += min(due[row], MOST_DUE)
            scores[at] = unheard(shares[partition], since[:, partition])
            rise(at, row, scores[at], levels, peaks, limits, crossed)


@compiled
def unheard(share: float, since: Floats) -> float:
    """Nats that tell against a partition that others were heard and it was not. since : see `traffic`, of one, shape (4,).

    Each event of others would have been its own with a chance of its share, whatever traffic there is. If traffic is as it was to
    be expected, at today's pace, the events that are missing tell too: with as many missing as its share, so many fewer came.
    """
    came, expected = since[0] + PACE_WEIGHT, since[1] + PACE_WEIGHT
    others, due = since[2], since[3]
    by_others = -others * math.log(1 - share)
    by_pace = (came + others) * math.log((expected + due) / (expected + (1 - share) * due))
    return float(max(by_others, by_pace))
