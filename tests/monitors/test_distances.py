import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from samestream.monitors import distances
from samestream.monitors.distances import ks_distance, ks_sides, psi
from samestream.schemas.errors import EmptyWindowError

counts = st.lists(st.integers(0, 1000), min_size=3, max_size=12).filter(any).map(np.array)


@given(counts)
def test_a_histogram_is_at_distance_zero_from_itself(histogram: np.ndarray) -> None:
    assert psi(histogram, histogram) == 0
    assert ks_distance(histogram, histogram) == 0


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=9))
def test_distances_are_symmetric_and_ks_is_scipys(pairs: list[tuple[int, int]]) -> None:
    left, right = np.array(pairs).T
    if left.sum() == 0 or right.sum() == 0:
        return
    assert psi(left, right) >= 0
    assert ks_distance(left, right) == ks_distance(right, left)
    samples = [np.repeat(np.arange(len(side)), side) for side in (left, right)]
    assert ks_distance(left, right) == pytest.approx(stats.ks_2samp(*samples, method="asymp").statistic)


def test_sides_tell_greater_from_smaller() -> None:
    assert ks_sides(np.array([8, 2, 0]), np.array([0, 2, 8])) == (0.8, 0.0)
    assert ks_sides(np.array([0, 2, 8]), np.array([8, 2, 0])) == (0.0, 0.8)


@pytest.mark.parametrize("distance", [psi, ks_distance])
def test_nothing_has_no_distance(distance: object) -> None:
    with pytest.raises(EmptyWindowError, match="current: a distance from nothing"):
        distance(np.array([1, 2]), np.array([0, 0]))  # type: ignore[operator]


def test_examples_in_the_documentation() -> None:
    assert doctest.testmod(distances, extraglobs={"np": np}).failed == 0
