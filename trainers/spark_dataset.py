"""Training sets computed on Spark, for logs that one machine does not read: the same rows as `dataset.build` gives.

What is large, the log, stays with Spark: vectors and labels are computed there. The rows that come out pass through the
driver, which puts them in order, splits them, and writes the same files with the same manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from samestream.schemas.errors import TrainingError
from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.engine.journal import Entry
from samestream.streams.log import judged_on_spark, whole_history
from samestream.streams.log.feature_log import ERASED, FeatureLog
from samestream.streams.log.pinned_log import PinnedLog
from samestream.streams.plan import Input, ModelPlan, Plan
from samestream.streams.spark import labels as spark_labels
from samestream.streams.spark import log_frames
from samestream.streams.spark.point_in_time import as_known, point_in_time
from samestream.streams.transport import Transport
from samestream.trainers import dataset, dataset_vectors
from samestream.trainers.dataset import Dataset
from samestream.trainers.label_join import Labels
from samestream.trainers.request import Request

_PLACES = ("trigger_partition", "trigger_offset")


def build(plan: Plan, request: Request, root: str, session: Any, given: pa.Table | None = None) -> Dataset:
    """The dataset; `served` rows equal those of `dataset.build` bit for bit, computed ones within the order of summation.

    root : of the feature log, as driver and executors see it
    given : keys and instants, in place of a file of them that the driver reads
    Raises TrainingError where there is nothing, or *as_known* of a log that does not hold the journal; and as `dataset.build`.
    """
    request.check()
    model, log = plan.models[request.model], FeatureLog(root)
    ranges = dataset.ranges_of(plan, model, request, log)
    at_rest = PinnedLog(log, ranges)
    whole_history.refuse_absent(plan, model, at_rest, computed=request.mode != "served")
    parts = _Frames(session, root, ranges, request)
    asked = dataset_vectors.asked(plan, model, request, given) if request.mode != "served" else None
    entries: list[Entry] = []
    if request.mode == "as_known":
        entries = dataset_vectors.entries_of(plan, log, at_rest, _no_broker(plan), None)
    if request.mode == "served":
        vectors, passed = _served(model, parts)
    else:
        vectors, passed = _computed(plan, model, parts, at_rest, entries, asked[0] if asked else None)
    input = plan.events[model.label.event]
    labelled, over_us = spark_labels.joined(plan, model, vectors, parts.frame(input.topic), session)
    found = labelled.toArrow()
    if not len(found):
        raise dataset.nothing_found(model, request, passed)
    types = {name: cols.arrow_type(value.kind, value.item) for name, value in model.outputs.items()}
    table = pa.table({name: found[name].cast(types.get(name, found[name].type)) for name in found.column_names})
    # in the order in which the log, or the user, has them: what has no other order is in this one on any machine
    table = table.sort_by([(name, "ascending") for name in _PLACES])
    labels = _labels(model, table, over_us, whole_history.since_us(at_rest, input))
    journaled = dataset_vectors.journaled(entries) if entries else None
    table = table.drop_columns(["_y", "_label_known"])
    if asked:
        table = table.append_column("row", table[_PLACES[1]])
    return dataset.assembled(plan, request, ranges, table, labels, passed, journaled, asked[1] if asked else None)


def _no_broker(plan: Plan) -> Callable[[], Transport]:
    def refuse() -> Transport:
        raise TrainingError(
            "the feature log does not hold the journal, which says what was applied",
            where=plan.journal,
            hint="`samestream run MODULE log` copies it; or `samestream training-set`, which asks the broker, on one machine.",
        )

    return refuse


class _Frames:
    """The log's topics as DataFrames, as the request wants them."""

    def __init__(
        self, session: Any, root: str, ranges: dict[str, dict[int, tuple[int, int]]], request: Request
    ) -> None:
        self.session, self.root, self.ranges, self.request = session, root, ranges, request

    def frame(self, topic: str, *, whole: bool = False) -> Any:
        """A topic: as far as the request may know it, or all of it."""
        as_of_us = None if whole else self.request.as_of_us
        return log_frames.frame(self.session, self.root, topic, self.ranges[topic], known_to_us=as_of_us).cache()

    def within(self, rows: Any, time: str) -> Any:
        """The rows whose event time the request asks for."""
        if self.request.from_us is not None:
            rows = rows.where(f"unix_micros(`{time}`) >= {self.request.from_us}")
        if self.request.to_us is not None:
            rows = rows.where(f"unix_micros(`{time}`) < {self.request.to_us}")
        return rows


def _served(model: ModelPlan, parts: _Frames) -> tuple[Any, dict[str, int]]:
    rows, erased = _living(parts.frame(model.topics["features"]))
    mine = rows.where(rows["fingerprint"] == model.fingerprint)
    other = rows.count() - mine.count()
    names = [*_PLACES, "entity", "event_time", "_known", *model.outputs]
    mine = parts.within(mine, "event_time").select(*(f"`{name}`" for name in names))
    return mine, dataset_vectors.passed_by({"other_definition": other, "erased": erased})


def _computed(
    plan: Plan, model: ModelPlan, parts: _Frames, log: FeatureLog, entries: Sequence[Entry], rows: pa.Table | None
) -> tuple[Any, dict[str, int]]:
    input, is_known = plan.inputs[model.trigger], parts.request.mode == "as_known"
    ranks = None
    if is_known:
        begin_us = whole_history.applied_from_us(plan, model, log, entries)
        ranks = judged_on_spark.frame(parts.session, parts.root, plan, log, entries, by_time=rows is not None).cache()
    else:
        begin_us = whole_history.begin_us(plan, model, log)

    def events(name: str, *, whole: bool = False) -> Any:
        found = parts.frame(plan.inputs[name].topic, whole=whole)
        if ranks is None:
            return found
        return found.join(ranks.where(ranks["_input"] == name).drop("_input"), ["_partition", "_offset"])

    # what a trigger knew was applied before it: its rank says so, whatever a record's own timestamp says
    read = {table.event: events(table.event, whole=is_known) for table in plan.tables}
    if rows is not None:
        rows = dataset_vectors.within(rows, dataset_vectors.times_of(rows, input.time), parts.request)
        times = dataset_vectors.times_of(rows, input.time)
        rows, cut_off = whole_history.whole(begin_us, times, rows, parts.request.rows)
        triggers = dataset_vectors.with_rank(rows, input.time, parts.request) if is_known else rows
        asked, erased = _placed(triggers, input, parts.session), 0
    else:
        cut_off = 0
        if is_known and (spans := whole_history.unjudged(plan, log, entries, input.topic)):
            there = " OR ".join(f"(_partition = {number} AND _offset < {end})" for number, (_, end) in spans.items())
            cut_off = parts.within(_living(parts.frame(input.topic))[0].where(there), input.time).count()
        triggers = events(input.name)
        triggers, erased = _living(triggers.where(triggers["_applied"]) if is_known else triggers)
        triggers = parts.within(triggers, input.time)
        if begin_us > whole_history.ALWAYS_US:
            every = triggers.count()
            triggers = triggers.where(f"unix_micros(`{input.time}`) >= {begin_us}")
            cut_off += every - triggers.count()
        asked = triggers.selectExpr(
            "_partition", "_offset", "_known", f"`{input.key}` AS entity", f"`{input.time}` AS event_time"
        )
    found = (as_known if is_known else point_in_time)(plan, model, triggers, read, parts.session)
    found = asked.join(found, ["_partition", "_offset"])
    for name, place in zip(("_partition", "_offset"), _PLACES, strict=True):
        found = found.withColumnRenamed(name, place)
    return found, dataset_vectors.passed_by({"erased": erased, "history_cut_off": cut_off})


def _living(rows: Any) -> tuple[Any, int]:
    """The rows that were not erased, and how many were."""
    if ERASED not in rows.columns:
        return rows, 0
    erased = rows.where(f"`{ERASED}` <=> true").count()
    return rows.where(f"NOT (`{ERASED}` <=> true)"), erased


def _placed(rows: pa.Table, input: Input, session: Any) -> Any:
    """A user's own rows as a DataFrame, times by way of whole numbers: none passes through Python's or Java's calendars."""
    time_us = pa.array(dataset_vectors.times_of(rows, input.time))
    columns: dict[str, Any] = {
        "_partition": rows["_partition"],
        "_offset": rows["_offset"],
        "entity": rows[input.key],
        "event_time": time_us,
    }
    return session.createDataFrame(pa.table(columns)).selectExpr(
        "_partition", "_offset", "entity", "timestamp_micros(event_time) AS event_time"
    )


def _labels(model: ModelPlan, table: pa.Table, over_us: int | None, since_us: int) -> Labels:
    y = cols.from_arrow(table["_y"], Kind.STRING if model.output == "class" else Kind.FLOAT)
    known = cols.from_arrow(table["_label_known"], Kind.INT)
    there = known.valid.copy()
    times = cols.from_arrow(table["event_time"], Kind.TIME).values
    closed = np.zeros(len(table), np.bool_) if over_us is None else times + model.label.within_us < over_us
    return Labels(y.values, there, known.values, closed, times >= since_us)
