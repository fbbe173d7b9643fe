"""What can be proved of a plan before anything starts; `samestream check` prints it, one finding a line.

That a feature exists online and offline is proved by doing: its expressions run on columns without rows, and the model's SQL
runs in DuckDB on empty tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from samestream.schemas import durations
from samestream.schemas.aggregates import Aggregate
from samestream.schemas.app import App
from samestream.schemas.errors import SamestreamError
from samestream.schemas.expressions import Column, Expr
from samestream.streams import columns as cols
from samestream.streams.cost import cost_of
from samestream.streams.deploy import provision
from samestream.streams.deploy.declaration import declare
from samestream.streams.deploy.deployment import reach_in_words, reach_of
from samestream.streams.engine import evaluate, results
from samestream.streams.engine.tiles import CellOp
from samestream.streams.plan import Input, ModelPlan, Plan, Table
from samestream.streams.sql import aggregates as sql_aggregates
from samestream.streams.sql.duckdb import DUCKDB

Verdict = Literal["ok", "warn", "fail"]
_MUCH_BYTES = 64 * 1024
_LONGEST_TOPIC = 249


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: whether it is well, what it is about, where, what was found, what to do."""

    verdict: Verdict
    about: str
    where: str
    says: str
    hint: str = ""


def findings(app: App, plan: Plan) -> Iterator[Finding]:
    """Everything that needs no broker."""
    yield from _names(app, plan)
    for model in plan.models.values():
        yield from _inputs(plan, model)
        yield from _keys(plan, model)
        yield _offline(plan, model)
        yield from _label(plan, model)
    for table in plan.tables:
        yield _memory(table)
    yield from _lateness(plan)
    yield from _retention(app, plan)


def _names(app: App, plan: Plan) -> Iterator[Finding]:
    """Kafka takes at most 249 characters, and no two names that differ in dots and underscores only."""
    names = [spec.name for spec in provision.topics(app, plan)]
    seen: dict[str, str] = {}
    wrong = False
    for name in names:
        other = seen.setdefault(name.replace(".", "_"), name)
        if len(name) > _LONGEST_TOPIC:
            wrong = True
            says = f"{len(name)} characters, Kafka takes at most {_LONGEST_TOPIC}"
            yield Finding("fail", "names", name, says, "shorten the event's topic, the app's name or the namespace.")
        if other != name:
            wrong = True
            says = f"differs from {other} in dots and underscores only, which Kafka refuses"
            yield Finding("fail", "names", name, says, "use dots in one way.")
    if not wrong:
        yield Finding("ok", "names", plan.app, f"{len(names)} topics, each with a name that Kafka takes")


def _inputs(plan: Plan, model: ModelPlan) -> Iterator[Finding]:
    """Per input of a model: whether the online path and SQL know every operation and every aggregate that it is made of."""
    read = {
        column: (plan.tables[part.table], index) for part in model.lookups for index, column in enumerate(part.columns)
    }
    for name, value in model.outputs.items():
        missing: list[str] = []
        paths: dict[str, None] = {}
        _try(missing, "online", value)
        for leaf in value.leaves():
            if isinstance(leaf, Column) and leaf.name in read:
                table, index = read[leaf.name]
                part = table.aggregates[index]
                fed = table.inputs[part.input]
                for expression in (fed.value, fed.where):
                    if expression is not None:
                        _try(missing, "online", expression)
                _try_aggregate(missing, table, index)
                paths["the kernel" if part.is_compiled else "the general path"] = None
        where = f"{model.name}.{name}"
        if missing:
            yield Finding(
                "fail",
                "features",
                where,
                f"no rule for {', '.join(dict.fromkeys(missing))}",
                "compute it otherwise, or leave it out: it would not be the same online and offline.",
            )
        else:
            online = " and ".join(paths) or "columns"
            yield Finding("ok", "features", where, f"{value.kind.value}; online by {online}, offline in SQL")


def _try(missing: list[str], path: str, value: Expr[Any]) -> None:
    """Evaluate an expression on columns without rows, and write it as SQL."""
    leaves = [leaf for leaf in value.leaves() if isinstance(leaf, Column)]
    try:
        evaluate.evaluate(value, {leaf.name: cols.from_values([], leaf.kind) for leaf in leaves}, 0)
    except KeyError as error:
        missing.append(f"{_class_in(error)} {path}")
    try:
        DUCKDB.expression(value)
    except KeyError as error:
        missing.append(f"{_class_in(error)} in SQL")


def _try_aggregate(missing: list[str], table: Table, index: int) -> None:
    part = table.aggregates[index]
    aggregate: Aggregate = part.aggregate
    try:
        if part.is_compiled:
            slots = sum(CellOp[table.cells[cell].op].slots for cell in part.cells)
            results.result(aggregate, [np.empty(0, np.int64)] * slots, np.empty(0, np.int64))
        else:
            aggregate.result(aggregate.zero(), 0)
    except (KeyError, NotImplementedError):
        missing.append(f"{aggregate.name} online")
    try:
        sql_aggregates.rule(aggregate)
    except KeyError:
        missing.append(f"{aggregate.name} in SQL")


def _class_in(error: KeyError) -> str:
    found = error.args[0]
    return found.__name__.lower() if isinstance(found, type) else str(found)


def _keys(plan: Plan, model: ModelPlan) -> Iterator[Finding]:
    trigger = plan.inputs[model.trigger]
    for lookup in model.lookups:
        table = plan.tables[lookup.table]
        where = f"{model.name}, {table.event} by {' and '.join(table.by)}"
        pairs = [(held, trigger.columns.get(key)) for held, key in zip(table.key_kinds, lookup.keys, strict=True)]
        if any(held and asked and held is not asked for held, asked in pairs):
            yield Finding(
                "fail",
                "keys",
                where,
                f"kept by another kind than {model.trigger}.{', '.join(lookup.keys)} has",
                "look it up by a field of the same kind: View.of(Event.field).",
            )
        else:
            yield Finding("ok", "keys", where, f"looked up by {model.trigger}.{', '.join(lookup.keys)}")


def _offline(plan: Plan, model: ModelPlan) -> Finding:
    """Run the model's SQL on empty tables: types and names must fit."""
    from samestream.streams.sql.point_in_time import point_in_time

    read = {table.event for table in plan.tables}
    try:
        point_in_time(
            plan, model, _empty(plan.inputs[model.trigger]), {name: _empty(plan.inputs[name]) for name in read}
        )
    except KeyError as error:
        says = f"SQL cannot compute {_class_in(error)}"
        return Finding("fail", "offline", model.name, says, "compute it otherwise, or leave it out.")
    except Exception as error:  # duckdb has a class for each way to be wrong
        said = (
            error.line.removesuffix(".") if isinstance(error, SamestreamError) else " ".join(str(error).split())[:200]
        )
        hint = "this is a fault of samestream: please report it with the declaration."
        return Finding("fail", "offline", model.name, f"its SQL does not run: {said}", hint)
    return Finding("ok", "offline", model.name, "its SQL runs in DuckDB: names and types fit")


def _empty(input: Input) -> pa.Table:
    places = {"_partition": pa.array([], pa.int32()), "_offset": pa.array([], pa.int64())}
    places["_known"] = pa.array([], pa.timestamp("us", "UTC"))
    kinds = {name: cols.arrow_type(kind, input.items.get(name)) for name, kind in input.columns.items()}
    return pa.table(places | {name: pa.array([], type_) for name, type_ in kinds.items()})


def _label(plan: Plan, model: ModelPlan) -> Iterator[Finding]:
    label = model.label
    gate = plan.events[label.event].gate
    lateness_us = gate.lateness_us if gate else 0
    where = f"{model.name}.{label.name}"
    missing: list[str] = []
    _try(missing, "online", label.value)
    if unknown := [one for one in missing if one.endswith("online")]:
        yield Finding("fail", "labels", where, f"no rule for {', '.join(unknown)}", "compute it otherwise.")
        return
    within, late = durations.text(label.within_us), durations.text(lateness_us)
    if model.trainer.history_us <= label.within_us:
        yield Finding(
            "fail",
            "labels",
            where,
            f"it may come {within} later, but training looks back {durations.text(model.trainer.history_us)}",
            "give the trainer a longer history=.",
        )
        return
    if lateness_us > label.within_us:
        yield Finding(
            "warn",
            "labels",
            where,
            f"{label.event} may be {late} late, longer than the horizon of {within}",
            "outcomes close only after both; a shorter lateness= closes them sooner.",
        )
        return
    closes = durations.text(label.within_us + lateness_us)
    yield Finding("ok", "labels", where, f"within {within}; an outcome without a label closes after {closes}")


def _memory(table: Table) -> Finding:
    cost = cost_of(table)
    where = f"{table.event} by {' and '.join(table.by)}"
    says = f"up to about {size(cost.most_bytes)} a key, and the raw events of open tiles"
    if not cost.is_bounded:
        hint = "its state grows with time or with values: watch the process's memory, or shorten the window."
        return Finding("warn", "memory", where, f"{says}; lifetime windows and the general path hold more", hint)
    if cost.most_bytes > _MUCH_BYTES:
        hint = f"a million keys would take {size(cost.most_bytes * 10**6)}; a coarser tile= makes it less."
        return Finding("warn", "memory", where, says, hint)
    return Finding("ok", "memory", where, says)


def _lateness(plan: Plan) -> Iterator[Finding]:
    shortest: dict[str, int] = {}
    for table in plan.tables:
        for part in table.windows:
            length_us = part.window.longest_us
            shortest[table.event] = min(shortest.get(table.event, length_us), length_us)
    for name, input in plan.events.items():
        gate = input.gate
        if gate is None or input.is_table:
            continue
        late = durations.text(gate.lateness_us)
        if not gate.lateness_us:
            hint = 'declare what is usual, such as lateness="10m"; the rest goes to the .late topic.'
            yield Finding("warn", "lateness", name, "0s: any event out of order is too late", hint)
        elif gate.lateness_us > shortest.get(name, gate.lateness_us):
            window = durations.text(shortest[name])
            hint = "fine if longer windows need it; otherwise a shorter lateness holds less state."
            yield Finding("warn", "lateness", name, f"{late}, longer than its shortest window of {window}", hint)
        else:
            yield Finding("ok", "lateness", name, f"{late}; judged by {plan.gatekeeper(name) or 'nobody'}")


def _retention(app: App, plan: Plan) -> Iterator[Finding]:
    """Whether a topic, as it is declared, keeps what windows look back."""
    declaration = declare(app, plan)
    for name, event in app.events.items():
        reach_us, options = reach_of(declaration, name), event.topic_options
        if not reach_us:
            continue
        kept_us = options.retention_us
        reach = reach_in_words(declaration, name)
        kept = "for ever" if kept_us is None else durations.text(kept_us)
        if kept_us is not None and kept_us < reach_us:
            hint = "declare a longer retention=, or none: after a restart values would differ."
            yield Finding("fail", "retention", name, f"kept {kept}, but {reach}", hint)
        elif options.compact and (kept_us or 0) < reach_us:
            hint = "leave compact=True out: only the newest record of each key would be left to replay."
            yield Finding("fail", "retention", name, f"compacted, but {reach}", hint)
        else:
            yield Finding("ok", "retention", name, f"kept {kept}; {reach}")


def size(count: int) -> str:
    """A number of bytes as people read it.

    >>> size(1536)
    '1.5 KiB'
    """
    number, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if number < 1024:
            break
        number, unit = number / 1024, larger
    return f"{number:,.0f} bytes" if unit == "bytes" else f"{number:,.1f} {unit}"
