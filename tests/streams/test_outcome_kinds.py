"""Outcomes of numbers and of classes: joined, corrected, closed, as those of conditions are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import harness
import pytest
from harness import SECOND_US, START_US

from samestream.schemas import records
from samestream.schemas.app import load
from samestream.schemas.avro import Codec
from samestream.streams.lowering import compile_app
from samestream.streams.models.outcomes import OutcomeTask
from samestream.streams.transport import Outgoing

KINDS = load(str(Path(harness.__file__).with_name("kinds.py")))
PLAN = compile_app(KINDS)
HOUR_US = 3600 * SECOND_US
_PREDICTION, _OUTCOME = Codec(records.PREDICTION), Codec(records.OUTCOME)


def prediction(model: str, number: int, **said: Any) -> Outgoing:
    at_us = START_US + number * SECOND_US
    place = {"trigger_topic": "kinds.parcels", "trigger_partition": 0, "trigger_offset": number}
    value = {"entity": f"n{number}", "event_time": at_us, **place, "model": model, "version": "1", "fingerprint": "f"}
    topic = PLAN.models[model].topics["predictions"]
    return Outgoing(topic, f"n{number}".encode(), _PREDICTION.encode(value | said), at_us)


def delivery(number: int, after_us: int, hours: float = 1.0, place: str | None = "door") -> Outgoing:
    at = START_US + number * SECOND_US + after_us
    values: dict[str, Any] = {"carrier": "a", "hours": hours, "place": place, "at": at}
    return harness.encode(PLAN, "Delivery", f"n{number}", at + 1000, parcel=f"n{number}", **values)


CLOCK = [delivery(999, 40 * HOUR_US)._replace(partition=number) for number in (0, 1)]


def outcomes(model: str, *sent: Outgoing, batch_records: int = 20_000) -> list[dict[str, Any]]:
    transport = harness.fresh(KINDS, PLAN)
    harness.send(transport, sent)
    harness.work_off(transport, OutcomeTask(PLAN, PLAN.models[model]), PLAN, batch_records=batch_records)
    topic = PLAN.models[model].topics["outcomes"]
    return [_OUTCOME.decode(value or b"") for _, _, value, _ in harness.contents(transport, [topic])[topic]]


CHANCES = {"value": "door", "score": 0.75, "probabilities": {"door": 0.75, "shop": 0.25}}


@pytest.mark.parametrize("batch_records", [1, 20_000])
def test_a_class_that_is_joined_corrected_and_never_heard_of(batch_records: int) -> None:
    found = outcomes(
        "Place",
        prediction("Place", 1, **CHANCES),
        delivery(1, HOUR_US, place=None),  # no label yet
        delivery(1, 2 * HOUR_US, place="shop"),
        delivery(1, 3 * HOUR_US, place="shop"),  # the same again
        delivery(1, 4 * HOUR_US, place="moon"),
        delivery(1, 5 * HOUR_US, place=""),
        delivery(1, 6 * HOUR_US, place="door"),
        delivery(1, 12 * HOUR_US + 1, place="shop"),  # beyond the horizon
        batch_records=batch_records,
    )
    assert [(one["state"], one["label_value"], one["label_probability"]) for one in found] == [
        ("labelled", "shop", 0.25),
        ("correction", "moon", 0.0),
        ("correction", "", 0.0),
        ("correction", "door", 0.75),
    ]
    assert {(one["value"], one["score"], one["label"]) for one in found} == {("door", 0.75, None)}
    assert found[0]["label_time"] == START_US + SECOND_US + 2 * HOUR_US


def test_a_number_keeps_its_value_whatever_it_is() -> None:
    found = outcomes(
        "Hours",
        prediction("Hours", 1, score=-12.5),
        delivery(1, HOUR_US, -0.25),
        delivery(1, 2 * HOUR_US, 1e300),
        delivery(1, 3 * HOUR_US, float("inf")),
        delivery(1, 4 * HOUR_US, float("nan")),  # as null: nothing new
    )
    assert [(one["state"], one["label"], one["score"]) for one in found] == [
        ("labelled", -0.25, -12.5),
        ("correction", 1e300, -12.5),
        ("correction", float("inf"), -12.5),
    ]
    assert {(one["value"], one["label_value"], one["label_probability"]) for one in found} == {(None, None, None)}


@pytest.mark.parametrize("model", ["Slow", "Hours", "Place"])
def test_a_prediction_of_nothing_is_joined_and_closed_as_any_other(model: str) -> None:
    told, untold = prediction(model, 1, score=None), prediction(model, 2, score=None)
    found = outcomes(model, told, untold, delivery(1, HOUR_US), *CLOCK)
    assert [(one["state"], one["score"], one["value"]) for one in found] == [
        ("labelled", None, None),
        ("unlabelled", None, None),
    ]
    assert {one["label_probability"] for one in found} == {None}
    assert found[1]["label"] is found[1]["label_value"] is None
