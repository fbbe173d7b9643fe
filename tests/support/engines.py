"""The engines that must agree, each as a function from a log at rest to its vectors; and the oracle that judges them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import harness
import pyarrow as pa
from harness import PLAN, SHOP
from oracle import Oracle, Read

from samestream.schemas.app import App
from samestream.schemas.avro import Codec
from samestream.schemas.kinds import Kind
from samestream.streams.columns import to_python
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.vector_replay import replayed
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.plan import Plan
from samestream.streams.sql.point_in_time import as_known
from samestream.streams.transport import Outgoing

Vectors = dict[tuple[str, int, int], dict[str, Any]]


def read_back(plan: Plan, transport: MemoryTransport) -> list[Read]:
    """The log at rest, decoded."""
    found = []
    for input in plan.inputs.values():
        topic = input.topic
        codec = Codec(input.schema)
        for fetched in transport.read_all(topic):
            for offset, known_us, key, value in zip(
                fetched.offsets.tolist(), fetched.known_us.tolist(), fetched.keys, fetched.values, strict=True
            ):
                if value is not None:
                    decoded = codec.decode(value)
                    values = {name: None if part != part else part for name, part in decoded.items()}  # NaN is null
                else:  # a tombstone
                    assert key is not None
                    entity = int(key) if input.columns[input.key] is Kind.INT else key.decode()
                    values = dict.fromkeys(input.columns) | {input.key: entity}
                found.append(Read(input.name, topic, fetched.partition.partition, offset, known_us, values))
    return found


def columnar(plan: Plan, transport: MemoryTransport, log: list[Read], folder: Path) -> Vectors:
    """What was served."""
    (model,) = plan.models.values()
    codec = Codec(model.vector_schema)
    served = {}
    for _, _, value, _ in harness.contents(transport, [model.topics["features"]])[model.topics["features"]]:
        assert value is not None
        vector = codec.decode(value)
        trigger = (vector["trigger_topic"], vector["trigger_partition"], vector["trigger_offset"])
        assert trigger not in served
        served[trigger] = {name: vector[name] for name in model.outputs}
    return served


def replay(plan: Plan, transport: MemoryTransport, log: list[Read], folder: Path) -> Vectors:
    """The journal followed from the Parquet log."""
    feature_log = harness.write_log(transport, FeatureLog(folder), plan)
    found = {}
    for _, _, every in replayed(plan, transport, feature_log):
        for vectors in every:
            columns = {name: to_python(column) for name, column in vectors.features.items()}
            for row, (partition, offset) in enumerate(zip(vectors.partition, vectors.offset.tolist(), strict=True)):
                found[partition.topic, partition.partition, offset] = {
                    name: column[row] for name, column in columns.items()
                }
    return found


def judged(
    plan: Plan, transport: MemoryTransport, log: list[Read], folder: Path
) -> tuple[pa.Table, dict[str, pa.Table]]:
    """The triggers and the events in the feature log, told each one's rank and whether it was applied."""
    (model,) = plan.models.values()
    feature_log = harness.write_log(transport, FeatureLog(folder), plan)
    place = {(read.topic, read.partition, read.offset): read for read in log}

    def told(event: str) -> pa.Table:
        topic = plan.inputs[event].topic
        table = feature_log.read(topic)
        reads = [
            place[topic, partition, offset]
            for partition, offset in zip(table["_partition"].to_pylist(), table["_offset"].to_pylist(), strict=True)
        ]
        table = table.append_column("_rank", pa.array([read.rank for read in reads], pa.int64()))
        return table.append_column("_applied", pa.array([read.decision == "applied" for read in reads], pa.bool_()))

    triggers = told(model.trigger)
    return triggers.filter(triggers["_applied"]), {table.event: told(table.event) for table in plan.tables}


def by_trigger(plan: Plan, found: pa.Table) -> Vectors:
    """Vectors in SQL's form by their triggers."""
    (model,) = plan.models.values()
    return {
        (plan.inputs[model.trigger].topic, row["_partition"], row["_offset"]): {
            name: row[name] for name in model.outputs
        }
        for row in found.to_pylist()
    }


def sql(plan: Plan, transport: MemoryTransport, log: list[Read], folder: Path) -> Vectors:
    """As known, in DuckDB: an independent computation."""
    (model,) = plan.models.values()
    return by_trigger(plan, as_known(plan, model, *judged(plan, transport, log, folder)))


def on_spark(plan: Plan, transport: MemoryTransport, log: list[Read], folder: Path, session: Any) -> Vectors:
    """As known, on Spark: too slow to be asked in every test."""
    from samestream.streams.spark import point_in_time as spark_point_in_time

    (model,) = plan.models.values()
    given = judged(plan, transport, log, folder)
    return by_trigger(plan, spark_point_in_time.as_known(plan, model, *given, session).toArrow())


ENGINES: Mapping[str, tuple[Callable[[Plan, MemoryTransport, list[Read], Path], Vectors], float]] = {
    "columnar": (columnar, 0.0),
    "replay": (replay, 0.0),
    "sql": (sql, 1e-9),
}


def same(ours: Any, theirs: Any, tolerance: float) -> bool:
    if isinstance(ours, float) and isinstance(theirs, float) and tolerance:
        return math.isclose(ours, theirs, rel_tol=tolerance, abs_tol=tolerance)
    return repr(ours) == repr(theirs)


def check(records: list[Outgoing], engine: Any, folder: Path, app: App = SHOP, plan: Plan = PLAN) -> list[Read]:
    """Run the log through the processor and the engine; every vector must be the oracle's."""
    compute, tolerance = engine
    transport = harness.fresh(app, plan)
    harness.send(transport, records)
    harness.work_off(transport, FeatureTask(plan), plan)
    judge = Oracle(plan)
    log = judge.run([read for read in read_back(plan, transport) if read.event in plan.inputs])
    found = compute(plan, transport, log, folder)
    assert found.keys() == judge.vectors.keys()
    for trigger, expected in judge.vectors.items():
        different = {
            name: (found[trigger][name], value)
            for name, value in expected.items()
            if not same(found[trigger][name], value, tolerance)
        }
        assert not different, trigger
    return log
