"""Vectors at any instants from the tables of the feature log, in plain Python: the judge of `point_in_time` on long histories.

The same aggregates as `oracle.Oracle`'s, but only the rows that a window reaches are looked at, so that a year can be judged.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa
from aggregate_oracle import Row, exact, inside, plain
from expression_oracle import evaluate
from oracle import fed

from samestream.schemas.kinds import Kind
from samestream.streams import columns as cols
from samestream.streams.plan import Input, Lookup, ModelPlan, Plan


class Kept(NamedTuple):
    """A row of a table: when, and which row of the log's table it is."""

    row: Row
    index: int


class PlainHistory:
    """The events of a log by key; of a plan without reference tables that enrich events.

    to_the_bit : whether floats are added in the order that decides their bits, which takes its time
    """

    def __init__(
        self, plan: Plan, model: ModelPlan, events: Mapping[str, pa.Table], *, to_the_bit: bool = True
    ) -> None:
        assert not plan.enrichments
        self._to_the_bit = to_the_bit
        self._plan, self._model = plan, model
        self._tables: list[dict[Any, list[Kept]]] = []
        for table in plan.tables:
            kept: dict[Any, list[Kept]] = {}
            for index, (place, t, values) in enumerate(rows_of(plan.inputs[table.event], events[table.event])):
                key = tuple(values[name] for name in table.by)
                if None not in key:
                    row = Row(t, place, tuple(fed(part, values) for part in table.inputs))
                    kept.setdefault(key, []).append(Kept(row, index))
            for rows in kept.values():
                rows.sort(key=lambda part: part.row.at)
            self._tables.append(kept)
        self._times = [{key: [part.row.t for part in rows] for key, rows in kept.items()} for kept in self._tables]

    def vector(
        self, values: Mapping[str, Any], t: int, unknown: Mapping[str, Collection[int]] | None = None
    ) -> dict[str, Any]:
        """The vector of a trigger with these values at instant t, from all events but the ``unknown`` rows, by event name."""
        columns = dict(values)
        for lookup in self._model.lookups:
            columns |= self._found(lookup, columns, t, unknown or {})
        return {name: evaluate(expression, columns) for name, expression in self._model.outputs.items()}

    def _found(
        self, lookup: Lookup, values: Mapping[str, Any], t: int, unknown: Mapping[str, Collection[int]]
    ) -> dict[str, Any]:
        table, key = self._plan.tables[lookup.table], tuple(values[name] for name in lookup.keys)
        rows, times = self._tables[lookup.table].get(key, []), self._times[lookup.table].get(key, [])
        left_out = unknown.get(table.event, ())
        found = {}
        for name, part in zip(lookup.columns, table.aggregates, strict=False):
            if name:
                window = table.windows[part.window].window
                near = rows[bisect_left(times, t - window.reach_us) : bisect_left(times, t)]
                mine = [each.row for each in near if each.index not in left_out]
                if None in key:
                    found[name] = None
                elif self._to_the_bit:
                    found[name] = exact(part.aggregate, part.input, window, mine, t)
                else:
                    found[name] = plain(part.aggregate, inside(part.input, window, mine, t), t)
        return found


def rows_of(input: Input, table: pa.Table) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Position, event time and values of every row, in the order of the table."""
    places = zip(table["_partition"].to_pylist(), table["_offset"].to_pylist(), strict=True)
    times = cols.from_arrow(table[input.time or "_known"], Kind.TIME).values.tolist()
    columns = [cols.to_python(cols.from_arrow(table[name], kind)) for name, kind in input.columns.items()]
    for (partition, offset), t, row in zip(places, times, zip(*columns, strict=True), strict=True):
        yield (partition << 48) | offset, t, dict(zip(input.columns, row, strict=True))
