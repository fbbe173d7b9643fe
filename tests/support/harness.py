"""Runs processors on the in-memory transport until a log at rest is worked off, and reads what they wrote."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from samestream.schemas.app import App, load
from samestream.schemas.avro import Codec
from samestream.streams.deploy import provision
from samestream.streams.engine import journal
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.engine.processor import Processor, Task
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.log_writer import LogWriter, logged_topics
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryBroker, MemoryTransport
from samestream.streams.plan import Plan
from samestream.streams.transport import Outgoing, Partition, Transport, send_all

SHOP = load(str(Path(__file__).with_name("shop.py")))
PLAN = compile_app(SHOP)
START_US = 1_700_000_000_000_000
SECOND_US = 1_000_000
Seen = dict[str, list[tuple[int, bytes | None, bytes | None, int]]]


def fresh(app: App = SHOP, plan: Plan = PLAN) -> MemoryTransport:
    """An empty broker with the app's topics."""
    transport = MemoryTransport(MemoryBroker())
    provision.provision(transport, app, plan)
    return transport


def encode(plan: Plan, event: str, key: Any, known_us: int, **values: Any) -> Outgoing:
    """One event as a record."""
    return Outgoing(
        plan.events[event].topic, str(key).encode(), Codec(plan.events[event].schema).encode(values), known_us
    )


def shop_events(count: int, seed: int = 1, seconds_scale: float = 1.0) -> list[Outgoing]:
    """Views, prices and orders of a few users, out of order by seconds, some late, in known-time order.

    seconds_scale : how many times as long people look.
    """
    draw = random.Random(seed)
    out = []
    for number in range(count):
        known_us = START_US + number * 7 * SECOND_US + draw.randrange(3) * 1000
        at = known_us - draw.choice([0, 1, 5, 30, 30, 400, 4000]) * SECOND_US - draw.randrange(1000)
        user, product = f"u{draw.randrange(5)}", f"p{draw.randrange(3)}"
        kind = draw.random()
        if kind < 0.7:
            seconds = None if draw.random() < 0.1 else draw.uniform(0, 90) * seconds_scale
            out.append(encode(PLAN, "View", user, known_us, user=user, product=product, seconds=seconds, at=at))
        elif kind < 0.85:
            out.append(encode(PLAN, "Price", product, known_us, product=product, cents=draw.randrange(10_000), at=at))
        else:
            out.append(encode(PLAN, "Order", user, known_us, user=user, amount=draw.uniform(1, 9), at=at))
    return out


def send(transport: Transport, records: Iterable[Outgoing]) -> None:
    """Write records, without a transaction."""
    send_all(transport, records)


def work_off(
    transport: Transport,
    task: Task,
    plan: Plan = PLAN,
    *,
    batch_records: int = 20_000,
    seconds: float = 60,
    **more: Any,
) -> Processor:
    """Run a processor until its inputs are worked off; the processor, stopped."""
    processor = Processor(
        transport,
        plan.app,
        plan.journal,
        task,
        provision.store(transport, plan),
        batch_records=batch_records,
        wait_s=0.0,
        **more,
    )
    topics, health = [part.topic for part in task.inputs], processor.health
    count = _decided(transport, topics)

    def done() -> bool:
        # asked again in the end: a task may read what it writes
        return health.state == "running" and health.events >= count and health.events >= _decided(transport, topics)

    processor.run(Until(done, seconds))
    deadline_s = time.monotonic() + 10
    while not _worked_off(transport, plan, task):  # a commit returns before its mark has reached every partition
        assert time.monotonic() < deadline_s, "the processor did not finish in time"
        time.sleep(0.02)
    return processor


class Until(threading.Event):
    """Is set once something is so. What runs in this thread asks after every step, so nobody waits, neither for the other."""

    def __init__(self, done: Callable[[], bool], seconds: float = 60) -> None:
        super().__init__()
        self._done, self._deadline_s = done, time.monotonic() + seconds

    def is_set(self) -> bool:
        """Whether it was so once, or will not be in time."""
        if not super().is_set() and (self._done() or time.monotonic() > self._deadline_s):
            self.set()
        return super().is_set()


def undisturbed(events: Iterable[Outgoing]) -> Seen:
    """What the shop's feature processor makes of a log at rest, in one life and one batch."""
    transport = fresh()
    send(transport, events)
    work_off(transport, FeatureTask(PLAN))
    return contents(transport, output_topics())


def run_until(processor: Processor, done: Callable[[], bool], seconds: float = 60) -> None:
    """Run a processor, or another worker, in a thread until ``done``; what it raises is raised here."""
    stop, failed = threading.Event(), []

    def go() -> None:
        try:
            processor.run(stop)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    deadline = time.monotonic() + seconds
    asked_s = time.monotonic()
    while thread.is_alive() and not done() and time.monotonic() < deadline:
        thread.join(max(0.01, 2 * (time.monotonic() - asked_s)))  # as `own_shop.until`: who asks leaves time to work
        asked_s = time.monotonic()
    stop.set()
    if isinstance(processor._transport, MemoryTransport):
        processor._transport._broker.wake()
    thread.join(30)
    if failed:
        raise failed[0]
    assert done(), "the processor did not finish in time"


def _decided(transport: Transport, topics: Sequence[str]) -> int:
    """How many records some topics hold, once every transaction on them is decided."""
    counts = transport.topics()
    partitions = [Partition(topic, number) for topic in topics for number in range(counts[topic])]
    deadline_s = time.monotonic() + 60
    while any(end.stable != end.high for end in transport.ends(partitions).values()):
        assert time.monotonic() < deadline_s, "a transaction stays open"
        time.sleep(0.01)
    return sum(len(fetched) for topic in topics for fetched in transport.read_all(topic))


def _worked_off(transport: Transport, plan: Plan, task: Task) -> bool:
    done = journal.balance(journal.read(transport, plan.journal, task.name))
    return all(
        done.get(part.topic, journal.Balance()).read == sum(len(fetched) for fetched in transport.read_all(part.topic))
        for part in task.inputs
    )


def write_log(transport: Transport, log: FeatureLog, plan: Plan = PLAN, *, seconds: float = 60) -> FeatureLog:
    """Let a log writer catch up with every topic of the app; the log."""
    topics = logged_topics(plan)
    count = _decided(transport, topics) - sum(log.read(topic).num_rows for topic in topics if topic in log.topics())
    writer = LogWriter(transport, plan, log, provision.store(transport, plan))
    writer.run(Until(lambda: writer.health.state == "running" and writer.health.events >= count, seconds))
    assert writer.health.events >= count
    return log


def contents(transport: Transport, topics: Sequence[str]) -> Seen:
    """Every committed record of some topics: partition, key, value, record timestamp, in order."""
    found: Seen = {topic: [] for topic in topics}
    for topic in topics:
        for fetched in transport.read_all(topic):
            found[topic] += [
                (fetched.partition.partition, key, value, known_us)
                for key, value, known_us in zip(fetched.keys, fetched.values, fetched.known_us.tolist(), strict=True)
            ]
        found[topic].sort(key=lambda item: item[0])
    return found


def output_topics(plan: Plan = PLAN) -> list[str]:
    """The topics that the feature processor writes, but the journal: that one tells batches apart."""
    out = [model.topics["features"] for model in plan.models.values()]
    for part in plan.inputs.values():
        out += [f"{part.topic}.late", f"{part.topic}.dead"]
    return out
