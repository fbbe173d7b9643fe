"""A trained estimator that answers rows of numbers. Rows do not influence each other: any split gives the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from samestream.schemas.errors import ArtifactError
from samestream.schemas.outputs import Output
from samestream.streams.columns import Float64Array

_GREATEST = 1e100  # inputs of linear models are held within, so that no sum or square overflows


def within_reach(x: Float64Array) -> Float64Array:
    """Inputs as linear models take them: the infinite as null, the immense held within 1e100."""
    return np.clip(np.where(np.isfinite(x), x, np.nan), -_GREATEST, _GREATEST)


class Predictor:
    """A model in memory.

    inputs : names of the columns of a row. classes : what may happen, in order, where the output is a class.
    """

    def __init__(self, estimator: Any, inputs: tuple[str, ...], output: Output, classes: tuple[str, ...] = ()) -> None:
        from threadpoolctl import ThreadpoolController

        self._estimator, self._inputs, self._output, self.classes = estimator, inputs, output, classes
        self._threads = ThreadpoolController()

    def predict(self, x: Float64Array) -> Float64Array:
        """Return one score per row: the probability of 1, a number in the label's unit, or the winning class's probability.

        x : shape (rows, inputs), columns in the order of the artifact's `inputs`, NaN for null.
        A score that no number can hold is NaN. Raises ArtifactError for another number of columns.
        """
        if self._output == "class":
            return np.asarray(self.chances(x).max(axis=1, initial=0.0), np.float64)
        if self._output == "probability":
            return np.ascontiguousarray(self._probabilities(x)[:, 1])
        self._check(x)
        if not len(x):
            return np.empty(0, np.float64)
        with self._one_thread():
            scores = self._sums(x)[:, 0] if self._is_linear else self._estimator.predict(x)
        return np.ascontiguousarray(scores, np.float64)

    def chances(self, x: Float64Array) -> Float64Array:
        """Return the probability of every class in each row: shape (rows, classes), where the output is a class.

        x : as for `predict`. Raises ArtifactError for another number of columns.
        """
        return self._probabilities(x)

    def _probabilities(self, x: Float64Array) -> Float64Array:
        self._check(x)
        if not len(x):
            return np.empty((0, len(self.classes) or 2), np.float64)
        with self._one_thread():
            found = _softmax(self._sums(x)) if self._is_linear else self._estimator.predict_proba(x)
        return np.ascontiguousarray(found, np.float64)

    @property
    def _is_linear(self) -> bool:
        return hasattr(self._estimator, "steps")

    def _sums(self, x: Float64Array) -> Float64Array:
        """The weighted sums of a linear model: shape (rows, numbers or classes), added up column by column.

        A matrix product would add in another order for another number of rows, and so give other last bits.
        """
        weights = np.atleast_2d(self._estimator[-1].coef_)
        sums = np.empty((len(x), len(weights)), np.float64)
        sums[:] = self._estimator[-1].intercept_
        with np.errstate(all="ignore"):
            prepared = self._estimator[:-1].transform(within_reach(x))
            for column in range(prepared.shape[1]):
                sums += np.multiply.outer(prepared[:, column], weights[:, column])
        if self._output == "number" or len(weights) > 1:
            return sums
        return np.column_stack([np.zeros(len(x)), sums[:, 0]])  # of two classes only the second has weights

    def _one_thread(self) -> Any:
        # For a scorer's few rows waking a pool costs more than it saves, and the engine needs the other cores.
        return self._threads.limit(limits=1, user_api="openmp")

    def _check(self, x: Float64Array) -> None:
        if x.ndim != 2 or x.shape[1] != len(self._inputs):
            hint = f"Give the columns {', '.join(self._inputs)}, in this order."
            raise ArtifactError(
                "wrong input", found=f"shape {x.shape}", expected=f"(rows, {len(self._inputs)})", hint=hint
            )


def _softmax(sums: Float64Array) -> Float64Array:
    """Probabilities from sums of shape (rows, classes); NaN where the sums are no numbers."""
    with np.errstate(all="ignore"):
        raised = np.exp(sums - sums.max(axis=1, keepdims=True))
        total = np.zeros(len(sums))
        for column in range(sums.shape[1]):
            total += raised[:, column]
        return np.asarray(raised / total[:, None], np.float64)
