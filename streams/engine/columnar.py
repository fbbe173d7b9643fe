"""The columnar engine: batches in merged order to feature vectors. The default engine, and the one that replays.

Tables are independent of each other given the order, so each runs its own sequence of operations through the kernel: an
applied event of its source updates it, an applied trigger reads it, in the order of the batch.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from samestream.schemas.expressions import Expr
from samestream.streams.columns import BoolArray, ColumnData, Columns, Int64Array
from samestream.streams.engine import (
    algebra_table,
    cell_kernel,
    evaluate,
    kernel,
    key_index,
    table_state,
    tiles,
    value_arrays,
)
from samestream.streams.engine.order import Batch
from samestream.streams.engine.snapshots import code_of
from samestream.streams.engine.state_limit import StateLimit
from samestream.streams.engine.table_state import TableState
from samestream.streams.engine.value_arrays import Arrays
from samestream.streams.plan import ModelPlan, Plan, digest
from samestream.streams.transport import Partition


@dataclass(eq=False)
class Vectors:
    """The vectors of one model in one batch, in merged order; all arrays of shape (vectors,).

    rank : which of ``partitions`` the trigger lies in
    """

    model: ModelPlan
    entity: ColumnData
    event_time_us: Int64Array
    known_us: Int64Array
    partitions: Sequence[Partition]
    rank: Int64Array
    offset: Int64Array
    features: Columns

    @property
    def partition(self) -> list[Partition]:
        """The partition of each trigger."""
        return [self.partitions[rank] for rank in self.rank.tolist()]

    def within(self, from_us: int | None, to_us: int | None) -> BoolArray:
        """Which are of triggers with event time in [from_us, to_us), without a bound where it is None; shape (vectors,)."""
        keep = np.ones(len(self), np.bool_)
        if from_us is not None:
            keep &= self.event_time_us >= from_us
        if to_us is not None:
            keep &= self.event_time_us < to_us
        return keep

    def __len__(self) -> int:
        return len(self.offset)


class ColumnarEngine:
    """The state of a plan's tables. Batch boundaries change no value.

    limit_bytes : what the compiled state of all tables may take, None for as much as there is; StateLimitError beyond.
    """

    def __init__(self, plan: Plan, limit_bytes: int | None = None) -> None:
        self.plan = plan
        limit = StateLimit(limit_bytes)
        self.tables = [TableState(table, limit) for table in plan.tables]
        lookups = [(part.event, part.lookup) for part in plan.enrichments]
        lookups += [(model.trigger, lookup) for model in plan.models.values() for lookup in model.lookups]
        self._readers = [[reader for reader in lookups if reader[1].table == i] for i in range(len(plan.tables))]

    def held(self) -> Arrays:
        """The state of all tables as arrays that change when it does; :meth:`restore` takes them."""
        return value_arrays.join({f"table.{number}": state.held() for number, state in enumerate(self.tables)})

    @property
    def held_bytes(self) -> int:
        """About how much that is."""
        return sum(state.held_bytes for state in self.tables)

    def restore(self, arrays: Arrays) -> None:
        """Take up a state of the same plan, all of it or nothing. Raises RecoveryError if it is of another."""
        self.tables = [
            state.restored(value_arrays.split(arrays, f"table.{number}")) for number, state in enumerate(self.tables)
        ]

    @property
    def layout(self) -> str:
        """How the state lies in arrays: by the tables of the plan, in their order, and by the code that keeps it."""
        tables = [
            [
                [table.event, table.by, [kind.value for kind in table.key_kinds]],
                [fed.meaning() for fed in table.inputs],
                table.cells,
                [[part.window.meaning(), part.cells] for part in table.windows],
                [[part.aggregate.meaning(), part.input, part.window, part.cells] for part in table.aggregates],
            ]
            for table in self.plan.tables
        ]
        return digest(
            [tables, code_of(cell_kernel, kernel, tiles, key_index, algebra_table, table_state, value_arrays)]
        )

    def process(self, batch: Batch) -> list[Vectors]:
        """Apply a batch that the clocks have judged, and return one vector per applied trigger, by model."""
        applied = {part.name: batch.applied(part.name) for part in batch.inputs}
        looked_up: dict[str, dict[str, ColumnData]] = {event: {} for event in applied}
        for index, state in enumerate(self.tables):
            readers = self._readers[index]
            for (event, lookup), answers in zip(readers, state.run(batch, applied, readers), strict=True):
                looked_up[event].update(
                    {name: answer for name, answer in zip(lookup.columns, answers, strict=False) if name}
                )
            for part in self.plan.enrichments:
                if part.lookup.table == index:
                    places, fields = applied[part.event]
                    new = _evaluated(part.outputs, ChainMap(looked_up[part.event], fields), len(places))  # type: ignore[arg-type]
                    applied[part.event] = places, ChainMap(new, fields)  # type: ignore[arg-type]
        return [
            self._vectors(model, batch, applied[model.trigger], looked_up[model.trigger])
            for model in self.plan.models.values()
        ]

    def _vectors(
        self, model: ModelPlan, batch: Batch, trigger: tuple[Int64Array, Columns], looked_up: Columns
    ) -> Vectors:
        places, fields = trigger
        features = _evaluated(model.outputs, ChainMap(looked_up, fields), len(places))  # type: ignore[arg-type]
        input = self.plan.inputs[model.trigger]
        return Vectors(
            model,
            fields[input.key],
            batch.time_us[places],
            batch.known_us[places],
            batch.partitions,
            batch.partition[places],
            batch.offset[places],
            features,
        )


def _evaluated(outputs: Mapping[str, Expr[Any]], read: Columns, rows: int) -> dict[str, ColumnData]:
    return {name: evaluate.evaluate(value, read, rows) for name, value in outputs.items()}
