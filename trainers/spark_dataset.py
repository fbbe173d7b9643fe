"""Training sets computed on Spark, for logs that one machine does not read: the same rows as `dataset.build` gives.

What is large, the log, stays with Spark: vectors and labels are computed there. The rows that come out pass through the
driver, which puts them in order, splits them, and writes the same files with the same manifest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from samestream.schemas.errors import TrainingError
from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.pinned_log import PinnedLog
from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.spark import labels as spark_labels
from samestream.streams.spark import log_frames
from samestream.streams.spark.point_in_time import point_in_time
from samestream.trainers import dataset, whole_history
from samestream.trainers.dataset import Dataset
from samestream.trainers.label_join import Labels
from samestream.trainers.request import Request

_PLACES = ("trigger_partition", "trigger_offset")


def build(plan: Plan, request: Request, root: str, session: Any) -> Dataset:
    """The dataset; `served` rows equal those of `dataset.build` bit for bit, `point_in_time` within the order of summation.

    root : of the feature log, as driver and executors see it
    Raises TrainingError where there is nothing, or for what needs a journal or a file of the driver's.
    """
    request.check()
    if request.mode == "as_known" or request.rows is not None:
        raise TrainingError(
            "this is not computed on Spark",
            where=request.model,
            found="--rows" if request.rows is not None else f"--mode {request.mode}",
            expected="--mode served or point_in_time, of the triggers in the log",
            hint="`samestream training-set` does it on one machine.",
        )
    model = plan.models[request.model]
    ranges = dataset.ranges_of(plan, model, request, FeatureLog(root))
    if request.mode == "point_in_time":
        whole_history.refuse_absent(plan, model, FeatureLog(root))
    parts = _Frames(session, root, ranges, request)
    vectors, passed = _served(model, parts) if request.mode == "served" else _computed(plan, model, parts)
    events = parts.frame(plan.events[model.label.event].topic)
    labelled, over_us = spark_labels.joined(plan, model, vectors, events, session)
    found = labelled.toArrow()
    if not len(found):
        raise dataset.nothing_found(model, request, passed.get("other_definition", 0))
    types = {name: cols.arrow_type(value.kind, value.item) for name, value in model.outputs.items()}
    table = pa.table({name: found[name].cast(types.get(name, found[name].type)) for name in found.column_names})
    # in the order in which the log has them: what has no other order is in this one on any machine
    table = table.sort_by([(name, "ascending") for name in _PLACES])
    return dataset.assembled(plan, request, ranges, _typed(table), _labels(model, table, over_us), passed)


class _Frames:
    """The log's topics as DataFrames, as the request wants them."""

    def __init__(
        self, session: Any, root: str, ranges: dict[str, dict[int, tuple[int, int]]], request: Request
    ) -> None:
        self._session, self.root, self.ranges, self.request = session, root, ranges, request
        self.session = session

    def frame(self, topic: str) -> Any:
        """A topic, as far as the request may know it."""
        return log_frames.frame(
            self._session, self.root, topic, self.ranges[topic], known_to_us=self.request.as_of_us
        ).cache()

    def within(self, rows: Any, time: str) -> Any:
        """The rows whose event time the request asks for."""
        if self.request.from_us is not None:
            rows = rows.where(f"unix_micros(`{time}`) >= {self.request.from_us}")
        if self.request.to_us is not None:
            rows = rows.where(f"unix_micros(`{time}`) < {self.request.to_us}")
        return rows


def _served(model: ModelPlan, parts: _Frames) -> tuple[Any, dict[str, int]]:
    rows = parts.frame(model.topics["features"])
    mine = rows.where(rows["fingerprint"] == model.fingerprint)
    other = rows.count() - mine.count()
    names = [*_PLACES, "entity", "event_time", "_known", *model.outputs]
    return parts.within(mine, "event_time").select(*(f"`{name}`" for name in names)), {"other_definition": other}


def _computed(plan: Plan, model: ModelPlan, parts: _Frames) -> tuple[Any, dict[str, int]]:
    input = plan.inputs[model.trigger]
    triggers = parts.within(parts.frame(input.topic), input.time)
    events = {table.event: parts.frame(plan.inputs[table.event].topic) for table in plan.tables}
    passed: dict[str, int] = {}
    begin_us = whole_history.begin_us(plan, model, PinnedLog(FeatureLog(parts.root), parts.ranges))
    if begin_us > whole_history.ALWAYS_US:
        every = triggers.count()
        triggers = triggers.where(f"unix_micros(`{input.time}`) >= {begin_us}")
        if count := every - triggers.count():
            passed = {"history_cut_off": count}
    found = point_in_time(plan, model, triggers, events, parts.session)
    asked = triggers.selectExpr(
        "_partition", "_offset", "_known", f"`{input.key}` AS entity", f"`{input.time}` AS event_time"
    )
    return (
        asked.join(found, ["_partition", "_offset"])
        .withColumnRenamed("_partition", _PLACES[0])
        .withColumnRenamed("_offset", _PLACES[1])
    ), passed


def _typed(table: pa.Table) -> pa.Table:
    return table.drop_columns(["_y", "_label_known"])


def _labels(model: ModelPlan, table: pa.Table, over_us: int | None) -> Labels:
    y = cols.from_arrow(table["_y"], Kind.STRING if model.output == "class" else Kind.FLOAT)
    known = cols.from_arrow(table["_label_known"], Kind.INT)
    there = known.valid.copy()
    times = cols.from_arrow(table["event_time"], Kind.TIME).values
    closed = np.zeros(len(table), np.bool_) if over_us is None else times + model.label.within_us < over_us
    return Labels(y.values, there, known.values, closed)
