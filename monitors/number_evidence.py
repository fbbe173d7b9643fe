"""Evidence in columns of numbers: missing, zeroed, stuck, one odd value, another unit, two columns exchanged.

What all functions take and do is told in `evidence`.
"""

# What is compiled reads single words; NumPy's stubs cannot tell an element of an array from an array.
# pyright: reportArgumentType=false, reportIndexIssue=false

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from samestream.monitors.cells import CELLS, cell_of, moved, restored
from samestream.monitors.evidence import ABOVE, CEILING, COMMON, FORGOTTEN, MOST, STUCK, add, step
from samestream.monitors.usual import ODD
from samestream.streams.engine.compiling import compiled

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NULLS, ZEROED, FROZEN, SENTINEL, UNITS_FROM = range(5)
"""Detectors."""
ZEROED_SHARE, SENTINEL_SHARE = 0.2, 0.05
LAG, WINDOW = 100, 400
"""What held among the values from this many to that many ago is usual too, whatever the history: weather comes in spells."""
CANDIDATES = 16
OVER = 80
"""Events without it after which what was found is over: of one in twenty, one would have come but for a chance of 1.7 %."""
FRONT = math.log(0.1)
"""Share of the values of a key that are taken to come from anywhere, and not from about where the last one was."""
NEVER = math.log(SENTINEL_SHARE) - MOST
"""So unlikely is what never was: each says as much as one value may."""
TWO = 9.0
"""What never came may say so much by coming twice, or twice what it said first: by chance a new value comes twice on some day."""
KEPT, RARELY, WHILE = 0.5, 2.0, 200
"""The level that what said more than so much at first keeps for so many events, in nats: it is known again when it comes again."""
VALUE, LEVEL, SCORE, SINCE, LATELY, WAS, OWN, FIRST, AGAIN = range(9)
"""What is held of a value that may be a sentinel."""
SPELL = 20
"""Values by which it is known that odd ones, of whatever kind, are more common than usual."""


@compiled
def lately(cell: int, local: Ints, ring: Ints) -> float:
    """Log of the share of a cell among the values that came a while ago, given some weight; very little without any."""
    n = min(ring[-1] - LAG, WINDOW - LAG)
    if n < LAG or local[cell] == 0:
        return -50.0
    return math.log(0.7 * local[cell] / n)


@compiled
def remember(cell: int, local: Ints, ring: Ints) -> None:
    """Add a value to those that are remembered. local : counts by cell. ring : the last cells, and how many there were."""
    at = ring[-1]
    if at >= LAG:
        local[ring[(at - LAG) % WINDOW]] += 1
    if at >= WINDOW:
        local[ring[at % WINDOW]] -= 1
    ring[at % WINDOW] = cell
    ring[-1] = at + 1


@compiled
def _moved(said: float, before: float) -> bool:
    """Whether a witness is heard: NaN where something is odd about it."""
    return said == said and before == before and said != before


@compiled
def numbers(
    values: Floats,
    valid: Bools,
    slots: Ints,
    by_step: bool,
    group: int,
    usual: Floats,
    rarity: Floats,
    moves: Floats,
    stays: Floats,
    repeats: Floats,
    seldom: Floats,
    shares: Floats,
    scales: Floats,
    offsets: Floats,
    last: Floats,
    last_at: Ints,
    heard: Floats,
    began: Ints,
    held: Floats,
    local: Ints,
    ring: Ints,
    remembers: bool,
    beside: Floats,
    lifts: Floats,
    never: bool,
    last_beside: Floats,
    levels: Floats,
    scores: Floats,
    peaks: Floats,
    limits: Floats,
    crossed: Ints,
) -> None:
    """Look at one column of numbers.

    slots : number of each event's key, shape (n,), all 0 where keys do not come again and again.
    by_step : a value is judged by the step to it from the last one of its slot, and not by itself.
    usual : log of the share of each cell, by part of the day, shape (groups, CELLS). group : the part of the day.
    rarity : log of the share of all cells that are as rare as this one or rarer, shape (CELLS,).
    moves : log of the share of each bucket among the differences of values of one key, shape (BUCKETS,).
    stays : log of how often the value of each cell is followed by itself, shape (CELLS,).
    repeats : log of how often any value is followed by itself, by part of the day, shape (groups,).
    seldom : log of by how much less often than by chance a value follows itself, at most 0, by part of the day, shape (groups,).
    shares : of nulls, of repeats, of zeros after another value, of zeros (0 where there never was one), and of values that are what
    another key has just said, where that is not what their own said last, and of odd values; shape (6,).
    scales, offsets : of the units looked for, shape (units,).
    last, last_at : of each slot the last value, NaN at first, and its number; shape (slots,).
    heard : the last value, NaN at first, its slot, and the share of odd values lately, shape (3,).
    began : the number of the event at which each unit's level rose from 0, shape (units + 1,); the last counts events.
    held : values that may be sentinels, shape (9, CANDIDATES): VALUE; LEVEL, SCORE; SINCE, the events since it came last; LATELY,
    how usual it was lately when it was first suspected, as the log of a share; WAS, 0 if it never came before, 1 if it did,
    2 once it passed the limit; OWN, its own share of the values lately; FIRST, what it said when it first came; AGAIN, whether
    it came since.
    local, ring : see `remember`; shape (CELLS + 1,), the last for nulls, and (WINDOW + 1,). remembers : nothing is wrong.
    beside, lifts, never : see `witnesses.Beside`. last_beside : of each slot what
    the witnesses said last, shape (2, slots).
    """
    nulled = max(0.5, min(0.95, 3 * shares[0]))
    null_hit = math.log(nulled / shares[0])
    null_miss = math.log((1 - nulled) / (1 - shares[0]))
    moved_on = math.log((1 - STUCK) / (1 - math.exp(repeats[group])))
    more_often = repeats[group] - math.log(shares[1])  # in the first hour of a day one value after the other is alike
    for row in range(len(values)):
        x = values[row] + 0.0
        began[-1] += 1
        if not valid[row] or not np.isfinite(x):
            more = min(null_hit, math.log(nulled) - lately(CELLS, local, ring))
            if remembers:
                remember(CELLS, local, ring)
            step(NULLS, row, more, levels, scores, peaks, limits, crossed)
            continue
        step(NULLS, row, null_miss, levels, scores, peaks, limits, crossed)
        slot = slots[row]
        before = last[slot]
        cell = cell_of(x)
        known, recent = usual[group, cell], lately(cell, local, ring)
        odd = heard[2] if heard[2] == heard[2] else shares[5]
        odd += ((1.0 if known < ODD else 0.0) - odd) / SPELL
        heard[2] = odd
        here = max(known, recent)
        as_is = here
        echo = -50.0  # keys have the same weather: what one has just said may well be said by another
        if by_step and slot != heard[1] and x == heard[0] and x != before and before == before:
            echo = math.log(shares[4])
        if remembers:
            remember(cell, local, ring)
        most = MOST
        if x == 0.0:
            zero = here
            if by_step and before == before:
                way = moves[moved(x, before)]
                zero = (
                    stays[cell]
                    if before == 0.0
                    else max(here, way, echo, math.log(shares[2]) if shares[3] > 0 else here)
                )
            denied = _moved(beside[0, row], last_beside[0, slot])
            if denied:
                zero += lifts[0]
            if shares[3] == 0.0 or (denied and never):
                most = 2 * MOST  # where none ever was, and nothing led to it, one speaks for itself
            more = math.log(1 - ZEROED_SHARE + ZEROED_SHARE * math.exp(-zero)) if zero < COMMON else 0.0
        else:
            more = math.log(1 - ZEROED_SHARE)
        add(ZEROED, row, more, most, levels, scores, peaks, limits, crossed)
        if x == before:
            likely = max(here + seldom[group], stays[cell] if by_step else stays[cell] + more_often)
            if _moved(beside[1, row], last_beside[1, slot]):
                likely += lifts[1]
            more = math.log(STUCK) - likely if likely < COMMON else 0.0
            step(FROZEN, row, more, levels, scores, peaks, limits, crossed)
        else:
            step(FROZEN, row, moved_on, levels, scores, peaks, limits, crossed)
        rare = rarity[cell]
        if by_step and before == before:  # a value is not odd if the way to it from the last one is usual
            way = stays[cell] if x == before else moves[moved(x, before)]
            known, rare = max(known, way), max(rare, way, echo)
        _sentinel(x, row, known, recent, odd, shares[5], echo, rare, held, levels, scores, peaks, limits, crossed)
        for unit in range(len(scales)):
            at = UNITS_FROM + unit
            if by_step:
                if before != before:
                    continue
                y, y_before = restored(x, scales[unit], offsets[unit]), before
                if levels[at] > 0 and last_at[slot] >= began[unit]:
                    y_before = restored(before, scales[unit], offsets[unit])
                # a front brings any value that is usual, however far it is from the last one
                more = moves[moved(y, y_before)] - max(moves[moved(x, before)], usual[group, cell] + FRONT)
            else:
                more = usual[group, cell_of(restored(x, scales[unit], offsets[unit]))] - as_is
            if levels[at] == 0:
                began[unit] = began[-1]
            step(at, row, more, levels, scores, peaks, limits, crossed)
        last[slot], last_at[slot] = x, began[-1]
        last_beside[0, slot], last_beside[1, slot] = beside[0, row], beside[1, row]
        heard[0], heard[1] = x, slot


@compiled
def _sentinel(
    x: float,
    row: int,
    known: float,
    recent: float,
    odd: float,
    odd_before: float,
    echo: float,
    rare: float,
    held: Floats,
    levels: Floats,
    scores: Floats,
    peaks: Floats,
    limits: Floats,
    crossed: Ints,
) -> None:
    """One value that begins to hold a share of all: follow the levels of the few that may.

    known, recent : log of how usual the value is by the history, and lately. Of what never was, what came since it was first
    suspected does not make it usual, for it may begin seldom; and what is rare is suspected for hundreds of values.
    odd, odd_before : share of odd values lately, and in the history. By how much more common the others are than they were,
    what came before is likelier too: rain makes all of its values likelier, a sentinel only its own.
    echo : log of how likely it is since another key has just said it. That is so of weather and not of a sentinel: where
    others confirm a new value, it is taken back.
    """
    miss = math.log(1 - SENTINEL_SHARE)
    ceiling = min(CEILING, ABOVE * limits[SENTINEL])
    found = -1
    least = 0
    for at in range(CANDIDATES):
        is_it = held[LEVEL, at] > 0 and held[VALUE, at] == x
        held[OWN, at] += ((1.0 if is_it else 0.0) - held[OWN, at]) / SPELL
        if is_it:
            found = at
            others = max(odd - held[OWN, at], 1e-300)
            spell = max(math.log(others / (odd_before + SENTINEL_SHARE)), 0.0)
            here = max(known + spell, recent) if held[WAS, at] > 0 else max(known, held[LATELY, at])
            gain = miss
            if here < ODD:
                gain = math.log((1 - SENTINEL_SHARE) * math.exp(here) + SENTINEL_SHARE) - max(here, echo)
            level = min(held[LEVEL, at] + min(gain, MOST), ceiling)
            if held[WAS, at] == 0 and not held[AGAIN, at]:
                level = min(level, max(2 * held[FIRST, at], TWO))
            held[LEVEL, at] = max(level - FORGOTTEN, 0.0)
            held[SCORE, at] += gain
            held[SINCE, at], held[AGAIN, at] = 0.0, 1.0
            if held[LEVEL, at] > limits[SENTINEL]:
                held[WAS, at] = 2.0
        elif held[LEVEL, at] > 0:
            held[SINCE, at] += 1.0
            over = held[WAS, at] == 2 and held[SINCE, at] >= OVER
            kept = KEPT if held[FIRST, at] > RARELY and held[SINCE, at] < WHILE else 0.0
            held[LEVEL, at] = 0.0 if over else max(held[LEVEL, at] + miss, kept)
            held[SCORE, at] = held[SCORE, at] + miss if held[LEVEL, at] > kept else kept
        if held[LEVEL, at] < held[LEVEL, least]:
            least = at
    if found < 0 and known < ODD:
        first = min(math.log(1 - SENTINEL_SHARE + SENTINEL_SHARE * math.exp(-rare)), MOST)
        if first > held[LEVEL, least]:
            held[:, least] = 0.0
            held[VALUE, least], held[LEVEL, least], held[SCORE, least] = x, first, first
            held[LATELY, least], held[FIRST, least] = recent, first
            held[WAS, least], held[OWN, least] = 0.0 if known < NEVER else 1.0, 1 / SPELL
    best = 0
    for at in range(CANDIDATES):
        if held[SCORE, at] > held[SCORE, best]:
            best = at
    greatest = held[LEVEL, best]
    levels[SENTINEL] = greatest
    scores[SENTINEL] = held[SCORE, best]
    if greatest > peaks[SENTINEL]:
        peaks[SENTINEL] = greatest
    if greatest > limits[SENTINEL] and crossed[SENTINEL] < 0:
        crossed[SENTINEL] = row


@compiled
def swapped_numbers(
    first: Floats,
    second: Floats,
    both: Bools,
    slots: Ints,
    by_step: bool,
    group: int,
    usual_first: Floats,
    usual_second: Floats,
    moves_first: Floats,
    moves_second: Floats,
    last: Floats,
    last_at: Ints,
    began: Ints,
    at: int,
    levels: Floats,
    scores: Floats,
    peaks: Floats,
    limits: Floats,
    crossed: Ints,
) -> None:
    """Have two columns changed places? at : the detector. The others are as for `numbers`, of both columns.

    Each of the two values may say as much as one value may, so that one event can decide where both are odd.

    last, last_at : of each slot the last values and the number of their event, shape (slots, 2) and (slots,).
    began : the number of the event at which the level rose from 0, and how many there were, shape (2,).
    """
    for row in range(len(first)):
        began[1] += 1
        if not both[row] or not np.isfinite(first[row]) or not np.isfinite(second[row]):
            continue
        x, y = first[row] + 0.0, second[row] + 0.0
        slot = slots[row]
        if by_step:
            a, b = last[slot, 0], last[slot, 1]
            of_x = of_y = 0.0
            if a == a:
                was_exchanged = levels[at] > 0 and last_at[slot] >= began[0]
                of_x = moves_second[moved(x, a if was_exchanged else b)] - moves_first[moved(x, a)]
                of_y = moves_first[moved(y, b if was_exchanged else a)] - moves_second[moved(y, b)]
        else:
            one, other = cell_of(x), cell_of(y)
            of_x = usual_second[group, one] - usual_first[group, one]
            of_y = usual_first[group, other] - usual_second[group, other]
        if levels[at] == 0:
            began[0] = began[1]
        both_of = min(of_x, MOST) + min(of_y, MOST)
        add(at, row, both_of, 2 * MOST, levels, scores, peaks, limits, crossed)
        last[slot, 0], last[slot, 1], last_at[slot] = x, y, began[1]
