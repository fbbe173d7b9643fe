"""The law of the alarm budget: what independent repetitions opened, against what they may."""

from collections.abc import Sequence

import numpy as np


def keeps_within(kind: str, opened: Sequence[int], weeks: int, share: float, most: float) -> None:
    """Fail where the mean of incidents a week may be more than ``most``: by its one-sided bound of 95 %.

    opened : incidents of each repetition, over so many weeks; share : what is promised, to be told
    """
    a_week = np.array(opened) / weeks
    mean, error = a_week.mean(), a_week.std(ddof=1) / np.sqrt(len(a_week))
    print(
        f"{kind}: {mean:.3f} incidents a week, at most {mean + 1.645 * error:.3f} (one-sided, 95 %), of {share} allowed"
    )
    assert mean + 1.645 * error <= most
