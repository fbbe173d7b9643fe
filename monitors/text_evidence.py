"""Evidence in columns of texts: missing, stuck, never seen before, known ones spelled otherwise, two columns exchanged.

What all functions take and do is told in `evidence`.
"""

# What is compiled reads single words; NumPy's stubs cannot tell an element of an array from an array.
# pyright: reportArgumentType=false, reportIndexIssue=false

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from samestream.monitors.evidence import COMMON, MOST, STUCK, add, step
from samestream.streams.engine.compiling import compiled

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

UNSEEN, NULLS, FROZEN, RESPELLED = range(4)
"""Detectors."""
NEW_SHARE = 0.05
"""Of texts never seen, and of new spellings, the share of all that they are taken to be once they come."""


@compiled
def texts(
    codes: Ints,
    group: int,
    usual: Floats,
    unseen: float,
    twin: float,
    forms: Ints,
    known_forms: Bools,
    null_share: float,
    repeat_share: Floats,
    previous: Ints,
    levels: Floats,
    scores: Floats,
    peaks: Floats,
    limits: Floats,
    crossed: Ints,
) -> None:
    """Look at one column of texts.

    codes : number of each text, -1 for null. usual : log of the share of each code by part of the day, -inf where it was
    never seen; codes beyond it were not either; shape (groups, codes). group : the part of the day.
    repeat_share : of texts that equal the one before them, by part of the day, shape (groups,).
    unseen : log of the share of texts never seen before, twin : of those that are new spellings of texts seen before.
    forms : the number of each code's normal form, shape (codes,). known_forms : those of texts seen before, shape (forms,).
    """
    nulled = max(0.5, min(0.95, 3 * null_share))
    for row in range(len(codes)):
        code = codes[row]
        if code < 0:
            step(NULLS, row, math.log(nulled / null_share), levels, scores, peaks, limits, crossed)
            continue
        step(NULLS, row, math.log((1 - nulled) / (1 - null_share)), levels, scores, peaks, limits, crossed)
        here = usual[group, code] if code < usual.shape[1] else -np.inf
        respelled = False
        if here == -np.inf:
            form = forms[code]
            respelled = 0 <= form < len(known_forms) and known_forms[form]
            more = math.log(1 - NEW_SHARE + NEW_SHARE * math.exp(-unseen))
            here = unseen
        else:
            more = math.log(1 - NEW_SHARE)
        step(UNSEEN, row, more, levels, scores, peaks, limits, crossed)
        # of a new spelling it does not matter how many texts there are, nor how many are new
        more = math.log(1 - NEW_SHARE + (NEW_SHARE * math.exp(-twin) if respelled else 0.0))
        step(RESPELLED, row, more, levels, scores, peaks, limits, crossed)
        if code == previous[0]:
            likely = max(here, math.log(repeat_share[group]))
            more = math.log(STUCK) - likely if likely < COMMON else 0.0
        else:
            more = math.log((1 - STUCK) / (1 - min(repeat_share[group], 0.999)))
        step(FROZEN, row, more, levels, scores, peaks, limits, crossed)
        previous[0] = code


@compiled
def swapped_texts(
    first: Ints,
    second: Ints,
    usual_first: Floats,
    usual_second: Floats,
    at: int,
    levels: Floats,
    scores: Floats,
    peaks: Floats,
    limits: Floats,
    crossed: Ints,
) -> None:
    """Have two columns of texts, numbered alike, changed places? usual_first, usual_second : log shares by code, finite."""
    for row in range(len(first)):
        one, other = first[row], second[row]
        if one >= 0 and other >= 0 and one < len(usual_first) and other < len(usual_first):
            more = min(usual_second[one] - usual_first[one], MOST) + min(usual_first[other] - usual_second[other], MOST)
            add(at, row, more, 2 * MOST, levels, scores, peaks, limits, crossed)
