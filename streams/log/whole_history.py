"""What the log must hold for vectors to be whole: every topic that they are computed from, as far back as windows reach."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from samestream.schemas.errors import FeatureLogError
from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.columns import Int64Array
from samestream.streams.engine import journal
from samestream.streams.engine.journal import Entry
from samestream.streams.log.feature_log import KEY_SCHEMA, FeatureLog
from samestream.streams.log.vector_replay import kept
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


def refuse_absent(plan: Plan, model: ModelPlan, log: FeatureLog, *, computed: bool) -> None:
    """Raises FeatureLogError where the log knows nothing of a topic that rows are made of, not even that it is empty.

    computed : whether vectors are computed from events, and not only labels
    """
    read = {plan.inputs[event].topic for event in reaches(plan, model)} if computed else set()
    for topics, of in (
        (read, "vectors are computed from"),
        ({plan.events[model.label.event].topic}, "labels are made of"),
    ):
        if absent := [topic for topic in sorted(topics) if log.newest(topic) is None]:
            raise FeatureLogError(
                f"the feature log lacks topics that {of}",
                where=model.name,
                found=f"no batch of {', '.join(absent)}",
                hint="check --log; let `samestream run MODULE log` catch up: it logs a topic without events as well.",
            )


def begin_us(plan: Plan, model: ModelPlan, log: FeatureLog) -> int:
    """From which trigger event time on vectors are whole, of a log whose beginning may have been cut off; ALWAYS_US if not."""
    return max(
        (since_us(log, plan.inputs[event], back_us) for event, back_us in reaches(plan, model).items()),
        default=ALWAYS_US,
    )


def since_us(log: FeatureLog, input: Input, back_us: int = 0) -> int:
    """From which instant on the log holds every event that happened up to ``back_us`` before; ALWAYS_US if it was never cut.

    An event is known at most `ahead` before it happens: what was cut off happened earlier than that after the first
    record that was kept.
    """
    found = ALWAYS_US
    for number, (start, end) in log.ranges(input.topic).items():
        if start:
            known_us = _first_known_us(log, input, number) if end > start else NEVER_US
            ahead_us = input.gate.ahead_us if input.gate else 0
            found = max(found, min(known_us + ahead_us + back_us, NEVER_US))
    return found


def applied_from_us(plan: Plan, model: ModelPlan, log: FeatureLog, entries: Sequence[Entry]) -> int:
    """The same for vectors of what was applied, by the journal: whose windows hold nothing of an entry that the log lacks.

    entries : from the beginning of the journal, as far as the log has come
    """
    begin = kept(plan, log, entries).state
    if not begin:
        return ALWAYS_US
    newest: dict[str, int] = {}
    for entry in entries[:begin]:
        for part in entry.ranges:
            topic = part.partition.topic
            newest[topic] = max(newest.get(topic, ALWAYS_US), part.event_time_us)
    found = ALWAYS_US
    for event, back_us in reaches(plan, model).items():
        input = plan.inputs[event]
        # records of tables move no clock: how far they reach is not told
        here = entries[begin - 1].greatest_us if input.is_table else newest.get(input.topic, ALWAYS_US)
        found = max(found, min(here + back_us + 1, NEVER_US))
    return found


def unjudged(plan: Plan, log: FeatureLog, entries: Sequence[Entry], topic: str) -> dict[int, tuple[int, int]]:
    """By partition of a topic, the offsets of events that the log may hold, but not all that was merged with them."""
    lost = journal.ends(entries[: kept(plan, log, entries).state])
    return {part.partition: (0, end) for part, end in lost.items() if part.topic == topic}


def whole(begin: int, times: Int64Array, triggers: pa.Table, asked: str | None) -> tuple[pa.Table, int]:
    """The triggers from an instant on, before which the log does not hold all that windows reach; and how many there are before.

    times : of the triggers
    asked : where a user's own rows come from: of these each must be answered
    Raises FeatureLogError where one of these cannot be.
    """
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
