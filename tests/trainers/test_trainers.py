"""Both trainers, for each kind of output: they learn, give the same bytes again, and no row sways another."""

import hashlib
import os
import subprocess
import sys
import textwrap
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samestream.schemas.errors import TrainingError
from samestream.streams.models.estimator import load_estimator
from samestream.streams.models.predictor import Predictor
from samestream.streams.models.scoring_metrics import log_loss, multiclass_log_loss, root_mean_squared_error
from samestream.trainers import gradient_boosting, linear
from samestream.trainers.train import TRAINERS

OUTPUTS = ("probability", "number", "class")
CLASSES = {"probability": (), "number": (), "class": ("low", "middle", "top")}


def rows(count=1500, seed=1):
    """Two numbers, one with nulls, a text of four categories and a column of nothing; what follows from them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 4))
    x[:, 2], x[:, 3] = rng.integers(0, 4, count), np.nan
    truth = 2 * x[:, 0] + np.array([0, 3, -3, 1])[x[:, 2].astype(int)] + rng.normal(size=count)
    x[rng.random(count) < 0.1, 1] = np.nan
    x[rng.random(count) < 0.1, 2] = np.nan
    return x, truth


def labels(truth, output):
    return {"probability": truth > 0.5, "number": truth, "class": np.digitize(truth, [-1.5, 2])}[output]


def predictor(trainer, output, params=None):
    x, truth = rows()
    fitted = TRAINERS[trainer](x, labels(truth, output), params, output=output, categorical=(2,))
    return Predictor(load_estimator(fitted.estimator, output), tuple("abcd"), output, CLASSES[output]), fitted


def said(model, x, output):
    return model.chances(x) if output == "class" else model.predict(x)


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("output", OUTPUTS)
def test_it_learns_from_numbers_and_texts(trainer, output):
    model, fitted = predictor(trainer, output)
    x, truth = rows(seed=2)
    y = labels(truth, output)
    if output == "number":
        assert root_mean_squared_error(y, model.predict(x)) < 0.6 * y.std()
        assert fitted.metrics["train_root_mean_squared_error"] < 0.6 * y.std()
        assert fitted.metrics["train_mean_absolute_error"] < fitted.metrics["train_root_mean_squared_error"]
    elif output == "probability":
        assert log_loss(y, model.predict(x)) < 0.7 * log_loss(y, np.full(len(y), y.mean()))
        assert fitted.metrics["train_auc"] > 0.9
    else:
        chances = model.chances(x)
        assert chances.shape == (len(x), 3)
        assert multiclass_log_loss(y, chances) < 0.7 * multiclass_log_loss(
            y, np.tile(np.bincount(y) / len(y), (len(y), 1))
        )
        assert model.predict(x).tobytes() == chances.max(axis=1).tobytes()
        assert fitted.metrics["train_accuracy"] > 0.7
    assert fitted.metrics["train_rows"] == 1500


MODELS = {(trainer, output): predictor(trainer, output)[0] for trainer in TRAINERS for output in OUTPUTS}
_UNSEEN = rows(200, seed=3)[0]


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("output", OUTPUTS)
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 200), max_size=6))
def test_any_split_of_the_rows_gives_the_same_bits(trainer, output, cuts):
    model = MODELS[trainer, output]
    whole = said(model, _UNSEEN, output)
    parts = [said(model, _UNSEEN[start:stop], output) for start, stop in pairwise([0, *sorted(cuts), 200])]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_one_row_at_a_time_gives_the_same_bits():
    for (_, output), model in MODELS.items():
        one_by_one = np.concatenate([said(model, _UNSEEN[row : row + 1], output) for row in range(200)])
        assert one_by_one.tobytes() == said(model, _UNSEEN, output).tobytes()


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("output", OUTPUTS)
def test_whatever_comes_later_is_answered(trainer, output):
    """Infinities, the greatest floats, categories never seen, and a column that training never saw filled."""
    model = MODELS[trainer, output]
    odd = np.tile(_UNSEEN[:1], (6, 1))
    odd[0, 0], odd[1, 0], odd[2, 1], odd[3, 1], odd[4, 2], odd[5, 3] = np.inf, -np.inf, 1.7e308, -1.7e308, 99, 5
    found = said(model, odd, output)
    assert len(found) == 6
    if output != "number":
        assert ((found >= 0) & (found <= 1))[~np.isnan(found)].all()
    as_null = _UNSEEN[:1].copy()
    as_null[0, 2] = np.nan
    if trainer == "gradient_boosting":
        assert found[4].tobytes() == said(model, as_null, output)[0].tobytes()
    assert found[5].tobytes() == said(model, _UNSEEN[:1], output)[0].tobytes()


@pytest.mark.parametrize("trainer", TRAINERS)
def test_threads_and_processes_change_no_bit(trainer):
    program = f"""
        import hashlib
        import numpy as np
        from samestream.trainers.train import TRAINERS
        rng = np.random.default_rng(1)
        x = np.column_stack([rng.normal(size=(6_000, 12)), rng.integers(0, 5, 6_000)])
        y = x @ rng.normal(size=13) + rng.normal(size=6_000)
        for output, label in ("probability", y > 1), ("number", y), ("class", np.digitize(y, [-2, 2])):
            fitted = TRAINERS["{trainer}"](x, label, {{"max_iter": 30}}, 7, output, (12,))
            print(hashlib.sha256(fitted.estimator).hexdigest(), fitted.metrics)
    """
    told = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
            env={**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            check=True,
            capture_output=True,
        ).stdout
        for threads in ("1", "2", "5")
    }
    assert len(told) == 1
    assert told.pop().count(b"\n") == 3


HALF = np.arange(60) % 2


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize(
    ("y", "output", "params", "message"),
    [
        (HALF[:49], "number", {}, "too few rows to train on\nFound: 49\nExpected: at least 50\nHint: "),
        (np.zeros(60), "probability", {}, r"all labels are the same\nFound: \[0.0\]\nExpected: both 0 and 1\nHint: "),
        (np.zeros(60), "class", {}, r"all labels are the same\nFound: \[0.0\]\nExpected: two classes at least\nHint: "),
        (
            np.arange(120),
            "class",
            {},
            "too many classes to train on\nFound: 120\nExpected: at most 100\nHint: Predict a",
        ),
        (HALF * 2, "probability", {}, r"neither 0 nor 1\nFound: \[0.0, 2.0\]\nHint: Declare the label as a comparison"),
        (np.where(HALF, np.inf, np.nan), "number", {}, "a label is null or infinite\nFound: 60 of 60 labels"),
        (HALF, "class", {"depth": 3}, "unknown params of .*\nFound: depth\nHint: Params are .*max_iter"),
        (HALF, "class", {"max_iter": -1}, "scikit-learn refuses to train\nFound: .*'max_iter'"),
    ],
)
def test_both_refuse_alike(trainer, y, output, params, message):
    with pytest.raises(TrainingError, match=message):
        TRAINERS[trainer](np.random.default_rng(1).normal(size=(len(y), 2)), y, params, output=output)


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("output", OUTPUTS)
def test_immense_inputs_and_labels_stop_nothing(trainer, output):
    x, truth = rows(300)
    x[:3, 0], x[3:5, 1] = [1.7e308, -1.7e308, np.inf], 1.7e308
    y = labels(truth, output)
    if output == "number":
        y[0] = 1e200
    fitted = TRAINERS[trainer](x, y, output=output, categorical=(2,))
    assert np.isfinite(list(fitted.metrics.values())).all()
    model = Predictor(load_estimator(fitted.estimator, output), tuple("abcd"), output, CLASSES[output])
    assert np.isfinite(said(model, x, output)).all()


def test_a_constant_number_is_no_obstacle():
    for fit in TRAINERS.values():
        fitted = fit(rows(100)[0], np.full(100, 7.0), output="number")
        assert fitted.metrics["train_root_mean_squared_error"] < 1e-9


def test_declarations_name_the_trainers_there_are():
    for made in (
        gradient_boosting(every="1d", history="30d", max_iter=5),
        linear(every="1d", history="30d", max_iter=5),
    ):
        assert TRAINERS[made.name]
        assert made.params == {"max_iter": 5}


def test_the_regularization_is_that_of_ridge_and_of_logistic():
    x, truth = rows()
    digests = set()
    for output in OUTPUTS:
        sizes = []
        for weight in (0.0, 1.0, 1e4):
            fitted = TRAINERS["linear"](x, labels(truth, output), {"regularization": weight}, output=output)
            sizes.append(float(np.abs(load_estimator(fitted.estimator, output)[-1].coef_).sum()))
            digests.add(hashlib.sha256(fitted.estimator).hexdigest())
        assert sizes[0] >= sizes[1] > 2 * sizes[2]
    assert len(digests) == 9
