"""Profiles of texts: counts that merge in any order, and survive JSON."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samestream.monitors.distances import psi
from samestream.schemas.errors import SchemaError
from samestream.streams.models.category_profile import (
    CAP,
    GROUPS,
    CategoryProfile,
    merged,
    profile_of,
    read_profile,
    side_by_side,
)
from samestream.streams.models.profile import NumericProfile

TEXTS = st.lists(st.none() | st.text(max_size=3), max_size=40)


def made(texts):
    values = np.array([text or "" for text in texts] + [None], object)[:-1]
    profile = profile_of(values, np.array([text is not None for text in texts], np.bool_))
    assert isinstance(profile, CategoryProfile)
    return profile


@settings(deadline=None)  # the first call compiles
@given(TEXTS, TEXTS, TEXTS)
def test_merging_is_counting_all_in_any_order(a, b, c):
    whole = made(a + b + c).to_json()
    assert merged(merged(made(a), made(b)), made(c)).to_json() == whole
    assert merged(made(c), merged(made(b), made(a))).to_json() == whole
    assert whole["n"] == len(a + b + c)
    assert whole["nulls"] == (a + b + c).count(None)
    assert sum(whole["counts"].values()) == whole["n"] - whole["nulls"]


@settings(deadline=None)  # the first call compiles
@given(TEXTS, TEXTS)
def test_what_is_stored_comes_back_and_is_compared_whole(a, b):
    stored = json.loads(json.dumps(made(a).to_json()))
    back = read_profile(stored)
    assert back.to_json() == stored
    own, other = side_by_side(back, made(b)) or ([], [])
    assert len(own) == len(other) <= GROUPS + 2
    assert (own.sum(), other.sum()) == (len(a), len(b))
    if a:
        assert psi(own, own) == 0


def test_a_class_that_is_new_counts_among_the_others():
    reference, current = made(["a"] * 90 + ["b"] * 10), made(["a"] * 45 + ["c"] * 55)
    assert [counts.tolist() for counts in side_by_side(reference, current)] == [[90, 10, 0, 0], [45, 0, 55, 0]]
    assert psi(*side_by_side(reference, current)) > 1


def test_of_too_many_texts_the_rare_ones_are_let_go():
    profile = made([f"{number:05}" for number in range(CAP + 100)] + ["00000"])
    assert (len(profile.counts), profile.others, profile.counts["00000"]) == (CAP, 100, 2)
    assert profile.bins(profile.groups()).sum() == profile.n == CAP + 101


def test_numbers_and_texts_are_not_compared():
    numbers = profile_of(np.array([1.0, 2.0]))
    assert isinstance(numbers, NumericProfile)
    assert side_by_side(numbers, made(["a"])) is None
    assert side_by_side(made(["a"]), numbers) is None
    assert merged(numbers, made(["a"])).to_json() == made(["a"]).to_json()
    assert read_profile(numbers.to_json()).to_json() == numbers.to_json()
    with pytest.raises(SchemaError, match="train the model again"):
        read_profile({"rule": "other"})
    with pytest.raises(SchemaError, match="train the model again"):
        CategoryProfile.from_json({"rule": "other"})
