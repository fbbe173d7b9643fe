"""The label of each vector, from the raw events: what happened within the horizon, and whether the horizon is over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.columns import BoolArray, Int64Array
from samestream.streams.engine import evaluate
from samestream.streams.log import logged_columns, whole_history
from samestream.streams.plan import Gate, ModelPlan, Plan


@dataclass(frozen=True, eq=False)
class Labels:
    """Per vector, arrays of shape (vectors,): its label, if there is one, and when the log learned of it.

    y : floats, or text where the output is a class; 0 or "" where there is none
    closed : whether every label partition has passed the horizon by the lateness, so that no other label can count
    told : whether the log holds every event of the horizon; where its beginning was cut off, the first label may be among what went
    """

    y: npt.NDArray[Any]
    there: BoolArray
    known_us: Int64Array
    closed: BoolArray
    told: BoolArray

    @property
    def usable(self) -> BoolArray:
        """Whether there is a label that can be learned: an infinite number says nothing."""
        return self.there & (np.isfinite(self.y) if self.y.dtype != object else np.True_)


def join(
    plan: Plan,
    model: ModelPlan,
    entities: Sequence[Any],
    event_time_us: Int64Array,
    raw: pa.Table | None,
    since_us: int = whole_history.ALWAYS_US,
) -> Labels:
    """Per vector the first value that is not null within the horizon, in the order in which `OutcomeTask` takes the labels.

    raw : the events that labels are made of, as `FeatureLog.read` gives them; None if there are none
    since_us : `whole_history.since_us` of them
    What came too late to be applied is no label, there and here.
    """
    is_text = model.output == "class"
    count = len(event_time_us)
    y: npt.NDArray[Any] = np.full(count, "", object) if is_text else np.zeros(count)
    known_us, there, told = np.zeros(count, np.int64), np.zeros(count, np.bool_), event_time_us >= since_us
    if raw is None or not raw.num_rows:
        return Labels(y, there, known_us, np.zeros(count, np.bool_), told)
    input = plan.events[model.label.event]
    fields = logged_columns.fields_of(input, raw)
    value = evaluate.evaluate(model.label.value, fields, raw.num_rows)
    assert input.gate is not None
    known = cols.from_arrow(raw["_known"], Kind.TIME).values
    partitions = raw["_partition"].to_numpy()
    order = _applied(input.gate, partitions, known, fields[input.time].values)
    good = order[(value.valid & fields[model.label.by].valid)[order]]
    by_key: dict[str, list[tuple[int, Any, int]]] = {}
    keys, times = fields[model.label.by].values[good].tolist(), fields[input.time].values[good].tolist()
    values = (value.values[good] if is_text else value.values[good].astype(np.float64)).tolist()
    for key, time_us, found, label_known_us in zip(keys, times, values, known[good].tolist(), strict=True):
        by_key.setdefault(str(key), []).append((time_us, found, label_known_us))
    for row, (entity, trigger_us) in enumerate(zip(entities, event_time_us.tolist(), strict=True)):
        for time_us, found, label_known_us in by_key.get(str(entity), ()):
            if trigger_us < time_us <= trigger_us + model.label.within_us:
                y[row], known_us[row], there[row] = found, label_known_us, True
                break
    newest = [int(fields[input.time].values[partitions == number].max()) for number in np.unique(partitions).tolist()]
    closed = event_time_us + model.label.within_us < min(newest) - input.gate.lateness_us
    return Labels(y, there, known_us, closed, told)


def _applied(gate: Gate, partitions: npt.NDArray[Any], known_us: Int64Array, time_us: Int64Array) -> Int64Array:
    """The rows that are applied, in merged order (DESIGN section 2); all : by partition, then offset, shape (rows,).

    An event that is not applied lies behind the greatest event time, so that counting it there as well changes nothing; and
    whom it would make late in its partition lies behind what is answered anyway.
    """
    running, newest = known_us.copy(), time_us.copy()
    for number in np.unique(partitions).tolist():
        mine = slice(*np.searchsorted(partitions, [number, number + 1]).tolist())
        np.maximum.accumulate(running[mine], out=running[mine])
        np.maximum.accumulate(newest[mine], out=newest[mine])
    order = np.argsort(running, kind="stable")
    greatest = np.maximum.accumulate(time_us[order])
    # an event that is itself the greatest is never behind, so the greatest up to it may stand for that before it
    keep = time_us[order] >= newest[order] - gate.lateness_us
    keep &= time_us[order] >= greatest - gate.lateness_us - gate.alignment_us
    found: Int64Array = order[keep]
    return found
