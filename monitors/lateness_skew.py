"""The lateness skew, event by event: which late events make a served vector differ from what an ideal observer would have seen.

A vector was made of the events that were applied before its trigger; `point_in_time` counts every event before the trigger's
instant. What lies in a feature's window and was not applied before the trigger is therefore all that can make a difference:
events that came after the trigger, and events that came too late to be applied at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from samestream.monitors.sql_parity import raw_events, served_vectors, triggers_of
from samestream.schemas.expressions import Column, Expr, Kind
from samestream.schemas.windows import Session, Window
from samestream.streams import columns as cols
from samestream.streams.columns import BoolArray, Int64Array
from samestream.streams.engine import evaluate
from samestream.streams.engine.merge_rank import MergeRanks
from samestream.streams.engine.period_starts import PeriodStarts
from samestream.streams.log.erasure import without_erased
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.logged_columns import fields_of
from samestream.streams.plan import Input, Lookup, ModelPlan, Plan, Table
from samestream.streams.sql.difference import difference
from samestream.streams.sql.point_in_time import point_in_time
from samestream.streams.transport import position

NEVER_APPLIED = 2**62
"""The rank of an event that came too late to be applied: after every trigger."""


@dataclass(frozen=True, eq=False)
class Events:
    """The events of one topic in order of position; arrays of shape (events,).

    rank : place in the order of application, `NEVER_APPLIED` if they were refused. times in microseconds
    """

    input: Input
    table: pa.Table
    time_us: Int64Array
    known_us: Int64Array
    rank: Int64Array

    @cached_property
    def columns(self) -> cols.Columns:
        """The fields of the events."""
        return fields_of(self.input, self.table)

    def take(self, rows: Int64Array) -> Events:
        """Some of the events."""
        return Events(self.input, self.table.take(rows), self.time_us[rows], self.known_us[rows], self.rank[rows])

    def place(self, row: int) -> str:
        """Where an event lies: ``topic[partition] offset``."""
        return f"{self.input.topic}[{self.table['_partition'][row]}] {self.table['_offset'][row]}"


@dataclass(frozen=True)
class Part:
    """One aggregate that a feature reads: the lookup that asks for it, and which aggregate of the looked-up table it is."""

    lookup: Lookup
    aggregate: int


@dataclass(frozen=True, eq=False)
class FeatureSkew:
    """How one feature was served and how it would have been; arrays of shape (differing vectors,).

    rows : indices of vectors. served, expected : its values. missed : by event name, pairs of arrays: the index of a vector,
    the index of an event that it did not know. unexplained : vectors for which no event was found
    """

    rows: Int64Array
    served: pa.Array[Any]
    expected: pa.Array[Any]
    missed: Mapping[str, tuple[Int64Array, Int64Array]]
    unexplained: Int64Array

    @property
    def apart(self) -> cols.Float64Array:
        """Absolute differences where both values are numbers."""
        if not (pa.types.is_floating(self.served.type) or pa.types.is_integer(self.served.type)):
            return np.empty(0)
        one, other = (part.cast(pa.float64()).to_numpy(zero_copy_only=False) for part in (self.served, self.expected))
        apart = np.abs(one - other)
        return np.asarray(apart[np.isfinite(apart)], np.float64)


@dataclass(frozen=True, eq=False)
class LatenessSkew:
    """The skew of one model over some vectors. vectors : how many were compared; triggers : of these, in order of position.

    other_definition : how many vectors of another one the log holds; these are passed over
    """

    model: ModelPlan
    triggers: Events
    features: Mapping[str, FeatureSkew]
    events: Mapping[str, Events]
    other_definition: int = 0

    @property
    def vectors(self) -> int:
        """How many vectors were compared."""
        return len(self.triggers.rank)

    @cached_property
    def differing(self) -> Int64Array:
        """The vectors that differ in any feature."""
        return np.unique(np.concatenate([np.empty(0, np.int64), *(part.rows for part in self.features.values())]))

    @cached_property
    def unexplained(self) -> int:
        """How many values of vectors differ without an event that accounts for it."""
        return sum(len(part.unexplained) for part in self.features.values())

    def vectors_per_event(self, event: str) -> Int64Array:
        """How many vectors would have differed by each event of a type; shape (events,)."""
        pairs = [np.stack(part.missed[event], 1) for part in self.features.values() if event in part.missed]
        if not pairs:
            return np.zeros(len(self.events[event].rank), np.int64)
        every = np.unique(np.concatenate(pairs), axis=0)
        return np.bincount(every[:, 1], minlength=len(self.events[event].rank))

    def table(self) -> pa.Table:
        """Every difference, event by event: a row per vector, feature and event; values are null where they are no numbers.

        `late_us` is by how much the log learned of the event after the vector was made; `applied` whether it ever counted.
        """
        parts = [
            self._rows(name, part, event, vector, late)
            for name, part in self.features.items()
            for event, (vector, late) in part.missed.items()
        ]
        return pa.concat_tables([_SCHEMA.empty_table(), *parts])

    def _rows(self, name: str, part: FeatureSkew, event: str, vector: Int64Array, late: Int64Array) -> pa.Table:
        asked, source = self.triggers, self.events[event]
        at = np.searchsorted(part.rows, vector)
        numeric = pa.types.is_floating(part.served.type) or pa.types.is_integer(part.served.type)
        nothing = pa.nulls(len(at), pa.float64())
        count = len(vector)
        return pa.table(
            [
                asked.table[asked.input.key].take(vector).cast(pa.string()),
                asked.table["_partition"].take(vector),
                asked.table["_offset"].take(vector),
                _instants(asked.time_us[vector]),
                _instants(asked.known_us[vector]),
                pa.array([name] * count, pa.string()),
                part.served.take(at).cast(pa.float64()) if numeric else nothing,
                part.expected.take(at).cast(pa.float64()) if numeric else nothing,
                pa.array([event] * count, pa.string()),
                source.table["_partition"].take(late),
                source.table["_offset"].take(late),
                _instants(source.time_us[late]),
                _instants(source.known_us[late]),
                pa.array(source.known_us[late] - asked.known_us[vector]),
                pa.array(source.rank[late] < NEVER_APPLIED),
            ],
            schema=_SCHEMA,
        )


_TIME = pa.timestamp("us", "UTC")
_COLUMNS: dict[str, pa.DataType] = {
    "entity": pa.string(),
    "trigger_partition": pa.int32(),
    "trigger_offset": pa.int64(),
    "event_time": _TIME,
    "known_time": _TIME,
    "feature": pa.string(),
    "served": pa.float64(),
    "point_in_time": pa.float64(),
    "late_event": pa.string(),
    "late_partition": pa.int32(),
    "late_offset": pa.int64(),
    "late_event_time": _TIME,
    "late_known_time": _TIME,
    "late_us": pa.int64(),
    "applied": pa.bool_(),
}
_SCHEMA = pa.schema(_COLUMNS)


def explain(
    plan: Plan,
    model: ModelPlan,
    log: FeatureLog,
    ranks: MergeRanks,
    *,
    from_us: int | None = None,
    to_us: int | None = None,
    entity: str | None = None,
) -> LatenessSkew:
    """Compare what was served with `point_in_time`, and find for every value that differs the events that account for it.

    ranks : of the journal as far as the log has come
    from_us, to_us, entity : of which triggers; event times in [from, to)
    Raises FeatureLogError where the log holds no vectors.
    """
    mine = served_vectors(model, log)
    other = len(without_erased(log.read(model.topics["features"]))) - len(mine)
    served = _chosen(mine, from_us, to_us, entity)
    tables = {name: raw_events(plan, name, log)[1] for name in _read_events(plan, model)}
    raw = triggers_of(served, tables[model.trigger])
    _, rows, _ = np.intersect1d(_places(served), _places(raw), return_indices=True)
    served = served.take(rows)  # in the order of the triggers
    found = point_in_time(plan, model, raw, {table.event: tables[table.event] for table in plan.tables}, slack=True)
    differs = difference(served, found, list(model.outputs))
    events = {name: _ranked(plan.inputs[name], table, ranks) for name, table in tables.items()}
    asked = events[model.trigger].take(np.searchsorted(_places(tables[model.trigger]), _places(raw)))
    search = _Search(plan, model, asked, events)
    features = {}
    for name, part in differs.items():
        rows = np.flatnonzero(part.differs)
        if len(rows):
            values = [table[name].combine_chunks().take(rows) for table in (served, found)]
            missed = search.missed(name, rows)
            told = np.unique(np.concatenate([np.empty(0, np.int64), *(vector for vector, _ in missed.values())]))
            features[name] = FeatureSkew(rows, values[0], values[1], missed, np.setdiff1d(rows, told))
    return LatenessSkew(model, asked, features, events, other)


@dataclass
class _Search:
    """Finds the events of a feature's windows that a trigger did not know."""

    plan: Plan
    model: ModelPlan
    asked: Events
    events: Mapping[str, Events]
    _pairs: dict[tuple[int, tuple[str, ...], Window], tuple[Int64Array, Int64Array]] = field(default_factory=dict)

    def missed(self, feature: str, rows: Int64Array) -> dict[str, tuple[Int64Array, Int64Array]]:
        """By event name, pairs of (vector, event); vectors are among ``rows``, sorted."""
        wanted = np.zeros(len(self.asked.rank), np.bool_)
        wanted[rows] = True
        found: dict[str, list[Int64Array]] = {}
        for part in parts_of(self.plan, self.model, self.model.outputs[feature]):
            table = self.plan.tables[part.lookup.table]
            if not self._is_plain(table, part.lookup):
                continue  # its keys are what a reference table says: those events are told, these are not
            vector, event = self._of_window(table, part)
            keep = wanted[vector] & contributes(table, part.aggregate, self.events[table.event])[event]
            found.setdefault(table.event, []).append(np.stack([vector[keep], event[keep]], 1))
        pairs = {event: np.unique(np.concatenate(every), axis=0) for event, every in found.items()}
        return {event: (every[:, 0], every[:, 1]) for event, every in pairs.items() if len(every)}

    def _is_plain(self, table: Table, lookup: Lookup) -> bool:
        columns = self.events[table.event].input.columns
        return set(table.by) <= set(columns) and set(lookup.keys) <= set(self.asked.input.columns)

    def _of_window(self, table: Table, part: Part) -> tuple[Int64Array, Int64Array]:
        window = table.windows[table.aggregates[part.aggregate].window].window
        name = part.lookup.table, part.lookup.keys, window
        if name not in self._pairs:
            events = self.events[table.event]
            kinds = [cols.ARROW[kind] for kind in table.key_kinds]
            asking, having = key_codes(self.asked.table, part.lookup.keys, events.table, table.by, kinds)
            self._pairs[name] = _unknown(self.asked, asking, events, having, window_starts(window, self.asked.time_us))
        return self._pairs[name]


def parts_of(plan: Plan, model: ModelPlan, value: Expr[Any]) -> list[Part]:
    """The aggregates that an output is computed from; of what reference tables add to the trigger, those tables' own."""
    names = {leaf.name for leaf in value.leaves() if isinstance(leaf, Column)}
    lookups: list[tuple[Lookup, bool]] = []
    for lookup in model.lookups:
        if names & set(filter(None, lookup.columns)):
            lookups.append((lookup, False))
            names |= set(lookup.keys)
    for part in reversed(plan.enrichments):
        if part.event == model.trigger and names & set(part.outputs):
            lookups.append((part.lookup, True))
            names |= set(part.lookup.keys)
    return [
        Part(lookup, number)
        for lookup, whole in lookups
        for number, column in enumerate(lookup.columns)
        if column and (whole or column in names)
    ]


def contributes(table: Table, aggregate: int, events: Events) -> BoolArray:
    """Which events an aggregate takes: where its condition holds and its value is there. All, where that cannot be said here."""
    count = len(events.rank)
    fed = table.inputs[table.aggregates[aggregate].input]
    leaves = [leaf for part in (fed.value, fed.where) if part is not None for leaf in part.leaves()]
    read = {leaf.name for leaf in leaves if isinstance(leaf, Column)}
    if events.input.is_table or not read <= set(events.input.columns):
        return np.ones(count, np.bool_)
    taken: BoolArray = evaluate.condition(fed.where, events.columns, count)
    return taken & evaluate.evaluate(fed.value, events.columns, count).valid if fed.value is not None else taken


def window_starts(window: Window, time_us: Int64Array) -> Int64Array:
    """Where a window begins at each instant; of a session, where it can begin at the earliest."""
    begins = time_us - window.longest_us if isinstance(window, Session) else PeriodStarts(window)(time_us)
    return begins // window.tile_us * window.tile_us


def key_codes(
    asking: pa.Table, keys: Sequence[str], having: pa.Table, by: Sequence[str], types: Sequence[pa.DataType]
) -> tuple[Int64Array, Int64Array]:
    """The same number for the same key in both tables; -1 where a part of it is null."""
    found = np.zeros(len(asking) + len(having), np.int64)
    for key, column, type_ in zip(keys, by, types, strict=True):
        both = pa.concat_arrays([asking[key].combine_chunks().cast(type_), having[column].combine_chunks().cast(type_)])
        coded = both.dictionary_encode()
        number = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)  # pyright: ignore
        found = np.where((found < 0) | (number < 0), -1, found * len(coded.dictionary) + number)  # pyright: ignore
        found = np.where(found < 0, -1, np.unique(found, return_inverse=True)[1])
    return found[: len(asking)], found[len(asking) :]


def _unknown(
    asked: Events, asking: Int64Array, events: Events, having: Int64Array, starts: Int64Array
) -> tuple[Int64Array, Int64Array]:
    """Pairs of (trigger, event) of one key with ``start <= event time < instant``, the event not applied before the trigger."""
    vectors: list[Int64Array] = [np.empty(0, np.int64)]
    missed: list[Int64Array] = [np.empty(0, np.int64)]
    by_time, by_key = np.lexsort((asked.time_us, asking)), np.argsort(having, kind="stable")
    asking_sorted, having_sorted = asking[by_time], having[by_key]
    for code in np.intersect1d(asking_sorted, having_sorted).tolist():
        if code < 0:
            continue
        mine = by_time[slice(*np.searchsorted(asking_sorted, [code, code + 1]).tolist())]
        late = by_key[slice(*np.searchsorted(having_sorted, [code, code + 1]).tolist())]
        rank, when = asked.rank[mine], events.time_us[late]
        first = np.searchsorted(asked.time_us[mine], when, side="right")
        # starts follow the instants; and of the triggers from some place on, none came before the event
        last = np.searchsorted(starts[mine], when, side="right")
        least_after = np.minimum.accumulate(rank[::-1])[::-1]
        last = np.minimum(last, np.searchsorted(least_after, events.rank[late]))
        count = np.maximum(last - first, 0)
        event = np.repeat(np.arange(len(late)), count)
        trigger = np.arange(len(event)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
        keep = rank[trigger] < events.rank[late][event]
        vectors.append(mine[trigger[keep]])
        missed.append(late[event[keep]])
    return np.concatenate(vectors), np.concatenate(missed)


def _ranked(input: Input, table: pa.Table, ranks: MergeRanks) -> Events:
    """A table of the log with each row's rank."""
    judged = ranks.judged(input.topic, table)
    rank = np.full(len(table), NEVER_APPLIED, np.int64)
    at = np.searchsorted(_places(table), _places(judged))
    rank[at] = np.where(judged["_applied"].to_numpy(), judged["_rank"].to_numpy(), NEVER_APPLIED)
    known_us = cols.from_arrow(table["_known"], Kind.TIME).values
    time_us = cols.from_arrow(table[input.time], Kind.TIME).values if input.time else known_us
    return Events(input, table, time_us, known_us, rank)


def _places(table: pa.Table) -> Int64Array:
    return position(table["_partition"].to_numpy().astype(np.int64), table["_offset"].to_numpy().astype(np.int64))


def _chosen(served: pa.Table, from_us: int | None, to_us: int | None, entity: str | None) -> pa.Table:
    time_us = cols.from_arrow(served["event_time"], Kind.TIME).values
    keep = np.ones(len(served), np.bool_)
    keep &= time_us >= (from_us if from_us is not None else -(2**63))
    keep &= time_us < (to_us if to_us is not None else 2**63 - 1)
    if entity is not None:
        keep &= np.array([str(key) == entity for key in served["entity"].to_pylist()], np.bool_)
    return served.filter(pa.array(keep))


def _read_events(plan: Plan, model: ModelPlan) -> list[str]:
    return list(dict.fromkeys([model.trigger, *(table.event for table in plan.tables)]))


def _instants(time_us: Int64Array) -> pa.Array[Any]:
    return pa.array(time_us).cast(_TIME)
