"""How the features of a vector become the numbers that an estimator reads: the same in training and in scoring."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from samestream.streams.columns import ColumnData, Columns, Float64Array

MOST_CATEGORIES = 250  # of one input; boosting counts in bytes


@dataclass(frozen=True)
class Encoding:
    """One column of floats per input, in this order; NaN for null.

    categories : for every input that is text, those that training saw, in order. A text becomes its place among them;
        one that training did not see counts as null.
    """

    inputs: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def learned(cls, features: Columns) -> Encoding:
        """From the features of training rows: of a text with more than 250 different values, the most frequent ones."""
        texts = {name: column for name, column in features.items() if column.is_object}
        return cls(tuple(features), {name: _most_frequent(column) for name, column in texts.items()})

    @property
    def categorical(self) -> tuple[int, ...]:
        """Places of the inputs that are text."""
        return tuple(place for place, name in enumerate(self.inputs) if name in self.categories)

    def matrix(self, features: Columns) -> Float64Array:
        """Rows of shape (rows, inputs). Raises KeyError where an input is missing."""
        return np.column_stack([self._numbers(name, features[name]) for name in self.inputs])

    def _numbers(self, name: str, column: ColumnData) -> Float64Array:
        if name not in self.categories:
            return np.where(column.valid, column.values.astype(np.float64), np.nan)
        places = {category: float(place) for place, category in enumerate(self.categories[name])}
        found = [places.get(text, np.nan) for text in column.values.tolist()]
        return np.where(column.valid, np.array(found, np.float64), np.nan)


def _most_frequent(column: ColumnData) -> tuple[str, ...]:
    counts = Counter(column.values[column.valid].tolist())
    return tuple(sorted(sorted(counts, key=lambda text: (-counts[text], text))[:MOST_CATEGORIES]))
