"""What the log must hold for vectors to be whole: every topic that they are computed from, as far back as windows reach."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from samestream.schemas.errors import FeatureLogError
from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.columns import Int64Array
from samestream.streams.log.feature_log import KEY_SCHEMA, FeatureLog
from samestream.streams.plan import Input, Lookup, ModelPlan, Plan

ALWAYS_US, NEVER_US = -(2**62), 2**62


def reaches(plan: Plan, model: ModelPlan) -> dict[str, int]:
    """By event that a model's vectors are computed from, how far before a trigger's instant they read it, in microseconds."""
    found: dict[str, int] = {}

    def look(lookup: Lookup, back_us: int) -> None:
        table = plan.tables[lookup.table]
        read = [table.aggregates[number] for number, column in enumerate(lookup.columns) if column]
        back_us += max((table.windows[part.window].window.reach_us for part in read), default=0)
        if found.get(table.event, -1) < back_us:
            found[table.event] = back_us
            enriched(table.event, back_us)

    def enriched(event: str, back_us: int) -> None:
        for part in plan.enrichments:
            if part.event == event:
                look(part.lookup, back_us)

    enriched(model.trigger, 0)
    for lookup in model.lookups:
        look(lookup, 0)
    return found


def refuse_absent(plan: Plan, model: ModelPlan, log: FeatureLog) -> None:
    """Raises FeatureLogError where the log knows nothing of a topic that vectors are computed from, not even that it is empty."""
    absent = sorted({plan.inputs[event].topic for event in reaches(plan, model)})
    absent = [topic for topic in absent if log.newest(topic) is None]
    if absent:
        raise FeatureLogError(
            "the feature log lacks topics that vectors are computed from",
            where=model.name,
            found=f"no batch of {', '.join(absent)}",
            hint="check --log; let `samestream run MODULE log` catch up: it logs a topic without events as well.",
        )


def begin_us(plan: Plan, model: ModelPlan, log: FeatureLog) -> int:
    """From which trigger event time on vectors are whole, of a log whose beginning may have been cut off; ALWAYS_US if not.

    An event is known at most `ahead` before it happens: what was cut off happened earlier than that after the first
    record that was kept.
    """
    found = ALWAYS_US
    for event, back_us in reaches(plan, model).items():
        input = plan.inputs[event]
        for number, (start, end) in log.ranges(input.topic).items():
            if start:
                known_us = _first_known_us(log, input, number) if end > start else NEVER_US
                ahead_us = input.gate.ahead_us if input.gate else 0
                found = max(found, min(known_us + ahead_us + back_us, NEVER_US))
    return found


def whole(plan: Plan, model: ModelPlan, log: FeatureLog, triggers: pa.Table, asked: str | None) -> tuple[pa.Table, int]:
    """The triggers of which the log holds all that windows reach; and how many there are of which it does not.

    asked : where a user's own rows come from: of these each must be answered
    Raises FeatureLogError where one of these cannot be.
    """
    begin = begin_us(plan, model, log)
    times: Int64Array = cols.from_arrow(triggers[plan.inputs[model.trigger].time], Kind.TIME).values
    keep = times >= begin
    lost = int((~keep).sum())
    if lost and asked is not None:
        since = "" if begin == NEVER_US else f" from {np.datetime64(begin, 'us')}Z on"
        raise FeatureLogError(
            "the beginning of the feature log was cut off, and windows of these rows reach before that",
            where=asked,
            found=f"{lost} of {len(keep)} rows, the first at {np.datetime64(int(times.min()), 'us')}Z",
            expected=f"rows of which the log holds all events{since}",
            hint="leave out earlier rows, or build the log anew from Kafka, where the events are kept.",
        )
    return (triggers.filter(pa.array(keep)) if lost else triggers), lost


def _first_known_us(log: FeatureLog, input: Input, number: int) -> int:
    """When the log learned of the first record that it holds of a partition; NEVER_US where it holds none."""
    files = [
        ((file.offsets or batch.ranges)[number][0], file.path, file)
        for batch in log.batches(input.topic)
        for file in batch.files
        if number in (file.offsets or batch.ranges)
    ]
    first, known_us = NEVER_US, NEVER_US
    for begin, _, file in sorted(files, key=lambda part: part[:2]):
        if begin > first:
            break  # what lies in this file and those after it comes later
        table = log.read_files(input.topic, [file], KEY_SCHEMA, {})
        table = table.filter(pa.array(table["_partition"].to_numpy() == number))
        if len(table) and table["_offset"][0].as_py() < first:
            first = table["_offset"][0].as_py()
            known_us = int(cols.from_arrow(table["_known"].slice(0, 1), Kind.TIME).values[0])
    return known_us
