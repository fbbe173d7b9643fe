"""Nothing of the future enters a vector: not by a microsecond, not in any order of arrival, in none of the readings of the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import harness
import pytest
from harness import PLAN, SECOND_US, START_US
from hypothesis import given, settings
from hypothesis import strategies as st

from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.vector_replay import replayed
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.transport import Outgoing
from samestream.trainers import dataset
from samestream.trainers.request import Request

MINUTE_US = 60 * SECOND_US
END = [
    harness.encode(
        PLAN, "Order", f"w{n}", START_US + 90 * MINUTE_US, user=f"w{n}", amount=1.0, at=START_US + 90 * MINUTE_US
    )
    for n in range(20)
]
"""Orders in every partition that come when the horizons are over."""


def event(what: str, at_us: int, known_us: int | None = None) -> Outgoing:
    known_us = at_us // 1000 * 1000 + 1000 if known_us is None else known_us
    match what:
        case "view":
            return harness.encode(PLAN, "View", "u", known_us, user="u", product="p", seconds=1.5, at=at_us)
        case "price":
            return harness.encode(PLAN, "Price", "p", known_us, product="p", cents=at_us % 1000, at=at_us)
        case _:
            return harness.encode(PLAN, "Order", "u", known_us, user="u", amount=-1.0, at=at_us)


def logged(folder: Path, events: list[Outgoing]) -> tuple[MemoryTransport, FeatureLog]:
    transport = harness.fresh()
    harness.send(transport, [*sorted(events, key=lambda record: record.known_us), *END])
    harness.work_off(transport, FeatureTask(PLAN))
    return transport, harness.write_log(transport, FeatureLog(folder))


def vectors(transport: MemoryTransport, log: FeatureLog, names: list[str]) -> dict[str, list[tuple[Any, ...]]]:
    """By reading of the log, the inputs of the views at the start."""
    found: dict[str, list[tuple[Any, ...]]] = {"replay": []}
    for mode in ("served", "as_known", "point_in_time"):
        asked = Request("Buys", mode, START_US, START_US + 1)  # type: ignore[arg-type]
        rows = dataset.build(PLAN, asked, log, lambda: transport).parts["rows"].to_pylist()
        found[mode] = sorted(tuple(row[name] for name in names) for row in rows)
    for _, _, every in replayed(PLAN, transport, log):
        for part in every:
            for row in (part.event_time_us == START_US).nonzero()[0].tolist():
                values = ((part.features[name].values[row], part.features[name].valid[row]) for name in names)
                found["replay"].append(tuple(value.item() if there else None for value, there in values))
    found["replay"].sort()
    return found


@pytest.mark.parametrize(
    ("at_us", "counts"),
    [(-10 * MINUTE_US - 1, False), (-10 * MINUTE_US, True), (-1, True), (0, False), (1, False)],
    ids=["a microsecond before the window", "where it begins", "a microsecond before the instant", "at it", "after it"],
)
def test_a_feature_moved_across_its_boundary_is_excluded(tmp_path: Path, at_us: int, counts: bool) -> None:
    label = event("order", START_US + MINUTE_US)
    known_us = START_US - MINUTE_US if at_us > -MINUTE_US else None  # an event of the future that is known beforehand
    other = event("view", START_US + at_us, known_us)
    found = vectors(*logged(tmp_path, [other, event("view", START_US), label]), ["views"])
    for reading, rows in found.items():
        assert set(rows) == {(int(counts),)}, reading


PAST = st.lists(
    st.tuples(st.sampled_from(["view", "price"]), st.sampled_from([1, 2, SECOND_US, 9 * MINUTE_US, 10 * MINUTE_US])),
    max_size=4,
)
FUTURE = st.lists(
    st.tuples(
        st.sampled_from(["view", "price", "order"]),
        st.sampled_from([0, 1, 2, 999, SECOND_US, 20 * MINUTE_US]),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=8, deadline=None)
@given(past=PAST, future=FUTURE)
def test_no_future_value_enters_a_vector(
    tmp_path_factory: pytest.TempPathFactory, past: list[tuple[str, int]], future: list[tuple[str, int, bool]]
) -> None:
    """Be it known beforehand or afterwards, what happens at the instant or later changes no input."""
    names = ["views", "seconds", "cents", "spread"]
    known = [event(what, START_US - before_us, START_US - SECOND_US) for what, before_us in past]
    known += [event("view", START_US), event("order", START_US + 25 * MINUTE_US)]
    later = [
        event(what, START_US + after_us, START_US - SECOND_US if early and after_us <= SECOND_US else None)
        for what, after_us, early in future
    ]
    without = vectors(*logged(tmp_path_factory.mktemp("without"), known), names)
    found = vectors(*logged(tmp_path_factory.mktemp("with"), [*known, *later]), names)
    for reading, rows in found.items():
        assert set(rows) == set(without[reading]), reading
