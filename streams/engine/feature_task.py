"""The feature processor's task: the columnar engine, its vectors written as Avro, keyed by entity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samestream.schemas.windows import LIFETIME_US
from samestream.streams.columns import ColumnData
from samestream.streams.engine import arrangement, key_index, tiles
from samestream.streams.engine.clock import Clocks
from samestream.streams.engine.columnar import ColumnarEngine, Vectors
from samestream.streams.engine.order import Batch
from samestream.streams.engine.task import Emitted
from samestream.streams.engine.value_arrays import Arrays
from samestream.streams.plan import Plan
from samestream.streams.wire import encode
from samestream.streams.wire.encode import Coded, Constant, RecordEncoder, Source
from samestream.streams.wire.parcel import Parcel

NAME = "features"


class FeatureTask:
    """One vector per applied trigger, to the features topic of its model. See `processor.Task`."""

    name = NAME

    def __init__(self, plan: Plan) -> None:
        tiles.warm()  # compiling takes seconds the first time: before any partition is assigned
        key_index.warm()
        arrangement.warm()
        self._engine = ColumnarEngine(plan)
        self.encoder = VectorEncoder(plan)
        self.inputs = tuple(plan.inputs.values())
        self.owned = frozenset(plan.inputs)
        self.fingerprint = plan.fingerprint
        self.query_lag_us = plan.query_lag_us
        # a record of a table counts for ever, and moves no clock by which one could tell how old a batch is
        reach_us = plan.longest_window_us
        self.memory_us = plan.query_lag_us + reach_us if reach_us < LIFETIME_US else None

    def process(self, batch: Batch, clocks: Clocks) -> Emitted:
        """Apply a judged batch."""
        parcels = [self.encoder.records(vectors) for vectors in self._engine.process(batch)]
        return Emitted(parcels=parcels, results=sum(map(len, parcels)))

    def absorb(self, batch: Batch, clocks: Clocks) -> None:
        """Apply a judged batch of which the vectors were written before."""
        self._engine.process(batch)

    def recall(self, switches: Sequence[str]) -> None:
        """The engine has no switches."""

    @property
    def layout(self) -> str:
        """See `ColumnarEngine.layout`."""
        return self._engine.layout

    def state(self) -> Arrays:
        """The state of all tables, as it lies there."""
        return self._engine.held()

    def state_bytes(self) -> int:
        """About how much that is."""
        return self._engine.held_bytes

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take up a state, all of it or nothing."""
        self._engine.restore(dict(arrays))


class VectorEncoder:
    """Vectors as records: the same vector gives the same key, value and timestamp, whenever it is computed."""

    def __init__(self, plan: Plan) -> None:
        encode.warm()
        self._encoders = {name: RecordEncoder(model.vector_schema) for name, model in plan.models.items()}

    def records(self, vectors: Vectors) -> Parcel:
        """One record per vector, stamped with the trigger's known time."""
        model, rows = vectors.model, len(vectors)
        columns: dict[str, Source] = {
            "entity": vectors.entity,
            "event_time": ColumnData(vectors.event_time_us, np.ones(rows, np.bool_)),
            "trigger_topic": Coded([part.topic for part in vectors.partitions], vectors.rank),
            "trigger_partition": Coded([part.partition for part in vectors.partitions], vectors.rank),
            "trigger_offset": ColumnData(vectors.offset, np.ones(rows, np.bool_)),
            "fingerprint": Constant(model.fingerprint),
            **vectors.features,
        }
        return Parcel(
            model.topics["features"],
            encode.keys_of(vectors.entity),
            self._encoders[model.name].encode(columns, rows),
            vectors.known_us,
            np.full(rows, -1, np.int64),
        )
