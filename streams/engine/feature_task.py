"""The feature processor's task: the columnar engine, its vectors written as Avro, keyed by entity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from samestream.schemas.avro import Codec
from samestream.schemas.windows import LIFETIME_US
from samestream.streams.engine import key_index, tiles
from samestream.streams.engine.clock import Clocks
from samestream.streams.engine.columnar import ColumnarEngine, Vectors, to_table
from samestream.streams.engine.order import Batch
from samestream.streams.engine.processor import Emitted
from samestream.streams.plan import Plan
from samestream.streams.transport import Outgoing
from samestream.streams.wire.decode import encode_key

NAME = "features"


class FeatureTask:
    """One vector per applied trigger, to the features topic of its model. See `processor.Task`."""

    name = NAME

    def __init__(self, plan: Plan) -> None:
        tiles.warm()  # compiling takes seconds the first time: before any partition is assigned
        key_index.warm()
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
        every = self._engine.process(batch)
        records = [record for vectors in every for record in self.encoder.records(vectors)]
        return Emitted(records, len(records))

    def recall(self, switches: Sequence[str]) -> None:
        """The engine has no switches."""


class VectorEncoder:
    """Vectors as records: the same vector gives the same key, value and timestamp, whenever it is computed."""

    def __init__(self, plan: Plan) -> None:
        self._codecs = {name: Codec(model.vector_schema) for name, model in plan.models.items()}

    def records(self, vectors: Vectors) -> Iterator[Outgoing]:
        """One record per vector, stamped with the trigger's known time."""
        codec, topic = self._codecs[vectors.model.name], vectors.model.topics["features"]
        table = to_table(vectors)
        names, fingerprint = list(table), vectors.model.fingerprint
        for known_us, row in zip(vectors.known_us.tolist(), zip(*table.values(), strict=True), strict=True):
            value = dict(zip(names, row, strict=True))
            value["fingerprint"] = fingerprint
            yield Outgoing(topic, encode_key(value["entity"]), codec.encode(value), known_us)
