"""The columnar engine: batches in merged order to feature vectors. The default engine, and the one that replays.

Tables are independent of each other given the order, so each runs its own sequence of operations through the kernel: an
applied event of its source updates it, an applied trigger reads it, in the order of the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from samestream.streams import columns, evaluate, results
from samestream.streams.columns import ColumnData, Columns, Int64Array
from samestream.streams.order import Batch
from samestream.streams.plan import Lookup, ModelPlan, Plan, Table
from samestream.streams.tiles import QUERY, UPDATE, Cell, CellOp, TileTable, Window
from samestream.streams.transport import Partition, position


@dataclass(eq=False)
class Vectors:
    """The vectors of one model in one batch, in merged order; all arrays of shape (vectors,)."""

    model: ModelPlan
    entity: ColumnData
    event_time_us: Int64Array
    known_us: Int64Array
    partition: list[Partition]
    offset: Int64Array
    features: Columns

    def __len__(self) -> int:
        return len(self.offset)


class ColumnarEngine:
    """The state of a plan's tables. Batch boundaries change no value."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.tables = [_TableState(table) for table in plan.tables]

    def process(self, batch: Batch) -> list[Vectors]:
        """Apply a batch that the clocks have judged, and return one vector per applied trigger, by model."""
        applied = {part.name: batch.applied(part.name) for part in batch.inputs}
        looked_up: dict[str, dict[str, ColumnData]] = {name: {} for name in self.plan.models}
        for index, state in enumerate(self.tables):
            readers = [
                (model, lookup)
                for model in self.plan.models.values()
                for lookup in model.lookups
                if lookup.table == index
            ]
            for (model, lookup), answers in zip(readers, state.run(batch, applied, readers), strict=True):
                looked_up[model.name].update(
                    {name: answer for name, answer in zip(lookup.columns, answers, strict=False) if name}
                )
        return [
            self._vectors(model, batch, applied[model.trigger], looked_up[model.name])
            for model in self.plan.models.values()
        ]

    def _vectors(
        self, model: ModelPlan, batch: Batch, trigger: tuple[Int64Array, Columns], looked_up: Columns
    ) -> Vectors:
        places, fields = trigger
        read = {**fields, **looked_up}
        features = {name: evaluate.evaluate(value, read, len(places)) for name, value in model.outputs.items()}
        input = self.plan.inputs[model.trigger]
        return Vectors(
            model,
            fields[input.key],
            batch.time_us[places],
            batch.known_us[places],
            [batch.partitions[rank] for rank in batch.partition[places].tolist()],
            batch.offset[places],
            features,
        )


class _TableState:
    """One table: its kernel state and the dense ids of its keys."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.ids: dict[Any, int] = {}
        cells = [Cell(CellOp[cell.op], cell.input) for cell in table.cells]
        windows = [(Window(part.window.longest_us, part.window.tile_us), list(part.cells)) for part in table.windows]
        self.tiles = TileTable(cells, windows, len(table.inputs))
        self._slots = _slots_by_window(table)

    def run(
        self,
        batch: Batch,
        applied: Mapping[str, tuple[Int64Array, Columns]],
        readers: list[tuple[ModelPlan, Lookup]],
    ) -> list[list[ColumnData]]:
        """Run the batch's operations on this table: for each reader, the column of each aggregate of the table."""
        places, fields = applied[self.table.event]
        updates = np.flatnonzero(np.logical_and.reduce([fields[name].valid for name in self.table.by]))
        kinds, where, keys = (
            [np.full(len(updates), UPDATE, np.int8)],
            [places[updates]],
            [self._ids(fields, self.table.by, updates)],
        )
        asked: list[Int64Array] = []
        for model, lookup in readers:
            trigger_places, trigger = applied[model.trigger]
            rows = np.flatnonzero(np.logical_and.reduce([trigger[name].valid for name in lookup.keys]))
            asked.append(rows)
            kinds.append(np.full(len(rows), QUERY, np.int8))
            where.append(trigger_places[rows])
            keys.append(self._ids(trigger, lookup.keys, rows))
        kind, place, key = np.concatenate(kinds), np.concatenate(where), np.concatenate(keys)
        # a trigger that is also an event of this table is read before it is applied; readers keep their own order
        order = np.lexsort((-kind, place))
        values, valid = self._inputs(fields, updates, len(kind))
        answers = self.tiles.run(
            kind[order],
            key[order],
            batch.time_us[place][order],
            self._positions(batch, place)[order],
            batch.horizon_us[place][order],
            values[order],
            valid[order],
        )
        return self._answers(batch, order, kinds, readers, asked, applied, answers)

    def _ids(self, fields: Columns, by: tuple[str, ...], rows: Int64Array) -> Int64Array:
        """Dense ids of the keys in some rows, in order of first use."""
        parts = [fields[name].values[rows].tolist() for name in by]
        keys: list[Any] = parts[0] if len(parts) == 1 else list(zip(*parts, strict=True))
        ids = self.ids
        return np.fromiter((ids.setdefault(key, len(ids)) for key in keys), np.int64, len(keys))

    def _inputs(self, fields: Columns, rows: Int64Array, operations: int) -> tuple[Int64Array, Any]:
        """The input columns of all operations; those of queries are never read."""
        values = np.zeros((operations, len(self.table.inputs)), np.int64)
        valid = np.zeros((operations, len(self.table.inputs)), np.bool_)
        taken = {name: column.take(rows) for name, column in fields.items()}
        count = len(rows)
        for index, fed in enumerate(self.table.inputs):
            valid[:count, index] = evaluate.condition(fed.where, taken, count)
            if fed.value is not None:
                value = evaluate.evaluate(fed.value, taken, count)
                valid[:count, index] &= value.valid
                if value.values.dtype != object:
                    values[:count, index] = _bits(value)
        return values, valid

    def _positions(self, batch: Batch, places: Int64Array) -> Int64Array:
        numbers = np.array([part.partition for part in batch.partitions], np.int64)
        return position(numbers[batch.partition[places]], batch.offset[places])

    def _answers(
        self,
        batch: Batch,
        order: Int64Array,
        kinds: list[Any],
        readers: list[tuple[ModelPlan, Lookup]],
        asked: list[Int64Array],
        applied: Mapping[str, tuple[Int64Array, Columns]],
        answers: list[Int64Array],
    ) -> list[list[ColumnData]]:
        """Give every reader its answers, row for row of its triggers; a trigger with a null key finds nothing."""
        first_query = len(kinds[0])
        position = np.empty(
            len(order), np.int64
        )  # operation -> its place among the queries, as the kernel answered them
        queries = order[order >= first_query]
        position[queries] = np.arange(len(queries))
        found: list[list[ColumnData]] = []
        start = first_query
        for (model, _), rows in zip(readers, asked, strict=True):
            mine = position[start : start + len(rows)]
            start += len(rows)
            instants = batch.time_us[applied[model.trigger][0]]
            triggers = len(instants)
            found.append(
                [
                    _spread(
                        results.result(
                            part.aggregate, [answers[part.window][mine, slot] for slot in slots], instants[rows]
                        ),
                        rows,
                        triggers,
                    )
                    for part, slots in zip(self.table.aggregates, self._slots, strict=True)
                ]
            )
        return found


def _bits(column: ColumnData) -> Int64Array:
    """Numbers as the int64 words the kernel keeps: a float by its bits."""
    values: Any = column.values
    return values.view(np.int64) if values.dtype == np.float64 else values.astype(np.int64)  # type: ignore[no-any-return]


def _spread(column: ColumnData, rows: Int64Array, size: int) -> ColumnData:
    if len(rows) == size:
        return column
    values, valid = np.zeros(size, column.values.dtype), np.zeros(size, np.bool_)
    values[rows], valid[rows] = column.values, column.valid
    return ColumnData(values, valid)


def _slots_by_window(table: Table) -> list[list[int]]:
    """For every aggregate, where its cells' slots lie in its window's answer."""
    found = []
    for part in table.aggregates:
        starts, next_slot = {}, 0
        for cell in table.windows[part.window].cells:
            starts[cell] = next_slot
            next_slot += CellOp[table.cells[cell].op].slots
        found.append([starts[cell] + slot for cell in part.cells for slot in range(CellOp[table.cells[cell].op].slots)])
    return found


def to_table(vectors: Vectors) -> Mapping[str, Any]:
    """The vectors as Python lists, one per Avro field but the fingerprint."""
    return {
        "entity": columns.to_python(vectors.entity),
        "event_time": vectors.event_time_us.tolist(),
        "trigger_topic": [part.topic for part in vectors.partition],
        "trigger_partition": [part.partition for part in vectors.partition],
        "trigger_offset": vectors.offset.tolist(),
        **{name: columns.to_python(column) for name, column in vectors.features.items()},
    }
