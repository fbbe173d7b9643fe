"""The figures of a model by its outcomes: the right ones for what it says, the last label of each, no matter the order."""

import random
from math import log

import pytest

from samestream.streams.models.performance import performance


def outcome(offset, score, label=None, state="labelled", value=None, label_value=None, label_probability=None):
    place = {"trigger_topic": "t", "trigger_partition": 0, "trigger_offset": offset, "state": state, "score": score}
    classes = {"value": value, "label_value": label_value, "label_probability": label_probability}
    return {**place, "label": label, **classes}


def test_a_probability():
    found = [outcome(1, 0.9, 1.0), outcome(2, 0.2, 0.0), outcome(3, 0.5, state="unlabelled")]
    figures = performance("probability", found, 0.5)
    assert figures == {
        "rows": 2,
        "log_loss": pytest.approx(-(log(0.9) + log(0.8)) / 2),
        "auc": 1.0,
        "baseline_log_loss": pytest.approx(log(2)),
    }
    assert performance("probability", found[:1])["auc"] is None


def test_a_number():
    found = [outcome(1, 10.0, 13.0), outcome(2, -5.0, -9.0), outcome(3, None, 2.0)]
    assert performance("number", found, 1) == {
        "rows": 2,
        "root_mean_squared_error": pytest.approx(12.5**0.5),
        "mean_absolute_error": 3.5,
        "baseline_root_mean_squared_error": pytest.approx(((12**2 + 10**2) / 2) ** 0.5),
    }


def test_a_class():
    found = [
        outcome(1, 0.7, value="a", label_value="a", label_probability=0.7),
        outcome(2, 0.6, value="a", label_value="", label_probability=0.1),
        outcome(3, 0.9, value="b", label_value="new", label_probability=0.0),
    ]
    figures = performance("class", found, {"a": 0.5, "": 0.25, "b": 0.25})
    never = -log(2.220446049250313e-16)
    assert figures == {
        "rows": 3,
        "log_loss": pytest.approx((-log(0.7) - log(0.1) + never) / 3),
        "accuracy": pytest.approx(1 / 3),
        "baseline_log_loss": pytest.approx((-log(0.5) - log(0.25) + never) / 3),
        "baseline_accuracy": pytest.approx(1 / 3),
    }


def test_a_correction_replaces_and_the_order_of_triggers_changes_no_bit():
    draw = random.Random(1)
    found = [outcome(number, draw.random(), float(draw.random() < 0.5)) for number in range(100)]
    figures = performance("probability", found)
    draw.shuffle(found)
    assert performance("probability", found) == figures
    corrected = performance("number", [outcome(1, 1.0, 5.0), outcome(1, 1.0, 2.0, "correction")])
    assert (corrected["rows"], corrected["mean_absolute_error"]) == (1, 1.0)


def test_nothing_to_judge():
    for output in ("probability", "number", "class"):
        assert performance(output, [outcome(1, 0.5, state="unlabelled")], 0.5) == {"rows": 0}
