"""The engine that serves, and SQL, on the same log in disorder: every aggregate over every window, by code that shares nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from made_facts import WINDOWS, planned, random_log

from samestream.schemas import avro
from samestream.streams import columns as cols
from samestream.streams.engine import order
from samestream.streams.engine.clock import Clocks
from samestream.streams.engine.columnar import ColumnarEngine
from samestream.streams.log.log_writer import to_arrow
from samestream.streams.plan import Plan
from samestream.streams.sql.difference import difference
from samestream.streams.sql.point_in_time import as_known
from samestream.streams.transport import Fetched, Partition
from samestream.streams.wire.decode import Decoder
from samestream.streams.wire.schema_store import SchemaStore


def served(plan: Plan, log: dict[str, list[tuple[int, int, dict[str, Any]]]]) -> tuple[dict[str, pa.Table], pa.Table]:
    """The log as tables with ranks, and what the engine makes of it."""
    store = SchemaStore(None, "x", [part.schema for part in plan.events.values()])
    inputs, decoded = tuple(plan.inputs[name] for name in log), []
    for part in inputs:
        codec = avro.Codec(part.schema)
        for number in range(2):
            mine = [(known, values) for partition, known, values in log[part.name] if partition == number]
            keys = [str(values[part.key]).encode() for _, values in mine]
            offsets, known = np.arange(len(mine), dtype=np.int64), np.array([known for known, _ in mine], np.int64)
            fetched = Fetched(Partition(part.topic, number), offsets, known, keys, [codec.encode(v) for _, v in mine])
            decoded.append(Decoder(part, store).decode(fetched, -(2**62)))
    of = {part.partition: place // 2 for place, part in enumerate(decoded)}
    batch = order.ordered(inputs, tuple(sorted(of)), of, decoded)
    Clocks(plan.query_lag_us).judge(batch)
    (vectors,) = ColumnarEngine(plan).process(batch)
    tables = {}
    for place, part in enumerate(inputs):
        rank = np.flatnonzero(batch.input == place)
        rank = rank[np.argsort(batch.row[rank])]
        table = to_arrow(part, decoded[2 * place : 2 * place + 2]).append_column("_rank", pa.array(rank))
        tables[part.name] = table.append_column("_applied", pa.array(batch.decision[rank] == order.APPLIED))
    outputs = plan.models["Answer"].outputs
    features = {
        name: cols.to_arrow(column, outputs[name].kind, outputs[name].item) for name, column in vectors.features.items()
    }
    partition = pa.array([part.partition for part in vectors.partition], pa.int32())
    return tables, pa.table({"_partition": partition, "_offset": vectors.offset, **features})


@pytest.mark.parametrize("seed", range(1))
@pytest.mark.parametrize("window", WINDOWS)
def test_what_is_served_is_what_sql_says(window: str, seed: int) -> None:
    plan = planned(window)
    tables, vectors = served(plan, random_log(seed, 300))
    triggers = tables["Ask"].filter(tables["Ask"]["_applied"])
    assert 0 < len(triggers) < len(tables["Ask"])
    names = list(plan.models["Answer"].outputs)
    found = difference(vectors, as_known(plan, plan.models["Answer"], triggers, tables, slack=True), names)
    assert {name: part for name, part in found.items() if part.mismatched or part.compared != len(triggers)} == {}
