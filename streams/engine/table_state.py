"""The state of one table of a plan: the kernel and the general path side by side, fed by the same operations.

An applied event of the table's source updates it, an applied trigger reads it, in the order of the batch. What the kernel can
hold runs there (`streams.engine.tiles`), everything else on the general path (`streams.engine.algebra_table`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from samestream.schemas.expressions import Kind
from samestream.schemas.windows import Calendar, Session, Tumbling
from samestream.streams import columns as cols
from samestream.streams.columns import BoolArray, ColumnData, Columns, Int64Array
from samestream.streams.engine import arrangement, evaluate, results, value_arrays
from samestream.streams.engine.algebra_table import AlgebraTable, Asked
from samestream.streams.engine.key_index import KeyIndex
from samestream.streams.engine.order import Batch
from samestream.streams.engine.period_starts import PeriodStarts
from samestream.streams.engine.state_limit import StateLimit
from samestream.streams.engine.tiles import Cell, CellOp, TileTable, Window
from samestream.streams.engine.value_arrays import Arrays
from samestream.streams.plan import Lookup, Table

_LEAST_SWEEP = 10_000  # keys
_CROWDED = 4  # operations a key, from which on each key's are run together
_WALKED_BYTES = 10_000

Applied = Mapping[str, tuple[Int64Array, Columns]]
Readers = Sequence[tuple[str, Lookup]]  # an event, and what its instants ask of the table
Starts = Sequence[Int64Array | None]  # by window: where it begins at each operation; None for a session


@dataclass(eq=False)
class Operations:
    """What happens to a table in one batch, in order; arrays of shape (operations,).

    reader : 1 + the number of the reader that asks, 0 where none does
    applies : 1 where the event is applied, after it was asked for, else 0; one of both is always so
    row : of an event among those applied to the table, or else of a query among its reader's triggers; an event that is also
        asked for is the same one of both
    """

    reader: Int64Array
    applies: Int64Array
    row: Int64Array
    key: Int64Array
    t_us: Int64Array
    position: Int64Array
    horizon_us: Int64Array

    def queries(self) -> Int64Array:
        """The places of the queries."""
        return np.flatnonzero(self.reader)

    def apart(self) -> tuple[Operations, Int64Array]:
        """The same with an operation of its own for each query and each update; and which of these they come from."""
        both = (self.reader != 0) & (self.applies != 0)
        places = np.repeat(np.arange(len(both)), 1 + both)
        found = Operations(*(getattr(self, name)[places] for name in self.__dataclass_fields__))
        second = np.flatnonzero(places[1:] == places[:-1]) + 1
        found.reader[second], found.applies[second - 1] = 0, 0
        return found, places


class TableState:
    """One table: its states and the dense ids of its keys. A key of which nothing can be reached any more is forgotten.

    limit : what all state may take together; states on the general path are not counted.
    """

    def __init__(self, table: Table, limit: StateLimit | None = None) -> None:
        self.table, self._limit = table, limit
        self._texts = [cols.DTYPES[kind] is object for kind in table.key_kinds]
        self.index = KeyIndex(self._texts, limit)
        self._sweep_at = _LEAST_SWEEP
        self._starts = [
            None if isinstance(part.window, Session) else PeriodStarts(part.window) for part in table.windows
        ]
        self._paths = (Compiled(table, limit), General(table))

    def run(self, batch: Batch, applied: Applied, readers: Readers) -> list[list[ColumnData]]:
        """Run the batch's operations on this table.

        Returns for each reader the column of each aggregate that it looks up, row for row of its triggers; of the others an
        empty one. A trigger with a null key finds nothing.
        """
        if len(self.index) >= self._sweep_at:
            self.forget_idle_keys()
        fields = applied[self.table.event][1]
        operations = self._operations(batch, applied, readers)
        starts = [begins(operations.t_us) if begins is not None else None for begins in self._starts]
        inputs, answers = self._inputs(fields), {}
        for path in self._paths:
            answers.update(path.run(operations, inputs, starts, [lookup.columns for _, lookup in readers]))
        queries = operations.queries()
        asking, asked = operations.reader[queries], operations.row[queries]
        found: list[list[ColumnData]] = []
        for number, (event, lookup) in enumerate(readers):
            mine = np.flatnonzero(asking == number + 1) if len(readers) > 1 else slice(None)
            rows = asked[mine]
            size = len(applied[event][0])
            found.append(
                [
                    _spread(answers[part].take(mine), self.table.aggregates[part].aggregate.kind, rows, size)
                    if name
                    else answers[part].take(slice(0))
                    for part, name in enumerate(lookup.columns)
                ]
            )
        return found

    def forget_idle_keys(self) -> None:
        """Give back the rows and ids of keys of which nothing can be reached any more: to such a key all windows are empty."""
        idle = np.ones(self.index.bound, np.bool_)
        for path in self._paths:
            path.clear_reachable(idle)
        ids = np.flatnonzero(idle)
        for path in self._paths:
            path.forget(ids)
        self.index.forget(ids)
        self._sweep_at = max(_LEAST_SWEEP, 2 * len(self.index))

    def held(self) -> Arrays:
        """The state as arrays that change when it does; :meth:`restore` takes them."""
        compiled, general = self._paths
        return value_arrays.join(
            {
                "index": self.index.held(),
                "tiles": compiled.tiles.held(),
                "general": value_arrays.pack(general.table.snapshot()) if general.is_asked else {},
                "sweep": {"at": np.array([self._sweep_at], np.int64)},
            }
        )

    def restored(self, arrays: Arrays) -> TableState:
        """A table of the same plan and limit with that state. Raises RecoveryError if it is of another."""
        part = {name: value_arrays.split(arrays, name) for name in ("index", "tiles", "general", "sweep")}
        found = TableState(self.table, self._limit)
        found.index = KeyIndex.restore(self._texts, part["index"], self._limit)
        compiled, general = found._paths
        compiled.restore(part["tiles"])
        if general.is_asked:
            general.restore(value_arrays.unpack(part["general"]))
        found._sweep_at = int(part["sweep"]["at"][0])
        return found

    @property
    def held_bytes(self) -> int:
        """About how much that is; a key on the general path, which Python walks through, counts as much as it delays."""
        compiled, general = self._paths
        return self.index.memory_bytes + compiled.tiles.memory_bytes + _WALKED_BYTES * len(general.table)

    def _operations(self, batch: Batch, applied: Applied, readers: Readers) -> Operations:
        """Updates and queries in order; a trigger that is also an event of this table is read before it is applied."""
        readers_of = [(event, lookup.keys) for event, lookup in readers]
        sources = [(number, 0, *asking) for number, asking in enumerate(readers_of, 1)]
        own = self.table.event, self.table.by
        if own in readers_of:  # nearly always: read and applied in one
            number = readers_of.index(own) + 1
            del sources[number - 1]
            sources.append((number, 1, *own))
        else:
            sources.append((0, 1, *own))
        parts = []
        known: dict[tuple[int, ...], tuple[Int64Array, Int64Array]] = {}
        for number, applied_too, event, by in sources:
            places, fields = applied[event]
            columns = [fields[name] for name in by]
            same = tuple(map(id, columns))
            if same not in known:
                rows = _there([column.valid for column in columns])
                known[same] = rows, self.index.ids(columns, rows)
            rows, keys = known[same]
            parts.append((np.full(len(rows), number), np.full(len(rows), applied_too), rows, keys, places[rows]))
        numbers = np.array([part.partition for part in batch.partitions], np.int64)
        events = (batch.time_us, batch.partition, numbers, batch.offset, batch.horizon_us)
        if len(parts) == 1:
            reader, applies, row, key, place = parts[0]
            order = np.arange(len(place))  # an event's rows are in the order of the batch
        else:
            reader, applies, row, key, place = (np.concatenate(part) for part in zip(*parts, strict=True))
            order = arrangement.by_place(place, len(batch))
        return Operations(*arrangement.placed(order, reader, applies, row, key, place, *events))

    def _inputs(self, fields: Columns) -> list[ColumnData]:
        """What the table's source feeds to each input column; of rows alone, zeros."""
        rows = len(fields[self.table.by[0]].valid)
        found = []
        for fed in self.table.inputs:
            there = evaluate.condition(fed.where, fields, rows)
            value = evaluate.evaluate(fed.value, fields, rows) if fed.value is not None else None
            values = value.values if value is not None else np.zeros(rows, np.int64)
            found.append(ColumnData(values, there & value.valid if value is not None else there))
        return found


def cells_of(table: Table) -> list[Cell]:
    """The accumulators that the kernel holds for a table."""
    return [Cell(CellOp[cell.op], cell.input, cell.param) for cell in table.cells]


class Compiled:
    """The aggregates of a table that the kernel holds."""

    def __init__(self, table: Table, limit: StateLimit | None) -> None:
        self._parts = [(number, part) for number, part in enumerate(table.aggregates) if part.is_compiled]
        self._windows = [number for number, part in enumerate(table.windows) if part.cells]
        self._anchored = [n for n in self._windows if isinstance(table.windows[n].window, Tumbling | Calendar)]
        self._slots = {number: _slots(table, part.window, part.cells) for number, part in self._parts}
        self._cells = cells_of(table)
        self._asked = [
            (
                Window(window.longest_us, window.tile_us, anchored=number in self._anchored),
                list(table.windows[number].cells),
            )
            for number in self._windows
            for window in (table.windows[number].window,)
        ]
        self._inputs, self._limit = len(table.inputs), limit
        self.tiles = TileTable(self._cells, self._asked, self._inputs, limit)

    def restore(self, arrays: Arrays) -> None:
        """Take up the state of the tiles."""
        self.tiles = TileTable.restore(self._cells, self._asked, self._inputs, arrays, self._limit)

    def clear_reachable(self, idle: BoolArray) -> None:
        """Clear the ids of keys of which something can still be reached."""
        own = self.tiles.idle()
        idle[: len(own)] &= own

    def forget(self, ids: Int64Array) -> None:
        """Make some ids as new."""
        self.tiles.forget(ids[ids < self.tiles.keys])

    def run(
        self,
        operations: Operations,
        inputs: Sequence[ColumnData],
        starts: Starts,
        wanted: Sequence[tuple[str, ...]],
    ) -> dict[int, ColumnData]:
        """The results of the queries, in their order, by aggregate."""
        if not self._parts:
            return {}
        queries = operations.queries()
        words = np.stack([_words(column) for column in inputs])
        there = np.stack([column.valid for column in inputs])
        anchors = [starts[number] for number in self._anchored]
        begins = np.stack(anchors, axis=1) if anchors else None  # type: ignore[arg-type]
        by_window = dict(zip(self._windows, self._answers(operations, words, there, begins), strict=True))
        instants = operations.t_us[queries]
        return {
            number: results.result(
                part.aggregate, [by_window[part.window][:, slot] for slot in self._slots[number]], instants
            )
            for number, part in self._parts
        }

    def _answers(
        self, operations: Operations, words: Int64Array, there: BoolArray, begins: Int64Array | None
    ) -> list[Int64Array]:
        """The answers of the queries in their order, by window.

        Where a key has many operations, each key's are run together, for its state then stays in the processor's cache. A
        key's state is its own, so only their order within the key matters; nothing is pruned but what the first one, whose
        horizon stands for all, cannot reach.
        """
        key, count = operations.key, len(operations.key)
        keys = int(key.max(initial=0)) + 1
        crowded = count >= _CROWDED * keys
        order = arrangement.by_place(key, keys) if crowded else np.arange(count)
        values, valid = arrangement.fed(order, operations.applies, operations.row, words, there)
        own = (operations.reader, operations.applies, key, operations.t_us, operations.position)
        kind, key, t_us, position = arrangement.arranged(order, *own)
        if not crowded:
            return self.tiles.run(kind, key, t_us, position, operations.horizon_us, values, valid, begins)
        horizon_us = np.full(count, operations.horizon_us[0])
        begins = begins[order] if begins is not None else None
        answers = self.tiles.run(kind, key, t_us, position, horizon_us, values, valid, begins)
        found = [np.empty_like(answer) for answer in answers]
        for answer, to in zip(answers, found, strict=True):
            arrangement.returned(order, operations.reader, answer, to)
        return found


class General:
    """The aggregates of a table on the general path."""

    def __init__(self, table: Table) -> None:
        self._parts = [(number, part) for number, part in enumerate(table.aggregates) if not part.is_compiled]
        self._columns = sorted({part.input for _, part in self._parts})
        self._asked = [
            Asked(part.aggregate, self._columns.index(part.input), table.windows[part.window].window)
            for _, part in self._parts
        ]
        self.table = AlgebraTable(self._asked)

    @property
    def is_asked(self) -> bool:
        """Whether any aggregate of the table needs it."""
        return bool(self._parts)

    def restore(self, snapshot: Any) -> None:
        """Take up a state."""
        self.table = AlgebraTable.restore(self._asked, snapshot)

    def clear_reachable(self, idle: BoolArray) -> None:
        """Clear the ids of keys of which something can still be reached."""
        idle[self.table.reachable_keys()] = False

    def forget(self, ids: Int64Array) -> None:
        """Make some ids as new: a key that is not reachable is not held."""

    def run(
        self,
        operations: Operations,
        inputs: Sequence[ColumnData],
        starts: Starts,
        wanted: Sequence[tuple[str, ...]],
    ) -> dict[int, ColumnData]:
        """The results of the queries that want them, in their order, by aggregate."""
        if not self._parts:
            return {}
        fed = list(zip(*(cols.to_python(inputs[column]) for column in self._columns), strict=True))
        operations, places = operations.apart()
        reader = operations.reader.tolist()
        begins = [starts[part.window] for _, part in self._parts]
        answers = self.table.run(
            reader,
            operations.key.tolist(),
            operations.t_us.tolist(),
            operations.position.tolist(),
            operations.horizon_us.tolist(),
            [() if asks else fed[row] for asks, row in zip(reader, operations.row.tolist(), strict=True)],
            [begin[places].tolist() if begin is not None else None for begin in begins],
            [
                [at for at, (number, _) in enumerate(self._parts) if number < len(names) and names[number]]
                for names in wanted
            ],
        )
        return {
            number: cols.from_values(found, part.aggregate.kind)
            for (number, part), found in zip(self._parts, answers, strict=True)
        }


def _there(valid: Sequence[BoolArray]) -> Int64Array:
    """The rows where everything is there."""
    every = valid[0] if len(valid) == 1 else np.logical_and.reduce(valid)
    return np.arange(len(every)) if every.all() else np.flatnonzero(every)


def _words(column: ColumnData) -> Int64Array:
    """Numbers as the int64 words the kernel keeps: a float by its bits. Of what is no number, which it only counts, zeros."""
    if column.is_object:
        return np.zeros(len(column.valid), np.int64)
    values: Any = column.values
    return values.view(np.int64) if values.dtype == np.float64 else values.astype(np.int64)  # type: ignore[no-any-return]


def _spread(column: ColumnData, kind: Kind, rows: Int64Array, size: int) -> ColumnData:
    """The column at some rows of ``size``; the others are null."""
    if len(rows) == size:
        return column
    spread = cols.from_values([None] * size, kind)
    spread.values[rows], spread.valid[rows] = column.values, column.valid
    return spread


def _slots(table: Table, window: int, cells: tuple[int, ...]) -> list[int]:
    """Where the slots of some cells lie in their window's answer."""
    starts, next_slot = {}, 0
    for cell in table.windows[window].cells:
        starts[cell] = next_slot
        next_slot += CellOp[table.cells[cell].op].slots
    return [starts[cell] + slot for cell in cells for slot in range(CellOp[table.cells[cell].op].slots)]
