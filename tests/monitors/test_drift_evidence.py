"""What is told of a move: effect sizes of the values themselves, histograms that sum to 1, and never too much of it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from samestream.monitors.drift_evidence import bounded, effect_sizes, evidence_of, histogram, new_values
from samestream.monitors.slices import SampledRows, no_keys
from samestream.monitors.windows import Limit, Window
from samestream.streams.models.category_profile import CategoryProfile, profile_of
from samestream.streams.models.profile import NumericProfile

draw = np.random.default_rng(1)
JANUARY = np.round(draw.exponential(20, 5000) - 8)
FEBRUARY = np.round(draw.exponential(40, 3000) - 8)


def test_sizes_of_numbers_are_those_of_the_values() -> None:
    sizes = effect_sizes(NumericProfile.of(JANUARY), NumericProfile.of(FEBRUARY))
    assert sizes["ks"] == pytest.approx(stats.ks_2samp(JANUARY, FEBRUARY).statistic, abs=0.02)
    far = stats.wasserstein_distance(JANUARY, FEBRUARY) / JANUARY.std()
    assert sizes["wasserstein"] == pytest.approx(far, rel=0.05)
    assert 0.2 < sizes["psi"] < 0.6  # type: ignore[operator]
    assert 0 < sizes["l_infinity"] < sizes["jensen_shannon"] < 1  # type: ignore[operator]
    assert 0 < sizes["unseen_share"] < 0.05  # type: ignore[operator]


def test_sizes_of_texts_are_by_text() -> None:
    before = CategoryProfile.of(np.array(["a"] * 60 + ["b"] * 40, object))
    after = CategoryProfile.of(np.array(["a"] * 30 + ["b"] * 50 + ["c"] * 20, object))
    sizes = effect_sizes(before, after)
    assert (sizes["l_infinity"], sizes["unseen_share"]) == (0.3, 0.2)
    assert "ks" not in sizes  # texts have no order
    assert new_values(before, after) == ["c"]
    assert histogram(before, after) == {
        "texts": ["a", "b", "c", None],
        "before": [0.6, 0.4, 0.0, 0.0],
        "after": [0.3, 0.5, 0.2, 0.0],
    }


def test_a_sentinel_is_a_new_value() -> None:
    before = profile_of(draw.normal(50, 9, 4000))
    after = profile_of(np.where(np.arange(1000) % 20 == 0, -999.0, draw.normal(50, 9, 1000)))
    assert new_values(before, after) == [-999.0]
    assert new_values(before, profile_of(draw.normal(50, 9, 1000))) == []


@pytest.mark.parametrize("nothing", [NumericProfile(), CategoryProfile()])
def test_nothing_has_no_size(nothing: Any) -> None:
    something = profile_of(np.array(["a", "b"], object) if isinstance(nothing, CategoryProfile) else JANUARY)
    assert effect_sizes(nothing, something) == effect_sizes(something, nothing) == {}
    assert histogram(nothing, something) == {}
    all_null = type(something).of(
        np.array(["", ""], object) if isinstance(nothing, CategoryProfile) else np.zeros(2), np.zeros(2, np.bool_)
    )  # type: ignore[union-attr]
    sizes = effect_sizes(something, all_null)
    assert sizes["jensen_shannon"] == 1.0
    assert sizes["unseen_share"] is None


def test_numbers_against_texts_have_no_size() -> None:
    texts = profile_of(np.array(["a", "b"], object))
    numbers = profile_of(JANUARY)
    assert effect_sizes(texts, numbers) == histogram(texts, numbers) == {}
    assert new_values(texts, numbers) == []


numbers = st.lists(st.floats(allow_nan=True, width=64), min_size=1, max_size=40).map(np.array)
texts = st.lists(st.text(max_size=80), min_size=1, max_size=40).map(lambda values: np.array([*values, ""], object))


@settings(deadline=None)
@given(st.one_of(st.tuples(numbers, numbers), st.tuples(texts, texts)), st.randoms(use_true_random=False))
def test_whatever_came_is_told_as_json_and_shares_sum_to_one(sides: tuple[Any, Any], chance: Any) -> None:
    there = [np.array([chance.random() < 0.8 for _ in side]) for side in sides]
    before, after = (profile_of(side, valid) for side, valid in zip(sides, there, strict=True))
    limit = Limit(before, 0.25, 0.1, 40.0)
    many = [np.tile(part, 300) for part in (sides[1], there[1])]
    rows = [
        SampledRows.of(
            np.arange(len(many[0])), no_keys(len(many[0])), {"x": (many[0], many[1]), "y": (many[0], many[1])}
        )
    ] * 2
    told = evidence_of("x", limit.measure(after), limit, Window(0, 1, {"x": after}, rows[0]), rows[1])
    assert len(json.dumps(told, allow_nan=False)) <= 8192
    if shown := told.get("histogram"):
        assert len(shown.get("from", shown.get("texts"))) == len(shown["before"]) == len(shown["after"]) <= 20
        for side, profile in (("before", before), ("after", after)):
            assert sum(shown[side]) + profile.null_share == pytest.approx(1, abs=0.01)


def test_what_is_over_goes_and_is_named() -> None:
    evidence = {
        "psi": 1.0,
        "histogram": {"texts": ["\N{SNOWMAN}" * 64] * 17},
        "examples": ["x" * 64] * 5,
        "slices": [{}] * 3,
    }
    told = bounded(dict(evidence), 3000)
    assert (told["psi"], told["left_out"]) == (1.0, ["examples", "slices", "histogram"])
    assert bounded(dict(evidence), 100_000) == evidence
