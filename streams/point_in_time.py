"""Feature values computed offline, in SQL, from the feature log: the judge of every engine, sharing no code with any.

Two readings of the log (DESIGN section 2):

* `point_in_time`: every event ever logged counts from its event time on, however late it came: an ideal observer.
* `as_known`: an event counts if it was applied, and before the trigger was: what was served.

A window is a run of *blocks*: aligned spans of 2**level *grains* of event time, each summarised once per key. A
trigger joins the O(log) blocks that tile its window by equality of (key, level, block), and only in the one grain it falls
in, and in blocks that hold an event it did not know, single events. So neither hot keys nor long windows multiply.

A sum of floats is added in another order than online: it agrees within 1e-9 * sum|x|, and so do mean and std. Count, min,
max, last and whole numbers, wrapping at 64 bits, agree exactly.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from samestream.schemas.errors import FeatureLogError
from samestream.schemas.expressions import Kind
from samestream.schemas.windows import Window
from samestream.streams import columns as cols
from samestream.streams import sql
from samestream.streams.plan import Input, Lookup, ModelPlan, Plan
from samestream.streams.transport import position

TOLERANCE = 1e-9
_SETTINGS = {"threads": 2, "memory_limit": "4GB", "preserve_insertion_order": False}
_SAME = "USING (key, level, block)"
_CROWD = 16  # events of one key in one grain, above which grains are cut finer


def point_in_time(
    plan: Plan,
    model: ModelPlan,
    triggers: pa.Table,
    events: Mapping[str, pa.Table],
    connection: duckdb.DuckDBPyConnection | None = None,
) -> pa.Table:
    """The vectors of a model as an observer would have seen them to whom no event comes late.

    triggers : one row per vector wanted: `_partition`, `_offset` and the columns of the model's trigger event.
    events : by event name, the topic as `FeatureLog.read` gives it; more rows than needed do no harm, fewer do.
    connection : a DuckDB to work in, by its own settings and leaving nothing behind; a new one in memory if None.

    Returns `_partition`, `_offset` and a column per output, in the order of ``triggers``.
    Raises FeatureLogError if a table or a column of one is missing.
    """
    return _vectors(plan, model, triggers, events, connection, ranked=False)


def as_known(
    plan: Plan,
    model: ModelPlan,
    triggers: pa.Table,
    events: Mapping[str, pa.Table],
    connection: duckdb.DuckDBPyConnection | None = None,
) -> pa.Table:
    """The vectors of a model as the processor could know them; as `point_in_time`, but of events applied before.

    triggers, events : have also `_rank`, the place in the merged order of all inputs; events `_applied` too.
    """
    return _vectors(plan, model, triggers, events, connection, ranked=True)


@dataclass(frozen=True)
class Difference:
    """How one column differs: rows compared, those that differ, and the greatest absolute difference of two numbers.

    differs : for each compared row, in order of position, whether it differs; the same rows for every column.
    """

    compared: int
    mismatched: int
    greatest: float
    differs: cols.BoolArray = field(repr=False, compare=False)


def difference(served: pa.Table, expected: pa.Table, columns: Sequence[str]) -> dict[str, Difference]:
    """Compare columns of the rows that both tables have, joined by `_partition` and `_offset`.

    Values differ if one is null, if two texts are not the same, or if two numbers are apart by more than ``TOLERANCE``
    times the greater of them and 1.
    """
    left, right = _same_rows(served, expected)
    found = {}
    for name in columns:
        if pa.types.is_string(served[name].type):
            one, other = _texts(served, name).take(left), _texts(expected, name).take(right)
            wrong = (one.valid != other.valid) | (
                one.valid & other.valid & (one.values != other.values).astype(np.bool_)
            )
            found[name] = Difference(len(left), int(wrong.sum()), 0.0, wrong)
            continue
        a, b = _numbers(served, name).take(left), _numbers(expected, name).take(right)
        both = a.valid & b.valid
        with np.errstate(invalid="ignore"):  # infinity minus itself
            apart = np.where(both & (a.values != b.values), np.abs(a.values - b.values), 0.0)
            bound = TOLERANCE * np.maximum(1.0, np.maximum(np.abs(a.values), np.abs(b.values)))
            wrong = (a.valid != b.valid) | (apart > bound) | np.isinf(apart)
        found[name] = Difference(len(left), int(wrong.sum()), float(apart.max(initial=0.0)), wrong)
    return found


def _same_rows(served: pa.Table, expected: pa.Table) -> tuple[cols.Int64Array, cols.Int64Array]:
    places = [
        position(
            np.asarray(table["_partition"].to_numpy(), np.int64), np.asarray(table["_offset"].to_numpy(), np.int64)
        )
        for table in (served, expected)
    ]
    _, left, right = np.intersect1d(places[0], places[1], return_indices=True)
    return left, right


def _texts(table: pa.Table, name: str) -> cols.ColumnData:
    return cols.from_arrow(table[name].cast(pa.string()), Kind.STRING)


def _numbers(table: pa.Table, name: str) -> cols.ColumnData:
    column = table[name]
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    return cols.from_arrow(column.cast(pa.float64()), Kind.FLOAT)


def _vectors(
    plan: Plan,
    model: ModelPlan,
    triggers: pa.Table,
    events: Mapping[str, pa.Table],
    connection: duckdb.DuckDBPyConnection | None,
    ranked: bool,
) -> pa.Table:
    with _workspace(connection) as database:
        rows = triggers.append_column("_row", pa.array(np.arange(len(triggers))))
        _stage(database, "triggers", plan.inputs[model.trigger], rows, ("_row", *(("_rank",) if ranked else ())))
        joins, looked_up = "", []
        for number, lookup in enumerate(model.lookups):
            table = plan.tables[lookup.table]
            if table.event not in events:
                raise FeatureLogError(
                    "events that features are computed from are missing",
                    where=f"{model.name}.{table.event}",
                    found=", ".join(sorted(events)) or "none",
                    hint=f"read {plan.inputs[table.event].topic} from the feature log too.",
                )
            marks = ("_rank", "_applied") if ranked else ()
            _stage(database, "events", plan.inputs[table.event], events[table.event], marks)
            answers = _Lookup(database, plan, model, lookup, ranked).run(f"lookup_{number}")
            joins += "".join(f" LEFT JOIN {name} USING (_row)" for name in answers)
            looked_up += [sql.quoted(name) for name in lookup.columns if name]
        outputs = ", ".join(f"{sql.expression(value)} AS {sql.quoted(name)}" for name, value in model.outputs.items())
        query = f"SELECT _partition, _offset, {outputs} FROM triggers{joins} ORDER BY _row"
        found: pa.Table = database.sql(query).to_arrow_table()
        return found


@contextmanager
def _workspace(connection: duckdb.DuckDBPyConnection | None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection whose temporary tables vanish; registrations and temporary tables are private to a cursor."""
    if connection is not None:
        with connection.cursor() as cursor:
            yield cursor
        return
    # what exceeds the memory limit must not be written into the user's working directory
    with (
        tempfile.TemporaryDirectory(prefix="samestream-") as folder,
        duckdb.connect(config={**_SETTINGS, "temp_directory": folder}) as database,
    ):
        yield database


def _stage(database: duckdb.DuckDBPyConnection, name: str, input: Input, table: pa.Table, marks: Sequence[str]) -> None:
    """Make a table of an input's columns in the types of `sql.TYPES`, and of where each row lies in the log."""
    marks = ("_partition", "_offset", *marks)
    taken: dict[str, Any] = {}
    for column in (*marks, *input.columns):
        kind = input.columns.get(column)
        if column in table.column_names:
            taken[column] = (
                table[column].cast(cols.arrow_type(kind, input.items.get(column))) if kind else table[column]
            )
        elif kind and (not len(table) or column in input.nullable):  # a log from before the field was declared
            taken[column] = pa.array([None] * len(table), cols.arrow_type(kind, input.items.get(column)))
        else:
            raise FeatureLogError(
                "a column is missing",
                where=f"{input.name}.{column}",
                found=", ".join(table.column_names),
                hint="pass all columns of FeatureLog.read; `as_known` needs ranks besides.",
            )
        if kind is Kind.TIME:
            taken[column] = taken[column].cast(pa.int64())
    database.register("staged", pa.table(taken))
    columns = [
        f"{sql.present(kind, sql.quoted(column))} AS {sql.quoted(column)}" for column, kind in input.columns.items()
    ]
    database.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT {', '.join([*marks, *columns])} FROM staged")
    database.unregister("staged")


class _Lookup:
    """One lookup of a model: a table of the plan, read at every trigger's instant by the trigger's keys."""

    def __init__(
        self, database: duckdb.DuckDBPyConnection, plan: Plan, model: ModelPlan, lookup: Lookup, ranked: bool
    ) -> None:
        self._database, self._lookup, self._ranked = database, lookup, ranked
        self._table = table = plan.tables[lookup.table]
        self._times = plan.inputs[model.trigger].time, plan.inputs[table.event].time
        self._windows: dict[Window, list[str]] = {}
        self._columns: dict[str, str] = {}  # what aggregates read of an event: name -> SQL
        self._parts: dict[str, str] = {}  # what is kept of a block: SQL -> name; several aggregates may share a part
        self._values: dict[str, tuple[str, str]] = {}  # a looked-up column: from the parts, and when there are none
        for part, name in zip(table.aggregates, lookup.columns, strict=False):
            if not name:
                continue
            self._windows.setdefault(table.windows[part.window].window, []).append(name)
            index = part.input
            fed, summary = table.inputs[index], sql.summary(part.aggregate)
            value = sql.expression(fed.value) if fed.value is not None else "1"
            if fed.where is not None:
                value = f"CASE WHEN {sql.expression(fed.where)} THEN {value} END"
            self._columns[f"x{index}"] = value
            kept = [
                self._parts.setdefault(text, f"s{len(self._parts)}") for text in summary.parts_of(f"x{index}", "place")
            ]
            self._values[name] = summary.merged(kept), summary.empty
        if any("place" in text for text in self._parts):
            self._columns["place"] = f"struct_pack(t := {sql.quoted(self._times[1])}, p := _partition, o := _offset)"

    def run(self, name: str) -> list[str]:
        """Make tables of `_row` and the looked-up columns, one per window; a trigger with a null key has no row.

        Returns their names, which begin with ``name``.
        """
        self._match_keys()
        grain_us = self._grain_us()
        longest_us = max(window.reach_us for window in self._windows)
        self._summarise(grain_us, levels=(longest_us // grain_us).bit_length())
        answers = []
        for number, (window, columns) in enumerate(self._windows.items()):
            answers.append(f"{name}_{number}")
            tail = _floor(f"t - {window.longest_us}", window.tile_us)
            self._answer(answers[-1], columns, tail, window.tile_us // grain_us, grain_us)
        return answers

    def _match_keys(self) -> None:
        """Number the keys asked for; make `asked` of the triggers that have one, and `kept` of the events that do."""
        asked, by = ([sql.quoted(name) for name in names] for names in (self._lookup.keys, self._table.by))
        there = " AND ".join(f"{name} IS NOT NULL" for name in asked)
        numbered = ", ".join(f"{name} AS k{i}" for i, name in enumerate(asked))

        def same(names: Sequence[str]) -> str:
            return " AND ".join(f"{name} = k{i}" for i, name in enumerate(names))

        rank = ", _rank AS rank" if self._ranked else ""
        columns = "".join(f", {text} AS {name}" for name, text in self._columns.items())
        trigger_time, event_time = map(sql.quoted, self._times)
        self._make(
            "keys",
            f"SELECT *, row_number() OVER () AS key FROM (SELECT DISTINCT {numbered} FROM triggers WHERE {there})",
        )
        self._make("asked", f"SELECT _row, key, {trigger_time} AS t{rank} FROM triggers JOIN keys ON {same(asked)}")
        self._make(
            "kept",
            f"SELECT key, {event_time} AS t{rank}{columns} FROM events JOIN keys ON {same(by)}"
            + (" WHERE _applied" if self._ranked else ""),
        )

    def _grain_us(self) -> int:
        """The span of a block of level 0: as long as tiles allow, halved while events of one key crowd in it."""
        grain_us = math.gcd(*(window.tile_us for window in self._windows))
        grains = f"SELECT CAST(count(*) AS DOUBLE) AS n FROM kept GROUP BY key, {_floor('t', grain_us)}"
        found = self._database.execute(f"SELECT coalesce(sum(n * n) / sum(n), 0) FROM ({grains})").fetchone()
        crowd: float = found[0] if found else 0.0
        while crowd > _CROWD and grain_us % 2 == 0:
            grain_us, crowd = grain_us // 2, crowd / 2
        return grain_us

    def _summarise(self, grain_us: int, levels: int) -> None:
        """Make `blocks`, and `head`: the parts of each trigger's last, open grain."""
        rank, before = (", max(rank) AS rank", " AND e.rank < a.rank") if self._ranked else ("", "")
        self._make(
            "blocks",
            f"SELECT key, level, {_floor('t', grain_us)} >> level AS block{rank}, {self._kept_parts} "
            f"FROM kept, (SELECT range AS level FROM range({levels})) GROUP BY ALL",
        )
        self._make(
            "head",
            f"SELECT _row, {self._kept_parts} FROM asked a JOIN kept e "
            f"ON a.key = e.key AND {_floor('a.t', grain_us)} = {_floor('e.t', grain_us)} "
            f"WHERE e.t < a.t{before} GROUP BY _row",
        )

    def _answer(self, name: str, columns: Sequence[str], tail: str, grains: int, grain_us: int) -> None:
        """Make the table of one window, whose first tile is ``tail``, of ``grains`` grains each.

        A run [lo, hi) of grains is tiled by the blocks that a segment tree would visit: on each level at most one at
        either end, namely where the end is odd.
        """
        rank = ", rank" if self._ranked else ""
        parts = ", ".join(self._parts.values())
        union, torn = (
            f"SELECT _row, {parts} FROM head UNION ALL SELECT _row, {parts} FROM cover JOIN blocks {_SAME}",
            "",
        )
        if self._ranked:
            # a block with an event the trigger did not know is torn open: its grains are read event by event
            torn = f"""), torn AS (
                SELECT _row, cover.key, cover.rank, block * size + unnest(range(size)) AS grain
                FROM (SELECT *, CAST(1 AS BIGINT) << level AS size FROM cover) cover JOIN blocks {_SAME}
                WHERE blocks.rank >= cover.rank"""
            union += f""" WHERE blocks.rank < cover.rank UNION ALL
                SELECT _row, {self._kept_parts} FROM torn a JOIN kept e
                ON a.key = e.key AND grain = {_floor("e.t", grain_us)} WHERE e.rank < a.rank GROUP BY _row"""
        values = ", ".join(f"{self._values[column][0]} AS {sql.quoted(column)}" for column in columns)
        filled = ", ".join(
            f"coalesce({sql.quoted(column)}, {self._values[column][1]}) AS {sql.quoted(column)}" for column in columns
        )
        self._make(
            name,
            f"""
            WITH span AS (
                SELECT _row, key{rank}, {tail} * {grains} AS lo, {_floor("t", grain_us)} AS hi FROM asked
            ), ends AS (
                SELECT _row, key{rank}, level, -((-lo) >> level) AS lo, hi >> level AS hi
                FROM span, (SELECT DISTINCT level FROM blocks) WHERE -((-lo) >> level) < hi >> level
            ), cover AS (
                SELECT _row, key{rank}, level, lo AS block FROM ends WHERE lo & 1 = 1
                UNION ALL SELECT _row, key{rank}, level, hi - 1 AS block FROM ends WHERE hi & 1 = 1
            {torn}), united AS ({union}), merged AS (SELECT _row, {values} FROM united GROUP BY _row)
            SELECT _row, {filled} FROM asked LEFT JOIN merged USING (_row)
            """,
        )

    @property
    def _kept_parts(self) -> str:
        return ", ".join(f"{text} AS {name}" for text, name in self._parts.items())

    def _make(self, table: str, query: str) -> None:
        self._database.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {query}")


def _floor(value: str, step: int) -> str:
    """The value divided by a step, rounded down also where it is negative (DuckDB rounds towards zero)."""
    return f"(({value} - ((({value}) % {step} + {step}) % {step})) // {step})"
