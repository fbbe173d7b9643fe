"""Parity with SQL: every served vector computed in DuckDB, by code that shares nothing with the kernel.

*As known*: from the events that were applied before the trigger; must equal what was served, within the tolerance that the
order of summation needs. *Point in time*: from all events there ever were; the difference is the lateness skew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from samestream.monitors.parity_figures import WORST, Spell
from samestream.schemas.errors import FeatureLogError
from samestream.streams import columns as cols
from samestream.streams.engine.merge_rank import MergeRanks
from samestream.streams.log import topic_stream
from samestream.streams.log.erasure import without_erased
from samestream.streams.log.feature_log import ERASED, FeatureLog
from samestream.streams.log.rank_files import RankFiles
from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.sql.difference import Difference, difference, same_rows
from samestream.streams.sql.duckdb_log import Connection, room, workspace
from samestream.streams.sql.point_in_time import as_known, point_in_time, vectors

Chosen = Callable[[pa.Table], pa.Table]
"""Some of the served vectors, of all that the log holds."""


class Differences(dict[str, Difference]):
    """Per feature, how served vectors differ from what was expected; and those that do differ, side by side.

    known_us : known times of all compared vectors, in order of position. broken_us, served, expected : of those that differ, in
    order of known time.
    """

    def __init__(self, served: pa.Table, expected: pa.Table, columns: Sequence[str]) -> None:
        super().__init__(difference(served, expected, columns))
        left, right = same_rows(served, expected)
        self.known_us = np.asarray(served["_known"].take(left).cast(pa.int64()).to_numpy(), np.int64)
        rows = np.flatnonzero(np.logical_or.reduce([part.differs for part in self.values()]))
        rows = rows[np.argsort(self.known_us[rows], kind="stable")]
        self.broken_us = self.known_us[rows]
        self.served, self.expected = served.take(left[rows]), expected.take(right[rows])
        self._which = {name: part.differs[rows] for name, part in self.items()}

    def spelled(self, spell: Spell | None, topic: str, after_us: int = 0) -> Spell | None:
        """What an incident tells, with these: those that differ and were known after an instant.

        topic : of the triggers
        """
        start = int(np.searchsorted(self.broken_us, after_us, "right"))
        if start == len(self.broken_us):
            return spell
        first_us = int(self.broken_us[start])
        spell = spell or Spell(first_us)
        spell.began_us = min(spell.began_us, first_us)
        spell.mismatched += len(self.broken_us) - start
        for name, part in self.items():
            if count := int(self._which[name][start:].sum()):
                spell.feature(name).add(replace(part, mismatched=count))
        for entity in self.served["entity"].slice(start).to_pylist():
            spell.blame(str(entity))
        for example in self._examples(topic, start):
            spell.show(example)
        return spell

    def _examples(self, topic: str, start: int) -> list[dict[str, Any]]:
        """The first vectors that differ, and the first of each feature, from a row on."""
        firsts = [start + int(np.argmax(which[start:])) for which in self._which.values() if which[start:].any()]
        rows = sorted({*range(start, min(start + WORST, len(self.broken_us))), *firsts})
        found = []
        for row in rows:
            served, expected = (_plain(table, row) for table in (self.served, self.expected))
            differs = {name: [served[name], expected[name]] for name, which in self._which.items() if which[row]}
            found.append(
                {
                    "entity": served["entity"],
                    "trigger": [topic, served["_partition"], served["_offset"]],
                    "event_time_us": served["event_time"],
                    "known_us": served["_known"],
                    "differs": differs,
                }
            )
        return found


def _plain(table: pa.Table, row: int) -> dict[str, Any]:
    """A row as JSON holds it: times as microseconds, what JSON has no values for as text."""
    found = {}
    for name in table.column_names:
        column = table[name].slice(row, 1)
        value = (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column)[0].as_py()
        found[name] = value if isinstance(value, int | float | str | list | None) else str(value)
    return found


def compare_as_known(
    plan: Plan, model: ModelPlan, log: FeatureLog, ranks: MergeRanks, chosen: Chosen | None = None
) -> Differences:
    """Per feature, how the served vectors differ from their values as known."""
    served = served_vectors(model, log, chosen)
    triggers = triggers_of(served, ranks.judged(*raw_events(plan, model.trigger, log)))
    events = {table.event: ranks.judged(*raw_events(plan, table.event, log)) for table in plan.tables}
    return Differences(served, as_known(plan, model, triggers, events, slack=True), list(model.outputs))


def compare_point_in_time(
    plan: Plan, model: ModelPlan, log: FeatureLog, chosen: Chosen | None = None
) -> Mapping[str, Difference]:
    """Per feature, how the served vectors differ from their values had nothing come late."""
    served = served_vectors(model, log, chosen)
    triggers = triggers_of(served, raw_events(plan, model.trigger, log)[1])
    events = {table.event: raw_events(plan, table.event, log)[1] for table in plan.tables}
    return difference(served, point_in_time(plan, model, triggers, events, slack=True), list(model.outputs))


@dataclass
class Compared:
    """What a comparison of all vectors found: how many there were, how many differ, and per feature how many and by how much.

    spell : those that differ and were known after an instant; None where there are none
    """

    compared: int = 0
    differ: int = 0
    mismatched: dict[str, int] = field(default_factory=dict)
    greatest: dict[str, float] = field(default_factory=dict)
    spell: Spell | None = None

    def add(self, found: Differences, topic: str, after_us: int) -> None:
        """Count some more. topic : of their triggers. after_us : see `compare_whole`"""
        self.spell = found.spelled(self.spell, topic, after_us)
        self.compared += max((part.compared for part in found.values()), default=0)
        self.differ += vectors_that_differ(found)
        for name, part in found.items():
            self.mismatched[name] = self.mismatched.get(name, 0) + part.mismatched
            self.greatest[name] = max(self.greatest.get(name, 0.0), part.greatest)


def compare_whole(
    plan: Plan,
    model: ModelPlan,
    log: FeatureLog,
    ranks: RankFiles | None,
    chosen: Chosen | None = None,
    after_us: int = 0,
) -> Compared:
    """All served vectors of the present definition beside their values as known; without ranks, had nothing come late.

    after_us : the spell that is told begins after this known time

    Both pass through databases that keep on disk what exceeds their memory, so it does not grow with history.
    """
    found, input = Compared(), plan.inputs[model.trigger]

    def reader(event: str) -> pa.RecordBatchReader:
        topic, columns = plan.inputs[event].topic, plan.read_columns(event)
        return ranks.reader(log, topic, columns) if ranks else topic_stream.reader(log, topic, columns)

    triggers, events = reader(input.name), {name: reader(name) for name in {table.event for table in plan.tables}}
    with workspace(None, 2) as database, room(model.name):
        served = _Stored(database, _served(model, log, chosen))
        for expected in vectors(plan, model, triggers, events, ranked=ranks is not None, slack=True):
            found.add(Differences(served.beside(expected), expected, list(model.outputs)), input.topic, after_us)
    return found


class _Stored:
    """Served vectors in a database; columns have numbers for names, since in SQL those are the same that differ only in case."""

    def __init__(self, database: Connection, tables: Iterator[pa.Table]) -> None:
        self._database = database
        self._schema: pa.Schema | None = None
        for table in tables:
            columns: dict[str, Any] = {
                f"c{number}": cols.plain(table[name]) for number, name in enumerate(table.column_names)
            }
            database.register("given", pa.table(columns))
            if self._schema is None:
                self._schema = table.schema.remove_metadata()
                database.execute("CREATE TABLE served AS SELECT * FROM given").fetchall()
            else:
                database.execute("INSERT INTO served SELECT * FROM given").fetchall()
            database.unregister("given")
        if self._schema is None:
            raise FeatureLogError("the log holds no vectors", where="parity", hint="let the log role catch up.")

    def beside(self, expected: pa.Table) -> pa.Table:
        """Those at the places of some others."""
        assert self._schema is not None
        self._database.register("given", expected.select(["_partition", "_offset"]))
        self._database.execute("CREATE OR REPLACE TABLE places AS SELECT * FROM given").fetchall()
        self._database.unregister("given")
        query = "SELECT served.* FROM served JOIN places ON c0 = _partition AND c1 = _offset"
        found = self._database.sql(query).to_arrow_table()
        return pa.table(
            [found[f"c{number}"].cast(part.type) for number, part in enumerate(self._schema)], schema=self._schema
        )


def _served(model: ModelPlan, log: FeatureLog, chosen: Chosen | None) -> Iterator[pa.Table]:
    """The vectors of the present definition, some at a time, placed where their triggers lie."""
    places = ["trigger_partition", "trigger_offset"]
    told = ["_known", "entity", "event_time"]
    topic, names = model.topics["features"], [*places, *told, "fingerprint", ERASED, *model.outputs]
    for batch in topic_stream.reader(log, topic, names):
        table = without_erased(pa.Table.from_batches([batch]))
        table = table.filter(pc.field("fingerprint") == model.fingerprint)
        table = chosen(table) if chosen is not None else table
        if len(table):
            named = ["_partition", "_offset", *told, *model.outputs]
            yield table.select([*places, *told, *model.outputs]).rename_columns(named)


def vectors_that_differ(found: Mapping[str, Difference]) -> int:
    """How many vectors differ in any feature."""
    return int(np.logical_or.reduce([part.differs for part in found.values()]).sum())


def served_vectors(model: ModelPlan, log: FeatureLog, chosen: Chosen | None = None) -> pa.Table:
    """The vectors of the present definition, placed where their triggers lie."""
    served = without_erased(log.read(model.topics["features"]))
    if not served.num_rows:
        raise FeatureLogError(
            "the log holds no vectors", where=model.topics["features"], hint="let the log role catch up."
        )
    served = served.filter(pa.array([mark == model.fingerprint for mark in served["fingerprint"].to_pylist()]))
    served = chosen(served) if chosen is not None else served
    names = {"trigger_partition": "_partition", "trigger_offset": "_offset"}
    return served.drop_columns(list(names.values())).rename_columns(names)


def triggers_of(served: pa.Table, raw: pa.Table) -> pa.Table:
    """The raw events that were vectors' triggers."""
    types = pa.schema([("_partition", pa.int32()), ("_offset", pa.int64())])
    # joined by their places alone: Arrow joins no lists and no maps
    places = raw.select(types.names).append_column("row", pa.array(np.arange(len(raw))))
    found = places.join(served.select(types.names).cast(types), types.names, join_type="left semi")
    return raw.take(found["row"].sort())


def raw_events(plan: Plan, event: str, log: FeatureLog) -> tuple[str, pa.Table]:
    """An event's topic, and what the log holds of it."""
    topic = plan.inputs[event].topic
    return topic, log.read(topic)
