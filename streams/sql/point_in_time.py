"""Feature values computed offline, in SQL, from the feature log: the judge of every engine, sharing no code with any.

Two readings of the log (DESIGN section 2):

* `point_in_time`: every event ever logged counts from its event time on, however late it came: an ideal observer.
* `as_known`: an event counts if it was applied, and before the trigger was: what was served.

How a lookup is computed is told in `streams.sql.lookup`, what of an aggregate in `streams.sql.aggregates`, and by how much
right values may differ from what was served in `streams.sql.difference`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from functools import partial
from typing import Any

import pyarrow as pa

from samestream.schemas.expressions import Column, Expr
from samestream.streams import columns as cols
from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.sql import duckdb_terms as sql
from samestream.streams.sql.difference import slack_of
from samestream.streams.sql.duckdb import DUCKDB
from samestream.streams.sql.duckdb_log import Connection, DuckDbLog, Rows, room, workspace
from samestream.streams.sql.log import SqlLog

_INFINITY = "CAST('inf' AS DOUBLE)"
_SIDES = {"/up": "+", "/down": "-"}


def point_in_time(
    plan: Plan,
    model: ModelPlan,
    triggers: pa.Table,
    events: Mapping[str, Rows],
    connection: Connection | None = None,
    *,
    slack: bool = False,
    repeatable: bool = False,
) -> pa.Table:
    """The vectors of a model as an observer would have seen them to whom no event comes late.

    triggers : one row per vector wanted: `_partition`, `_offset` and the columns of the model's trigger event.
    events : by event name, the topic as `FeatureLog.read` or `topic_stream.reader` gives it, of which nothing is held in
        memory; more rows and columns than needed do no harm, fewer do.
    connection : a DuckDB to work in, by its own settings and leaving nothing behind; a new one in memory if None.
    slack : whether to give, beside each output that is computed from inexact aggregates, a column that says how far off it
        may be (`streams.sql.difference`).
    repeatable : whether the same input must give the same bits: on one thread, since threads add floats in any order. Where
        a connection is given, its settings decide.

    Returns `_partition`, `_offset` and a column per output, in the order of ``triggers``.
    Raises FeatureLogError if a table or a column of one is missing.
    """
    return _vectors(plan, model, triggers, events, connection, ranked=False, slack=slack, repeatable=repeatable)


def as_known(
    plan: Plan,
    model: ModelPlan,
    triggers: pa.Table,
    events: Mapping[str, Rows],
    connection: Connection | None = None,
    *,
    slack: bool = False,
    repeatable: bool = False,
) -> pa.Table:
    """The vectors of a model as the processor could know them; as `point_in_time`, but of events applied before.

    triggers, events : have also `_rank`, the place in the merged order of all inputs; events `_applied` too.
    """
    return _vectors(plan, model, triggers, events, connection, ranked=True, slack=slack, repeatable=repeatable)


def _vectors(
    plan: Plan,
    model: ModelPlan,
    triggers: pa.Table,
    events: Mapping[str, Rows],
    connection: Connection | None,
    *,
    ranked: bool,
    slack: bool,
    repeatable: bool,
) -> pa.Table:
    found = vectors(plan, model, triggers, events, connection, ranked=ranked, slack=slack, repeatable=repeatable)
    return pa.concat_tables(list(found))


def vectors(
    plan: Plan,
    model: ModelPlan,
    triggers: Rows,
    events: Mapping[str, Rows],
    connection: Connection | None = None,
    *,
    ranked: bool,
    slack: bool = False,
    repeatable: bool = False,
    carried: Mapping[str, str] | None = None,
) -> Iterator[pa.Table]:
    """The vectors of `point_in_time`, or if ``ranked`` of `as_known`, some after the other: at least one table, be it empty.

    triggers : may be read but once, too
    carried : columns of the triggers that stand beside the vectors, by the name that they have there; times as microseconds
    """
    kept = carried or {}
    with workspace(connection, 1 if repeatable else 2) as database, room(model.name):
        rows = DuckDbLog(database, plan, triggers, events, kept)
        base, answers, inexact = SqlLog(rows, plan, model, events, ranked=ranked).looked_up(slack)
        columns = [f"{DUCKDB.expression(value)} AS {sql.quoted(name)}" for name, value in model.outputs.items()]
        if slack:
            columns += [
                f"{text} AS {sql.quoted(slack_of(name))}"
                for name, value in model.outputs.items()
                if (text := _moved(value, inexact))
            ]
        both = ", ".join(["*", *map(_sides, sorted(inexact))])
        chosen = ", ".join(["_partition", "_offset", *kept, *columns])
        for source in rows.joined(base, answers, both):
            found = database.sql(f"SELECT {chosen} FROM ({source}) ORDER BY _row").to_arrow_table()
            yield _typed(found, model)


def _moved(value: Expr[Any], inexact: Set[str]) -> str:
    """How far an output moves, as SQL, if the inexact values it is computed from move by their slack; "" if there are none.

    Each is moved up and down by itself, and the movements are added up: of a sum that is the sum of the slacks, of a
    comparison whether it may turn out either way. What cannot be measured, such as a null that comes or goes, is infinite.
    """
    here, movements = DUCKDB.expression(value), []
    for name in dict.fromkeys(
        leaf.name for leaf in value.leaves() if isinstance(leaf, Column) and leaf.name in inexact
    ):
        for side in _SIDES:
            there = DUCKDB.expression(value.replace_leaves(partial(_aside, name, side)))
            measured = f"abs(CAST({there} AS DOUBLE) - CAST({here} AS DOUBLE))" if value.kind.is_number else "NULL"
            movements.append(
                f"CASE WHEN ({there}) IS NOT DISTINCT FROM ({here}) THEN 0 ELSE coalesce({measured}, {_INFINITY}) END"
            )
    return " + ".join(movements)


def _aside(name: str, side: str, leaf: Expr[Any]) -> Expr[Any]:
    return Column(name + side, leaf.kind) if isinstance(leaf, Column) and leaf.name == name else leaf


def _sides(name: str) -> str:
    """The columns of an inexact value moved up and down by its slack."""
    value, slack = sql.quoted(name), sql.quoted(slack_of(name))
    return ", ".join(
        f"CASE WHEN NOT isfinite({slack}) THEN {sign}{_INFINITY} ELSE {value} {sign} {slack} END AS {sql.quoted(name + side)}"
        for side, sign in _SIDES.items()
    )


def _typed(found: pa.Table, model: ModelPlan) -> pa.Table:
    """The vectors in the types of the feature log."""
    for name, value in model.outputs.items():
        wanted = cols.arrow_type(value.kind, value.item)
        place = found.column_names.index(name)
        if found.schema.field(place).type != wanted:
            found = found.set_column(place, name, found[name].cast(wanted))
    return found
