"""A snapshot at any batch boundary, restored, then continued, is an undisturbed run: of every aggregate, window, table and task."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import harness
import pytest
from at_rest import PARTITIONS, decoded
from fleet_log import FLEET, FLEET_PLAN, fleet_events
from harness import PLAN, SHOP
from hours import HOURS, hour_log
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from made_facts import WINDOWS, planned, random_log
from made_streams import DAY, START, calm_world, struck, watched
from shop_models import scored_shop

from samestream.monitors.task import MonitorTask
from samestream.monitors.watch import Watch
from samestream.schemas.app import App
from samestream.streams import columns as cols
from samestream.streams.deploy import provision
from samestream.streams.engine import journal, replay, snapshot_file, table_state, value_arrays
from samestream.streams.engine.clock import Clocks
from samestream.streams.engine.columnar import ColumnarEngine
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.engine.order import Batch, Merge
from samestream.streams.engine.processor import Processor, Task
from samestream.streams.engine.snapshot_file import Manifest
from samestream.streams.engine.snapshots import Snapshots
from samestream.streams.lowering import compile_app
from samestream.streams.models.outcomes import OutcomeTask
from samestream.streams.models.scorer import ScorerTask
from samestream.streams.plan import Plan
from samestream.streams.transport import Outgoing, Partition, Transport
from samestream.streams.wire.decode import Decoder

ANY = Manifest("x", "f", "l", "m", "k", 1, "", {}, [], {}, {})
LAWS = settings(
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a seed draws everything: there is nothing to make smaller
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def through_a_file(arrays: Any, folder: Path) -> Any:
    """Some arrays, written and read again."""
    path = folder / "1.npz"
    snapshot_file.write(path, ANY, arrays)
    return snapshot_file.read(path)[1]


# -- the kernel, with every aggregate over every window ---------------------------------------------------------------


def batches(plan: Plan, log: Any, draw: random.Random) -> list[Batch]:
    """A log at rest, cut into batches anywhere and judged."""
    inputs = tuple(plan.inputs[name] for name in log)
    merge = Merge(
        inputs, {Partition(part.topic, n): place for place, part in enumerate(inputs) for n in range(PARTITIONS)}
    )
    for chunk in decoded(plan, log):
        merge.add(chunk)
    clocks, found = Clocks(plan.query_lag_us), []
    while counts := merge.choose(set(merge.ranked), draw.randrange(1, 60)):
        found.append(merge.take(counts))
        clocks.judge(found[-1])
    return found


def served(engine: ColumnarEngine, batch: Batch) -> list[Any]:
    """All vectors of a batch, to the bit."""
    return [
        [vectors.offset.tolist(), {name: _bits(column) for name, column in vectors.features.items()}]
        for vectors in engine.process(batch)
    ]


def _bits(column: cols.ColumnData) -> list[Any]:
    values = cols.to_python(column)
    return [value.hex() if isinstance(value, float) else value for value in values]


@cache
def plan_of(window: str) -> Plan:
    return planned(window)


@pytest.mark.parametrize("window", WINDOWS)
@settings(LAWS, max_examples=4)
@given(seed=st.integers(0, 2**32))
def test_every_aggregate(window: str, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_state, "_LEAST_SWEEP", 1)  # keys are forgotten, and their ids used again
    plan, draw = plan_of(window), random.Random(seed)
    cut = batches(plan, random_log(seed, 160), draw)
    undisturbed, engine = ColumnarEngine(plan), ColumnarEngine(plan)
    restored = 0
    for batch in cut:
        expected = served(undisturbed, batch)
        assert served(engine, batch) == expected
        if draw.random() < 0.4:
            other = ColumnarEngine(plan)
            assert other.layout == engine.layout
            other.restore(through_a_file(engine.held(), tmp_path))
            engine, restored = other, restored + 1
    assert len(cut) < 3 or restored or seed, "the law is about snapshots"


# -- every task, by its journal ---------------------------------------------------------------------------------------


@cache
def worked_off(name: str) -> tuple[Transport, App, Plan, list[Callable[[], Task]]]:
    """A log at rest that all tasks have worked off in small batches, and how these tasks are made."""
    app, plan = {"shop": (SHOP, PLAN), "hours": (HOURS, compile_app(HOURS)), "fleet": (FLEET, FLEET_PLAN)}[name]
    if name == "shop":
        transport = scored_shop()
        (model,) = plan.models.values()
        (monitors,) = app.monitors.values()
        makers: list[Callable[[], Task]] = [
            lambda: FeatureTask(plan),
            lambda: ScorerTask(plan, model),
            lambda: OutcomeTask(plan, model),
            lambda: MonitorTask(plan, monitors),
        ]
    else:
        transport = harness.fresh(app, plan)
        harness.send(transport, hour_log(plan) if name == "hours" else fleet_events())
        makers = [lambda: FeatureTask(plan)]
    for make in makers:
        harness.work_off(transport, make(), plan, batch_records=40 if name == "shop" else 3)
    return transport, app, plan, makers


def followed(transport: Transport, plan: Plan, task: Task) -> Iterator[tuple[Batch, Clocks]]:
    """The batches of a task's journal, with the clocks as they stood."""
    entries = journal.read(transport, plan.journal, task.name)
    store = provision.store(transport, plan)
    decoders = {part.topic: Decoder(part, store) for part in task.inputs}
    source = replay.TopicSource(transport, decoders, replay.first_offsets(entries, decoders))
    counts, clocks = transport.topics(), Clocks(task.query_lag_us)
    every = [Partition(part.topic, number) for part in task.inputs for number in range(counts[part.topic])]
    for _, batch in replay.batches(entries, task.inputs, every, source, clocks, task.fingerprint):
        yield batch, clocks


def written(task: Task, batch: Batch, clocks: Clocks) -> list[Outgoing]:
    emitted = task.process(batch, clocks)
    return [*emitted.records, *(record for parcel in emitted.parcels for record in parcel)]


TASKS = [("shop", 0), ("shop", 1), ("shop", 2), ("shop", 3), ("hours", 0), ("fleet", 0)]


@pytest.mark.parametrize(("name", "number"), TASKS)
@settings(LAWS, max_examples=3)
@given(seed=st.integers(0, 2**32))
def test_every_task(name: str, number: int, seed: int, tmp_path: Path) -> None:
    transport, _, plan, makers = worked_off(name)
    make, draw = makers[number], random.Random(seed)
    undisturbed, task, absorbing = make(), make(), make()
    count = 0
    for batch, clocks in followed(transport, plan, task):
        expected = written(undisturbed, batch, clocks)
        count += len(expected)
        assert written(task, batch, clocks) == expected
        absorbing.absorb(batch, clocks)  # as recovery does, without making results
        if draw.random() < 0.3:
            kept, task = through_a_file(draw.choice([task, absorbing]).state(), tmp_path), make()
            task.restore(kept)
    assert count > 10 or task.name.startswith("monitor"), "there is next to nothing to differ"


@pytest.mark.parametrize("fault", ["unit", "missing"])
def test_a_watch_with_incidents(fault: str, tmp_path: Path) -> None:
    world = struck(calm_world(40), fault, START + 33 * DAY)
    expected, draw = watched(world), random.Random(1)
    assert expected

    def kept(watch: Watch) -> Watch:
        if draw.random() < 0.92:
            return watch
        found = value_arrays.unpack(through_a_file(value_arrays.pack(watch), tmp_path))
        assert isinstance(found, Watch)
        return found

    assert watched(world, between_steps=kept) == expected


# -- the processor, with kills and damage in between ------------------------------------------------------------------


EVENTS = harness.shop_events(600)


@pytest.fixture(scope="module")
def undisturbed() -> harness.Seen:
    return harness.undisturbed(EVENTS)


def processor(transport: Transport, folder: Path, batch_records: int, every_s: float, copied: int) -> Processor:
    task, store = FeatureTask(PLAN), provision.store(transport, PLAN)
    snapshots = Snapshots(folder, f"{PLAN.app}.{task.name}", every_s, copied)
    return Processor(
        transport, PLAN.app, PLAN.journal, task, store, batch_records=batch_records, wait_s=0.0, snapshots=snapshots
    )


def damage(folder: Path, draw: random.Random) -> None:
    """What a disk may do to files: lose the newest, tear it, flip a bit of it; or nothing."""
    files = sorted(folder.glob("*/*.npz"))
    how = draw.choice(["nothing", "nothing", "lost", "all lost", "torn", "flipped", "empty"])
    if not files or how == "nothing":
        return
    path = files[-1]
    content = bytearray(path.read_bytes()) or bytearray(b"?")  # it may have been emptied before
    if how == "all lost":
        for each in files:
            each.unlink()
    elif how == "lost":
        path.unlink()
    elif how == "torn":
        path.write_bytes(content[: draw.randrange(len(content))])
    elif how == "flipped":
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
    else:
        path.write_bytes(b"")


@settings(LAWS, max_examples=12)
@given(seed=st.integers(0, 2**32), forked=st.booleans())
def test_restarts_from_snapshots_whole_or_damaged(
    undisturbed: harness.Seen, seed: int, forked: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, draw = tmp_path_factory.mktemp("state"), random.Random(seed)
    transport = harness.fresh()
    harness.send(transport, EVENTS)
    copied = 0 if forked else 10**9
    for cut in sorted(draw.randrange(1, 450) for _ in range(3)):
        one = processor(transport, folder, draw.randrange(5, 60), draw.choice([0.0001, 0.02, 60.0]), copied)
        harness.run_until(one, lambda cut=cut, one=one: one.health.events >= cut)  # type: ignore[misc]
        damage(folder, draw)
    last = processor(transport, folder, 1000, 60.0, copied)
    total = sum(record.topic in ("shop.views", "shop.prices") for record in EVENTS)
    harness.run_until(last, lambda: last.health.events >= total)
    assert harness.contents(transport, harness.output_topics()) == undisturbed
    assert last.health.balances == journal.balance(journal.read(transport, PLAN.journal, "features"))
    assert last.health.results == sum(entry.emitted for entry in journal.read(transport, PLAN.journal, "features"))
