"""Parity with SQL: every served vector computed in DuckDB, by code that shares nothing with the kernel.

*As known*: from the events that were applied before the trigger; must equal what was served, within the tolerance that the
order of summation needs. *Point in time*: from all events there ever were; the difference is the lateness skew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa

from samestream.schemas.errors import FeatureLogError
from samestream.streams.engine.merge_rank import MergeRanks
from samestream.streams.log.erasure import without_erased
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.sql.difference import Difference, difference
from samestream.streams.sql.point_in_time import as_known, point_in_time

Chosen = Callable[[pa.Table], pa.Table]
"""Some of the served vectors, of all that the log holds."""


def compare_as_known(
    plan: Plan, model: ModelPlan, log: FeatureLog, ranks: MergeRanks, chosen: Chosen | None = None
) -> Mapping[str, Difference]:
    """Per feature, how the served vectors differ from their values as known."""
    served = served_vectors(model, log, chosen)
    triggers = triggers_of(served, ranks.judged(*raw_events(plan, model.trigger, log)))
    events = {table.event: ranks.judged(*raw_events(plan, table.event, log)) for table in plan.tables}
    return difference(served, as_known(plan, model, triggers, events, slack=True), list(model.outputs))


def compare_point_in_time(
    plan: Plan, model: ModelPlan, log: FeatureLog, chosen: Chosen | None = None
) -> Mapping[str, Difference]:
    """Per feature, how the served vectors differ from their values had nothing come late."""
    served = served_vectors(model, log, chosen)
    triggers = triggers_of(served, raw_events(plan, model.trigger, log)[1])
    events = {table.event: raw_events(plan, table.event, log)[1] for table in plan.tables}
    return difference(served, point_in_time(plan, model, triggers, events, slack=True), list(model.outputs))


def vectors_that_differ(found: Mapping[str, Difference]) -> int:
    """How many vectors differ in any feature."""
    return int(np.logical_or.reduce([part.differs for part in found.values()]).sum())


def served_vectors(model: ModelPlan, log: FeatureLog, chosen: Chosen | None = None) -> pa.Table:
    """The vectors of the present definition, placed where their triggers lie."""
    served = without_erased(log.read(model.topics["features"]))
    if not served.num_rows:
        raise FeatureLogError(
            "the log holds no vectors", where=model.topics["features"], hint="let the log role catch up."
        )
    served = served.filter(pa.array([mark == model.fingerprint for mark in served["fingerprint"].to_pylist()]))
    served = chosen(served) if chosen is not None else served
    names = {"trigger_partition": "_partition", "trigger_offset": "_offset"}
    return served.drop_columns(list(names.values())).rename_columns(names)


def triggers_of(served: pa.Table, raw: pa.Table) -> pa.Table:
    """The raw events that were vectors' triggers."""
    types = pa.schema([("_partition", pa.int32()), ("_offset", pa.int64())])
    # joined by their places alone: Arrow joins no lists and no maps
    places = raw.select(types.names).append_column("row", pa.array(np.arange(len(raw))))
    found = places.join(served.select(types.names).cast(types), types.names, join_type="left semi")
    return raw.take(found["row"].sort())


def raw_events(plan: Plan, event: str, log: FeatureLog) -> tuple[str, pa.Table]:
    """An event's topic, and what the log holds of it."""
    topic = plan.inputs[event].topic
    return topic, log.read(topic)
