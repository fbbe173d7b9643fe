"""The label of each vector, from the raw events: what happened within the horizon, and whether the horizon is over.

Vectors and label events lie in a database, which writes out what exceeds its memory. Labels of one key know nothing of those of
another, so keys are divided by a hash, and one part is joined after the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samestream.schemas.expressions import Column, Kind
from samestream.streams import columns as cols
from samestream.streams.columns import BoolArray, Int64Array
from samestream.streams.engine import evaluate
from samestream.streams.log import logged_columns, topic_stream
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.plan import Gate, ModelPlan, Plan
from samestream.streams.sql.duckdb_log import Connection

PART_ROWS, STEP_ROWS = 1_000_000, 100_000
_RAW = "raw(p INTEGER, o BIGINT, known BIGINT, t BIGINT, key VARCHAR, y {y})"
_STEPPED = "stepped(running BIGINT, newest BIGINT, p INTEGER, o BIGINT, known BIGINT, t BIGINT, key VARCHAR, y {y})"
_LABELS = "labels(n BIGINT, known BIGINT, t BIGINT, key VARCHAR, y {y})"


@dataclass(frozen=True, eq=False)
class Labels:
    """Per vector, arrays of shape (vectors,): its label, if there is one, and when the log learned of it.

    y : floats, or text where the output is a class; 0 or "" where there is none
    closed : whether every label partition has passed the horizon by the lateness, so that no other label can count
    told : whether the log holds every event of the horizon; where its beginning was cut off, the first label may be among what went
    """

    y: npt.NDArray[Any]
    there: BoolArray
    known_us: Int64Array
    closed: BoolArray
    told: BoolArray

    @property
    def usable(self) -> BoolArray:
        """Whether there is a label that can be learned: an infinite number says nothing."""
        return self.there & (np.isfinite(self.y) if self.y.dtype != object else np.True_)

    def take(self, rows: Int64Array) -> Labels:
        """Those of some vectors."""
        return Labels(self.y[rows], self.there[rows], self.known_us[rows], self.closed[rows], self.told[rows])


@dataclass(frozen=True)
class Horizon:
    """From where on nothing can be said: a horizon is over that ended before ``over_us``; None where no label event was logged.

    within_us : its length. since_us : `whole_history.since_us` of the label events
    """

    within_us: int
    over_us: int | None
    since_us: int

    def labels(self, joined: pa.Table, event_time_us: Int64Array, *, is_text: bool) -> Labels:
        """The labels of some vectors; joined : their `y` and `known`, null where there is none."""
        y = cols.from_arrow(joined["y"], Kind.STRING if is_text else Kind.FLOAT)
        known = cols.from_arrow(joined["known"], Kind.INT)
        closed = np.zeros(len(joined), np.bool_)
        if self.over_us is not None:
            closed = event_time_us + self.within_us < self.over_us
        values = np.where(y.valid, y.values, "" if is_text else 0.0)
        return Labels(values, known.valid.copy(), known.values, closed, event_time_us >= self.since_us)


def stage(
    database: Connection,
    plan: Plan,
    model: ModelPlan,
    log: FeatureLog,
    as_of_us: int | None,
    since_us: int,
) -> Horizon:
    """Make the table `labels` of what counts as one, numbered in the order in which `OutcomeTask` takes them.

    as_of_us : nothing counts that the log learned of at this instant or later; None if all does
    What came too late to be applied is no label, there and here.
    """
    input = plan.events[model.label.event]
    assert input.gate is not None
    y = "VARCHAR" if model.output == "class" else "DOUBLE"
    for columns in (_RAW, _STEPPED, _LABELS):
        database.execute(f"CREATE OR REPLACE TABLE {columns.format(y=y)}").fetchall()
    newest: dict[int, int] = {}
    read = [leaf.name for leaf in model.label.value.leaves() if isinstance(leaf, Column)]
    for batch in topic_stream.reader(log, input.topic, [*read, model.label.by, input.time], as_of_us):
        events = pa.Table.from_batches([batch])
        if not len(events):
            continue
        rows, times = _raw(plan, model, events)
        for number in np.unique(rows["p"].to_numpy()).tolist():
            latest = int(times[rows["p"].to_numpy() == number].max())
            newest[number] = max(newest.get(number, latest), latest)
        insert(database, "raw", rows)
    for table in _stepped(database):
        insert(database, "stepped", table)
    database.execute("DROP TABLE raw").fetchall()
    for table in _applied(database, input.gate):
        insert(database, "labels", table)
    database.execute("DROP TABLE stepped").fetchall()
    over_us = min(newest.values()) - input.gate.lateness_us if newest else None
    return Horizon(model.label.within_us, over_us, since_us)


def join(database: Connection, within_us: int) -> None:
    """Make the table `found` of `_row`, `y` and `known`: of each row of `vectors` that has one, its first label.

    vectors : has `_row`, `k`, the key as text, and `t`, the event time
    """
    database.execute(
        "CREATE OR REPLACE TABLE found AS SELECT 0::BIGINT AS _row, y, known FROM labels LIMIT 0"
    ).fetchall()
    rows = sum(database.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0] for name in ("vectors", "labels"))
    parts = math.ceil(rows / PART_ROWS) or 1
    for part in range(parts):
        mine = "" if parts == 1 else f"WHERE hash({{}}) % {parts} = {part}"
        database.execute(f"CREATE OR REPLACE TABLE mine AS SELECT * FROM labels {mine.format('key')}").fetchall()
        database.execute(
            f"""
            CREATE OR REPLACE TABLE firsts AS SELECT _row, n FROM (
                SELECT _row, min(n) OVER (
                    PARTITION BY k ORDER BY t RANGE BETWEEN 1 FOLLOWING AND {within_us} FOLLOWING
                ) AS n
                FROM (
                    SELECT _row, k, t, NULL::BIGINT AS n FROM vectors {mine.format("k")}
                    UNION ALL SELECT NULL, key, t, n FROM mine
                )
            ) WHERE _row IS NOT NULL AND n IS NOT NULL"""
        ).fetchall()
        database.execute("INSERT INTO found SELECT _row, y, known FROM firsts JOIN mine USING (n)").fetchall()


def insert(database: Connection, table: str, rows: pa.Table) -> None:
    """Add rows to a table, column by column in its order."""
    database.register("given", rows)
    database.execute(f"INSERT INTO {table} SELECT * FROM given").fetchall()
    database.unregister("given")


def in_order(database: Connection, query: str) -> Iterator[pa.Table]:
    """The rows of a query, some at a time; meanwhile the database can be asked something else."""
    with database.cursor() as cursor:
        for batch in cursor.sql(query).to_arrow_reader(STEP_ROWS):
            if len(batch):
                yield pa.Table.from_batches([batch])


def _raw(plan: Plan, model: ModelPlan, events: pa.Table) -> tuple[pa.Table, Int64Array]:
    """Some label events as rows of `raw`; and their event times."""
    input = plan.events[model.label.event]
    fields = logged_columns.fields_of(input, events)
    value, by = evaluate.evaluate(model.label.value, fields, len(events)), fields[model.label.by]
    there = value.valid & by.valid
    times = fields[input.time].values
    keys = pa.array([str(key) for key in by.values.tolist()], pa.string(), mask=~there)
    is_text = model.output == "class"
    values = value.values.tolist() if is_text else value.values.astype(np.float64)
    columns: dict[str, Any] = {
        "p": events["_partition"],
        "o": events["_offset"],
        "known": cols.from_arrow(events["_known"], Kind.TIME).values,
        "t": times,
        "key": keys,
        "y": pa.array(values, pa.string() if is_text else pa.float64(), mask=~there),
    }
    return pa.table(columns), times


def _stepped(database: Connection) -> Iterator[pa.Table]:
    """The label events with the running known time and the newest event time of their partition, up to each."""
    at: dict[int, tuple[int, int]] = {}
    for table in in_order(database, "SELECT * FROM raw ORDER BY p, o"):
        numbers = table["p"].to_numpy()
        running, newest = table["known"].to_numpy().copy(), table["t"].to_numpy().copy()
        for number in np.unique(numbers).tolist():
            mine = slice(*np.searchsorted(numbers, [number, number + 1]).tolist())
            before = at.get(number, (-(2**62), -(2**62)))
            for array, least in zip((running, newest), before, strict=True):
                array[mine] = np.maximum(np.maximum.accumulate(array[mine]), least)
            at[number] = (int(running[mine][-1]), int(newest[mine][-1]))
        found: dict[str, Any] = {"running": running, "newest": newest}
        found |= {name: table[name] for name in table.column_names}
        yield pa.table(found)


def _applied(database: Connection, gate: Gate) -> Iterator[pa.Table]:
    """The label events that are applied and have a value, in merged order (DESIGN section 2).

    An event that is not applied lies behind the greatest event time, so that counting it there as well changes nothing; and
    whom it would make late in its partition lies behind what is answered anyway.
    """
    greatest_us, count = -(2**62), 0
    for table in in_order(database, "SELECT * FROM stepped ORDER BY running, p, o"):
        times = table["t"].to_numpy()
        # an event that is itself the greatest is never behind, so the greatest up to it may stand for that before it
        greatest = np.maximum(np.maximum.accumulate(times), greatest_us)
        greatest_us = int(greatest[-1])
        keep = times >= table["newest"].to_numpy() - gate.lateness_us
        keep &= times >= greatest - gate.lateness_us - gate.alignment_us
        keep &= np.asarray(table["key"].combine_chunks().is_valid(), np.bool_)
        rows = table.filter(pa.array(keep))
        numbers = pa.array(np.arange(count, count + len(rows)))
        count += len(rows)
        found: dict[str, Any] = {"n": numbers}
        found |= {name: rows[name] for name in ("known", "t", "key", "y")}
        yield pa.table(found)
