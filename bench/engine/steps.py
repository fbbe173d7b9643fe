"""Where the time goes: CPU seconds per million events and step of the feature processor, on genuine Kafka, exactly once.

Run with ``make bench-profile``; it starts a Kafka of its own unless ``--bootstrap`` names one. The job is a model with one
vector per event, of five aggregates over tumbling windows of five minutes, by 1,000 keys; all events are in the topic
before it starts. Steps are timed by the CPU clock of the processor's thread, each without those it calls; what librdkafka's
own threads take is the rest of the process.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import trades
from events import Trades

from samestream.schemas.app import App
from samestream.schemas.avro_schemas import event_schema
from samestream.streams.deploy import provision
from samestream.streams.engine import columnar, feature_task, journal, processor
from samestream.streams.engine.clock import Clocks
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.engine.order import Merge
from samestream.streams.engine.processor import Health, Processor
from samestream.streams.kafka.client import CLIENTS
from samestream.streams.kafka.local_kafka import LocalKafka
from samestream.streams.kafka.transport import KafkaTransport
from samestream.streams.lowering import compile_app
from samestream.streams.transport import Transport
from samestream.streams.wire.decode import Decoder


def bench_app() -> App:
    """An app of another name each time, so that one Kafka serves many runs."""
    return App(
        f"bench{uuid.uuid4().hex[:8]}",
        {"Trade": trades.Trade},
        {"AccountNow": trades.AccountNow},
        {"Activity": trades.Activity},
        {},
    )


class Stopwatch:
    """CPU seconds of this thread by step; a step's own are counted without those of the steps that it calls."""

    def __init__(self) -> None:
        self.spent_s: Counter[str] = Counter()
        self._inside_s = 0.0

    def timed(self, step: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, timed."""

        def run(*args: Any, **named: Any) -> Any:
            outside_s, self._inside_s = self._inside_s, 0.0
            begin_s = time.thread_time()
            try:
                return call(*args, **named)
            finally:
                whole_s = time.thread_time() - begin_s
                self.spent_s[step] += whole_s - self._inside_s
                self._inside_s = outside_s + whole_s

        return run

    def time(self, owner: Any, name: str, step: str) -> None:
        """Replace a method by the timed one."""
        setattr(owner, name, self.timed(step, getattr(owner, name)))


class Started:
    """Stops a processor after so many events; remembers what the clocks said when its loop began."""

    def __init__(self, health: Health, events: int) -> None:
        self._health, self._events = health, events
        self.at: tuple[float, float, float] | None = None

    def is_set(self) -> bool:
        """Asked before each turn."""
        if self.at is None and self._health.state == "running":
            self.at = clocks_s()
        return self._health.events >= self._events

    def wait(self, timeout: float) -> bool:
        """Asked while recovering, which takes no time here."""
        return self.is_set()


def clocks_s() -> tuple[float, float, float]:
    """The wall's, this thread's CPU and the process's CPU seconds."""
    return time.perf_counter(), time.thread_time(), time.process_time()


def watch() -> Stopwatch:
    """Time the steps of every processor from now on."""
    stopwatch = Stopwatch()
    for owner, name, step in (
        (Decoder, "decode", "decode"),
        (Merge, "choose", "choose"),
        (Merge, "take", "order"),
        (Clocks, "judge", "judge"),
        (columnar.ColumnarEngine, "process", "engine"),
        (feature_task.FeatureTask, "process", "encode"),
        (journal, "ranges_of", "ranges"),
        (processor._Loop, "turn", "rest"),
    ):
        stopwatch.time(owner, name, step)
    return stopwatch


def watched(stopwatch: Stopwatch, transport: Transport) -> None:
    """Time what the transport's readers and writers do."""
    for make, steps in (
        ("reader", {"fetch": "fetch", "at_end": "fetch"}),
        ("transactional_writer", {"begin": "commit", "send": "send", "commit": "commit"}),
    ):
        setattr(transport, make, partial(_watched, stopwatch, getattr(transport, make), steps))


def _watched(stopwatch: Stopwatch, make: Callable[..., Any], steps: dict[str, str], *args: Any) -> Any:
    handle = make(*args)
    for name, step in steps.items():
        stopwatch.time(handle, name, step)
    return handle


def profile(bootstrap: str, client: str, events: int, stopwatch: Stopwatch) -> dict[str, float]:
    """CPU seconds per million events by step, of one run to the end of the topic."""
    stopwatch.spent_s.clear()
    app = bench_app()
    plan = compile_app(app)
    transport = KafkaTransport(bootstrap, client=client)
    watched(stopwatch, transport)
    provision.provision(transport, app, plan)
    worker = Processor(transport, plan.app, plan.journal, FeatureTask(plan), provision.store(transport, plan))
    started = Started(worker.health, events)
    worker.run(started)
    wall_s, thread_s, process_s = (now - then for now, then in zip(clocks_s(), started.at or (), strict=True))
    found = {step: spent_s * 1e6 / events for step, spent_s in stopwatch.spent_s.items()}
    found["librdkafka's threads"] = (process_s - thread_s) * 1e6 / events
    found["all"] = process_s * 1e6 / events
    print(f"{events / wall_s:,.0f} events/s, {worker.health.batches} batches, {worker.health.results:,} vectors")
    transport.close()
    return found


def main() -> None:
    """Print the steps of the best of some rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--client", default="direct", choices=CLIENTS)
    parser.add_argument("--bootstrap", default="", help="a Kafka whose topic bench.trades holds the events already")
    given = parser.parse_args()
    kafka = None if given.bootstrap else LocalKafka(Path(tempfile.mkdtemp(prefix="bench-profile-")))
    try:
        bootstrap = given.bootstrap or kafka.up().bootstrap
        transport = KafkaTransport(bootstrap)
        if trades.Trade.topic not in transport.topics():
            app = bench_app()
            provision.provision(transport, app, compile_app(app))
            size = Trades.drawn(given.events).fill(transport, event_schema(trades.Trade), trades.Trade.topic)
            print(f"{given.events:,} events of {size} bytes")
        transport.close()
        stopwatch = watch()
        rounds = [profile(bootstrap, given.client, given.events, stopwatch) for _ in range(given.rounds)]
    finally:
        if kafka is not None:
            kafka.down()
    print("CPU s per million")
    for step, cost in min(rounds, key=lambda round: round["all"]).items():
        print(f"  {step:22}{cost:8.3f}")


if __name__ == "__main__":
    main()
