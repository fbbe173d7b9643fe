"""Equal rows give the equal model; wrong rows give an error that says so. The scores of scores are exact."""

import doctest
import hashlib
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from samestream.schemas.errors import EmptyWindowError, TrainingError
from samestream.streams.models import scoring_metrics
from samestream.streams.models.estimator import load_estimator
from samestream.streams.models.predictor import Predictor
from samestream.streams.models.scoring_metrics import auc, log_loss, mean_absolute_error
from samestream.trainers.boosted_trees import fit

LABELS = np.arange(60) % 2


def history(rows, seed=1):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 5))
    y = np.nan_to_num(x[:, 0]) + 0.5 * np.nan_to_num(x[:, 1]) + rng.normal(size=rows)
    x[rng.random(x.shape) < 0.1] = np.nan
    return x, y


def test_it_learns_and_says_how_well():
    x, y = history(4000)
    fitted = fit(x, y > 1, seed=3)
    assert fitted.metrics["train_rows"] == 4000
    assert fitted.metrics["train_mean_label"] == (y > 1).mean()
    unseen, truth = history(4000, seed=2)
    scores = Predictor(load_estimator(fitted.estimator, "probability"), tuple("abcde"), "probability").predict(unseen)
    assert 0.75 < auc(truth > 1, scores) < fitted.metrics["train_auc"] < 0.95
    assert log_loss(truth > 1, scores) < log_loss(truth > 1, np.full(4000, (truth > 1).mean())) - 0.08


def test_a_number_is_predicted_by_a_regressor():
    x, y = history(3000)
    fitted = fit(x, y, {"max_iter": 50}, output="number")
    scores = Predictor(load_estimator(fitted.estimator, "number"), tuple("abcde"), "number").predict(x)
    assert fitted.metrics["train_mean_absolute_error"] == mean_absolute_error(y, scores) < 0.95
    assert np.abs(y - y.mean()).mean() > 1.1


def test_threads_and_processes_change_no_bit():
    program = """
        import hashlib
        import numpy as np
        from samestream.streams.models.estimator import load_estimator
        from samestream.streams.models.predictor import Predictor
        from samestream.trainers.boosted_trees import fit
        rng = np.random.default_rng(1)
        x = rng.normal(size=(20_000, 5))
        y = x[:, 0] + rng.normal(size=20_000)
        for output, label in ("probability", y > 1), ("number", y):
            fitted = fit(x, label, {"max_iter": 40}, 7, output)
            scores = Predictor(load_estimator(fitted.estimator, output), tuple("abcde"), output).predict(x)
            print(hashlib.sha256(fitted.estimator).hexdigest(), hashlib.sha256(scores).hexdigest(), fitted.metrics)
    """
    said = {
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)],
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            check=True,
            capture_output=True,
        ).stdout
        for threads in (1, 2, 5)
    }
    assert len(said) == 1
    assert said.pop().count(b"\n") == 2


def test_the_seed_and_the_arguments_decide_the_bytes():
    x, y = history(500)
    digests = {hashlib.sha256(fit(x, y > 0, {"max_iter": 5}, 1).estimator).hexdigest() for _ in range(3)}
    assert len(digests) == 1
    assert fit(x, y > 0, {"max_iter": 6}, 1).estimator != fit(x, y > 0, {"max_iter": 5}, 1).estimator


def test_odd_columns_are_no_obstacle():
    x, y = history(200)
    x[:, 1], x[:, 2], x[:3, 3], x[3:6, 3] = np.nan, 4.0, np.inf, -np.inf
    fitted = fit(x, y > 0)
    assert fitted.metrics["train_auc"] > 0.7
    predictor = Predictor(load_estimator(fitted.estimator, "probability"), tuple("abcde"), "probability")
    filled = x.copy()
    filled[:, 1] = y  # a column that was all null in training has no say later
    assert predictor.predict(filled).tobytes() == predictor.predict(x).tobytes()
    assert fit(np.full((60, 2), np.nan), LABELS).metrics["train_auc"] == 0.5


@pytest.mark.parametrize(
    ("x", "y", "params", "message"),
    [
        (np.zeros((49, 1)), LABELS[:49], None, "too few rows to train on\nFound: 49\nExpected: at least 50\nHint: "),
        (np.zeros((60, 1)), np.ones(60), None, r"all labels are the same\nFound: \[1.0\]\nExpected: both 0 and 1"),
        (np.zeros((60, 1)), np.where(LABELS, np.nan, 1), None, r"null or infinite\nFound: 30 of 60 labels, .* row 1\n"),
        (np.zeros((60, 1)), LABELS * 2, None, r"neither 0 nor 1\nFound: \[0.0, 2.0\]"),
        (np.zeros((60, 1)), LABELS[:50], None, r"do not fit together\nFound: shapes \(60, 1\) and \(50,\)"),
        (np.zeros((60, 0)), LABELS, None, "do not fit together"),
        (np.zeros((60, 1)), LABELS, {"learning_rate": -1}, r"scikit-learn refuses to train\nFound: .*'learning_rate'"),
        (
            np.zeros((60, 1)),
            LABELS,
            {"depth": 3},
            r"unknown params of gradient boosting\nFound: depth\nHint: .*max_iter",
        ),
    ],
)
def test_what_cannot_be_trained_on_is_refused(x, y, params, message):
    with pytest.raises(TrainingError, match=message):
        fit(x, y, params)


def test_importing_the_trainer_loads_no_scikit_learn():
    program = "import sys, samestream.trainers.boosted_trees; sys.exit('sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


SCORED = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8).map(lambda n: n / 8)), min_size=2, max_size=60)


@settings(max_examples=100, deadline=None)
@given(SCORED)
def test_auc_counts_pairs_exactly_and_ignores_scale(scored):
    y, p = (np.array(column) for column in zip(*scored, strict=True))
    if y.min() == y.max():
        with pytest.raises(EmptyWindowError, match="one kind is missing"):
            auc(y, p)
        return
    pairs = [(a > b) + 0.5 * (a == b) for a in p[y == 1] for b in p[y == 0]]
    assert auc(y, p) == sum(pairs) / len(pairs)
    assert auc(y, p**3 * 1e6) == auc(y, p)
    assert auc(y, p) == pytest.approx(reference.roc_auc_score(y, p), abs=1e-12)


def test_log_loss_agrees_with_the_definition():
    rng = np.random.default_rng(4)
    y, p = rng.integers(0, 2, 1000), rng.random(1000)
    assert log_loss(y, p) == pytest.approx(reference.log_loss(y, p), rel=1e-12)
    assert log_loss([1, 0], [0, 0]) == pytest.approx(-np.log(2.220446049250313e-16) / 2)
    assert log_loss([1, 0], [1, 0]) == pytest.approx(0, abs=1e-15)


def test_scores_of_nothing_or_of_nonsense_are_errors():
    for score in (log_loss, auc, mean_absolute_error):
        with pytest.raises(EmptyWindowError, match=r"at least one row\nFound: 0 rows\nHint: "):
            score([], [])
        with pytest.raises(ValueError, match=r"shapes \(1,\) and \(2,\)"):
            score([1], [0.1, 0.2])
    with pytest.raises(ValueError, match="outside 0 to 1"):
        log_loss([1], [np.nan])
    with pytest.raises(ValueError, match="neither 0 nor 1"):
        auc([2], [0.1])
    with pytest.raises(ValueError, match="not a number"):
        auc([0, 1], [0.1, np.nan])


def test_the_examples_in_the_docstrings_are_true():
    assert doctest.testmod(scoring_metrics) == (0, 7)
