"""No competitor: a detector that is told the shares of errors of both worlds, and how one becomes the other; only not when.

It is the sum, over the instants at which the change may have begun, of the likelihood ratios of all errors since (Shiryaev
and Roberts). With both shares known no detector that alarms as seldom is quicker by much (Pollak, 1985): what it reaches shows
what is there to be reached. It alarms never where the new share is not the greater.
"""

from __future__ import annotations

import numpy as np
from error_streams import GRADUAL, ErrorStream, Floats

from samestream.streams.engine.compiling import compiled

LEAST_SHARE = 1e-4


@compiled
def first_above(errors: Floats, if_right: Floats, if_wrong: Floats, limit: float) -> int:
    """Return the place of the first error after which the sum is above `exp(limit)`; -1 if it never is.

    errors : shape (errors,), 0 or 1
    if_right, if_wrong : the likelihood ratio of a 0 and of a 1, by how many errors ago the change began, shape (ages,)
    """
    ages = len(if_right)
    ratios = np.zeros(ages)  # a ring, by the place where the change began
    settled, greatest = 0.0, np.exp(limit)
    for row in range(len(errors)):
        ratio = if_wrong if errors[row] > 0 else if_right
        # what began as long ago as there are ages has come about fully
        settled = (settled + ratios[row % ages]) * ratio[ages - 1]
        ratios[row % ages] = 1.0
        total = settled
        for age in range(min(ages, row + 1)):
            at = (row - age) % ages
            ratios[at] *= ratio[age]
            total += ratios[at]
        if total > greatest:
            return row
    return -1


def alarms(limit: float, stream: ErrorStream) -> list[int]:
    """The places of the alarms; after each it begins anew."""
    before, after = np.clip(stream.shares, LEAST_SHARE, 1 - LEAST_SHARE)
    if after <= before:
        return []
    come = np.arange(GRADUAL) / GRADUAL if stream.kind == "gradual" else np.ones(1)
    share = before + (after - before) * come
    found, begun = [], 0
    while (place := first_above(stream.errors[begun:], (1 - share) / (1 - before), share / before, limit)) >= 0:
        found.append(begun + place)
        begun += place + 1
    return found
