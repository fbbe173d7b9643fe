"""What each input is to a model, by permutation."""

import doctest

import numpy as np
import pytest

from samestream.streams.models.estimator import load_estimator
from samestream.streams.models.predictor import Predictor
from samestream.streams.models.scoring_metrics import log_loss
from samestream.trainers import boosted_trees, importance, linear_models
from samestream.trainers.importance import importance_of

NAMES = ("much", "little", "nothing")


@pytest.mark.parametrize("fit", [boosted_trees.fit, linear_models.fit])
def test_inputs_weigh_by_what_they_are_good_for(fit):
    draw = np.random.default_rng(3)
    x = draw.normal(size=(3000, 3))
    x[::50, 0] = np.nan
    y = (np.nan_to_num(2 * x[:, 0]) + 0.7 * x[:, 1] + draw.normal(size=3000) > 0).astype(float)
    model = Predictor(load_estimator(fit(x[:2000], y[:2000]).estimator, "probability"), NAMES, "probability")

    def loss(rows):
        return log_loss(y[2000:], model.predict(rows))

    told = importance_of(NAMES, x[2000:], loss)
    assert told["much"] > 3 * told["little"] > 9 * told["nothing"]
    assert sum(told.values()) == pytest.approx(1, abs=1e-3)
    assert told == importance_of(NAMES, x[2000:], loss)


@pytest.mark.parametrize(
    "loss", [lambda rows: 1.0, lambda rows: np.nan, lambda rows: -float(np.abs(np.diff(rows[:, 0])).sum())]
)
def test_where_nothing_helps_nothing_is_told(loss):
    assert importance_of(("one",), np.arange(20.0)[:, None], loss) == {}


def test_the_example_in_the_documentation():
    assert doctest.testmod(importance, extraglobs={"np": np}).failed == 0
