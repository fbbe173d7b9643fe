"""What accumulators do, compiled: take an event up, and merge with what is later (DESIGN section 2).

* ``cells``: one row ``op, input, tile slot, slot, width, param`` per cell of a tier or window; ``slot`` is where its
  own accumulator lies, ``tile slot`` where a window's cell lies in a tile's row. Decayed cells are a tier's or
  window's last.
"""

# What is compiled reads single words; NumPy's stubs cannot tell an element of an array from an array.
# pyright: reportArgumentType=false

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from samestream.streams.engine.compiling import Words, bits, compiled, lean, real

COUNT, SUM_INT, SUM_FLOAT, MIN_INT, MAX_INT, MIN_FLOAT, MAX_FLOAT, LAST, FIRST, MOMENTS, DECAYED = range(11)
OP, INPUT, TILE_SLOT, SLOT, WIDTH, PARAM = range(6)  # columns of `cells`
NEVER = np.iinfo(np.int64).max
LOWEST = np.iinfo(np.int64).min
EARLIEST = -(2**62)  # a horizon before this counts as this, so that subtracting a window cannot wrap
INFINITY = np.array([np.inf]).view(np.int64)[0]
MINUS_INFINITY = np.array([-np.inf]).view(np.int64)[0]
MINUS_ZERO = np.array([-0.0]).view(np.int64)[0]
HALVING = np.ones(18)  # coefficients of the power series of 2**-x
for _term in range(1, 18):
    HALVING[_term] = HALVING[_term - 1] * -0.6931471805599453 / _term


@compiled
def weight(age_us: int, half_life_us: int) -> float:
    """Return ``2 ** -(age_us / half_life_us)``, within an ulp or two; 0 from 1,023 half-lives on.

    age_us : not negative; ``half_life_us`` : positive.

    By additions, multiplications and one division in a fixed order, so that its bits are the same wherever arithmetic
    is IEEE: whole half-lives halve, and the fraction that is left is the variable of the power series.
    """
    halvings = age_us // half_life_us
    if halvings >= 1023:
        return 0.0
    x = np.float64(age_us - halvings * half_life_us) / np.float64(half_life_us)
    total = HALVING[17]
    for term in range(16, -1, -1):
        total = total * x + HALVING[term]
    return float(total * real((1023 - halvings) << 52))


@compiled
def weights(age_us: Words, half_life_us: int) -> NDArray[np.float64]:
    """Return the weight of every age."""
    found = np.empty(age_us.shape[0], np.float64)
    for i in range(age_us.shape[0]):
        found[i] = weight(age_us[i], half_life_us)
    return found


@lean
def join_decayed(state: Words, at: int, half_life_us: int, t: int, total: float, count: float) -> None:
    """Add a weighted sum and its weight, both as of ``t``, to the decayed cell at word ``at``.

    What is so old that its weight is 0 adds nothing, be it infinite.
    """
    age = abs(t - max(state[at], EARLIEST))  # an empty cell has no time, and nothing to age
    share = weight(age, half_life_us)
    if t > state[at]:
        state[at] = t
        state[at + 1] = bits(real(state[at + 1]) * share + total if share > 0 else total)
        state[at + 2] = bits(real(state[at + 2]) * share + count)
    elif share > 0:
        state[at + 1] = bits(real(state[at + 1]) + total * share)
        state[at + 2] = bits(real(state[at + 2]) + count * share)


@lean
def zero(cells: Words, first: int, last: int, state: Words, base: int) -> None:
    """Write the identity of every cell; merging it changes no bit (hence -0.0 for float sums)."""
    for c in range(first, last):
        op, at = cells[c, OP], base + cells[c, SLOT]
        for word in range(cells[c, WIDTH]):
            state[at + word] = 0
        if op == SUM_FLOAT:
            state[at] = MINUS_ZERO
        elif op == MIN_INT:
            state[at] = NEVER
        elif op == MAX_INT:
            state[at] = LOWEST
        elif op == MIN_FLOAT:
            state[at] = INFINITY
        elif op == MAX_FLOAT:
            state[at] = MINUS_INFINITY
        elif op == LAST:
            state[at] = LOWEST
            state[at + 1] = LOWEST
        elif op == FIRST:
            state[at] = NEVER
            state[at + 1] = NEVER
        elif op == DECAYED:
            state[at] = LOWEST
            state[at + 1] = MINUS_ZERO


@lean
def add(cells: Words, first: int, last: int, state: Words, base: int, events: Words, event: int, inputs: int) -> None:
    """Add the event at word ``event`` to the cells, none of them decayed, whose input is valid in it."""
    for c in range(first, last):
        column = cells[c, INPUT]
        if (events[event + 2 + inputs + (column >> 6)] >> (column & 63)) & 1 == 0:
            continue
        value = events[event + 2 + column]
        op, at = cells[c, OP], base + cells[c, SLOT]
        if op == COUNT:
            state[at] += 1
        elif op == SUM_INT:
            state[at] += value
        elif op == SUM_FLOAT:
            state[at] = bits(real(state[at]) + real(value))
        elif op == MIN_INT:
            state[at] = min(state[at], value)
        elif op == MAX_INT:
            state[at] = max(state[at], value)
        elif op == MIN_FLOAT:
            if real(value) < real(state[at]):
                state[at] = value
        elif op == MAX_FLOAT:
            if real(value) > real(state[at]):
                state[at] = value
        elif op == MOMENTS:
            x, mean = real(value), real(state[at + 1])
            count = state[at] + 1
            apart = x - mean
            mean = mean + apart / count
            state[at] = count
            state[at + 1] = bits(mean)
            state[at + 2] = bits(real(state[at + 2]) + apart * (x - mean))
        else:
            t, position = events[event], events[event + 1]
            later = t > state[at] or (t == state[at] and position > state[at + 1])
            earlier = t < state[at] or (t == state[at] and position < state[at + 1])
            if (op == LAST and later) or (op == FIRST and earlier):
                state[at] = t
                state[at + 1] = position
                state[at + 2] = value


@lean
def add_decayed(
    cells: Words, first: int, last: int, state: Words, base: int, events: Words, event: int, inputs: int
) -> None:
    """Do for decayed cells what :func:`add` does for the others, which a call in that loop would slow by a tenth."""
    for c in range(first, last):
        column = cells[c, INPUT]
        if (events[event + 2 + inputs + (column >> 6)] >> (column & 63)) & 1 == 1:
            x = real(events[event + 2 + column])
            join_decayed(state, base + cells[c, SLOT], cells[c, PARAM], events[event], x, 1.0)


@lean
def merge(cells: Words, first: int, last: int, left: Words, a: int, right: Words, b: int, column: int) -> None:
    """Add the later state at word ``b`` to the one at word ``a``; ``column`` of cells says where its slots lie."""
    for c in range(first, last):
        op, i, j = cells[c, OP], a + cells[c, SLOT], b + cells[c, column]
        if op in (COUNT, SUM_INT):
            left[i] += right[j]
        elif op == SUM_FLOAT:
            left[i] = bits(real(left[i]) + real(right[j]))
        elif op == MIN_INT:
            left[i] = min(left[i], right[j])
        elif op == MAX_INT:
            left[i] = max(left[i], right[j])
        elif op == MIN_FLOAT:
            if real(right[j]) < real(left[i]):
                left[i] = right[j]
        elif op == MAX_FLOAT:
            if real(right[j]) > real(left[i]):
                left[i] = right[j]
        elif op == MOMENTS:
            if left[i] == 0:
                for word in range(3):
                    left[i + word] = right[j + word]
            elif right[j] != 0:
                count = left[i] + right[j]
                share = right[j] / count
                mean = real(left[i + 1])
                apart = real(right[j + 1]) - mean
                both = real(left[i + 2]) + real(right[j + 2])
                left[i + 2] = bits(both + (apart * apart) * (left[i] * share))
                left[i + 1] = bits(mean + apart * share)
                left[i] = count
        elif op == DECAYED:
            if right[j] != LOWEST:
                join_decayed(left, i, cells[c, PARAM], right[j], real(right[j + 1]), real(right[j + 2]))
        else:
            later = right[j] > left[i] or (right[j] == left[i] and right[j + 1] > left[i + 1])
            earlier = right[j] < left[i] or (right[j] == left[i] and right[j + 1] < left[i + 1])
            if (op == LAST and later) or (op == FIRST and earlier):
                for word in range(3):
                    left[i + word] = right[j + word]
