"""The lateness skew told event by event: what is named is what makes the difference, all of it and nothing else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import harness
import numpy as np
from harness import PLAN
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_history import PlainHistory, rows_of

from samestream.monitors.lateness_skew import NEVER_APPLIED, LatenessSkew, explain
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.engine.merge_rank import MergeRanks
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.vector_replay import replayed

MODEL = PLAN.models["Buys"]


def explained(folder: Path, seed: int, **asked: Any) -> LatenessSkew:
    transport = harness.fresh()
    harness.send(transport, harness.shop_events(250, seed))
    harness.work_off(transport, FeatureTask(PLAN))
    log, ranks = harness.write_log(transport, FeatureLog(folder)), MergeRanks()
    for _, batch, _ in replayed(PLAN, transport, log):
        ranks.note(batch)
    return explain(PLAN, MODEL, log, ranks, **asked)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return bool(one == other)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10_000))
def test_the_named_events_make_the_difference(tmp_path_factory: Any, seed: int) -> None:
    skew = explained(tmp_path_factory.mktemp("log"), seed)
    history = PlainHistory(PLAN, MODEL, {name: source.table for name, source in skew.events.items()})
    triggers = list(rows_of(skew.triggers.input, skew.triggers.table))
    assert skew.vectors > 50
    assert len(skew.differing) > 10
    assert skew.unexplained == 0
    for name, part in skew.features.items():
        for at, vector in enumerate(part.rows.tolist()):
            _, t, values = triggers[vector]
            unknown = {event: set(late[rows == vector].tolist()) for event, (rows, late) in part.missed.items()}
            assert same(history.vector(values, t)[name], part.expected[at].as_py())
            assert same(history.vector(values, t, unknown)[name], part.served[at].as_py())


def test_what_never_counted_is_told_apart_from_what_came_later(tmp_path: Path) -> None:
    skew = explained(tmp_path, 1)
    late = {event: np.unique(pairs[1]) for part in skew.features.values() for event, pairs in part.missed.items()}
    assert set(late) == {"View", "Price"}
    views = skew.events["View"]
    refused = views.rank[late["View"]] == NEVER_APPLIED
    assert refused.any()
    assert (views.known_us[late["View"]] - views.time_us[late["View"]])[refused].min() > 60 * harness.SECOND_US
    rows = skew.table().to_pylist()
    assert len(rows) == sum(len(pairs[0]) for part in skew.features.values() for pairs in part.missed.values())
    for row in rows:
        assert row["late_event_time"] < row["event_time"]
        assert not row["applied"] or row["late_us"] >= 0


def test_only_what_is_asked_for(tmp_path: Path) -> None:
    whole = explained(tmp_path / "one", 3)
    times = np.sort(whole.triggers.time_us)
    low, high = int(times[50]), int(times[100])
    part = explained(tmp_path / "two", 3, from_us=low, to_us=high, entity="u1")
    rows = [row for row in whole.table().to_pylist() if row["entity"] == "u1"]
    rows = [row for row in rows if low <= round(row["event_time"].timestamp() * 1e6) < high]
    found = part.table().to_pylist()
    assert len(found) == len(rows) > 5
    for one, other in zip(found, rows, strict=True):
        assert same(one.pop("point_in_time"), other.pop("point_in_time"))  # summed by two threads in any order
        assert one == other
