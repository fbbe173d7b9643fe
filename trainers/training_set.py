"""Training sets: vectors from the feature log joined with the labels that came later, and a manifest that says from what.

A row is a vector whose label is known. One whose horizon is not over, or that got no label, is left out: no row is a
negative for want of news. Nor has one whose label is an infinite number: it says nothing that could be learned. Labels
come from the raw events, so a model can be trained before it ever scored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.schemas.errors import TrainingError
from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.columns import ColumnData, Float64Array, Int64Array
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.models.encoding import Encoding
from samestream.streams.plan import ModelPlan, Plan
from samestream.trainers import label_join

_FOREVER_US = 2**62


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
    """The labelled vectors with trigger event time in [from_us, to_us), by the present definition only.

    Raises TrainingError when the log holds none.
    """
    vectors_topic, labels = model.topics["features"], plan.events[model.label.event]
    vectors = log.read(vectors_topic) if vectors_topic in log.topics() else None
    if vectors is None or not vectors.num_rows:
        raise TrainingError(
            "the feature log holds no vectors",
            where=vectors_topic,
            hint="run `samestream run MODULE features log` over some events first.",
        )
    event_time = cols.from_arrow(vectors["event_time"], Kind.TIME).values
    current = cols.from_arrow(vectors["fingerprint"], Kind.STRING).values == model.fingerprint
    keep = (
        current
        & (event_time >= (from_us if from_us is not None else -_FOREVER_US))
        & (event_time < (to_us if to_us is not None else _FOREVER_US))
    )
    order = np.flatnonzero(keep)
    offsets = cols.from_arrow(vectors["trigger_offset"], Kind.INT).values
    partitions = cols.from_arrow(vectors["trigger_partition"], Kind.INT).values
    order = order[np.lexsort((offsets[order], partitions[order], event_time[order]))]
    vectors, event_time = vectors.take(order), event_time[order]
    raw = log.read(labels.topic) if labels.topic in log.topics() else None
    labels_found = label_join.join(plan, model, vectors["entity"].to_pylist(), event_time, raw)
    rows = np.flatnonzero(labels_found.usable)
    if not len(rows):
        raise TrainingError(
            "no vector has a label yet",
            where=model.name,
            found=f"{len(order)} vectors by definition {model.fingerprint}, {int(current.sum())} in the whole log",
            hint="wait until labels have come in, or choose an earlier range with --from and --to.",
        )
    features = {name: cols.from_arrow(vectors[name], value.kind).take(rows) for name, value in model.outputs.items()}
    known_us = cols.from_arrow(vectors["_known"], Kind.TIME).values[rows]
    manifest = {
        "model": model.name,
        "definition": model.fingerprint,
        "from_us": from_us,
        "to_us": to_us,
        "vectors": len(order),
        "rows": len(rows),
        "infinite_labels": int((labels_found.there & ~labels_found.usable).sum()),
        "offsets": {
            topic: {str(number): end for number, end in sorted(log.offsets(topic).items())}
            for topic in (vectors_topic, labels.topic)
        },
    }
    y, label_known_us = labels_found.y[rows], labels_found.known_us[rows]
    made = TrainingSet(model.name, y, event_time[rows], known_us, label_known_us, features, manifest)
    return replace(made, manifest=manifest | {"digest": _digest(made)})


def _digest(rows: TrainingSet) -> str:
    """SHA-256 of all that a trainer reads, in hexadecimal."""
    found = hashlib.sha256(np.ascontiguousarray(rows.x).tobytes() + rows.places(rows.classes).tobytes())
    if rows.classes or rows.encoding.categories:
        found.update(json.dumps([rows.classes, rows.encoding.categories], sort_keys=True).encode())
    return found.hexdigest()
