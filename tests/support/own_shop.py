"""The shop of `shop.py` with topics of its own, so that many tests share a broker; its events, and what must come of them."""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
from harness import SECOND_US, START_US
from nursery import Child, Nursery

from samestream.schemas.app import load
from samestream.schemas.avro import Codec
from samestream.streams.deploy import provision
from samestream.streams.engine import journal
from samestream.streams.engine.processor import Task
from samestream.streams.kafka.transport import KafkaTransport
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryBroker, MemoryTransport
from samestream.streams.transport import Outgoing, Partition, Transport

_NUMBERS = itertools.count(random.SystemRandom().randrange(10**6) * 1000)  # no two runs on one broker meet
LONG = os.environ.get("FAULTS") == "long"
"""Whether the fault suite runs in its long form."""
SESSION_S = 6.0 if LONG else 3.0
"""After so long without a heartbeat a process is counted as gone: as users have it, or as soon as a busy machine allows."""

HOUR_US = 3600 * SECOND_US


class OwnShop:
    """An app of its own on a broker, and processes of its roles."""

    def __init__(self, bootstrap: str, nursery: Nursery, folder: Path) -> None:
        name = f"shop{next(_NUMBERS)}"
        self.module = folder / f"{name}.py"
        text = Path(harness.__file__).with_name("shop.py").read_text()
        self.module.write_text(text.replace('topic="shop.', f'topic="{name}.'))
        self.app = load(str(self.module))
        self.plan = compile_app(self.app)
        (self.model,) = self.plan.models.values()
        self.bootstrap, self._nursery = bootstrap, nursery
        self.kafka = KafkaTransport(bootstrap)
        self._entries: dict[str, list[journal.Entry]] = {}
        self._next: dict[int, int] = {}
        self._codecs = {name: Codec(part.schema) for name, part in self.plan.events.items()}
        provision.provision(self.kafka, self.app, self.plan)

    def drop(self) -> None:
        """Delete its topics."""
        self.kafka.delete_topics([spec.name for spec in provision.topics(self.app, self.plan)])
        self.kafka.close()

    def start(self, role: str, batch_records: int = 50, **spec: Any) -> Child:
        """Start a process of a role; see `victim.main`."""
        session = {"session.timeout.ms": f"{SESSION_S * 1000:.0f}", "heartbeat.interval.ms": f"{SESSION_S * 250:.0f}"}
        told = {"role": role, "module": str(self.module), "bootstrap": self.bootstrap, "batch_records": batch_records}
        told["properties"] = {} if LONG else session
        return self._nursery.start(**told | spec)

    def memory(self) -> MemoryTransport:
        """An undisturbed world: the same topics, without Kafka, processes and kills."""
        transport = MemoryTransport(MemoryBroker())
        provision.provision(transport, self.app, self.plan)
        return transport

    def undisturbed(self, events: list[Outgoing]) -> harness.Seen:
        """What the feature processor writes, in one life, in one batch where it can."""
        from samestream.streams.engine.feature_task import FeatureTask

        transport = self.memory()
        harness.send(transport, events)
        harness.work_off(transport, FeatureTask(self.plan), self.plan)
        return harness.contents(transport, harness.output_topics(self.plan))

    def events(self, count: int, seed: int = 1) -> list[Outgoing]:
        """Views, prices and orders in known-time order: a minute apart or days, many late, some dead, some poisoned."""
        draw, out, now_us = random.Random(seed), [], START_US
        for number in range(count):
            # windows reach back a day: with leaps the memory is shorter than the history, and recovery skips batches
            now_us += 9 * HOUR_US if number % 400 == 399 else draw.randrange(12) * SECOND_US + draw.randrange(3) * 1000
            late_s = draw.choice([0, 0, 1, 5, 30, 30, 50, 400, 700, 4000]) if draw.random() < 0.5 else 0
            at = now_us - late_s * SECOND_US - draw.randrange(1000)
            if draw.random() < 0.01:
                at += 5 * HOUR_US  # ahead of its own record: dead
            user, product = f"u{draw.randrange(7)}", f"p{draw.randrange(4)}"
            kind = draw.random()
            if kind < 0.6:
                seconds = None if draw.random() < 0.1 else draw.uniform(0, 90)
                made = self.event("View", user, now_us, user=user, product=product, seconds=seconds, at=at)
            elif kind < 0.8:
                made = self.event("Price", product, now_us, product=product, cents=draw.randrange(10_000), at=at)
            else:
                made = self.event("Order", user, now_us, user=user, amount=draw.uniform(-2, 9), at=at)
            if draw.random() < 0.01:
                made = made._replace(value=draw.choice([b"", b"\xc3\x01garbage", None]))
            out.append(made)
        return out

    def event(self, name: str, key: str, known_us: int, **values: Any) -> Outgoing:
        """One event as a record."""
        return Outgoing(self.plan.events[name].topic, key.encode(), self._codecs[name].encode(values), known_us)

    def outputs(self) -> harness.Seen:
        """What the feature processor wrote to Kafka."""
        return harness.contents(self.kafka, harness.output_topics(self.plan))

    def targets(self, task: Task) -> dict[Partition, int]:
        """Where a task stands once it has read all there is: behind the last record of each partition that has any."""
        return {
            fetched.partition: int(fetched.offsets[-1]) + 1
            for part in task.inputs
            for fetched in self.kafka.read_all(part.topic)
        }

    def journaled(self, task: Task) -> list[journal.Entry]:
        """The entries of a task, of which only those are read that are new: this is asked a hundred times a second.

        What the journal holds in the end `check_journal` reads as a whole.
        """
        for fetched in self.kafka.read_all(self.plan.journal, self._next):
            self._next[fetched.partition.partition] = int(fetched.offsets[-1]) + 1
            for entry in map(journal.parse, fetched.values):
                if entry is not None:
                    self._entries.setdefault(entry.processor, []).append(entry)
        return self._entries.get(task.name, [])

    def sequence(self, task: Task) -> int:
        """How many batches a task has committed.

        Asked of the journal: the offsets of a group cannot be had while a killed writer's transaction is undecided.
        """
        entries = self.journaled(task)
        return entries[-1].sequence if entries else 0

    def reached(self, task: Task, targets: dict[Partition, int]) -> bool:
        """Whether a task has read up to there."""
        return journal.ends(self.journaled(task)) == targets

    def await_batches(self, task: Task, count: int, child: Child) -> None:
        """Wait until so many more batches are committed."""
        wanted = self.sequence(task) + count
        until(lambda: self.sequence(task) >= wanted, child)

    def work_off(self, role: str, task: Task, targets: dict[Partition, int], **spec: Any) -> None:
        """Run a role, undisturbed, to its end."""
        child = self.start(role, **spec)
        until(lambda: self.reached(task, targets), child)
        child.end()

    def check_journal(self, task: Task, targets: dict[Partition, int]) -> list[journal.Entry]:
        """Sequences 1..n, ranges that join without gap or overlap, group offsets at their ends, every event counted."""
        entries = journal.read(self.kafka, self.plan.journal, task.name)
        assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
        ends: dict[Partition, int] = {}
        for entry in entries:
            for part in entry.ranges:
                assert part.start == ends.get(part.partition, 0), (entry.sequence, part)
                assert part.end > part.start, (entry.sequence, part)
                ends[part.partition] = part.end
        assert ends == targets
        assert self.kafka.committed(f"{self.plan.app}.{task.name}", targets) == targets
        balance = journal.balance(entries)
        counts = {part.topic: count_of(self.kafka, part.topic) for part in task.inputs}
        assert {topic: count for topic, count in counts.items() if count} == {
            topic: part.read for topic, part in balance.items()
        }
        return entries

    def check_replay(self, folder: Path) -> None:
        """What was served is what its own journal replays to and what SQL makes of it, whatever came while processors ran."""
        from samestream.monitors.vector_parity import verify

        log = harness.write_log(self.kafka, FeatureLog(folder), self.plan)
        (parity,) = verify(self.plan, self.kafka, log).values()
        assert parity.compared == count_of(self.kafka, self.model.topics["features"])
        assert (parity.mismatched, parity.missing, parity.doubled, parity.as_known_mismatched) == (0, 0, 0, 0), parity


def count_of(transport: Transport, topic: str) -> int:
    """How many committed records a topic has."""
    return sum(map(len, transport.read_all(topic)))


def until(done: Callable[[], bool], child: Child | None = None, timeout_s: float = 60.0) -> None:
    """Ask until it is so; AssertionError if it takes too long, or if the process that is to bring it about has ended.

    Between two questions pass ten milliseconds, or twice the time that the last one took to be answered: who asks has no
    claim to the processors that the others need.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        asked_s = time.monotonic()
        if done():
            return
        took_s = time.monotonic() - asked_s
        if child is not None and child.ended is not None and not done():
            raise AssertionError(f"the process left with {child.ended}: {child.said()}")
        assert time.monotonic() < deadline_s, "not in time" + (f": {child.said()}" if child else "")
        time.sleep(max(0.01, 2 * took_s))
