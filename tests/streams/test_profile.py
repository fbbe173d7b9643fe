"""Laws of the mergeable profile: merging is adding the concatenation, whatever the order."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samestream.schemas.errors import SchemaError
from samestream.streams.models.profile import (
    ATOM_CAP,
    BUCKET_HIGH,
    BUCKET_LOW,
    ZERO,
    NumericProfile,
    buckets_of,
    run_lengths,
)

rows = st.lists(
    st.tuples(
        st.one_of(
            st.integers(-5, 5).map(float),
            st.floats(allow_nan=True, allow_infinity=True, width=32),
            st.sampled_from([0.0, -0.0]),
        ),
        st.booleans(),
    ),
    max_size=40,
)


def profile_of(part: list[tuple[float, bool]]) -> NumericProfile:
    return NumericProfile.of([value for value, _ in part], [valid for _, valid in part])


def counted(profile: NumericProfile) -> dict[str, object]:
    stored = profile.to_json()
    for name in ("sum", "sum_squares"):
        del stored[name]
    return stored


@settings(max_examples=200, deadline=None)
@given(st.lists(rows, min_size=1, max_size=4))
def test_merge_is_add_of_the_concatenation(parts: list[list[tuple[float, bool]]]) -> None:
    whole = profile_of([row for part in parts for row in part])
    merged = NumericProfile()
    for part in parts:
        merged = merged.merge(profile_of(part))
    fed = NumericProfile()
    for part in parts:
        fed.add(np.array([value for value, _ in part], float), np.array([valid for _, valid in part], bool))
    assert counted(merged) == counted(whole) == counted(fed)
    bound = 1e-12 * max(1.0, sum(abs(v) for p in parts for v, ok in p if ok and math.isfinite(v)))
    assert abs(merged.sum - whole.sum) <= bound


@settings(max_examples=100, deadline=None)
@given(st.lists(rows, min_size=2, max_size=4), st.randoms())
def test_any_order_and_grouping_gives_the_same_counts(parts: list[list[tuple[float, bool]]], random: object) -> None:
    profiles = [profile_of(part) for part in parts]
    left = profiles[0]
    for profile in profiles[1:]:
        left = left.merge(profile)
    right = profiles[-1]
    for profile in reversed(profiles[:-1]):
        right = profile.merge(right)
    assert counted(left) == counted(right)
    random.shuffle(profiles)  # type: ignore[attr-defined]
    shuffled = NumericProfile()
    for profile in profiles:
        shuffled = shuffled.merge(profile)
    for name in ("n", "nulls", "nonfinite", "zeros", "negatives", "min", "max", "atoms"):
        assert getattr(shuffled, name) == getattr(left, name)
    np.testing.assert_array_equal(shuffled.counts, left.counts)


@settings(max_examples=100, deadline=None)
@given(rows)
def test_json_round_trip_is_exact(part: list[tuple[float, bool]]) -> None:
    profile = profile_of(part)
    stored = json.loads(json.dumps(profile.to_json(), allow_nan=False)) if math.isfinite(profile.sum_squares) else None
    if stored is not None:
        assert NumericProfile.from_json(stored).to_json() == profile.to_json()


def test_another_bucket_rule_is_refused() -> None:
    with pytest.raises(SchemaError, match="another bucket rule"):
        NumericProfile.from_json({"rule": "kll"})


@settings(max_examples=300)
@given(st.floats(min_value=2.0**-32, max_value=2.0**63), st.sampled_from([1, -1]))
def test_a_value_lies_in_its_bucket(magnitude: float, sign: int) -> None:
    value = sign * magnitude
    bucket = int(buckets_of(np.array([value]))[0])
    low, high = (BUCKET_LOW[bucket], BUCKET_HIGH[bucket])
    assert low <= value < high if sign > 0 else low < value <= high
    assert (high - low) <= min(abs(low), abs(high)) / 16 * (1 + 1e-12)


def test_buckets_rise_with_the_value_and_the_extremes_are_clipped() -> None:
    values = np.array([-1e300, -70.0, -1.0, -1e-300, 0.0, 1e-300, 1.0, 1.0625, 70.0, 1e300])
    buckets = buckets_of(values)
    assert list(buckets) == sorted(buckets)
    assert len(set(buckets.tolist())) == len(values)
    assert buckets[4] == ZERO


def test_counts_of_a_small_table() -> None:
    profile = NumericProfile.of([1, 1, 1, 0, -2, np.nan, np.inf, 5], [True] * 7 + [False])
    assert (profile.n, profile.nulls, profile.nonfinite, profile.zeros, profile.negatives) == (8, 1, 2, 1, 1)
    assert (profile.min, profile.max, profile.sum, profile.sum_squares) == (-2.0, 1.0, 1.0, 7.0)
    assert profile.heaviest == (1.0, 3)
    assert profile.longest_run == 3
    assert profile.null_share == 3 / 8
    assert NumericProfile.of([1.0, 2.0, 3.0, 6.0]).std == pytest.approx(3.5**0.5)


def test_the_empty_profile_has_no_statistics() -> None:
    empty = NumericProfile.of([])
    assert empty.quantile(0.5) is None
    assert empty.mean is None
    assert empty.std is None
    assert empty.heaviest is None
    assert empty.bins(empty.edges()).tolist() == [0, 0, 0, 0]
    assert NumericProfile.of([np.nan] * 3).bins(empty.edges()).tolist() == [0, 0, 0, 3]


def test_quantiles_are_within_a_bucket() -> None:
    values = np.random.default_rng(1).normal(30, 20, 20_000)
    profile = NumericProfile.of(values)
    for q in (0.01, 0.1, 0.5, 0.9, 0.99):
        exact = float(np.quantile(values, q))
        assert abs(profile.quantile(q) - exact) <= abs(exact) / 16 + 0.02  # type: ignore[operator]
    assert profile.quantile(0.0) == pytest.approx(values.min(), rel=1 / 16)
    assert profile.quantile(1.0) == values.max()


def test_groups_hold_about_equal_mass_and_all_rows() -> None:
    rng = np.random.default_rng(2)
    reference = NumericProfile.of(rng.lognormal(3, 1, 20_000))
    edges = reference.edges(16)
    own = reference.bins(edges)
    assert 10 <= len(edges) - 1 <= 16
    assert own.sum() == 20_000
    assert own[0] == own[-1] == own[-2] == 0
    assert own[1:-2].max() < 2.5 * 20_000 / 16
    other = NumericProfile.of([1e9, -1.0, np.nan, 20.0], [True, True, False, True]).bins(edges)
    assert (other[0], other[-2], other[-1], other.sum()) == (1, 1, 1, 4)


def test_atoms_stay_within_the_cap_and_keep_the_heaviest() -> None:
    few = NumericProfile.of(np.concatenate([np.arange(400.0), np.full(50, -999.0)]))
    assert (len(few.atoms), few.atoms_exact, few.heaviest) == (ATOM_CAP, False, (-999.0, 50))
    many = NumericProfile.of(np.concatenate([np.arange(1000.0), np.full(50, -999.0)]))
    assert (many.atoms, many.atoms_exact) == ({-999.0: 50}, False)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.01, 0.05, 0.5]), st.booleans())
def test_a_frequent_value_is_counted_exactly_wherever_it_lies(seed: int, share: float, together: bool) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(50, 20, 30_000)
    count = int(share * len(values))
    start = rng.integers(0, len(values) - count)
    values[slice(start, start + count) if together else rng.permutation(len(values))[:count]] = 50.5
    profile = NumericProfile.of(values)
    assert profile.heaviest == (50.5, count)
    assert abs(profile.distinct / (len(values) - count + 1) - 1) < 0.15


@settings(max_examples=100, deadline=None)
@given(rows, st.integers(1, 3))
def test_repeats_and_distinct_values_are_counted(part: list[tuple[float, bool]], times: int) -> None:
    part = [row for row in part for _ in range(times)]
    kept = [value + 0.0 for value, valid in part if valid and math.isfinite(value)]
    profile = profile_of(part)
    assert profile.repeats == sum(one == other for one, other in itertools.pairwise(kept))
    assert profile.distinct == len(set(kept))


def test_run_lengths() -> None:
    values, lengths = run_lengths(np.array([1.0, 1.0, 2.0, 1.0]))
    assert values.tolist() == [1.0, 2.0, 1.0]
    assert lengths.tolist() == [2, 1, 1]
