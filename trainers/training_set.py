"""Training sets: the rows of `trainers.dataset` as arrays, for the trainers here.

A row is a vector whose horizon is over and whose label is known: no row is a negative for want of news, and none is taken
for the haste of its label. The manifest is the dataset's: `samestream training-set --manifest` makes the same rows of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.columns import ColumnData, Float64Array, Int64Array
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.models.encoding import Encoding
from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.transport import Transport
from samestream.trainers import dataset
from samestream.trainers.request import Request


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Rows in order of trigger event time, then position.

    y : labels, shape (rows,): floats, or text where the output is a class. features : the inputs with their nulls.
    """

    model: str
    y: npt.NDArray[Any]
    event_time_us: Int64Array
    known_us: Int64Array
    label_known_us: Int64Array
    features: Mapping[str, ColumnData]
    manifest: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.y)

    @cached_property
    def encoding(self) -> Encoding:
        """How these rows become numbers, learned from them."""
        return Encoding.learned(self.features)

    @cached_property
    def x(self) -> Float64Array:
        """The inputs as numbers: shape (rows, inputs), NaN for null."""
        return self.encoding.matrix(self.features)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The classes that occur, in order; none where labels are numbers."""
        return tuple(sorted(set(self.y.tolist()))) if self.y.dtype == object else ()

    def places(self, classes: tuple[str, ...]) -> Float64Array:
        """The labels as a trainer reads them: numbers as they are, a class as its place among some; -1 if not there."""
        if self.y.dtype != object:
            return np.asarray(self.y, np.float64)
        place = {name: float(number) for number, name in enumerate(classes)}
        return np.array([place.get(name, -1.0) for name in self.y.tolist()], np.float64)

    def take(self, rows: Any) -> TrainingSet:
        """The rows chosen by an index array, a mask or a slice."""
        features = {name: column.take(rows) for name, column in self.features.items()}
        chosen = {name: getattr(self, name)[rows] for name in ("y", "event_time_us", "known_us", "label_known_us")}
        return replace(self, features=features, **chosen)


def build(
    plan: Plan, model: ModelPlan, log: FeatureLog, from_us: int | None = None, to_us: int | None = None
) -> TrainingSet:
    """The rows of `dataset.build` in mode *served*, with trigger event time in [from_us, to_us); the manifest is its own.

    Raises TrainingError when the log holds none.
    """
    made = dataset.build(plan, Request(model.name, "served", from_us, to_us), log, _no_journal)
    rows = made.parts["rows"]
    label = cols.from_arrow(rows[model.label.name], Kind.STRING if model.output == "class" else Kind.FLOAT)
    event_time, known, label_known = (
        cols.from_arrow(rows[name], Kind.TIME).values for name in ("event_time", "_known", "_label_known")
    )
    features = {name: cols.from_arrow(rows[name], value.kind, value.item) for name, value in model.outputs.items()}
    return TrainingSet(model.name, label.values, event_time, known, label_known, features, made.manifest)


def _no_journal() -> Transport:
    raise AssertionError("what was served needs no journal")
