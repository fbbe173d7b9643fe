"""What counts as different, for every kind of value."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from samestream.streams.sql.difference import difference, slack_of

MAY = datetime(2024, 5, 1, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)


def compared(served: list[Any], expected: list[Any], slack: list[float] | None = None) -> Any:
    """Two rows that both have, in different order, and one that only the first has."""
    left = {"_partition": [0, 1, 9], "_offset": [5, 5, 9], "x": [*served, served[0]]}
    right: dict[str, Any] = {"_partition": [1, 0], "_offset": [5, 5], "x": expected[::-1]}
    if slack is not None:
        right[slack_of("x")] = slack[::-1]
    return difference(pa.table(left), pa.table(right), ["x"])["x"]


@pytest.mark.parametrize(
    ("served", "expected", "mismatched", "greatest"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0, 0.0),
        ([1.0, None], [1.0, 2.0], 1, 0.0),
        ([None, None], [None, 2.0], 1, 0.0),
        ([1.0, 2.5], [1.0, 2.0], 1, 0.5),
        ([1e12, 0.0], [1e12 + 100, 0.0], 0, 100.0),  # within the tolerance of so great a number
        ([1.0, 1e-10], [1.0, 2e-10], 0, 1e-10),
        ([math.inf, math.inf], [math.inf, 1.0], 1, math.inf),
        ([0.0, -0.0], [-0.0, -0.0], 0, 0.0),
        ([True, False], [True, True], 1, 1.0),
        ([True, None], [True, False], 1, 0.0),
        ([3, 4], [3, 7], 1, 3.0),
        ([0, 2**63 - 1], [0, 2**63 - 2], 1, 0.0),  # the same as floats
        ([-(2**63), 0], [-(2**63), 0], 0, 0.0),
        (["a", "é"], ["a", "e"], 1, 0.0),
        (["", ""], ["", None], 1, 0.0),
        ([MAY, MAY], [MAY, MAY + MOMENT], 1, 1e-6),
        ([MAY, None], [MAY, None], 0, 0.0),
        ([[1.5, 2.0], [1.0]], [[1.5, 2.0], [1.0 + 1e-15]], 1, 0.0),
        ([["a", "b"], ["a"]], [["a", "b"], ["b"]], 1, 0.0),
        ([["a", "b"], ["a"]], [["a", "b"], ["a", "a"]], 1, 0.0),
        ([["a"], None], [["a"], []], 1, 0.0),
    ],
)
def test_what_differs(served: list[Any], expected: list[Any], mismatched: int, greatest: float) -> None:
    found = compared(served, expected)
    assert (found.compared, found.mismatched, found.greatest) == (2, mismatched, pytest.approx(greatest))
    assert found.differs.tolist() == [False, mismatched == 1]


@pytest.mark.parametrize(
    ("served", "expected", "slack", "mismatched"),
    [
        ([1.0, 2.0], [1.0, 2.5], [0.0, 0.5], 0),
        ([1.0, 2.0], [1.0, 2.6], [0.0, 0.5], 1),
        ([1.0, 2.5], [1.5, 2.5], [0.0, 0.5], 1),  # the slack of one row is not that of another
        ([1.0, math.inf], [1.0, 1e308], [0.0, 1e300], 1),
        ([1.0, math.inf], [1.0, 1e308], [0.0, math.inf], 0),
        ([1.0, None], [1.0, 1e308], [0.0, math.inf], 0),
        ([1, 2000], [1, 2001], [0.0, 1.0], 0),
        ([1, 2000], [1, 2002], [0.0, 1.0], 1),
        ([1, 2], [1, 3], [0.0, 0.0], 1),
        (["a", "b"], ["a", "c"], [0.0, math.inf], 0),  # a text that depends on a comparison too close to call
        ([True, False], [True, True], [0.0, math.inf], 0),
    ],
)
def test_a_row_may_have_slack(served: list[Any], expected: list[Any], slack: list[float], mismatched: int) -> None:
    assert compared(served, expected, slack).mismatched == mismatched
