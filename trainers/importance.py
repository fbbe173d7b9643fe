"""What each input is to a model: how much worse it does on rows it has not seen when that input says nothing any more."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from samestream.streams.columns import Float64Array

REPEATS = 3


def importance_of(
    inputs: Sequence[str], x: Float64Array, loss: Callable[[Float64Array], float], seed: int = 0
) -> dict[str, float]:
    """The share of each input in all that the inputs are good for, by permutation (Breiman, 2001).

    An input's values change places among the rows; what the loss rises by on average is what the input was good for. Of two inputs
    that say the same, either can stand in for the other, so both weigh little. It works alike for every kind of model.

    x : shape (rows, inputs), NaN for null. loss : of predictions for such rows, less is better.
    Returns shares from 0 to 1 that sum to 1; nothing where no input is good for anything, or a loss is no number.

    >>> rows = np.array([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    >>> importance_of(["told", "constant"], rows, lambda x: float(np.abs(x[:, 0] - rows[:, 0]).mean()))
    {'told': 1.0, 'constant': 0.0}
    """
    draw = np.random.default_rng(seed)
    before = loss(x)
    worth = []
    for place in range(x.shape[1]):
        changed, rises = x.copy(), []
        for _ in range(REPEATS):
            changed[:, place] = draw.permutation(x[:, place])
            rises.append(loss(changed) - before)
        worth.append(max(float(np.mean(rises)), 0.0))
    total = sum(worth)
    if not np.isfinite(total) or total <= 0:
        return {}
    return {name: round(one / total, 4) for name, one in zip(inputs, worth, strict=True)}
