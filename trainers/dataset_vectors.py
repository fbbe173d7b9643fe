"""The vectors of a dataset, before labels: by any of the three readings of the log, of its triggers or at a user's own instants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from samestream.schemas.errors import TrainingError
from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.columns import BoolArray, Int64Array
from samestream.streams.engine import journal
from samestream.streams.engine.feature_task import NAME
from samestream.streams.engine.journal import Entry
from samestream.streams.log import judged_log, logged_journal, pinned_log, topic_stream, whole_history
from samestream.streams.log.erasure import without_erased
from samestream.streams.log.feature_log import KEY_SCHEMA, FeatureLog
from samestream.streams.log.pinned_log import known_before
from samestream.streams.log.table_digest import table_digest
from samestream.streams.log.vector_replay import covered, logged_of
from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.sql.point_in_time import as_known, point_in_time
from samestream.streams.transport import Transport
from samestream.trainers import asked_rows
from samestream.trainers.request import Request


@dataclass(frozen=True, eq=False)
class Vectors:
    """Vectors before labels: `entity`, `event_time` and the outputs, with what identifies each.

    journaled : which entries of the journal they follow from, for the manifest
    passed : vectors that are not among them, by reason
    """

    table: pa.Table
    identity: tuple[str, ...]
    known_us: Int64Array | None
    journaled: Mapping[str, Any] | None = None
    passed: Mapping[str, int] = field(default_factory=dict)


def asked(plan: Plan, model: ModelPlan, request: Request, given: pa.Table | None) -> tuple[pa.Table, str] | None:
    """The rows of a user's own, and a digest of them; None where none are asked for."""
    if given is not None:
        rows = asked_rows.triggers(given, plan, model, request.rows or "rows")
        return rows, table_digest(rows)
    return asked_rows.read(Path(request.rows), plan, model) if request.rows is not None else None


def served(model: ModelPlan, request: Request, log: FeatureLog) -> Vectors:
    """What was logged, by the present definition."""
    whole = known_before(log.read(model.topics["features"]), request.as_of_us)
    table = without_erased(whole)
    current = cols.from_arrow(table["fingerprint"], Kind.STRING).values == model.fingerprint if len(table) else []
    mine = table.filter(pa.array(np.asarray(current, np.bool_)))
    mine = within(mine, cols.from_arrow(mine["event_time"], Kind.TIME).values, request)
    names = ("trigger_partition", "trigger_offset")
    known_us = cols.from_arrow(mine["_known"], Kind.TIME).values
    passed = passed_by(other_definition=len(table) - int(np.sum(current)), erased=len(whole) - len(table))
    return Vectors(mine, names, known_us, passed=passed)


def entries_of(
    plan: Plan, log: FeatureLog, at_rest: FeatureLog, connect: Callable[[], Transport], last: int | None
) -> list[Entry]:
    """The journal, as far as the log at rest has come: as the log holds it, or from the broker where it holds none.

    last : the sequence of the entry to end with, None for the newest one
    Raises TrainingError where there is no such entry.
    """
    logged = logged_journal.entries(plan, log)
    entries = logged_of(plan, at_rest, logged) if logged else covered(plan, connect(), at_rest)
    if last is not None:
        entries = [entry for entry in entries if entry.sequence <= last]
    if not entries or (last is not None and entries[-1].sequence != last):
        raise TrainingError(
            judged_log.UNTOLD,
            where=plan.journal,
            found=f"up to batch {entries[-1].sequence}" if entries else "nothing",
            expected=f"batch {last}" if last is not None else "at least one batch",
            hint="run `samestream run MODULE features log` first; the journal must be kept as long as its manifests.",
        )
    return entries


def known(
    plan: Plan, model: ModelPlan, request: Request, log: FeatureLog, entries: Sequence[Entry], rows: pa.Table | None
) -> Vectors:
    """Computed from what had been applied before: before the trigger, or at a user's own instants when the log had come to them."""
    ranks = judged_log.ranks(plan, log, entries, by_time=rows is not None)
    input = plan.inputs[model.trigger]
    unjudged = 0
    if rows is not None:
        triggers, erased = with_rank(rows, input.time, request), 0
    else:
        raw = log.read(input.topic)
        if spans := whole_history.unjudged(plan, log, entries, input.topic):
            partitions, offsets = raw["_partition"].to_numpy(), raw["_offset"].to_numpy()
            old = without_erased(
                known_before(raw.filter(pa.array(pinned_log.within(spans, partitions, offsets))), request.as_of_us)
            )
            unjudged = len(within(old, times_of(old, input.time), request))
        raw = ranks.judged(input.topic, raw)
        applied = known_before(raw.filter(raw["_applied"]), request.as_of_us)
        triggers = without_erased(applied)
        erased = len(applied) - len(triggers)
    triggers = within(triggers, times_of(triggers, input.time), request)
    begin_us = whole_history.applied_from_us(plan, model, log, entries)
    triggers, cut_off = whole_history.whole(begin_us, times_of(triggers, input.time), triggers, request.rows)
    events = {
        name: ranks.judged(
            topic := plan.inputs[name].topic, log.read(topic, _present(log, topic, plan.read_columns(name)))
        )
        for name in dict.fromkeys(table.event for table in plan.tables)
    }
    found = _computed(plan, model, triggers, as_known(plan, model, triggers, events, repeatable=True))
    return replace(
        found, journaled=journaled(entries), passed=passed_by(erased=erased, history_cut_off=cut_off + unjudged)
    )


def with_rank(rows: pa.Table, time: str, request: Request) -> pa.Table:
    """Rows that were never merged with the rank by which they know what the order had come to at their instant."""
    rank = times_of(rows, time)
    if request.as_of_us is not None:
        rank = np.minimum(rank, request.as_of_us)
    return rows.append_column("_rank", pa.array(rank))


def complete(plan: Plan, model: ModelPlan, request: Request, log: FeatureLog, rows: pa.Table | None) -> Vectors:
    """Computed from every event, as an observer to whom none comes late."""
    input = plan.inputs[model.trigger]
    raw = known_before(log.read(input.topic), request.as_of_us) if rows is None else rows
    triggers = len(raw)
    raw = without_erased(raw)
    erased = triggers - len(raw)
    raw = within(raw, times_of(raw, input.time), request)
    begin_us = whole_history.begin_us(plan, model, log)
    raw, cut_off = whole_history.whole(begin_us, times_of(raw, input.time), raw, request.rows)
    events = {
        name: topic_stream.reader(log, plan.inputs[name].topic, plan.read_columns(name), request.as_of_us)
        for name in dict.fromkeys(table.event for table in plan.tables)
    }
    found = _computed(plan, model, raw, point_in_time(plan, model, raw, events, repeatable=True))
    return replace(found, passed=passed_by(erased=erased, history_cut_off=cut_off))


def journaled(entries: Sequence[Entry]) -> dict[str, Any]:
    """What a manifest says of the entries that vectors follow from."""
    place = {f"{part.topic}/{part.partition}": end for part, end in sorted(journal.ends(entries).items())}
    return {"processor": NAME, "first": entries[0].sequence, "last": entries[-1].sequence, "ends": place}


def passed_by(erased: int, history_cut_off: int = 0, **others: int) -> dict[str, int]:
    """Vectors that are not looked at, by reason; rare ones are named where there are any."""
    rare = {"erased": erased, "history_cut_off": history_cut_off}
    return {**others, **{name: count for name, count in rare.items() if count}}


def times_of(table: pa.Table, name: str) -> Int64Array:
    """A column of instants in microseconds."""
    return cols.from_arrow(table[name], Kind.TIME).values


def _computed(plan: Plan, model: ModelPlan, triggers: pa.Table, vectors: pa.Table) -> Vectors:
    input = plan.inputs[model.trigger]
    columns = {
        "trigger_partition": triggers["_partition"],
        "trigger_offset": triggers["_offset"],
        "entity": triggers[input.key],
        "event_time": triggers[input.time],
        **{name: vectors[name] for name in model.outputs},
    }
    identity: tuple[str, ...] = ("trigger_partition", "trigger_offset")
    if "_known" not in triggers.column_names:
        columns["row"], identity = triggers["_offset"], ("row",)
        return Vectors(pa.table(columns), identity, None)  # pyright: ignore[reportArgumentType, reportCallIssue]
    return Vectors(pa.table(columns), identity, cols.from_arrow(triggers["_known"], Kind.TIME).values)  # pyright: ignore[reportArgumentType, reportCallIssue]


def _present(log: FeatureLog, topic: str, columns: Sequence[str]) -> list[str]:
    """Those of some columns that the log knows, and where the rows lie."""
    batches = log.batches(topic)
    known = batches[-1].schema.names if batches else KEY_SCHEMA.names
    return [name for name in ("_partition", "_offset", "_known", *columns) if name in known]


def within(table: pa.Table, event_time_us: Int64Array, request: Request) -> pa.Table:
    """The rows whose event time is asked for."""
    keep: BoolArray = event_time_us >= (request.from_us if request.from_us is not None else -(2**63))
    keep &= event_time_us < (request.to_us if request.to_us is not None else 2**63 - 1)
    return table.filter(pa.array(keep))
