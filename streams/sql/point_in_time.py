"""Feature values computed offline, in SQL, from the feature log: the judge of every engine, sharing no code with any.

Two readings of the log (DESIGN section 2):

* `point_in_time`: every event ever logged counts from its event time on, however late it came: an ideal observer.
* `as_known`: an event counts if it was applied, and before the trigger was: what was served.

How a lookup is computed is told in `streams.sql.lookup`, what of an aggregate in `streams.sql.aggregates`, and by how much
right values may differ from what was served in `streams.sql.difference`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from functools import partial
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from samestream.schemas.errors import FeatureLogError, SamestreamError
from samestream.schemas.expressions import Column, Expr
from samestream.schemas.kinds import Kind
from samestream.streams import columns as cols
from samestream.streams.column_types import refuse_retyped
from samestream.streams.log.logged_columns import defaults_of, field_of
from samestream.streams.plan import Input, ModelPlan, Plan
from samestream.streams.sql import duckdb_terms as sql
from samestream.streams.sql.difference import slack_of
from samestream.streams.sql.duckdb import DUCKDB
from samestream.streams.sql.duckdb_words import WORDS
from samestream.streams.sql.log import SqlLog

_SETTINGS = {"memory_limit": "4GB", "preserve_insertion_order": False}
_INFINITY = "CAST('inf' AS DOUBLE)"
_SIDES = {"/up": "+", "/down": "-"}
Rows = pa.Table | pa.RecordBatchReader


def point_in_time(
    plan: Plan,
    model: ModelPlan,
    triggers: pa.Table,
    events: Mapping[str, Rows],
    connection: duckdb.DuckDBPyConnection | None = None,
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
    connection: duckdb.DuckDBPyConnection | None = None,
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
    connection: duckdb.DuckDBPyConnection | None,
    *,
    ranked: bool,
    slack: bool,
    repeatable: bool,
) -> pa.Table:
    with _workspace(connection, 1 if repeatable else 2) as database, _room(model):
        log = SqlLog(_DuckDB(database, plan, triggers, events), plan, model, events, ranked=ranked)
        source, inexact = log.looked_up(slack)
        columns = [f"{DUCKDB.expression(value)} AS {sql.quoted(name)}" for name, value in model.outputs.items()]
        if slack:
            columns += [
                f"{text} AS {sql.quoted(slack_of(name))}"
                for name, value in model.outputs.items()
                if (text := _moved(value, inexact))
            ]
        source = f"SELECT {', '.join(['*', *map(_sides, sorted(inexact))])} FROM {source}"
        query = f"SELECT _partition, _offset, {', '.join(columns)} FROM ({source}) ORDER BY _row"
        return _typed(database.sql(query).to_arrow_table(), model)


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


class _DuckDB:
    """Runs what `SqlLog` asks for, over rows from Arrow."""

    words = WORDS

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        plan: Plan,
        triggers: pa.Table,
        events: Mapping[str, Rows],
    ) -> None:
        self._connection, self._plan, self._triggers, self._events = connection, plan, triggers, events
        self._failed: list[Exception] = []

    def make(self, table: str, query: str) -> None:
        """See `sql_words.Database`."""
        try:
            self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {query}")
        except duckdb.Error as error:  # of what a reader raised, DuckDB tells the text alone
            raise self._failed[0] if self._failed else error from error

    def number(self, query: str) -> float:
        """See `sql_words.Database`."""
        found = self._connection.execute(query).fetchone()
        return found[0] if found and found[0] is not None else 0

    def stage_triggers(self, table: str, input: Input, marks: Sequence[str]) -> None:
        """See `sql_log.LogDatabase`."""
        self._stage(table, input, self._triggers, marks)

    def stage_events(self, table: str, input: Input, marks: Sequence[str]) -> None:
        """See `sql_log.LogDatabase`."""
        self._stage(table, input, self._events[input.name], marks)

    def _stage(self, name: str, input: Input, rows: Rows, marks: Sequence[str]) -> None:
        """Make a table of an input's columns in the types of `sql.TYPES`, of where each row lies in the log, and when it was.

        `_row` numbers the rows, `_time` is their event time in microseconds. Rows that can be read once only are copied to the
        database, which keeps on disk what exceeds its memory.
        """
        marks = ("_partition", "_offset", *(() if input.time else ("_known",)), *marks)
        needed = self._plan.read_columns(input.name)
        columns = []
        for column in needed:
            kind, value = input.columns[column], sql.quoted(column)
            if kind is Kind.LIST and input.items[column] is Kind.FLOAT:
                columns.append(f"list_transform({value}, lambda v: {sql.present(Kind.FLOAT, 'v')}) AS {value}")
            else:
                columns.append(f"{sql.present(kind, value)} AS {value}")
        time = f"{sql.quoted(input.time or '_known')} AS _time"
        query = f"SELECT {', '.join(['_row', time, *marks, *columns])} FROM staged_{name}"
        if isinstance(rows, pa.Table):
            self._connection.register(f"staged_{name}", _plain(input, rows, needed, marks, 0))
            self._connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {query}")
        else:
            schema = _plain(input, rows.schema.empty_table(), needed, marks, 0).schema
            each = _each(input, rows, needed, marks, self._failed)
            self._connection.register(f"staged_{name}", pa.RecordBatchReader.from_batches(schema, each))
            self.make(name, query)
            self._connection.unregister(f"staged_{name}")


@contextmanager
def _room(model: ModelPlan) -> Iterator[None]:
    """Raises FeatureLogError where there is no room for what a computation keeps on disk or in memory."""
    try:
        yield
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        raise FeatureLogError(
            "there is no room to compute vectors in SQL",
            where=model.name,
            found=str(error).splitlines()[0],
            hint="make room where temporary files lie (TMPDIR), or ask for a shorter range.",
        ) from error


@contextmanager
def _workspace(connection: duckdb.DuckDBPyConnection | None, threads: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection whose temporary tables vanish; registrations and temporary tables are private to a cursor."""
    if connection is not None:
        with connection.cursor() as cursor:
            yield cursor
        return
    # what exceeds the memory limit must not be written into the user's working directory
    with (
        tempfile.TemporaryDirectory(prefix="samestream-") as folder,
        duckdb.connect(config={**_SETTINGS, "threads": threads, "temp_directory": folder}) as database,
    ):
        yield database


def _each(
    input: Input, rows: pa.RecordBatchReader, needed: Sequence[str], marks: Sequence[str], failed: list[Exception]
) -> Iterator[pa.RecordBatch]:
    """The batches of a reader; what it raises is kept in ``failed``."""
    first = 0
    try:
        for batch in rows:
            yield from _plain(input, pa.Table.from_batches([batch]), needed, marks, first).to_batches()
            first += len(batch)
    except SamestreamError as error:
        failed.append(error)
        raise


def _plain(input: Input, table: pa.Table, needed: Sequence[str], marks: Sequence[str], first: int) -> pa.Table:
    """What is read of some rows, times as whole numbers; the first one has the number ``first``."""
    table = table.append_column("_row", pa.array(np.arange(first, first + len(table))))
    types = {column: cols.arrow_type(input.columns[column], input.items.get(column)) for column in needed}
    refuse_retyped(input, table.schema, needed)
    taken: dict[str, Any] = {}
    for column in ("_row", *marks, *needed):
        type_ = types.get(column)
        if column in table.column_names:
            taken[column] = cols.plain(table[column].cast(type_) if type_ else table[column])
        elif type_ and (not len(table) or column in input.nullable or column in defaults_of(input)):
            # a log from before the field was declared
            given = cols.to_arrow(field_of(input, column, [table]), input.columns[column], input.items.get(column))
            taken[column] = cols.plain(pa.chunked_array([given]))
        else:
            raise FeatureLogError(
                "a column is missing",
                where=f"{input.name}.{column}",
                found=", ".join(table.column_names),
                hint="pass all columns that `Plan.read_columns` names; `as_known` needs ranks besides.",
            )
    return pa.table(taken)


def _typed(found: pa.Table, model: ModelPlan) -> pa.Table:
    """The vectors in the types of the feature log."""
    for name, value in model.outputs.items():
        wanted = cols.arrow_type(value.kind, value.item)
        place = found.column_names.index(name)
        if found.schema.field(place).type != wanted:
            found = found.set_column(place, name, found[name].cast(wanted))
    return found
