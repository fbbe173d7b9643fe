"""Outcomes against a few lines of plain Python: whatever the kind of label, the batches and the restarts."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import SECOND_US, START_US
from hypothesis import given, settings
from hypothesis import strategies as st

from samestream.schemas import records
from samestream.schemas.app import load
from samestream.schemas.avro import Codec
from samestream.streams.lowering import compile_app
from samestream.streams.models.outcomes import OutcomeTask
from samestream.streams.transport import Outgoing

KINDS = load(str(Path(harness.__file__).with_name("kinds.py")))
PLAN = compile_app(KINDS)
HOUR_US = 3600 * SECOND_US
WITHIN_US = 12 * HOUR_US
CHANCES = {"": 0.25, "a": 0.75}
_PREDICTION, _OUTCOME = Codec(records.PREDICTION), Codec(records.OUTCOME)

# (hours since the last happening, whose, hours taken or NaN, place, None: a prediction instead of a delivery)
HAPPENING = st.tuples(
    st.sampled_from([0, 1, 5, 11, 12, 13]),
    st.sampled_from("uv"),
    st.sampled_from([3.0, 12.0, 14.0, -0.0, float("nan")]),
    st.sampled_from([None, "", "a", "b"]),
    st.booleans(),
)


def sent(model: str, happenings: list[Any]) -> tuple[list[Outgoing], list[tuple[int, Any]]]:
    """The records, and the same as (time, whose and what) for the oracle; every one a millisecond after the last."""
    topic, out, plain, at_us = PLAN.models[model].topics["predictions"], [], [], START_US
    for number, (wait, who, hours, place, predicted) in enumerate(happenings):
        at_us += wait * HOUR_US + 1000
        if predicted:
            origin = {"trigger_topic": "kinds.parcels", "trigger_partition": 0, "trigger_offset": number}
            value = {"entity": who, "event_time": at_us, **origin, "model": model, "version": "1", "fingerprint": "f"}
            value |= {"score": 0.75, "value": "a", "probabilities": CHANCES} if model == "Place" else {"score": 0.5}
            out.append(Outgoing(topic, who.encode(), _PREDICTION.encode(value), at_us))
            plain.append((at_us, (who, "predicted", number)))
        else:
            values = {"parcel": who, "carrier": "c", "hours": hours, "place": place, "at": at_us}
            out.append(harness.encode(PLAN, "Delivery", who, at_us, **values))
            nothing = hours != hours
            said = {"Place": place, "Hours": None if nothing else hours, "Slow": None if nothing else hours > 12}
            plain.append((at_us, (who, "delivered", said[model])))
    far = {"carrier": "c", "hours": 1.0, "place": None, "at": at_us + 40 * HOUR_US}
    for number in (0, 1):
        last = harness.encode(PLAN, "Delivery", "x", far["at"], parcel="x", **far)  # type: ignore[arg-type]
        out.append(last._replace(partition=number))
    return out, plain


def expected(plain: list[tuple[int, Any]]) -> dict[int, list[tuple[str, Any]]]:
    """Per prediction, by its number: the outcomes in order."""
    found = {}
    for at_us, (who, what, number) in plain:
        if what == "predicted":
            labels = [
                said
                for time_us, (whose, event, said) in plain
                if (whose, event) == (who, "delivered") and said is not None and at_us < time_us <= at_us + WITHIN_US
            ]
            changes = [label for place, label in enumerate(labels) if place == 0 or label != labels[place - 1]]
            states = ["labelled"] + ["correction"] * len(changes)
            found[number] = list(zip(states, changes, strict=False)) or [("unlabelled", None)]
    return found


@pytest.mark.parametrize("model", ["Slow", "Hours", "Place"])
@settings(max_examples=12, deadline=None)
@given(happenings=st.lists(HAPPENING, min_size=1, max_size=14), cut=st.integers(0, 14), size=st.integers(1, 5))
def test_outcomes_are_what_the_words_say(model: str, happenings: list[Any], cut: int, size: int) -> None:
    records_, plain = sent(model, happenings)
    transport = harness.fresh(KINDS, PLAN)
    for part in (records_[:cut], records_[cut:]):
        harness.send(transport, part)
        harness.work_off(transport, OutcomeTask(PLAN, PLAN.models[model]), PLAN, batch_records=size)
    topic = PLAN.models[model].topics["outcomes"]
    found: dict[int, list[tuple[str, Any]]] = defaultdict(list)
    for _, _, value, _ in harness.contents(transport, [topic])[topic]:
        one = _OUTCOME.decode(value or b"")
        label = one["label_value"] if model == "Place" else one["label"]
        found[one["trigger_offset"]].append((one["state"], label))
        if model == "Place" and label is not None:
            assert one["label_probability"] == CHANCES.get(label, 0.0)
    assert found == expected(plain)
