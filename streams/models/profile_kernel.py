"""The compiled half of profiles: one pass over a column counts everything, a second only some values.

Plain functions of arrays; `profile.NumericProfile` says what the counts mean, and holds them.
"""

# What is compiled reads single words; NumPy's stubs cannot tell an element of an array from an array.
# pyright: reportArgumentType=false

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from samestream.streams.engine.compiling import bits, compiled

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

NULLS, NONFINITE, ZEROS, NEGATIVES, REPEATS, FIRST_RUN, LAST_RUN, LONGEST_RUN, DISTINCT = range(9)  # of `numbers`
MIN, MAX, SUM, SUM_SQUARES, FIRST, LAST = range(6)  # of `floats`

PARTS, LOWEST_OCTAVE, SIDE = 16, -31, 96 * 16  # the bucket rule: see `streams.models.profile`
TABLE = 1024
"""Slots of the table of exact values; one that is half full is full."""
REGISTERS = 1024
"""Of the estimate of how many different values there were: its standard error is 1.04 / sqrt(1024), 3.3 per cent."""
BLOCK = 128  # sums are sums of the sums of so many values: the error of a long one grows with its blocks only


@compiled
def mixed(word: int) -> int:
    """Return 64 bits of which each depends on all of ``word``'s (the finaliser of SplitMix64; Steele et al., 2014)."""
    w = np.uint64(word)
    w = (w ^ (w >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    w = (w ^ (w >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64(w ^ (w >> np.uint64(31)))  # type: ignore[return-value]


@compiled
def register(hashed: int, registers: Bytes) -> None:
    """Raise the register of a hash to the place of its lowest set bit, counted from 1 (HyperLogLog; Flajolet et al., 2007)."""
    rest = (hashed >> 10) | (1 << 53)
    rank = (bits(float(rest & -rest)) >> 52) - 1022
    at = hashed & (REGISTERS - 1)
    if rank > registers[at]:
        registers[at] = rank


@compiled
def bucket_of(x: float) -> int:
    """Return the bucket of a finite value."""
    word = bits(x)
    if x == 0:
        return SIDE
    octave = ((word >> 52) & 0x7FF) - 1022
    magnitude = (octave - LOWEST_OCTAVE) * PARTS + ((word >> 48) & 15)
    if magnitude < 0 or octave < LOWEST_OCTAVE:
        magnitude = 0
    elif magnitude >= SIDE:
        magnitude = SIDE - 1
    return SIDE + 1 + magnitude if x > 0 else SIDE - 1 - magnitude


@compiled
def tally(
    values: Floats,
    valid: Bools,
    counts: Ints,
    keys: Ints,
    tallies: Ints,
    registers: Bytes,
    numbers: Ints,
    floats: Floats,
) -> None:
    """Count a column. What lies in the arrays before is added to, but for runs and extremes, which are of this column alone.

    values, valid : shape (n,). counts : shape (buckets,).
    keys, tallies : bits of values and how often each was seen, shape (TABLE,), zero at first. Once half full no value is
        added: `numbers[DISTINCT]` then is -1 and the tallies mean nothing.
    registers : shape (REGISTERS,).
    """
    nulls = nonfinite = zeros = negatives = repeats = distinct = 0
    run = first_run = longest = 0
    low, high, total, squares, first, last = np.inf, -np.inf, 0.0, 0.0, 0.0, 0.0
    part = part_squares = 0.0
    seen = 0
    for row in range(len(values)):
        if not valid[row]:
            nulls += 1
            continue
        x = values[row] + 0.0  # -0.0 becomes 0.0
        if not np.isfinite(x):
            nonfinite += 1
            continue
        part += x
        part_squares += x * x
        seen += 1
        if seen % BLOCK == 0:
            total += part
            squares += part_squares
            part = part_squares = 0.0
        bucket = bucket_of(x)
        counts[bucket] += 1
        if run and x == last:
            run += 1
            repeats += 1
        else:
            if run:
                longest = max(longest, run)
                if first_run == 0:
                    first_run = run
            else:
                first = x
            run, last = 1, x
            low, high = min(low, x), max(high, x)
            zeros += x == 0
            negatives += x < 0
            if distinct < 0:
                register(mixed(bits(x)), registers)
        if distinct >= 0:
            word = bits(x)
            hashed = mixed(word)
            at = hashed & (TABLE - 1)
            while tallies[at] and keys[at] != word:
                at = (at + 1) & (TABLE - 1)
            if tallies[at] == 0:
                register(hashed, registers)
                keys[at] = word
                distinct += 1
                if distinct > TABLE // 2:
                    distinct = -1
            tallies[at] += 1
        if run > 1:
            zeros += x == 0
            negatives += x < 0
    numbers[NULLS], numbers[NONFINITE], numbers[ZEROS], numbers[NEGATIVES] = nulls, nonfinite, zeros, negatives
    numbers[REPEATS], numbers[DISTINCT], numbers[LAST_RUN] = repeats, distinct, run
    numbers[FIRST_RUN] = first_run if first_run else run
    numbers[LONGEST_RUN] = max(longest, run)
    floats[MIN], floats[MAX], floats[FIRST], floats[LAST] = low, high, first, last
    floats[SUM], floats[SUM_SQUARES] = total + part, squares + part_squares


@compiled
def place(word: int, keys: Ints, tallies: Ints) -> int:
    """Return where a word is in a table whose empty slots hold -1, or where it would be."""
    at = mixed(word) & (TABLE - 1)
    while tallies[at] >= 0 and keys[at] != word:
        at = (at + 1) & (TABLE - 1)
    return at


@compiled
def recall(values: Floats, keys: Ints, tallies: Ints) -> None:
    """Put values into a table, which holds -1 in `tallies` where nothing is, not yet counted."""
    for row in range(len(values)):
        at = place(bits(values[row]), keys, tallies)
        keys[at], tallies[at] = bits(values[row]), 0


@compiled
def recount(values: Floats, valid: Bools, keys: Ints, tallies: Ints) -> None:
    """Count the values of a table, exactly.

    keys, tallies : bits of the values wanted, and 0, where `recall` put them; -1 in `tallies` where nothing is.
    """
    for row in range(len(values)):
        x = values[row] + 0.0
        if valid[row] and np.isfinite(x):
            at = place(bits(x), keys, tallies)
            if tallies[at] >= 0:
                tallies[at] += 1


@compiled
def register_texts(data: Bytes, bounds: Ints, registers: Bytes) -> None:
    """Raise the registers of byte strings. data : all bytes. bounds : where each begins and the last ends, shape (n + 1,)."""
    for row in range(len(bounds) - 1):
        hashed = bounds[row + 1] - bounds[row]
        for at in range(bounds[row], bounds[row + 1]):
            hashed = (hashed ^ data[at]) * 0x100000001B3 ^ (hashed >> 32)
        register(mixed(hashed), registers)
