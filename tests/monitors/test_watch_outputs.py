"""Drift of numbers that are no probabilities, of classes by their shares, and of features that are texts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import made_streams as made
import numpy as np
import pytest
from made_streams import DAY, HOUR, START

from samestream.monitors.declared import Declared, Drift
from samestream.monitors.incidents import IncidentRecord, Lineage
from samestream.monitors.watch import Watch
from samestream.streams.models.category_profile import profile_of

STRUCK_US = START + 40 * DAY + 12 * HOUR  # scores speak after 34 days
NAMES = np.array(["early", "on time", "late", "very late", ""], object)


def as_number(scores: Any) -> Any:
    """Minutes, below zero and far above one, with a long tail."""
    return np.exp(12 * scores) - 400


def as_class(scores: Any) -> Any:
    return NAMES[np.digitize(scores, [0.1, 0.15, 0.3, 0.6])]


def world(days: int, said: Any, struck: bool, with_reference: bool) -> Any:
    calm = made.calm_world(days)
    later = calm.vectors.known_us >= STRUCK_US
    scores = said(np.where(struck & later, np.minimum(calm.scores + 0.4, 1), calm.scores))
    models = []
    for version, applies_from_us, reference in calm.models:
        if struck and applies_from_us > STRUCK_US:
            continue
        before = scores[: np.searchsorted(calm.vectors.known_us, applies_from_us)]
        known = {"scores": profile_of(before).to_json()} if with_reference else {}
        models.append((version, applies_from_us, reference | known))
    return replace(calm, scores=scores, models=tuple(models))


@pytest.mark.parametrize("said", [as_number, as_class])
@pytest.mark.parametrize("with_reference", [True, False])
def test_scores_of_any_kind_alarm_when_they_move_and_only_then(said: Any, with_reference: bool) -> None:
    assert made.watched(world(55, said, struck=False, with_reference=with_reference)) == []
    (record,) = made.watched(world(55, said, struck=True, with_reference=with_reference))
    assert (record.event, record.subject, record.verdict) == ("open", "LateArrival.score", "world_changed")
    moved = record.evidence["moved"]["score"]
    assert moved["psi"] > moved["psi_limit"]
    if said is as_class:
        assert sum(moved["after"].get(name, 0) for name in ("late", "very late", "")) > 0.5
        assert moved["before"]["on time"] > 0.25 > moved["after"].get("on time", 0)


def fed(kinds: list[Any], declared: Declared) -> list[IncidentRecord]:
    """A watch over one feature of text, a thousand rows a day; a model trained on the first 14 days applies from then."""
    watch = Watch(Lineage("M", ("kind",), {"kind": (("E", "kind"),)}), [], declared)
    for day, values in enumerate(kinds):
        if day == 14:
            known = np.concatenate(kinds[:14])
            reference = {"features": {"kind": profile_of(*column(known)).to_json()}, "from_us": START}
            watch.on_model("1", START + 14 * DAY, reference)
        at_us = START + day * DAY + np.arange(len(values)) * (DAY // len(values))
        watch.on_vectors(at_us, {"kind": column(values)})
        for clock in (watch.source_clock, watch.vector_clock, watch.model_clock):
            clock(START + (day + 1) * DAY)
    return watch.records()


def column(values: Any) -> tuple[Any, Any]:
    valid = np.array([value is not None for value in values.tolist()], np.bool_)
    return np.where(valid, values, ""), valid


DRIFT = Declared(of=made.LateArrival, alarms_per_week=1.0, features=(Drift("1d"),), scores=())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("after", "alarms"),
    [
        ([0.6, 0.3, 0.1, 0.0, 0.0], False),
        ([0.1, 0.3, 0.6, 0.0, 0.0], True),
        ([0.3, 0.2, 0.0, 0.5, 0.0], True),  # a text never seen in training
        ([0.3, 0.2, 0.1, 0.0, 0.4], True),  # nothing
    ],
)
def test_texts_that_are_features_are_watched_by_their_shares(after: list[float], alarms: bool) -> None:
    draw, texts = np.random.default_rng(5), np.array(["a", "é", "c", "new", None], object)
    before = [0.6, 0.3, 0.1, 0.0, 0.0]
    days = [draw.choice(texts, 1000, p=before if day < 25 else after) for day in range(35)]
    found = fed(days, DRIFT)
    assert [(one.event, one.subject, one.verdict) for one in found] == (
        [("open", "M.kind", "world_changed")] if alarms else []
    )


def test_texts_that_are_nearly_all_different_are_calm() -> None:
    days = [np.array([f"{day} {row}" for row in range(1000)], object) for day in range(35)]
    assert fed(days, DRIFT) == []
