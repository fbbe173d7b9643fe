"""What is told of a model that has aged: its errors before and after, the worst predictions, and where they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from made_outcomes import DAY, HOUR, NEEDED, START, life

from samestream.monitors.declared import Calibration, Declared, Performance
from samestream.monitors.drift_evidence import MOST_BYTES
from samestream.monitors.incidents import IncidentRecord, Lineage
from samestream.monitors.outcome_watch import OutcomeWatch
from samestream.streams.engine import value_arrays

Change = Callable[[dict[str, Any], bool], dict[str, Any]]
ERRORS = (Performance(),)
AGED_US = START + (NEEDED + 5) * DAY


def aged(change: Change) -> Iterator[tuple[int, dict[str, Any]]]:
    """Outcomes of a calm model; change : what becomes of each, given whether the model has aged."""
    for at_us, row in life(NEEDED + 10):
        yield at_us, change(row, at_us >= AGED_US)


def told(change: Change, output: Any = "probability", checks: Any = ERRORS, every: int = 0) -> list[IncidentRecord]:
    """What is said of the model. every : outcomes after which the watch is packed and unpacked, 0 for never."""
    declared = Declared(of=type("M", (), {}), alarms_per_week=4.0, scores=checks)
    watch = OutcomeWatch(Lineage("M", ("x",), {}), output, declared, settle_us=2 * HOUR)
    for number, (at_us, row) in enumerate(aged(change)):
        watch.on_outcome(at_us, row)
        if every and number % every == every - 1:
            watch = value_arrays.unpack(value_arrays.pack(watch))
    records = watch.records()
    assert [record.event for record in records].count("open") == 1
    assert records[0].at_us > AGED_US
    assert max(len(json.dumps(record.evidence, allow_nan=False)) for record in records) <= MOST_BYTES
    return records


def flipped(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "label": 1.0 - row["label"]}


def is_evening(row: dict[str, Any]) -> bool:
    return bool(row["event_time"] % DAY >= 18 * HOUR)


def test_errors_before_and_after_and_the_worst_predictions() -> None:
    opened, retold = told(lambda row, old: flipped(row) if old else row)
    assert [(one.event, one.verdict) for one in (opened, retold)] == [("open", "model_aged"), ("update", "model_aged")]
    assert DAY <= retold.at_us - opened.at_us < DAY + HOUR
    assert {one.evidence["incidents_of_28_days"] for one in (opened, retold)} == {1}
    assert retold.evidence["predictions_after"] > opened.evidence["predictions_after"] + 200
    evidence = opened.evidence
    shown = evidence["histogram"]
    assert len(shown["from"]) == len(shown["before"]) == len(shown["after"])
    assert sum(shown["after"]) == evidence["predictions_after"]
    shares = [np.array(shown[side]) / sum(shown[side]) for side in ("before", "after")]
    assert shares[1][-3:].sum() > 1.5 * shares[0][-3:].sum()
    worst = evidence["examples"]
    assert len({one["key"] for one in worst}) == len(worst) == 5
    assert [one["error"] for one in worst] == sorted((one["error"] for one in worst), reverse=True)
    assert worst[0]["error"] > 0.5
    for one in worst:
        assert one["key"] == f"e{one['offset']}"
        assert one["error"] == pytest.approx((one["score"] - one["label"]) ** 2, rel=1e-4)
        assert (one["topic"], one["partition"], one["version"]) == ("t", 0, "1")


def test_a_part_of_the_day_that_aged_is_named() -> None:
    evidence = told(lambda row, old: flipped(row) if old and is_evening(row) else row)[1].evidence
    named = {(one["by"], one["is"]) for one in evidence["slices"] if one["by"] == "part of the day"}
    assert named
    assert named <= {("part of the day", "18:00-21:00 UTC"), ("part of the day", "21:00-00:00 UTC")}


def test_a_version_that_errs_is_named_and_one_where_errors_always_were_is_not() -> None:
    def new_version(row: dict[str, Any], old: bool) -> dict[str, Any]:
        bad = old and row["trigger_offset"] % 3 == 0
        return {**(flipped(row) if bad else row), "version": "2" if bad else "1"}

    (told_of,) = (one for one in told(new_version)[1].evidence["slices"] if one["by"] == "version")
    assert (told_of["is"], told_of["share_of_faulty"] > 0.6) == ("2", True)

    def bad_version(row: dict[str, Any], old: bool) -> dict[str, Any]:
        is_bad = row["trigger_offset"] % 4 == 0
        worse = flipped(row) if is_bad or (old and row["trigger_offset"] % 4 < 3) else row
        return {**worse, "version": "2" if is_bad else "1"}

    evidence = told(bad_version)[1].evidence
    assert "version" in evidence["slices_by"]
    assert not any((one["by"], one["is"]) == ("version", "2") for one in evidence["slices"])


def test_classes_are_right_or_wrong() -> None:
    def said(row: dict[str, Any], old: bool) -> dict[str, Any]:
        number = row["trigger_offset"]
        wrong = number % 10 == 0 or (old and number % 3 == 0)
        value = "cat" if number % 2 else "dog"
        return {**row, "value": value, "label_value": "cow" if wrong else value}

    evidence = told(said, "class")[0].evidence
    assert evidence["histogram"]["texts"] == ["right", "wrong"]
    assert evidence["histogram"]["after"][1] > evidence["histogram"]["before"][1] == pytest.approx(0.1, abs=0.01)
    assert {one["label_value"] for one in evidence["examples"]} == {"cow"}
    assert "predicted" in evidence["slices_by"]


def test_calibration_alone_tells_it_too() -> None:
    evidence = told(lambda row, old: flipped(row) if old else row, checks=(Calibration(),))[0].evidence
    assert evidence["detector"] == "calibration"
    assert len(evidence["examples"]) == 5
    assert evidence["histogram"]["of"] == "errors"


def test_restarts_change_nothing() -> None:
    def change(row: dict[str, Any], old: bool) -> dict[str, Any]:
        return flipped(row) if old else row

    assert told(change, every=777) == told(change)
