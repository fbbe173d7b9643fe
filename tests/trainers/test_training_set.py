"""Training sets: labels within their horizon only, rows whose horizon is open left out, the same rows for the same log."""

from __future__ import annotations

from pathlib import Path

import harness
import pytest
from harness import PLAN, SECOND_US, START_US

from samestream.schemas.errors import TrainingError
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.transport import Outgoing
from samestream.trainers import dataset, training_set
from samestream.trainers.request import Request

MODEL = PLAN.models["Buys"]
WITHIN_US = 30 * 60 * SECOND_US


def view(user: str, at_us: int) -> Outgoing:
    known_us = at_us // 1000 * 1000 + 1000
    return harness.encode(PLAN, "View", user, known_us, user=user, product="p", seconds=1.0, at=at_us)


def order(user: str, at_us: int, amount: float = 1.0) -> Outgoing:
    return harness.encode(PLAN, "Order", user, at_us // 1000 * 1000 + 1000, user=user, amount=amount, at=at_us)


LATER = [order(f"w{number}", START_US + 3 * 3600 * SECOND_US) for number in range(20)]
"""Orders in every partition that come when the horizons are over."""


def logged(folder: Path, *records: Outgoing) -> FeatureLog:
    """The log after features were computed for some events, and their horizons are over."""
    transport = harness.fresh()
    harness.send(transport, sorted([*records, *LATER], key=lambda record: record.known_us))
    harness.work_off(transport, FeatureTask(PLAN))
    return harness.write_log(transport, FeatureLog(folder))


@pytest.mark.parametrize(
    ("after_us", "labelled"),
    [(0, False), (1, True), (WITHIN_US, True), (WITHIN_US + 1, False)],
    ids=["at the trigger's instant", "a microsecond later", "at the horizon", "a microsecond beyond"],
)
def test_a_label_moved_across_its_boundary_is_excluded(tmp_path: Path, after_us: int, labelled: bool) -> None:
    log = logged(
        tmp_path, view("u", START_US), order("u", START_US + after_us), view("v", START_US), order("v", START_US + 1)
    )
    rows = training_set.build(PLAN, MODEL, log)
    assert len(rows) == 1 + labelled


def test_a_row_without_label_is_no_negative(tmp_path: Path) -> None:
    log = logged(tmp_path, view("a", START_US), view("b", START_US), order("b", START_US + SECOND_US, -1.0))
    rows = training_set.build(PLAN, MODEL, log)
    assert rows.y.tolist() == [0.0]
    assert rows.manifest["counts"]["vectors"] == 2
    assert rows.manifest["parts"]["rows"]["rows"] == 1


def test_a_row_whose_horizon_is_not_over_is_none_yet(tmp_path: Path) -> None:
    """Its label is known, but one that no label came for in time would be left out: rows must not depend on haste."""
    late = START_US + 3 * 3600 * SECOND_US
    log = logged(tmp_path, view("u", START_US), order("u", START_US + 1), view("v", late), order("v", late + 1))
    rows = training_set.build(PLAN, MODEL, log)
    assert rows.event_time_us.tolist() == [START_US]
    assert rows.manifest["counts"]["horizon_not_over"] == 1


def test_the_manifest_makes_the_same_rows_again(tmp_path: Path) -> None:
    log = logged(tmp_path, view("u", START_US), order("u", START_US + 1), view("v", START_US), order("v", START_US + 1))
    rows = training_set.build(PLAN, MODEL, log)
    made = dataset.build(PLAN, Request("Buys"), log, harness.fresh, rows.manifest)
    assert made.digest == rows.manifest["digest"]
    assert made.parts["rows"]["bought"].to_pylist() == rows.y.tolist()


def test_the_first_known_label_wins(tmp_path: Path) -> None:
    log = logged(
        tmp_path, view("u", START_US), order("u", START_US + SECOND_US, 1.0), order("u", START_US + 2 * SECOND_US, -1.0)
    )
    assert training_set.build(PLAN, MODEL, log).y.tolist() == [1.0]


def test_the_range_is_of_trigger_event_times(tmp_path: Path) -> None:
    at = [START_US + number * SECOND_US for number in range(4)]
    log = logged(tmp_path, *[view("u", each) for each in at], order("u", START_US + 60 * SECOND_US))
    assert training_set.build(PLAN, MODEL, log, at[1], at[3]).event_time_us.tolist() == [at[1], at[2]]
    with pytest.raises(TrainingError, match="there is no vector in this range"):
        training_set.build(PLAN, MODEL, log, at[3] + 1)


def test_the_same_log_gives_the_same_bytes(tmp_path: Path) -> None:
    events = [record for record in harness.shop_events(200) if record.topic != "shop.prices"]
    sets = [training_set.build(PLAN, MODEL, logged(tmp_path / name, *events)) for name in ("one", "two")]
    assert sets[0].manifest == sets[1].manifest
    assert sets[0].x.tobytes() == sets[1].x.tobytes()


def test_an_empty_log_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the feature log holds no vectors") as told:
        training_set.build(PLAN, MODEL, FeatureLog(tmp_path))
    assert "Hint:" in str(told.value)
