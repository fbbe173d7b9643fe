"""The label of a training set is the one that outcomes were labelled with, whatever the stamps and the order of what happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import harness
import pytest
from harness import PLAN, SECOND_US, START_US
from hypothesis import given, settings
from hypothesis import strategies as st

from samestream.schemas import records
from samestream.schemas.avro import Codec
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.models.outcomes import OutcomeTask
from samestream.streams.transport import Outgoing
from samestream.trainers import dataset
from samestream.trainers.request import Request

MODEL = PLAN.models["Buys"]
MINUTE_US = 60 * SECOND_US
_PREDICTION, _OUTCOME = Codec(records.PREDICTION), Codec(records.OUTCOME)

# (event time, known time: minutes after the view; amount; partition)
ORDER = st.tuples(
    st.integers(-5, 45), st.integers(0, 60), st.sampled_from([1.0, -1.0, float("nan")]), st.sampled_from([0, 1])
)


def order(at_min: int, known_min: int, amount: float, partition: int, user: str = "u") -> Outgoing:
    at_us, known_us = START_US + at_min * MINUTE_US, START_US + max(known_min, at_min) * MINUTE_US
    made = harness.encode(PLAN, "Order", user, known_us, user=user, amount=amount, at=at_us)
    return made._replace(partition=partition)


def online_and_offline(folder: Path, orders: list[Outgoing]) -> tuple[float | None, float | None]:
    """What a view is labelled with, by outcomes and by a training set; None if with nothing."""
    transport, topic = harness.fresh(), MODEL.topics["outcomes"]
    seen = harness.encode(PLAN, "View", "u", START_US + 1000, user="u", product="p", seconds=1.0, at=START_US)
    other = seen._replace(
        value=Codec(PLAN.events["View"].schema).encode({"user": "v", "product": "p", "seconds": 1.0, "at": START_US}),
        key=b"v",
    )
    ends = [order(300, 300, 1.0, number, "w") for number in (0, 1)]
    harness.send(transport, [seen, other, order(1, 1, 1.0, 0, "v"), order(1, 1, 1.0, 1, "w"), *orders, *ends])
    harness.work_off(transport, FeatureTask(PLAN))
    predicted: dict[str, Any] = {
        "entity": "u",
        "event_time": START_US,
        "trigger_topic": "shop.views",
        "trigger_partition": 0,
        "trigger_offset": 0,
        "model": "Buys",
        "version": "1",
        "fingerprint": MODEL.fingerprint,
        "score": 0.25,
    }
    value = _PREDICTION.encode(predicted)
    harness.send(transport, [Outgoing(MODEL.topics["predictions"], b"u", value, START_US + 1000)])
    harness.work_off(transport, OutcomeTask(PLAN, MODEL))
    found = [_OUTCOME.decode(value or b"") for _, _, value, _ in harness.contents(transport, [topic])[topic]]
    assert found[0]["state"] in ("labelled", "unlabelled")
    log = harness.write_log(transport, FeatureLog(folder))
    rows = dataset.build(PLAN, Request("Buys"), log, harness.fresh).parts["rows"].to_pylist()
    assert "v" in {row["entity"] for row in rows}
    return found[0]["label"], next((row["bought"] for row in rows if row["entity"] == "u"), None)


@settings(max_examples=25, deadline=None)
@given(orders=st.lists(ORDER, min_size=1, max_size=5))
def test_a_training_set_has_the_label_of_the_outcome(
    tmp_path_factory: pytest.TempPathFactory, orders: list[Any]
) -> None:
    online, offline = online_and_offline(tmp_path_factory.mktemp("log"), [order(*one) for one in orders])
    assert offline == online


@pytest.mark.parametrize("first", [1.0, -1.0])
def test_of_two_answers_the_one_with_the_smaller_offset_is_first(tmp_path: Path, first: float) -> None:
    answers = [order(2, 20, first, 0), order(2, 10, -first, 0)]
    assert online_and_offline(tmp_path, answers) == (float(first > 0), float(first > 0))


def test_what_came_too_late_is_no_label(tmp_path: Path) -> None:
    assert online_and_offline(tmp_path, [order(30, 30, 1.0, 0, "w"), order(5, 31, 1.0, 0)]) == (None, None)
