"""The vectors of a dataset, before labels: by any of the three readings of the log, of its triggers or at a user's own instants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from samestream.schemas.errors import TrainingError
from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.columns import BoolArray, Int64Array
from samestream.streams.engine import journal
from samestream.streams.engine.feature_task import NAME
from samestream.streams.engine.journal import Entry
from samestream.streams.log import judged_log, logged_journal, pinned_log, topic_stream, whole_history
from samestream.streams.log.erasure import without_erased
from samestream.streams.log.feature_log import ERASED, FeatureLog
from samestream.streams.log.pinned_log import known_before
from samestream.streams.log.table_digest import table_digest
from samestream.streams.log.vector_replay import covered, logged_of
from samestream.streams.plan import Input, ModelPlan, Plan
from samestream.streams.sql.duckdb_log import Connection, Rows
from samestream.streams.sql.point_in_time import vectors
from samestream.streams.transport import Transport
from samestream.trainers import asked_rows
from samestream.trainers.request import Request

TRIGGER = ("trigger_partition", "trigger_offset")


@dataclass(frozen=True, eq=False)
class Vectors:
    """Vectors before labels, some at a time: tables of what identifies each, `entity`, `event_time` and the outputs.

    has_known : whether there is a column `_known`, too
    journaled : which entries of the journal they follow from, for the manifest
    passed : vectors that are not among them, by reason; whole once all tables were taken
    """

    tables: Iterable[pa.Table]
    identity: tuple[str, ...]
    has_known: bool
    journaled: Mapping[str, Any] | None = None
    passed: Counter[str] = field(default_factory=Counter)


def asked(plan: Plan, model: ModelPlan, request: Request, given: pa.Table | None) -> tuple[pa.Table, str] | None:
    """The rows of a user's own, and a digest of them; None where none are asked for."""
    if given is not None:
        rows = asked_rows.triggers(given, plan, model, request.rows or "rows")
        return rows, table_digest(rows)
    return asked_rows.read(Path(request.rows), plan, model) if request.rows is not None else None


def served(model: ModelPlan, request: Request, log: FeatureLog) -> Vectors:
    """What was logged, by the present definition."""
    passed, names = Counter(other_definition=0), (*TRIGGER, "entity", "event_time")
    topic = model.topics["features"]
    rows = topic_stream.reader(log, topic, [*names, "fingerprint", ERASED, *model.outputs], request.as_of_us)

    def tables() -> Iterator[pa.Table]:
        for batch in rows:
            whole = pa.Table.from_batches([batch])
            living = without_erased(whole)
            passed["erased"] += len(whole) - len(living)
            mine = living.filter(pc.field("fingerprint") == model.fingerprint)
            passed["other_definition"] += len(living) - len(mine)
            mine = within(mine, times_of(mine, "event_time"), request)
            if len(mine):
                yield mine.select([*names, "_known", *model.outputs])

    return Vectors(tables(), TRIGGER, True, passed=passed)


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
    plan: Plan,
    model: ModelPlan,
    request: Request,
    log: FeatureLog,
    entries: Sequence[Entry],
    rows: pa.Table | None,
    folder: Path,
    database: Connection,
) -> Vectors:
    """Computed from what had been applied before: before the trigger, or at a user's own instants when the log had come to them.

    folder : for what is kept on disk meanwhile
    """
    ranks = judged_log.rank_files(plan, log, entries, folder, by_time=rows is not None)
    input, passed = plan.inputs[model.trigger], Counter[str]()
    begin_us = whole_history.applied_from_us(plan, model, log, entries)
    spans = whole_history.unjudged(plan, log, entries, input.topic)

    def asking(raw: pa.Table) -> pa.Table:
        if spans:
            unjudged = pinned_log.within(spans, raw["_partition"].to_numpy(), raw["_offset"].to_numpy())
            old = without_erased(known_before(raw.filter(pa.array(unjudged)), request.as_of_us))
            passed["history_cut_off"] += len(within(old, times_of(old, input.time), request))
        judged = ranks.some(input.topic, raw)
        return known_before(judged.filter(judged["_applied"]), request.as_of_us)

    triggers: Rows
    if rows is not None:
        triggers = _whole(with_rank(rows, input.time, request), input, request, begin_us, passed)
    else:
        every = topic_stream.reader(log, input.topic, _trigger_columns(plan, model))
        ranked = [pa.field("_rank", pa.int64()), pa.field("_applied", pa.bool_())]
        schema = pa.schema([*every.schema, *ranked])
        triggers = _streamed(schema, map(asking, _tables(every)), input, request, begin_us, passed)
    events = {
        name: ranks.reader(log, plan.inputs[name].topic, plan.read_columns(name))
        for name in dict.fromkeys(table.event for table in plan.tables)
    }
    found = _computed(database, plan, model, triggers, events, passed, is_asked=rows is not None, ranked=True)
    return replace(found, journaled=journaled(entries))


def with_rank(rows: pa.Table, time: str, request: Request) -> pa.Table:
    """Rows that were never merged with the rank by which they know what the order had come to at their instant."""
    rank = times_of(rows, time)
    if request.as_of_us is not None:
        rank = np.minimum(rank, request.as_of_us)
    return rows.append_column("_rank", pa.array(rank))


def complete(
    plan: Plan, model: ModelPlan, request: Request, log: FeatureLog, rows: pa.Table | None, database: Connection
) -> Vectors:
    """Computed from every event, as an observer to whom none comes late."""
    input, passed = plan.inputs[model.trigger], Counter[str]()
    begin_us = whole_history.begin_us(plan, model, log)
    triggers: Rows
    if rows is not None:
        triggers = _whole(rows, input, request, begin_us, passed)
    else:
        every = topic_stream.reader(log, input.topic, _trigger_columns(plan, model), request.as_of_us)
        triggers = _streamed(every.schema, _tables(every), input, request, begin_us, passed)
    events = {
        name: topic_stream.reader(
            log,
            plan.inputs[name].topic,
            plan.read_columns(name),
            request.as_of_us,
            with_known=not plan.inputs[name].time,
        )
        for name in dict.fromkeys(table.event for table in plan.tables)
    }
    return _computed(database, plan, model, triggers, events, passed, is_asked=rows is not None, ranked=False)


def journaled(entries: Sequence[Entry]) -> dict[str, Any]:
    """What a manifest says of the entries that vectors follow from."""
    place = {f"{part.topic}/{part.partition}": end for part, end in sorted(journal.ends(entries).items())}
    return {"processor": NAME, "first": entries[0].sequence, "last": entries[-1].sequence, "ends": place}


def passed_by(passed: Mapping[str, int]) -> dict[str, int]:
    """Vectors that are not looked at, by reason; rare ones are named where there are any."""
    always = ("other_definition",)
    return {
        name: passed[name]
        for name in (*always, "erased", "history_cut_off")
        if name in passed and (passed[name] or name in always)
    }


def times_of(table: pa.Table, name: str) -> Int64Array:
    """A column of instants in microseconds."""
    return cols.from_arrow(table[name], Kind.TIME).values


def _trigger_columns(plan: Plan, model: ModelPlan) -> list[str]:
    input = plan.inputs[model.trigger]
    return [*plan.read_columns(model.trigger), input.key, input.time, ERASED]


def _tables(rows: pa.RecordBatchReader) -> Iterator[pa.Table]:
    return (pa.Table.from_batches([batch]) for batch in rows)


def _streamed(
    schema: pa.Schema, tables: Iterable[pa.Table], input: Input, request: Request, begin_us: int, passed: Counter[str]
) -> pa.RecordBatchReader:
    """The triggers that are asked for."""

    def rows() -> Iterator[pa.RecordBatch]:
        for table in tables:
            living = without_erased(table)
            passed["erased"] += len(table) - len(living)
            yield from _whole(living, input, request, begin_us, passed).to_batches()

    return pa.RecordBatchReader.from_batches(schema, rows())


def _whole(table: pa.Table, input: Input, request: Request, begin_us: int, passed: Counter[str]) -> pa.Table:
    """Those of some triggers that are asked for, and of which the log holds all that their windows reach."""
    asked = within(table, times_of(table, input.time), request)
    found, lost = whole_history.whole(begin_us, times_of(asked, input.time), asked, request.rows)
    passed["history_cut_off"] += lost
    return found


def _computed(
    database: Connection,
    plan: Plan,
    model: ModelPlan,
    triggers: Rows,
    events: Mapping[str, Rows],
    passed: Counter[str],
    *,
    is_asked: bool,
    ranked: bool,
) -> Vectors:
    input = plan.inputs[model.trigger]
    carried = {"_entity": input.key, "_event_time": input.time} | ({} if is_asked else {"_known": "_known"})
    names = {"_entity": "entity", "_event_time": "event_time"}
    names |= {"_offset": "row"} if is_asked else dict(zip(("_partition", "_offset"), TRIGGER, strict=True))

    def tables() -> Iterator[pa.Table]:
        found = vectors(plan, model, triggers, events, database, ranked=ranked, repeatable=True, carried=carried)
        for table in found:
            for time in ("_event_time", "_known"):
                if time in table.column_names:
                    place = table.column_names.index(time)
                    table = table.set_column(place, time, table[time].cast(cols.ARROW[Kind.TIME]))
            yield table.rename_columns([names.get(name, name) for name in table.column_names])

    return Vectors(tables(), ("row",) if is_asked else TRIGGER, not is_asked, passed=passed)


def within(table: pa.Table, event_time_us: Int64Array, request: Request) -> pa.Table:
    """The rows whose event time is asked for."""
    keep: BoolArray = event_time_us >= (request.from_us if request.from_us is not None else -(2**63))
    keep &= event_time_us < (request.to_us if request.to_us is not None else 2**63 - 1)
    return table.filter(pa.array(keep))
