"""The engine that serves, and SQL, on the same log in disorder: every aggregate over every window, by code that shares nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from at_rest import PARTITIONS, decoded
from made_facts import WINDOWS, planned, random_log

from samestream.streams import columns as cols
from samestream.streams.engine import order
from samestream.streams.engine.clock import Clocks
from samestream.streams.engine.columnar import ColumnarEngine
from samestream.streams.log.log_writer import to_arrow
from samestream.streams.plan import Plan
from samestream.streams.sql.difference import difference
from samestream.streams.sql.point_in_time import as_known


def served(plan: Plan, log: dict[str, list[tuple[int, int, dict[str, Any]]]]) -> tuple[dict[str, pa.Table], pa.Table]:
    """The log as tables with ranks, and what the engine makes of it."""
    inputs, chunks = tuple(plan.inputs[name] for name in log), decoded(plan, log)
    of = {part.partition: place // PARTITIONS for place, part in enumerate(chunks)}
    batch = order.ordered(inputs, tuple(sorted(of)), of, chunks)
    Clocks(plan.query_lag_us).judge(batch)
    (vectors,) = ColumnarEngine(plan).process(batch)
    tables = {}
    for place, part in enumerate(inputs):
        rank = np.flatnonzero(batch.input == place)
        rank = rank[np.argsort(batch.row[rank])]
        table = to_arrow(part, chunks[PARTITIONS * place : PARTITIONS * (place + 1)]).append_column(
            "_rank", pa.array(rank)
        )
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
