"""The offline half on real flights: what was served is what replay, SQL and plain Python say, vector by vector.

In CI eight days of January; ``make offline-year`` runs the year 2013, some 1.02 million events, and prints what it found.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pyarrow as pa
import pytest
from plain_history import PlainHistory, rows_of

from samestream.examples import flights_data, producing
from samestream.monitors.lateness_skew import explain
from samestream.monitors.sql_parity import compare_as_known, served_vectors, triggers_of, vectors_that_differ
from samestream.schemas.app import load
from samestream.streams.engine import journal
from samestream.streams.engine.feature_task import NAME, FeatureTask, VectorEncoder
from samestream.streams.engine.merge_rank import MergeRanks
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.vector_replay import replayed
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.sql.point_in_time import point_in_time
from samestream.streams.transport import partition_of

WHOLE = os.environ.get("OFFLINE") == "year"
MONTHS, JUDGED = (list(range(1, 13)), 50_000) if WHOLE else ([1], 400)
APP = load(str(Path(flights_data.__file__).with_name("flights.py")))
PLAN = compile_app(APP)
MODEL = PLAN.models["LateArrival"]
TOPIC = MODEL.topics["features"]


@dataclass(frozen=True)
class Served:
    """Flights that were served and logged; events : how many."""

    transport: MemoryTransport
    log: FeatureLog
    events: int
    folder: Path


def say(text: str) -> None:
    if WHOLE:
        print(f"\n{time.strftime('%X')}  {text}", end="", flush=True)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    batches = flights_data.load(MONTHS)
    if not WHOLE:
        end_us = flights_data.local_instant_us(1, 9)
        batches = {name: part.take(np.flatnonzero(part.known_us < end_us)) for name, part in batches.items()}
    transport = harness.fresh(APP, PLAN)
    sent = producing.produce(transport, PLAN, batches)
    say(f"{sum(sent.values()):,} events sent")
    harness.work_off(transport, FeatureTask(PLAN), PLAN, seconds=1800 if WHOLE else 60)
    folder = tmp_path_factory.mktemp("year")
    log = harness.write_log(transport, FeatureLog(folder / "log"), PLAN, seconds=1800 if WHOLE else 60)
    entries = journal.read(transport, PLAN.journal, NAME)
    (folder / "journal").write_bytes(pickle.dumps((entries, transport.topics())))
    say(f"{sum(entry.emitted for entry in entries):,} vectors served and logged, in {len(entries)} batches")
    return Served(transport, log, sum(sent.values()), folder)


@pytest.fixture(scope="module")
def ranks(served: Served) -> MergeRanks:
    """By the way, every served vector is compared with its replay, bytes with bytes."""
    found, encoder = MergeRanks(), VectorEncoder(PLAN)
    records: dict[int, list[tuple[bytes | None, bytes | None]]] = {}
    for part in served.transport.read_all(TOPIC):
        records.setdefault(part.partition.partition, []).extend(zip(part.keys, part.values, strict=True))
    parts = {number: iter(mine) for number, mine in records.items()}
    count, started = 0, time.process_time()
    for _, batch, every in replayed(PLAN, served.transport, served.log):
        found.note(batch)
        for vectors in every:
            for record in encoder.records(vectors):
                assert record.key is not None
                assert next(parts[partition_of(record.key, len(parts))]) == (record.key, record.value)
                count += 1
    assert [next(part, None) for part in parts.values()] == [None] * len(parts)
    assert count > (330_000 if WHOLE else 6_000)
    say(
        f"replay: {count:,} vectors, 0 differ in any bit; {time.process_time() - started:.1f} CPU s, comparing included"
    )
    return found


def test_served_is_replayed_bit_for_bit(ranks: MergeRanks) -> None:
    assert ranks


def test_served_is_as_known_in_sql(served: Served, ranks: MergeRanks) -> None:
    started = time.process_time()
    found = compare_as_known(PLAN, MODEL, served.log, ranks)
    (compared,) = {part.compared for part in found.values()}
    say(
        f"as known in SQL: {compared:,} vectors, {vectors_that_differ(found)} differ; {time.process_time() - started:.0f} CPU s"
    )
    assert compared == served.log.read(TOPIC).num_rows
    assert vectors_that_differ(found) == 0


@pytest.fixture(scope="module")
def judged(served: Served) -> tuple[pa.Table, dict[str, pa.Table], list[dict[str, Any]]]:
    """Triggers spread over the time, the events, and the vectors by plain Python, from every event there ever was."""
    events = {name: served.log.read(input.topic) for name, input in PLAN.inputs.items()}
    every = triggers_of(served_vectors(MODEL, served.log), events[MODEL.trigger])
    triggers = every.take(np.unique(np.linspace(0, len(every) - 1, JUDGED).astype(np.int64)))
    history, started = PlainHistory(PLAN, MODEL, events, to_the_bit=False), time.process_time()
    rows = [history.vector(values, t) for _, t, values in rows_of(PLAN.inputs[MODEL.trigger], triggers)]
    say(f"plain Python: {len(rows):,} vectors; {time.process_time() - started:.0f} CPU s")
    return triggers, events, rows


def assert_same(found: pa.Table, rows: list[dict[str, Any]]) -> None:
    for name in MODEL.outputs:
        for value, expected in zip(found[name].to_pylist(), (row[name] for row in rows), strict=True):
            if isinstance(value, float) and isinstance(expected, float):
                assert math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-9), name
            else:
                assert value == expected, name


def test_point_in_time_in_duckdb_is_what_plain_python_says(judged: Any) -> None:
    triggers, events, rows = judged
    started = time.process_time()
    assert_same(point_in_time(PLAN, MODEL, triggers, events), rows)
    say(f"point in time in DuckDB: {len(rows):,} vectors, 0 differ; {time.process_time() - started:.0f} CPU s")


@pytest.mark.skipif(not WHOLE, reason="tests/spark compares every aggregate and window in CI")
def test_point_in_time_on_spark_is_what_plain_python_says(judged: Any, request: pytest.FixtureRequest) -> None:
    from samestream.streams.spark import point_in_time as on_spark

    triggers, events, rows = judged
    found = on_spark.point_in_time(PLAN, MODEL, triggers, events, request.getfixturevalue("spark"))
    assert_same(found.toArrow(), rows)
    say(f"point in time on Spark: {len(rows):,} vectors, 0 differ")


def test_every_difference_from_point_in_time_has_its_late_events(served: Served, ranks: MergeRanks) -> None:
    skew = explain(PLAN, MODEL, served.log, ranks)
    late = {name: int((skew.vectors_per_event(name) > 0).sum()) for name in skew.events}
    say(
        f"lateness skew: {len(skew.differing):,} of {skew.vectors:,} vectors differ; {skew.unexplained} unexplained; by {late}"
    )
    assert len(skew.differing) > skew.vectors / 2
    assert skew.unexplained == 0
    assert late["Weather"] > 0


PEAK = """
import json, pickle, sys
from samestream.examples import flights_data
from samestream.schemas.app import load
from samestream.streams.lowering import compile_app
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.vector_replay import Span, followed, span
entries, topics = pickle.load(open(sys.argv[1] + "/journal", "rb"))
plan = compile_app(load(flights_data.__file__.replace("flights_data", "flights")))
transport = type("Topics", (), {"topics": lambda self: topics})()
end = span(plan, entries, None, flights_data.month_start_us(int(sys.argv[2]) + 1)).end
found = followed(plan, transport, FeatureLog(sys.argv[1] + "/log"), entries, Span(0, 0, end))
count = sum(len(vectors) for _, _, every in found for vectors in every)
held = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))  # unlike ru_maxrss, not the parent's
print(json.dumps([count, int(held.split()[1]) // 1024]))
"""


@pytest.mark.skipif(not WHOLE, reason="test_log_source looks at what is held")
def test_memory_does_not_grow_with_history(served: Served) -> None:
    peaks = {}
    for months in (3, 6, 12):
        asked = [sys.executable, "-c", PEAK, str(served.folder), str(months)]
        done = subprocess.run(asked, check=True, capture_output=True, text=True)
        count, peaks[months] = json.loads(done.stdout)
        say(f"replay of {months} months: {count:,} vectors, at most {peaks[months]} MB")
    assert peaks[12] < peaks[3] * 1.15
