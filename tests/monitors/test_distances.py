import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import distance as scipys

from samestream.monitors import distances
from samestream.monitors.distances import (
    jensen_shannon,
    ks_distance,
    ks_sides,
    l_infinity,
    psi,
    unseen_share,
    wasserstein,
)
from samestream.schemas.errors import EmptyWindowError
from samestream.streams.models.profile import BUCKET_HIGH, BUCKET_LOW, BUCKETS, buckets_of

counts = st.lists(st.integers(0, 1000), min_size=3, max_size=12).filter(any).map(np.array)


@given(counts)
def test_a_histogram_is_at_distance_zero_from_itself(histogram: np.ndarray) -> None:
    for distance in (psi, ks_distance, jensen_shannon, l_infinity, unseen_share):
        assert distance(histogram, histogram) == 0
    assert wasserstein(histogram, histogram, np.arange(len(histogram)) ** 2.0) in (0, None)
    for distance in (ks_distance, jensen_shannon, l_infinity):  # of shares: three times the rows change nothing
        assert distance(histogram, 3 * histogram) == pytest.approx(0, abs=1e-7)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=9))
def test_distances_are_symmetric_and_ks_is_scipys(pairs: list[tuple[int, int]]) -> None:
    left, right = np.array(pairs).T
    if left.sum() == 0 or right.sum() == 0:
        return
    assert psi(left, right) >= 0
    assert ks_distance(left, right) == ks_distance(right, left)
    samples = [np.repeat(np.arange(len(side)), side) for side in (left, right)]
    assert ks_distance(left, right) == pytest.approx(stats.ks_2samp(*samples, method="asymp").statistic)


def two_sides(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    left, right = np.array([*pairs, (1, 0), (0, 1)]).T
    return left, right


pairs_of_counts = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=9)


@given(pairs_of_counts)
def test_shares_are_compared_as_scipy_and_plain_python_do(pairs: list[tuple[int, int]]) -> None:
    left, right = two_sides(pairs)
    shares = list(zip((left / left.sum()).tolist(), (right / right.sum()).tolist(), strict=True))
    assert jensen_shannon(left, right) == pytest.approx(scipys.jensenshannon(left, right, base=2), abs=1e-7)
    assert l_infinity(left, right) == pytest.approx(max(abs(one - other) for one, other in shares))
    assert unseen_share(left, right) == pytest.approx(sum(other for one, other in shares if one == 0))
    for distance in (psi, jensen_shannon, l_infinity):
        assert distance(left, right) == pytest.approx(distance(right, left))
    for distance in (ks_distance, jensen_shannon, l_infinity, unseen_share):
        assert 0 <= distance(left, right) <= 1
    assert l_infinity(left, right) <= sum(abs(one - other) for one, other in shares) / 2 + 1e-12


@given(pairs_of_counts, st.lists(st.floats(-1e6, 1e6), min_size=11, max_size=11, unique=True))
def test_how_far_values_went_is_what_scipy_says(pairs: list[tuple[int, int]], places: list[float]) -> None:
    left, right = two_sides(pairs)
    at = np.sort(places)[: len(left)]
    spread = float(np.repeat(at, left).std())
    told = wasserstein(left, right, at)
    if told is None:
        assert spread <= 1e-9 * np.abs(at).max()
        return
    assert told * spread == pytest.approx(stats.wasserstein_distance(at, at, left, right), rel=1e-6, abs=1e-9)
    back = wasserstein(right, left, at)
    if back is not None:  # symmetric but for the unit
        assert back * np.repeat(at, right).std() == pytest.approx(told * spread, rel=1e-6, abs=1e-9)


def bucketed(values: np.ndarray) -> np.ndarray:
    return np.bincount(buckets_of(values), minlength=BUCKETS)


numbers = st.lists(st.integers(-30_000, 30_000).map(lambda number: number / 16), min_size=2, max_size=60).map(np.array)


@given(numbers, numbers)
def test_over_the_buckets_of_a_profile_they_are_those_of_the_values(left: np.ndarray, right: np.ndarray) -> None:
    """Within what a bucket can hide: a sixteenth of a value's octave at most, and no more than its own mass."""
    before, after = bucketed(left), bucketed(right)
    hidden = np.maximum(before / len(left), after / len(right)).max()
    exact = stats.ks_2samp(left, right, method="asymp").statistic
    assert exact - hidden - 1e-9 <= ks_distance(before, after) <= exact + 1e-9
    middle = (BUCKET_LOW + BUCKET_HIGH) / 2
    told = wasserstein(before, after, middle)
    if told is not None:
        spread = np.repeat(middle, before).std()
        width = (np.abs(left).mean() + np.abs(right).mean()) / 32
        assert told * spread == pytest.approx(stats.wasserstein_distance(left, right), abs=width + 1e-9)


def test_a_constant_gives_no_unit_to_measure_by() -> None:
    assert wasserstein(np.array([5, 0]), np.array([0, 5]), np.array([1.0, 2.0])) is None


def test_sides_tell_greater_from_smaller() -> None:
    assert ks_sides(np.array([8, 2, 0]), np.array([0, 2, 8])) == (0.8, 0.0)
    assert ks_sides(np.array([0, 2, 8]), np.array([8, 2, 0])) == (0.0, 0.8)


@pytest.mark.parametrize(
    "distance",
    [psi, ks_distance, jensen_shannon, l_infinity, unseen_share, lambda *sides: wasserstein(*sides, np.arange(2.0))],
)
def test_nothing_has_no_distance(distance: object) -> None:
    with pytest.raises(EmptyWindowError, match="current: a distance from nothing"):
        distance(np.array([1, 2]), np.array([0, 0]))  # type: ignore[operator]


def test_examples_in_the_documentation() -> None:
    assert doctest.testmod(distances, extraglobs={"np": np}).failed == 0
