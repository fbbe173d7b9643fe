"""Training sets: vectors from the feature log joined with the labels that came later, and a manifest that says from what.

A row is a vector whose label is known. One whose horizon is not over, or that got no label, is left out: no row is a
negative for want of news. Labels come from the raw events, so a model can be trained before it ever scored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samestream.schemas.errors import TrainingError
from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams import evaluate
from samestream.streams.columns import ColumnData, Int64Array
from samestream.streams.feature_log import FeatureLog
from samestream.streams.plan import ModelPlan, Plan

_FOREVER_US = 2**62


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Rows in order of trigger event time, then position.

    x : shape (rows, inputs), NaN for null. y : shape (rows,). ``features`` are the same columns with their nulls.
    """

    model: str
    inputs: tuple[str, ...]
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    event_time_us: Int64Array
    known_us: Int64Array
    label_known_us: Int64Array
    features: Mapping[str, ColumnData]
    manifest: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.y)


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
    y, label_known = _labels(plan, model, vectors, event_time, raw)
    there = label_known > -_FOREVER_US
    rows = np.flatnonzero(there)
    if not len(rows):
        raise TrainingError(
            "no vector has a label yet",
            where=model.name,
            found=f"{len(order)} vectors by definition {model.fingerprint}, {int(current.sum())} in the whole log",
            hint="wait until labels have come in, or choose an earlier range with --from and --to.",
        )
    features = {name: cols.from_arrow(vectors[name], value.kind).take(rows) for name, value in model.outputs.items()}
    known_us = cols.from_arrow(vectors["_known"], Kind.TIME).values[rows]
    x = np.column_stack([np.where(part.valid, part.values.astype(np.float64), np.nan) for part in features.values()])
    manifest = {
        "model": model.name,
        "definition": model.fingerprint,
        "from_us": from_us,
        "to_us": to_us,
        "vectors": len(order),
        "rows": len(rows),
        "offsets": {
            topic: {str(number): end for number, end in sorted(log.offsets(topic).items())}
            for topic in (vectors_topic, labels.topic)
        },
        "digest": hashlib.sha256(np.ascontiguousarray(x).tobytes() + y[rows].tobytes()).hexdigest(),
    }
    return TrainingSet(
        model.name, tuple(features), x, y[rows], event_time[rows], known_us, label_known[rows], features, manifest
    )


def _labels(
    plan: Plan, model: ModelPlan, vectors: pa.Table, event_time_us: Int64Array, raw: pa.Table | None
) -> tuple[npt.NDArray[np.float64], Int64Array]:
    """Per vector the first value that is not null within the horizon, in the order the labels were known, and when it was.

    A vector without label has a known time of -`_FOREVER_US`.
    """
    y, known_us = np.zeros(len(event_time_us)), np.full(len(event_time_us), -_FOREVER_US, np.int64)
    if raw is None or not raw.num_rows:
        return y, known_us
    input = plan.events[model.label.event]
    fields = {name: cols.from_arrow(raw[name], kind, input.items.get(name)) for name, kind in input.columns.items()}
    value = evaluate.evaluate(model.label.value, fields, raw.num_rows)
    good = np.flatnonzero(value.valid & fields[model.label.by].valid)
    known = cols.from_arrow(raw["_known"], Kind.TIME).values
    good = good[np.argsort(known[good], kind="stable")]
    by_key: dict[str, list[tuple[int, float, int]]] = {}
    keys, times = fields[model.label.by].values[good].tolist(), fields[input.time].values[good].tolist()
    values = value.values[good].astype(np.float64).tolist()
    for key, time_us, found, label_known_us in zip(keys, times, values, known[good].tolist(), strict=True):
        by_key.setdefault(str(key), []).append((time_us, found, label_known_us))
    entities = vectors["entity"].to_pylist()
    for row, (entity, trigger_us) in enumerate(zip(entities, event_time_us.tolist(), strict=True)):
        for time_us, found, label_known_us in by_key.get(str(entity), ()):
            if trigger_us < time_us <= trigger_us + model.label.within_us:
                y[row], known_us[row] = found, label_known_us
                break
    return y, known_us
