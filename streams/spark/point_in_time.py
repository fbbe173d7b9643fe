"""Feature values computed offline on Spark, for logs that one machine does not hold: `streams.sql.point_in_time`'s algorithm.

The work is done in a session of its own on the same Spark, so that neither settings nor names of views meet the caller's.
Every table is computed once: Spark's blocks of it are freed when nothing refers to it any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import pyarrow as pa

from samestream.schemas.errors import FeatureLogError
from samestream.schemas.kinds import Kind
from samestream.streams import columns as cols
from samestream.streams.column_types import refuse_retyped
from samestream.streams.log.logged_columns import defaults_of
from samestream.streams.plan import Input, ModelPlan, Plan
from samestream.streams.spark.session import SETTINGS
from samestream.streams.spark.terms import TYPES, present, quoted, written
from samestream.streams.spark.words import WORDS
from samestream.streams.sql.log import SqlLog, joined

DataFrame = Any  # pyspark's, which is there only with the extra `spark`
Rows = pa.Table | DataFrame
_SETTINGS = {
    **{name: value for name, value in SETTINGS.items() if name.startswith("spark.sql.")},
    "spark.sql.caseSensitive": "true",  # fields may differ only in the case of a letter
    # Spark keeps constraints of columns that a checkpoint no longer has, and then looks for these columns in vain
    "spark.sql.constraintPropagation.enabled": "false",
}


def point_in_time(plan: Plan, model: ModelPlan, triggers: Rows, events: Mapping[str, Rows], session: Any) -> DataFrame:
    """The vectors of a model as an observer would have seen them to whom no event comes late.

    triggers : one row per vector wanted, an Arrow table or a DataFrame: `_partition`, `_offset` and the columns of the
        model's trigger event.
    events : by event name, the topic as `FeatureLog.read` gives it, or as Spark reads its Parquet files.
    session : the Spark to work in.

    Returns a DataFrame of the session: `_partition`, `_offset` and a column per output, in the order of ``triggers``.
    Raises FeatureLogError if a table or a column of one is missing.
    """
    return _vectors(plan, model, triggers, events, session, ranked=False)


def as_known(plan: Plan, model: ModelPlan, triggers: Rows, events: Mapping[str, Rows], session: Any) -> DataFrame:
    """The vectors of a model as the processor could know them; as `point_in_time`, but of events applied before.

    triggers, events : have also `_rank`, the place in the merged order of all inputs; events `_applied` too.
    """
    return _vectors(plan, model, triggers, events, session, ranked=True)


def _vectors(
    plan: Plan, model: ModelPlan, triggers: Rows, events: Mapping[str, Rows], session: Any, *, ranked: bool
) -> DataFrame:
    database = SparkDatabase(session, triggers, events)
    base, answers, _ = SqlLog(database, plan, model, events, ranked=ranked).looked_up()
    columns = []
    for name, value in model.outputs.items():
        text = WORDS.dialect.expression(value)
        if value.kind is Kind.TIME:
            text = f"timestamp_micros({text})"
        elif value.kind is Kind.LIST and value.item is Kind.TIME:
            text = f"transform({text}, v -> timestamp_micros(v))"
        columns.append(f"{text} AS {quoted(name)}")
    return database.result(
        f"SELECT _partition, _offset, {', '.join(columns)} FROM {joined(base, answers)} ORDER BY _row"
    )


class SparkDatabase:
    """Runs what `SqlLog` asks for, over temporary views of tables that are computed once."""

    words = WORDS

    def __init__(self, session: Any, triggers: Rows, events: Mapping[str, Rows]) -> None:
        self._caller, self._triggers, self._events = session, triggers, events
        self._session = session.newSession()
        for name, value in _SETTINGS.items():
            self._session.conf.set(name, value)

    def make(self, table: str, query: str) -> None:
        """See `sql_words.Database`."""
        self._session.sql(query).localCheckpoint().createOrReplaceTempView(table)

    def add(self, table: str, query: str) -> None:
        """See `sql_words.Database`."""
        self.make(table, f"SELECT * FROM {table} UNION ALL {query}")

    def join(self, table: str, base: str, answers: Sequence[str], columns: str) -> None:
        """See `sql_words.Database`."""
        self.make(table, f"SELECT {columns} FROM {joined(base, answers)}")

    def latest(self, table: str, keys: str, event: Input, by: str, value: str) -> bool:
        """See `sql_words.Database`."""
        return False

    def number(self, query: str) -> float:
        """See `sql_words.Database`."""
        found: float | None = self.first(query)
        return 0 if found is None else found

    def first(self, query: str) -> Any:
        """The one value of a query."""
        return self._session.sql(query).first()[0]

    def taken(self, rows: DataFrame) -> DataFrame:
        """A DataFrame of the caller's session in this one."""
        return _handed(rows, self._session)

    def result(self, query: str) -> DataFrame:
        """The rows of a query as a DataFrame of the caller's session."""
        return _handed(self._session.sql(query).localCheckpoint(), self._caller)

    def stage_triggers(self, table: str, input: Input, marks: Sequence[str]) -> None:
        """See `sql_log.LogDatabase`."""
        self._stage(table, input, self._triggers, marks)

    def stage_events(self, table: str, input: Input, marks: Sequence[str]) -> None:
        """See `sql_log.LogDatabase`."""
        self._stage(table, input, self._events[input.name], marks)

    def _stage(self, name: str, input: Input, rows: Rows, marks: Sequence[str]) -> None:
        """Make a table of an input's columns in the types of `spark_terms.TYPES`, of where each row lies, and when it was."""
        if isinstance(rows, pa.Table):
            refuse_retyped(input, rows.schema, input.columns)
            frame: DataFrame = self._session.createDataFrame(_timeless(rows, input))
        else:
            frame = _handed(rows, self._session)
        types = {field.name: field.dataType.typeName() for field in frame.schema.fields}
        columns = []
        for column in ("_partition", "_offset", *(() if input.time else ("_known",)), *marks):
            if column not in types:
                raise _missing(input, column, frame.columns)
            text = f"unix_micros({column})" if types[column] == "timestamp" else column
            columns.append(f"{text} AS {column}")
        for column, kind in input.columns.items():
            if column in types:
                columns.append(f"{_value(column, kind, input.items.get(column), frame.schema[column].dataType)}")
            elif column in input.nullable or column in defaults_of(input):  # a log from before the field was declared
                default = written(kind, input.items.get(column), defaults_of(input).get(column))
                columns.append(f"{default} AS {quoted(column)}")
            else:
                raise _missing(input, column, frame.columns)
        frame.createOrReplaceTempView("staged")
        # the order of rows is the order of these numbers
        self.make("staged", f"SELECT monotonically_increasing_id() AS _row, {', '.join(columns)} FROM staged")
        self.make(name, f"SELECT *, {quoted(input.time or '_known')} AS _time FROM staged")


def _handed(rows: DataFrame, session: Any) -> DataFrame:
    """The same rows as a DataFrame of another session of the same Spark."""
    name = f"samestream_{uuid4().hex}"
    rows.createGlobalTempView(name)
    try:
        return session.table(f"global_temp.{name}")
    finally:
        session.catalog.dropGlobalTempView(name)


def _value(column: str, kind: Kind, item: Kind | None, type: Any) -> str:
    """A column of the log in our type: times as microseconds, NaN as null."""
    name = quoted(column)
    if kind is Kind.LIST:
        part = present(item, "v") if item is Kind.FLOAT else "v"
        part = "unix_micros(v)" if type.elementType.typeName() == "timestamp" else part
        text = f"transform({name}, v -> {part})"
    elif kind is Kind.MAP:
        times = type.valueType.typeName() == "timestamp"
        text = f"transform_values({name}, (k, v) -> unix_micros(v))" if times else name
    else:
        text = f"unix_micros({name})" if type.typeName() == "timestamp" else f"CAST({name} AS {TYPES[kind]})"
    return f"{present(kind, text)} AS {name}"


def _timeless(table: pa.Table, input: Input) -> pa.Table:
    """The columns of an Arrow table that are read, in the types of the feature log, times as whole microseconds.

    So no time passes through Python's or Java's calendars.
    """
    types = {column: cols.arrow_type(kind, input.items.get(column)) for column, kind in input.columns.items()}
    taken: dict[str, Any] = {}
    for name in table.column_names:
        if name in types:
            taken[name] = cols.plain(table[name].cast(types[name]))
        elif name.startswith("_"):
            taken[name] = cols.plain(table[name])
    if not len(table):
        taken = {name: cols.plain(pa.chunked_array([pa.array([], type)])) for name, type in types.items()} | taken
    return pa.table(taken)


def _missing(input: Input, column: str, found: Sequence[str]) -> FeatureLogError:
    return FeatureLogError(
        "a column is missing",
        where=f"{input.name}.{column}",
        found=", ".join(found),
        hint="pass all columns of the feature log; `as_known` needs ranks besides.",
    )
