"""Every engine returns the oracle's value: the same test on each."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import harness
import oracle
import pyarrow as pa
import pytest
from harness import PLAN, SECOND_US, START_US
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Oracle, Read

from samestream.schemas.avro import Codec
from samestream.streams.columns import to_python
from samestream.streams.feature_log import FeatureLog
from samestream.streams.feature_task import FeatureTask
from samestream.streams.memory_transport import MemoryTransport
from samestream.streams.point_in_time import as_known
from samestream.streams.transport import Outgoing
from samestream.streams.vector_replay import replayed

Vectors = dict[tuple[str, int, int], dict[str, Any]]
MODEL = PLAN.models["Buys"]
_EVENT_OF = {part.topic: part for part in PLAN.inputs.values()}


def read_back(transport: MemoryTransport) -> list[Read]:
    """The log at rest, decoded."""
    found = []
    for topic, input in _EVENT_OF.items():
        codec = Codec(input.schema)
        for fetched in transport.read_all(topic):
            for offset, known_us, value in zip(
                fetched.offsets.tolist(), fetched.known_us.tolist(), fetched.values, strict=True
            ):
                assert value is not None
                found.append(
                    Read(input.name, topic, fetched.partition.partition, offset, known_us, codec.decode(value))
                )
    return found


def columnar(transport: MemoryTransport, log: list[Read], folder: Path) -> Vectors:
    """What was served."""
    codec = Codec(MODEL.vector_schema)
    served = {}
    for _, _, value, _ in harness.contents(transport, [MODEL.topics["features"]])[MODEL.topics["features"]]:
        assert value is not None
        vector = codec.decode(value)
        trigger = (vector["trigger_topic"], vector["trigger_partition"], vector["trigger_offset"])
        assert trigger not in served
        served[trigger] = {name: vector[name] for name in MODEL.outputs}
    return served


def replay(transport: MemoryTransport, log: list[Read], folder: Path) -> Vectors:
    """The journal followed from the Parquet log."""
    feature_log = harness.write_log(transport, FeatureLog(folder))
    found = {}
    for _, _, every in replayed(PLAN, transport, feature_log):
        for vectors in every:
            columns = {name: to_python(column) for name, column in vectors.features.items()}
            for row, (partition, offset) in enumerate(zip(vectors.partition, vectors.offset.tolist(), strict=True)):
                found[partition.topic, partition.partition, offset] = {
                    name: column[row] for name, column in columns.items()
                }
    return found


def sql(transport: MemoryTransport, log: list[Read], folder: Path) -> Vectors:
    """As known, in DuckDB: an independent computation, told each event's rank and whether it was applied."""
    feature_log = harness.write_log(transport, FeatureLog(folder))
    place = {(read.topic, read.partition, read.offset): read for read in log}

    def judged(event: str) -> pa.Table:
        topic = PLAN.inputs[event].topic
        table = feature_log.read(topic)
        reads = [
            place[topic, partition, offset]
            for partition, offset in zip(table["_partition"].to_pylist(), table["_offset"].to_pylist(), strict=True)
        ]
        table = table.append_column("_rank", pa.array([read.rank for read in reads], pa.int64()))
        return table.append_column("_applied", pa.array([read.decision == "applied" for read in reads], pa.bool_()))

    events = {table.event: judged(table.event) for table in PLAN.tables}
    triggers = judged(MODEL.trigger)
    found = as_known(PLAN, MODEL, triggers.filter(triggers["_applied"]), events).to_pylist()
    return {
        (PLAN.inputs[MODEL.trigger].topic, row["_partition"], row["_offset"]): {
            name: row[name] for name in MODEL.outputs
        }
        for row in found
    }


ENGINES: Mapping[str, tuple[Callable[[MemoryTransport, list[Read], Path], Vectors], float]] = {
    "columnar": (columnar, 0.0),
    "replay": (replay, 0.0),
    "sql": (sql, 1e-9),
}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> tuple[Callable[[MemoryTransport, list[Read], Path], Vectors], float]:
    return ENGINES[request.param]


def same(ours: Any, theirs: Any, tolerance: float) -> bool:
    if isinstance(ours, float) and isinstance(theirs, float) and tolerance:
        return math.isclose(ours, theirs, rel_tol=tolerance, abs_tol=tolerance)
    return repr(ours) == repr(theirs)


def check(records: list[Outgoing], engine: Any, folder: Path) -> list[Read]:
    """Run the log through the processor and the engine; every vector must be the oracle's."""
    compute, tolerance = engine
    transport = harness.fresh()
    harness.send(transport, records)
    harness.work_off(transport, FeatureTask(PLAN))
    judge = Oracle(PLAN)
    log = judge.run([read for read in read_back(transport) if read.event in PLAN.inputs])
    found = compute(transport, log, folder)
    assert found.keys() == judge.vectors.keys()
    for trigger, expected in judge.vectors.items():
        different = {
            name: (found[trigger][name], value)
            for name, value in expected.items()
            if not same(found[trigger][name], value, tolerance)
        }
        assert not different, trigger
    return log


def test_a_disordered_log(engine: Any, tmp_path: Path) -> None:
    log = check(harness.shop_events(800, seed=3), engine, tmp_path)
    assert {read.decision for read in log} == {"applied", "late", "behind_state"}


def view(
    user: str, second: float, *, known: float | None = None, seconds: float | None = 1.0, product: str = "p"
) -> Outgoing:
    at = START_US + round(second * SECOND_US)
    known_us = START_US + round((second if known is None else known) * SECOND_US)
    return harness.encode(PLAN, "View", user, known_us, user=user, product=product, seconds=seconds, at=at)


def price(product: str, second: float, cents: int) -> Outgoing:
    at = START_US + round(second * SECOND_US)
    return harness.encode(PLAN, "Price", product, at, product=product, cents=cents, at=at)


def test_an_event_at_the_very_instant_is_not_in_the_window(engine: Any, tmp_path: Path) -> None:
    # both views of u at second 5: neither sees the other; the one a microsecond later sees both
    check([view("u", 5), view("u", 5, known=5.001), view("u", 5.000001, known=5.002)], engine, tmp_path)


def test_the_tail_is_floored_and_the_head_exact(engine: Any, tmp_path: Path) -> None:
    # 10m in tiles of 5s: START_US is a whole tile, so a view at +2.5 is still counted at +602, and no more at +605.1
    check([view("u", 2.5), view("u", 602), view("u", 605.1)], engine, tmp_path)


def test_nulls_and_empty_windows(engine: Any, tmp_path: Path) -> None:
    check(
        [view("u", 1, seconds=None), view("u", 2), view("v", 3, product="unpriced"), price("p", 4, 7), view("u", 5)],
        engine,
        tmp_path,
    )


def test_what_comes_late_is_not_counted_and_what_comes_early_is_not_seen(engine: Any, tmp_path: Path) -> None:
    log = check(
        [view("u", 100), view("u", 30, known=101), view("u", 50, known=102), view("u", 101, known=103)],
        engine,
        tmp_path,
    )
    assert [read.decision for read in log] == ["applied", "late", "applied", "applied"]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), count=st.integers(1, 150), spread=st.sampled_from([1, 60, 600, 7200]))
def test_any_log(engine: Any, tmp_path_factory: pytest.TempPathFactory, seed: int, count: int, spread: int) -> None:
    draw = random.Random(seed)
    second, records = 0.0, []
    for _ in range(count):
        second += draw.choice([0, 0, 0.001, draw.random() * spread])
        at = second - draw.choice([0, 0, draw.random() * spread])
        if draw.random() < 0.75:
            seconds = draw.choice([None, 0.0, -0.0, 1e16, draw.uniform(-1, 1)])
            records.append(
                view(f"u{draw.randrange(3)}", at, known=second, seconds=seconds, product=f"p{draw.randrange(2)}")
            )
        else:
            cents = draw.choice([0, -1, 2**62, draw.randrange(100)])
            records.append(
                price(f"p{draw.randrange(2)}", at, cents)._replace(known_us=START_US + round(second * SECOND_US))
            )
    check(records, engine, tmp_path_factory.mktemp("log"))


def test_the_oracle_orders_by_running_known_time() -> None:
    def read(topic: str, offset: int, known: int) -> Read:
        return Read("View", topic, 0, offset, known, {})

    log = [read("a", 0, 10), read("a", 1, 5), read("b", 0, 7), read("b", 1, 10)]
    assert [(each.topic, each.offset) for each in oracle.in_order(log)] == [("b", 0), ("a", 0), ("a", 1), ("b", 1)]
