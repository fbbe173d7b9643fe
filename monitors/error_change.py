"""Has a stream of errors got worse? A likelihood ratio over every length of the recent past, against all that came before.

After each error, for lengths from one to thousands that grow by a quarter, the last `n` errors are compared with those before:
how many times better do two means explain the stream than one. These ratios are summed over the lengths (as Shiryaev and Roberts
sum over the instants at which a change may have begun), each weighed by how many beginnings it stands for. The logarithm of one
more than the sum, in nats, is the *level*. The sum, rather than the greatest, because a change that two lengths tell of is more
likely than one that a single length does. A level says when to alarm only beside a limit, which comes from
history (`monitors.outcome_watch`) or from tuning on other streams. Errors are 0 or 1 (a Bernoulli likelihood), or any
numbers (a Gaussian one, of the stream's own variance). Only what gets worse counts.

Cost: about 0.7 microseconds an error, and the memory of the last `KEPT` of them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from samestream.streams.engine.compiling import compiled

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

KEPT = 1 << 15
"""Errors that are looked back upon."""
LEAST_BEFORE = 200
"""Errors that must lie before the recent ones."""
BALANCE = 1000.0
"""Errors up to which a length weighs as much as it is long: as lengths grow by a quarter, `n` stands for `n / 4` beginnings."""
LEAST_GAUSSIAN = 8
"""Errors that a mean of any numbers is taken of: fewer are not near to normal."""
NEGLIGIBLE = 30.0
"""Nats below the greatest ratio at which one more changes nothing that can be seen."""


def lags() -> Ints:
    """The lengths that are looked at: one to eight, then by a quarter more each."""
    found = [1, 2, 3, 4, 5, 6, 7, 8]
    while found[-1] * 5 // 4 < KEPT // 2:
        found.append(found[-1] * 5 // 4)
    return np.array(found, np.int64)


@compiled
def divergence(p: float, q: float) -> float:
    """Return the Kullback-Leibler divergence of two chances, in nats; `q` is strictly between 0 and 1."""
    out = 0.0
    if p > 0:
        out += p * np.log(p / q)
    if p < 1:
        out += (1 - p) * np.log((1 - p) / (1 - q))
    return out


@compiled
def levels_of(
    errors: Floats, sums: Floats, squares: Floats, numbers: Ints, lengths: Ints, binary: bool, levels: Floats
) -> None:
    """Write the level after each error, from 0 at first, and go on from the state.

    errors, levels : shape (errors,). sums, squares : rings of running totals, shape (KEPT,). lengths : ascending
    numbers : how many errors there were, and over how many recent ones the ratio was greatest, shape (2,)
    """
    mask = KEPT - 1
    count = numbers[0]
    weights = np.log(1.0 + BALANCE / lengths)  # what is taken off each ratio, in nats
    for row in range(len(errors)):
        before_sum = sums[(count - 1) & mask] if count else 0.0
        before_squares = squares[(count - 1) & mask] if count else 0.0
        sums[count & mask] = before_sum + errors[row]
        squares[count & mask] = before_squares + errors[row] * errors[row]
        count += 1
        # the logarithm of the sum is `top + log(above)`; the one that is added is the first of it
        top, above, most, about = 0.0, 1.0, -np.inf, 0
        held = min(count, KEPT - 1)
        first = (count - 1 - held) & mask  # the total before the oldest error that is looked back upon
        start_sum = sums[first] if count > held else 0.0
        start_squares = squares[first] if count > held else 0.0
        total = sums[(count - 1) & mask] - start_sum
        mean = total / held
        spread = (squares[(count - 1) & mask] - start_squares) / held - mean * mean
        if not binary and spread <= 1e-12 * max(mean * mean, 1e-300):
            levels[row] = 0.0
            continue
        for at in range(len(lengths)):
            n = lengths[at]
            m = held - n
            if m < LEAST_BEFORE or n * 4 > held * 3:
                break
            recent = sums[(count - 1) & mask] - sums[(count - 1 - n) & mask]
            high, low = recent / n, (total - recent) / m
            if high <= low:
                continue
            if binary:
                if mean <= 0 or mean >= 1:
                    continue
                found = n * divergence(high, mean) + m * divergence(low, mean)
            else:
                if n < LEAST_GAUSSIAN:
                    continue
                apart = (high - low) * (high - low) * n * m / held / held
                # the variance around two means, which is what is left of the spread
                left = max(spread - apart, 1e-3 * spread)
                found = 0.5 * held * np.log(spread / left)
            found -= weights[at]
            if found > most:
                most, about = found, n
            if found > top:
                above, top = above * np.exp(top - found) + 1.0, found
            elif found > top - NEGLIGIBLE:
                above += np.exp(found - top)
        levels[row] = top + np.log(above)
        numbers[1] = about
    numbers[0] = count


class ErrorChange:
    """The detector of one stream. See above.

    binary : errors are 0 or 1
    """

    def __init__(self, *, binary: bool) -> None:
        self.binary = binary
        self._lengths = lags()
        self.reset()

    def reset(self) -> None:
        """Forget everything: what follows is a new stream."""
        self._sums, self._squares = np.zeros(KEPT), np.zeros(KEPT)
        self._numbers = np.zeros(2, np.int64)

    @property
    def recent(self) -> int:
        """Of how many of the newest errors the last level tells most."""
        return int(self._numbers[1])

    def levels(self, errors: Floats) -> Floats:
        """The level after each further error, in nats, shape (errors,)."""
        out = np.zeros(len(errors))
        levels_of(
            np.ascontiguousarray(errors, np.float64),
            self._sums,
            self._squares,
            self._numbers,
            self._lengths,
            self.binary,
            out,
        )
        return out

    def first_above(self, errors: Floats, limit: float) -> int | None:
        """The place of the first error after which the level is above a limit; None if it never is.

        What comes after that is not looked at, so that `reset` begins anew behind it.
        """
        step, begun = 64, 0
        while begun < len(errors):
            found = self.levels(errors[begun : begun + step])
            above = np.flatnonzero(found > limit)
            if len(above):
                return begun + int(above[0])
            begun += step
        return None
