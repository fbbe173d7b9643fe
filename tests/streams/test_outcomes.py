"""Predictions joined with labels: the horizon to the microsecond, the first label wins, corrections, closing."""

from __future__ import annotations

from typing import Any

import harness
import pytest
from harness import PLAN, SECOND_US, START_US

from samestream.schemas import records
from samestream.schemas.avro import Codec
from samestream.streams.models.outcomes import OutcomeTask
from samestream.streams.transport import Outgoing

MODEL = PLAN.models["Buys"]
WITHIN_US = 30 * 60 * SECOND_US
HOUR_US = 3600 * SECOND_US
_PREDICTION, _OUTCOME = Codec(records.PREDICTION), Codec(records.OUTCOME)


def prediction(user: str, at_us: int, offset: int = 0) -> Outgoing:
    value = {
        "entity": user,
        "event_time": at_us,
        "trigger_topic": "shop.views",
        "trigger_partition": 0,
        "trigger_offset": offset,
        "model": "Buys",
        "version": "1",
        "fingerprint": MODEL.fingerprint,
        "score": 0.25,
    }
    return Outgoing(MODEL.topics["predictions"], user.encode(), _PREDICTION.encode(value), at_us // 1000 * 1000)


def order(user: str, at_us: int, amount: float = 5.0, *, known_us: int | None = None) -> Outgoing:
    known_us = at_us // 1000 * 1000 + 1000 if known_us is None else known_us
    return harness.encode(PLAN, "Order", user, known_us, user=user, amount=amount, at=at_us)


def clock(at_us: int) -> list[Outgoing]:
    """Orders of nobody in particular, in both partitions, that move the label watermark."""
    return [order("other", at_us)._replace(partition=number) for number in (0, 1)]


def outcomes(*sent: Outgoing, batch_records: int = 20_000) -> list[dict[str, Any]]:
    transport = harness.fresh()
    harness.send(transport, sent)
    harness.work_off(transport, OutcomeTask(PLAN, MODEL), batch_records=batch_records)
    topic = MODEL.topics["outcomes"]
    return [_OUTCOME.decode(value or b"") for _, _, value, _ in harness.contents(transport, [topic])[topic]]


def states(found: list[dict[str, Any]]) -> list[tuple[str, float | None]]:
    return [(one["state"], one["label"]) for one in found]


@pytest.mark.parametrize(
    ("after_us", "counts"),
    [(0, False), (1, True), (WITHIN_US, True), (WITHIN_US + 1, False)],
    ids=["at the trigger's instant", "a microsecond later", "at the horizon", "a microsecond beyond"],
)
def test_the_horizon_to_the_microsecond(after_us: int, counts: bool) -> None:
    found = outcomes(prediction("u", START_US), order("u", START_US + after_us), *clock(START_US + 5 * HOUR_US))
    assert states(found) == [("labelled", 1.0) if counts else ("unlabelled", None)]


def test_nothing_closes_before_every_partition_has_passed_the_horizon() -> None:
    far = START_US + 5 * HOUR_US
    assert outcomes(prediction("u", START_US), clock(far)[0]) == []
    # lateness is 10 minutes: the watermark stands at the horizon itself, and an order at the horizon could still come
    assert outcomes(prediction("u", START_US), *clock(START_US + WITHIN_US + 600 * SECOND_US)) == []
    assert states(outcomes(prediction("u", START_US), *clock(far))) == [("unlabelled", None)]


def test_the_first_label_wins_and_another_value_is_a_correction() -> None:
    minute = 60 * SECOND_US
    found = outcomes(
        prediction("u", START_US),
        order("u", START_US + minute, 5.0),
        order("u", START_US + 2 * minute, 7.0),  # the same label: an order above nothing
        order("u", START_US + 3 * minute, -1.0),
    )
    assert states(found) == [("labelled", 1.0), ("correction", 0.0)]
    assert found[0]["label_time"] == START_US + minute
    assert {one["trigger_offset"] for one in found} == {0}


def test_every_prediction_of_a_key_has_its_own_outcome() -> None:
    at = [START_US, START_US + 60 * SECOND_US]
    found = outcomes(
        prediction("u", at[0], 0), prediction("u", at[1], 1), order("u", at[1]), *clock(START_US + 5 * HOUR_US)
    )
    assert [(one["trigger_offset"], one["state"]) for one in found] == [(0, "labelled"), (1, "unlabelled")]


def test_a_prediction_that_comes_after_its_label_finds_it() -> None:
    """Predictions are made live, while labels may already lie in the log."""
    late = prediction("u", START_US)._replace(known_us=START_US + 20 * HOUR_US // 1)
    found = outcomes(order("u", START_US + SECOND_US), *clock(START_US + 5 * HOUR_US), late)
    assert states(found) == [("labelled", 1.0)]


@pytest.mark.parametrize("batch_records", [1, 2, 3, 7])
def test_batches_change_nothing(batch_records: int) -> None:
    sent = []
    for number in range(20):
        at = START_US + number * 400 * SECOND_US
        sent.append(prediction(f"u{number % 4}", at, number))
        if number % 3:
            sent.append(order(f"u{number % 4}", at + 100 * SECOND_US, 1.0 if number % 2 else -1.0))
    sent += clock(START_US + 9 * HOUR_US)
    assert outcomes(*sent, batch_records=batch_records) == outcomes(*sent)
