"""The log in DuckDB, of which no more is held in memory than a part: what exceeds that lies in a temporary folder.

Whatever grows with the log is a table that can be written out; and no statement has to hold more of it at once than some
hundred thousand rows. So the limit is a limit, and not a question of luck.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from samestream.schemas.errors import FeatureLogError, SamestreamError
from samestream.schemas.kinds import Kind
from samestream.streams import columns as cols
from samestream.streams.column_types import refuse_retyped
from samestream.streams.log.logged_columns import defaults_of, field_of
from samestream.streams.plan import Input, Plan
from samestream.streams.sql import duckdb_terms as sql
from samestream.streams.sql.duckdb_words import WORDS
from samestream.streams.sql.latest import latest
from samestream.streams.sql.log import joined

SETTINGS = {"memory_limit": "512MB", "preserve_insertion_order": False}
JOINED_ROWS = 250_000
"""How many rows are put together with their answers at once."""
ASKED_ROWS = 4_000_000
"""If more rows ask for their latest event, events are put in order on disk, and not the rows in memory."""
_DIRECT = (Kind.INT, Kind.FLOAT, Kind.BOOL, Kind.TIME, Kind.STRING)
_NO_ROOM = (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.TransactionException)  # the last where it commits
Rows = pa.Table | pa.RecordBatchReader
Connection = duckdb.DuckDBPyConnection


class DuckDbLog:
    """Runs what `SqlLog` asks for, over rows from Arrow.

    carried : of triggers, columns that are handed on as they are, by the name that they get; times as microseconds
    """

    words = WORDS

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        plan: Plan,
        triggers: Rows,
        events: Mapping[str, Rows],
        carried: Mapping[str, str],
    ) -> None:
        self._connection, self._plan, self._triggers, self._events = connection, plan, triggers, events
        self._carried = carried
        self._failed: list[Exception] = []

    def make(self, table: str, query: str) -> None:
        """See `sql_words.Database`."""
        try:
            self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {query}")
        except duckdb.Error:
            if self._failed:  # of what a reader raised, DuckDB tells the text alone
                raise self._failed[0] from self._failed[0].__cause__
            raise

    def add(self, table: str, query: str) -> None:
        """See `sql_words.Database`."""
        self._connection.execute(f"INSERT INTO {table} {query}").fetchall()

    def join(self, table: str, base: str, answers: Sequence[str], columns: str) -> None:
        """See `sql_words.Database`."""
        for number, query in enumerate(self.joined(base, answers, columns)):
            (self.add if number else self.make)(table, query)

    def joined(self, base: str, answers: Sequence[str], columns: str) -> Iterator[str]:
        """Queries for expressions over the rows of a table and of their answers: of so many rows each, one after the other."""
        rows = int(self.number(f"SELECT max(_row) + 1 FROM {base}"))
        for first in range(0, max(rows, 1), JOINED_ROWS):
            if rows <= JOINED_ROWS:
                chosen = {name: name for name in (base, *answers)}
            else:
                these = f"_row >= {first} AND _row < {first + JOINED_ROWS}"
                chosen = {name: f"(SELECT * FROM {name} WHERE {these}) AS {name}" for name in (base, *answers)}
            yield f"SELECT {columns} FROM {joined(chosen[base], [chosen[name] for name in answers])}"

    def latest(self, table: str, keys: str, event: Input, by: str, value: str) -> bool:
        """See `sql_words.Database`."""
        if self.number("SELECT count(*) FROM asked") > ASKED_ROWS or by == value:
            return False
        for name in (by, value):
            if event.columns[name] not in _DIRECT:
                return False
        asked = self._connection.sql("SELECT _row, key, instant FROM asked").to_arrow_table()
        held = self._connection.sql(f"SELECT {keys} FROM keys ORDER BY key").to_arrow_table()[keys].combine_chunks()
        time = event.time or "_known"
        needed = [by, value, *([event.time] if event.time and event.time not in (by, value) else [])]
        marks = ("_partition", "_offset", *(() if event.time else ("_known",)))
        tables = (_plain(event, table, needed, marks, 0, {}) for table in _some(self._events[event.name]))
        type_ = cols.arrow_type(event.columns[by])
        found = latest(asked, held.cast(pa.int64() if pa.types.is_timestamp(type_) else type_), tables, by, time, value)
        self._connection.register("found", found)
        self.make(table, "SELECT * FROM found")
        self._connection.unregister("found")
        return True

    def number(self, query: str) -> float:
        """See `sql_words.Database`."""
        found = self._connection.execute(query).fetchall()
        return found[0][0] if found and found[0][0] is not None else 0

    def stage_triggers(self, table: str, input: Input, marks: Sequence[str]) -> None:
        """See `sql_log.LogDatabase`."""
        self._stage(table, input, self._triggers, marks, self._carried)

    def stage_events(self, table: str, input: Input, marks: Sequence[str]) -> None:
        """See `sql_log.LogDatabase`."""
        self._stage(table, input, self._events[input.name], marks, {})

    def _stage(self, name: str, input: Input, rows: Rows, marks: Sequence[str], carried: Mapping[str, str]) -> None:
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
        columns += [f"{alias} AS {alias}" for alias in carried]
        time = f"{sql.quoted(input.time or '_known')} AS _time"
        query = f"SELECT {', '.join(['_row', time, *marks, *columns])} FROM staged_{name}"
        if isinstance(rows, pa.Table):
            self._connection.register(f"staged_{name}", _plain(input, rows, needed, marks, 0, carried))
            self._connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {query}")
        else:
            schema = _plain(input, rows.schema.empty_table(), needed, marks, 0, carried).schema
            each = _each(input, rows, needed, marks, self._failed, carried)
            self._connection.register(f"staged_{name}", pa.RecordBatchReader.from_batches(schema, each))
            self.make(name, query)
            self._connection.unregister(f"staged_{name}")


@contextmanager
def room(where: str) -> Iterator[None]:
    """Raises FeatureLogError where there is no room for what a computation keeps on disk or in memory."""
    try:
        yield
    except _NO_ROOM as error:
        raise FeatureLogError(
            "there is no room for what is computed in SQL",
            where=where,
            found=str(error).splitlines()[0],
            hint="make room where temporary files lie (TMPDIR), or ask for a shorter range.",
        ) from error


@contextmanager
def workspace(connection: duckdb.DuckDBPyConnection | None, threads: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection whose temporary tables vanish; registrations and temporary tables are private to a cursor."""
    if connection is not None:
        with connection.cursor() as cursor:
            yield cursor
        return
    # what exceeds the memory limit must not be written into the user's working directory
    with (
        tempfile.TemporaryDirectory(prefix="samestream-") as folder,
        duckdb.connect(config={**SETTINGS, "threads": threads, "temp_directory": folder}) as database,
    ):
        yield database


def _some(rows: Rows) -> Iterator[pa.Table]:
    return iter([rows]) if isinstance(rows, pa.Table) else (pa.Table.from_batches([batch]) for batch in rows)


def _each(
    input: Input,
    rows: pa.RecordBatchReader,
    needed: Sequence[str],
    marks: Sequence[str],
    failed: list[Exception],
    carried: Mapping[str, str],
) -> Iterator[pa.RecordBatch]:
    """The batches of a reader; what it raises is kept in ``failed``."""
    first = 0
    try:
        for batch in rows:
            yield from _plain(input, pa.Table.from_batches([batch]), needed, marks, first, carried).to_batches()
            first += len(batch)
    except SamestreamError as error:
        failed.append(error)
        raise


def _plain(
    input: Input,
    table: pa.Table,
    needed: Sequence[str],
    marks: Sequence[str],
    first: int,
    carried: Mapping[str, str],
) -> pa.Table:
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
                "a column is missing" if column.startswith("_") else "the log does not know this field",
                where=f"{input.name}.{column}",
                found=", ".join(table.column_names),
                hint="where it came later, declare a default, or that it may be null (`| None`): older events then hold that. "
                "A field of another name is another field. As a library: pass all columns that `Plan.read_columns` names.",
            )
    taken |= {alias: cols.plain(table[column]) for alias, column in carried.items()}
    return pa.table(taken)
