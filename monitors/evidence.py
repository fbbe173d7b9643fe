"""Evidence for each kind of fault, added up event by event: what the compiled halves of all sources' watches have in common.

A detector is Page's CUSUM of a log-likelihood ratio: how much better a fault explains the values than the history does,
in nats, counted from where that sum was least (Page, 1954; Lorden, 1971). The functions of `number_evidence`, `text_evidence`
and `traffic_evidence` take the events of one source in the order in which they became known, move `levels` on, note the greatest
of each in `peaks`, and in `crossed` the event at which a level first passed its limit. Called on a stretch in pieces or in one,
they give the same.

``levels, peaks, limits``: shape (detectors,). ``scores``: evidence since a level last rose from 0,
without its ceiling, shape (detectors,).
``crossed``: shape (detectors,), -1 where no limit was passed.
"""

# What is compiled reads single words; NumPy's stubs cannot tell an element of an array from an array.
# pyright: reportArgumentType=false, reportIndexIssue=false

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from samestream.streams.engine.compiling import compiled

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST, LEAST = 10.0, -4.0
"""Nats that one value can add to a level, or an event take from it: no single value, however odd, decides."""
FORGOTTEN = 0.01
"""Nats that every event takes from a level, so that what is neither for nor against a fault wears it off."""
WEIGHED = 25.0
"""The same for `scores`, by which explanations of one incident are weighed against each other."""
CEILING, ABOVE = 60.0, 1.5
"""Nats at which a level stops, or at so many times its limit, so that it comes down again soon after a repair."""
STUCK = 0.97
"""Of what is stuck, the share that repeats."""
COMMON = math.log(0.5)
"""A value that is this likely anyway says nothing: spells of dry weather would add up to a fault."""


@compiled
def rise(at: int, row: int, level: float, levels: Floats, peaks: Floats, limits: Floats, crossed: Ints) -> None:
    """Bring a detector to a level, but to no more than it can come down from; note its peak, and where it passed its limit."""
    level = min(level, CEILING, ABOVE * limits[at])
    levels[at] = level
    if level > peaks[at]:
        peaks[at] = level
    if level > limits[at] and crossed[at] < 0:
        crossed[at] = row


@compiled
def step(
    at: int, row: int, more: float, levels: Floats, scores: Floats, peaks: Floats, limits: Floats, crossed: Ints
) -> None:
    """Add evidence of one value to one detector."""
    add(at, row, more, MOST, levels, scores, peaks, limits, crossed)


@compiled
def add(
    at: int,
    row: int,
    more: float,
    most: float,
    levels: Floats,
    scores: Floats,
    peaks: Floats,
    limits: Floats,
    crossed: Ints,
) -> None:
    """Add evidence to one detector. most : what the event may add to its level."""
    scores[at] += min(max(more, -WEIGHED), WEIGHED)
    level = levels[at] + min(max(more, LEAST), most) - FORGOTTEN
    if level <= 0:
        level = scores[at] = 0.0
    rise(at, row, level, levels, peaks, limits, crossed)
