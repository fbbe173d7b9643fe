"""Error streams with a known change: a model is trained and deployed, then the world changes, at once or by and by.

Concepts come from river's generators, and from real sets (the flights of 2013, and those that scikit-learn brings along),
which change by exchanging features or labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
from river.datasets import synth
from sklearn import datasets
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

Floats = npt.NDArray[np.float64]
Table = tuple[Floats, npt.NDArray[np.int64]]

TRAINED, BEFORE, AFTER, GRADUAL = 2_000, 5_000, 2_000, 1_000
"""Rows that the model learns from; errors before and after the change; errors over which a gradual one comes about."""


@dataclass(frozen=True)
class ErrorStream:
    """Errors of a deployed model, 0 or 1.

    changes_at : the first error of the new world, None where there is none
    shares : of errors in the old world and in the new one, measured on thousands of rows; only who is told both may look
    """

    kind: str
    source: str
    errors: Floats
    changes_at: int | None
    shares: tuple[float, float]


def _taken(generator: Any, rows: int) -> Table:
    pairs = list(islice(generator, rows))
    names = list(pairs[0][0])
    x = np.array([[float(row[name]) for name in names] for row, _ in pairs])
    return x, np.array([int(label) for _, label in pairs], np.int64)


GENERATORS: dict[str, tuple[Callable[[int], Any], Callable[[int], Any]]] = {
    "SEA": (
        lambda seed: synth.SEA(variant=0, seed=seed, noise=0.1),
        lambda seed: synth.SEA(variant=3, seed=seed, noise=0.1),
    ),
    "SEA, slight": (
        lambda seed: synth.SEA(variant=2, seed=seed, noise=0.1),
        lambda seed: synth.SEA(variant=1, seed=seed, noise=0.1),
    ),
    "STAGGER": (
        lambda seed: synth.STAGGER(classification_function=0, seed=seed),
        lambda seed: synth.STAGGER(classification_function=1, seed=seed),
    ),
    "Agrawal": (
        lambda seed: synth.Agrawal(classification_function=0, seed=seed, perturbation=0.1),
        lambda seed: synth.Agrawal(classification_function=2, seed=seed, perturbation=0.1),
    ),
    "Sine": (
        lambda seed: synth.Sine(classification_function=0, seed=seed, has_noise=True),
        lambda seed: synth.Sine(classification_function=2, seed=seed, has_noise=True),
    ),
    "LED": (
        lambda seed: synth.LED(seed=seed, noise_percentage=0.1),
        lambda seed: synth.LEDDrift(seed=seed, noise_percentage=0.1, n_drift_features=3),
    ),
    "RandomRBF": (
        lambda seed: synth.RandomRBF(seed_model=1, seed_sample=seed, n_classes=3),
        lambda seed: synth.RandomRBF(seed_model=2, seed_sample=seed, n_classes=3),
    ),
}


@cache
def _real(name: str) -> Table:
    if name == "flights":
        from flights_year import year

        departures = year()["Departure"]
        delay, there = departures.fields["dep_delay"]
        late = (delay > 15).astype(np.int64)
        hour = (departures.time_us // 3_600_000_000 % 24).astype(np.float64)
        day = (departures.time_us // 86_400_000_000 % 7).astype(np.float64)
        # what the airport saw in the hundred departures before
        before = np.convolve(late, np.ones(100), "full")[: len(late)] - late
        rate = np.convolve(np.clip(delay, -30, 300), np.ones(20), "full")[: len(late)] - np.clip(delay, -30, 300)
        x = np.stack([hour, day, before, rate], axis=1)[there]
        return x[100:], late[there][100:]
    found = getattr(datasets, f"load_{name}")()
    return np.asarray(found.data, np.float64), np.asarray(found.target, np.int64)


REAL = ("flights", "digits", "breast_cancer", "wine")


def _drawn(name: str, rows: int, seed: int, train: bool) -> Table:
    """Rows of a real set, drawn with replacement: those that the model learns from are not those it meets."""
    x, y = _real(name)
    mine = np.flatnonzero((np.random.default_rng(7).random(len(y)) < 0.5) == train)
    places = np.random.default_rng(seed).choice(mine, rows)
    return x[places], y[places]


def _features_exchanged(table: Table, seed: int) -> Table:
    """A third of the features, at least two, hold each other's values."""
    x, y = table
    rng = np.random.default_rng(seed)
    # those that differ most between rows, for two constant features exchanged change nothing
    order = np.argsort(-x.std(axis=0) / (np.abs(x).mean(axis=0) + 1e-9))
    chosen = rng.choice(order[: max(4, x.shape[1] // 2)], max(2, x.shape[1] // 3), replace=False)
    out = x.copy()
    out[:, chosen] = x[:, np.roll(chosen, 1)]
    return out, y


def _labels_exchanged(table: Table, seed: int) -> Table:
    """Two classes are called by each other's name, in a quarter of the rows where there are only two."""
    x, y = table
    rng = np.random.default_rng(seed)
    first, second = rng.choice(np.unique(y), 2, replace=False)
    struck = np.ones(len(y), np.bool_) if len(np.unique(y)) > 2 else rng.random(len(y)) < 0.25
    out = np.where(struck & (y == first), second, np.where(struck & (y == second), first, y))
    return x, out


def _model(trained: Table, tree: bool) -> Any:
    model = DecisionTreeClassifier(max_depth=6, random_state=1) if tree else GaussianNB(var_smoothing=1e-6)
    return model.fit(*trained)


def _errors(model: Any, seen: Table) -> Floats:
    return (model.predict(seen[0]) != seen[1]).astype(np.float64)


def _shares(model: Any, old: Table, new: Table) -> tuple[float, float]:
    return float(_errors(model, old).mean()), float(_errors(model, new).mean())


def _joined(old: Table, new: Table, gradual: bool, seed: int) -> Table:
    """The old world, then the new one; a gradual change mixes them row by row, more and more of the new."""
    rows = BEFORE + AFTER
    share = (
        np.clip((np.arange(rows) - BEFORE) / GRADUAL, 0, 1) if gradual else (np.arange(rows) >= BEFORE).astype(float)
    )
    is_new = np.random.default_rng(seed).random(rows) < share
    return np.where(is_new[:, None], new[0], old[0]), np.where(is_new, new[1], old[1])


def changing(seed: int) -> Iterator[ErrorStream]:
    """One stream of every source and kind of change."""
    rows = BEFORE + AFTER
    for number, (name, (before, after)) in enumerate(GENERATORS.items()):
        model = _model(_taken(before(seed), TRAINED), tree=number % 2 == 0)
        old, new = _taken(before(seed + 1_000), rows), _taken(after(seed + 2_000), rows)
        shares = _shares(model, old, new)
        for gradual in (False, True):
            errors = _errors(model, _joined(old, new, gradual, seed))
            yield ErrorStream("gradual" if gradual else "abrupt", name, errors, BEFORE, shares)
    for number, name in enumerate(REAL):
        model = _model(_drawn(name, TRAINED, seed, True), tree=number % 2 == 0)
        old = _drawn(name, rows, seed + 1, False)
        for kind, changed in (("features exchanged", _features_exchanged), ("labels exchanged", _labels_exchanged)):
            new = changed(old, seed)
            errors = _errors(model, _joined(old, new, False, seed))
            yield ErrorStream(kind, name, errors, BEFORE, _shares(model, old, new))


def calm(seed: int) -> Iterator[ErrorStream]:
    """One stream of every source in which nothing changes."""
    rows = BEFORE + AFTER
    seen = {
        name: (_taken(before(seed), TRAINED), _taken(before(seed + 1_000), rows))
        for name, (before, _) in GENERATORS.items()
    }
    seen |= {name: (_drawn(name, TRAINED, seed, True), _drawn(name, rows, seed + 1, False)) for name in REAL}
    for tables in (GENERATORS, REAL):
        for number, name in enumerate(tables):
            trained, old = seen[name]
            errors = _errors(_model(trained, tree=number % 2 == 0), old)
            yield ErrorStream("none", name, errors, None, (float(errors.mean()),) * 2)
