"""A model whose answers a test gives, in the place of a trained one; the scorer treats it as any other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from samestream.schemas.errors import SettingsError
from samestream.schemas.kinds import Kind
from samestream.streams import columns as cols
from samestream.streams.columns import Columns, Float64Array
from samestream.streams.models.artifact import Artifact
from samestream.streams.models.encoding import Encoding
from samestream.streams.models.predictor import Predictor
from samestream.streams.plan import ModelPlan

Answer = float | Mapping[str, float]
"""A score, or where the model predicts classes, every class's probability."""
Row = dict[str, Any]


class _Rows(Encoding):
    """Hands the rows over as they are, by name: a function may want texts and nulls."""

    def matrix(self, features: Columns) -> Float64Array:
        """A list of dicts, which only `_Given` reads."""
        names = list(self.inputs)
        every = zip(*(cols.to_python(features[name]) for name in names), strict=True)
        return cast(Float64Array, [dict(zip(names, row, strict=True)) for row in every])


class _Given(Predictor):
    """Answers each row by the given function."""

    def __init__(self, answer: Callable[[Row], Answer], inputs: tuple[str, ...], classes: tuple[str, ...]) -> None:
        self._answer, self._inputs, self.classes = answer, inputs, classes

    def predict(self, x: Float64Array) -> Float64Array:
        """One score per row."""
        return np.array([self._one(row) for row in cast(list[Row], x)], np.float64)

    def chances(self, x: Float64Array) -> Float64Array:
        """One row of probabilities per row."""
        return np.array([self._every(row) for row in cast(list[Row], x)], np.float64).reshape(-1, len(self.classes))

    def _one(self, row: Row) -> float:
        answer = self._answer(row)
        if isinstance(answer, bool) or not isinstance(answer, (int, float)):
            raise _unfit(answer, "a number")
        return float(answer)

    def _every(self, row: Row) -> list[float]:
        answer = self._answer(row)
        if not isinstance(answer, Mapping) or set(answer) - set(self.classes):
            raise _unfit(answer, f"probabilities of {', '.join(self.classes)}")
        return [float(answer.get(name, 0.0)) for name in self.classes]


@dataclass(frozen=True)
class GivenArtifact(Artifact):
    """What the scorer loads instead of a file."""

    given: Predictor | None = None

    @property
    def encoding(self) -> Encoding:
        """Rows by name."""
        return _Rows(self.inputs, self.categories)

    def predictor(self) -> Predictor:
        """The function in a model's clothes."""
        assert self.given is not None
        return self.given


def given_artifact(
    model: ModelPlan,
    version: str,
    applies_from_us: int,
    answer: Answer | Callable[[Row], Answer],
    classes: tuple[str, ...],
) -> GivenArtifact:
    """An artifact of this model that answers so. Raises SettingsError where the answer is not what the model predicts."""
    function = answer if callable(answer) else lambda _: answer
    if model.output == "class":
        classes = classes or (tuple(answer) if isinstance(answer, Mapping) else ())
        if not classes:
            hint = "pass probabilities, such as {'car': 0.7, 'bike': 0.3}, or classes=(...) with a function."
            raise SettingsError(f"{model.name} predicts classes", where="give_model", found=repr(answer), hint=hint)
    elif isinstance(answer, Mapping):
        raise _unfit(answer, f"a number, for {model.name} predicts a {model.output}")
    inputs = tuple(model.outputs)
    return GivenArtifact(
        model=model.name,
        version=version,
        fingerprint=model.fingerprint,
        inputs=inputs,
        output=model.output,
        applies_from_us=applies_from_us,
        manifest={},
        metrics={},
        reference={},
        estimator=b"",
        categories={name: () for name, value in model.outputs.items() if value.kind is Kind.STRING},
        classes=classes,
        given=_Given(function, inputs, classes),
    )


def _unfit(answer: object, expected: str) -> SettingsError:
    return SettingsError(
        "a given model answers something else",
        where="give_model",
        found=repr(answer),
        expected=expected,
        hint="see `AppTest.give_model`.",
    )
