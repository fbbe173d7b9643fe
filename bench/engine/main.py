"""Side by side on one genuine Kafka: samestream, a plain Python loop, Python frameworks and Kafka Streams, at the same job.

Run with ``make bench-engine``; it starts a Kafka of its own. All read the same Avro events and write one answer for each;
every answer is compared with an oracle. Rates are of a backlog, after a warm-up that is left out for all alike; a system
that is slow is stopped after a while, and its figures are of what it had done by then. CPU is that of the system's own
processes, the broker's is not counted. Latency is measured on a run of its own, at 5,000 events a second.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import answers
from events import PEER_ANSWER, Trades, schema_files, sliding, tumbling
from numpy.typing import NDArray
from systems import HERE, SYSTEMS, System, machine, own_command
from watching import Running, watch

from samestream.schemas.app import App, load
from samestream.schemas.avro_schemas import event_schema
from samestream.streams.deploy import provision
from samestream.streams.kafka.local_kafka import LocalKafka
from samestream.streams.kafka.transport import KafkaTransport
from samestream.streams.lowering import compile_app
from samestream.streams.transport import TopicSpec

PARTITIONS = 4
WIDE_STEP_US = 250_000
WIDE = {"1h": (3_600_000_000, 0), "3h": (10_800_000_000, 0), "24h": (86_400_000_000, 0)}


@dataclass
class Row:
    """What is reported of a system; None where it was not or could not be measured."""

    system: str
    events_per_s: float | None = None
    cpu_s_per_million: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    peak_mb: float | None = None
    equal: bool | None = None


class Bench:
    """One Kafka with the events in it."""

    def __init__(
        self, folder: Path, bootstrap: str, broker: int, events: int, limit_s: float, latency_s: float
    ) -> None:
        self.folder, self.bootstrap, self.broker = folder, bootstrap, broker
        self.limit_s, self.latency_s = limit_s, latency_s
        self.transport = KafkaTransport(bootstrap)
        self.trades = Trades.drawn(events)
        self.app = load(str(HERE / "trades.py"))
        self.schema = event_schema(self.app.events["Trade"])
        for name, text in schema_files(self.schema).items():
            (folder / name).write_text(text)
        self._runs = 0
        self.right: dict[str, NDArray[Any]] = {}

    def prepare(self) -> None:
        """Fill the topic, and find out what is right."""
        provision.provision(self.transport, self.app, compile_app(self.app))
        began_s = time.monotonic()
        size = self.trades.fill(self.transport, self.schema, "bench.trades")
        self.right = tumbling(self.trades)
        say(f"{self.trades.count:,} events of {size} bytes written in {time.monotonic() - began_s:.0f} s")

    def backlog(self, system: System, row: Row) -> None:
        """Rate, CPU, memory and correctness over the backlog."""
        if system.is_own:
            self._own_backlog(self.app, HERE / "trades.py", self.trades, self.right, row)
            return
        target = self._topic("answers")
        command = system.command(self.bootstrap, "bench.trades", target, self.folder, PARTITIONS, False)
        self._measured(
            command,
            target,
            PEER_ANSWER,
            ("account", "at"),
            self.trades,
            self.right,
            row,
            system.patience * self.limit_s,
        )

    def _own_backlog(self, app: App, module: Path, trades: Trades, right: dict[str, NDArray[Any]], row: Row) -> None:
        plan = compile_app(app)
        model = plan.models["Activity"]
        target = model.topics["features"]
        self.transport.delete_topics([target, plan.journal])
        provision.provision(self.transport, app, plan)
        command = own_command(module, self.bootstrap, "", self.folder)
        self._measured(command, target, model.vector_schema, ("entity", "event_time"), trades, right, row, self.limit_s)

    def _measured(
        self,
        command: Any,
        target: str,
        schema: Any,
        names: tuple[str, str],
        trades: Trades,
        right: dict[str, NDArray[Any]],
        row: Row,
        limit_s: float,
    ) -> None:
        partitions = self.transport.topics()[target]
        running = Running(command, self.folder, self.folder / "system.log", {"PYTHONUNBUFFERED": "1"})
        try:
            seen = watch(running, self.broker, self.transport, target, partitions, trades.count, limit_s)
        finally:
            running.end()
        row.events_per_s, row.cpu_s_per_million, row.peak_mb = seen.events_per_s, seen.cpu_s_per_million, seen.peak_mb
        verdict = answers.judge(self.transport, target, schema, names, trades, right, PARTITIONS, seen.finished)
        row.equal = verdict.equal
        began = f"; first answer after {seen.starting_s:.1f} s" if seen.written else ""
        stopped = "" if seen.finished else f"; stopped after {limit_s:.0f} s: the figures are of these events alone"
        say(
            f"  {seen.events_per_s:,.0f} events/s, {seen.cpu_s_per_million:.2f} CPU s per million "
            f"(and {seen.broker_s_per_million:.2f} of the broker), "
            f"{seen.peak_mb:,.0f} MB{began}; {verdict}{stopped}"
        )
        if seen.failure:
            say(f"  {seen.failure}")
        self.transport.delete_topics([target])

    def latency(self, system: System, row: Row) -> None:
        """Latency at a steady rate, from an empty topic."""
        self._runs += 1
        if system.is_own:
            namespace = f"live{self._runs}"
            app = load(str(HERE / "trades.py"), namespace)
            plan = compile_app(app)
            provision.provision(self.transport, app, plan)
            source, target = plan.inputs["Trade"].topic, plan.models["Activity"].topics["features"]
            command = own_command(HERE / "trades.py", self.bootstrap, namespace, self.folder)
        else:
            source, target = self._topic("live"), self._topic("answers")
            command = system.command(self.bootstrap, source, target, self.folder, PARTITIONS, True)
        running = Running(command, self.folder, self.folder / "system.log", {"PYTHONUNBUFFERED": "1"})
        try:
            self._probe(source, target, row)
            if running.failure:
                say(f"  {running.failure}")
        finally:
            running.end()
            self.transport.delete_topics([source, target])

    def echo(self, row: Row) -> None:
        """A transactional producer to a read_committed consumer, at the same rate."""
        topic = self._topic("echo")
        self._probe(topic, topic, row, "--echo")
        self.transport.delete_topics([topic])

    def _probe(self, source: str, target: str, row: Row, *more: str) -> None:
        out = self.folder / "latency.json"
        out.unlink(missing_ok=True)
        given = {
            "bootstrap": self.bootstrap,
            "source": source,
            "target": target,
            "schema": str(self.folder / "event.avsc"),
            "out": str(out),
            "partitions": str(self.transport.topics()[target]),
            "seconds": str(self.latency_s),
        }
        options = [part for name, value in given.items() for part in (f"--{name}", value)]
        subprocess.run([sys.executable, str(HERE / "probe.py"), *options, *more], check=True, timeout=300)
        told = json.loads(out.read_text())
        row.p50_ms, row.p99_ms = told["p50_ms"], told["p99_ms"]
        if not told["heard"]:
            say("  nothing heard at 5,000 events/s")
        else:
            lost = told["asked"] - told["heard"]
            behind = f"; {lost:,} not yet answered 5 s later: it does not keep up" if lost > 0 else ""
            say(f"  latency p50 {told['p50_ms']:.1f}, p99 {told['p99_ms']:.1f} ms of {told['asked']:,} events{behind}")

    def wide(self, events: int, row: Row) -> None:
        """The view over three sliding windows, of samestream alone."""
        app = load(str(HERE / "trades_wide.py"))
        plan = compile_app(app)
        provision.provision(self.transport, app, plan)
        trades = Trades.drawn(events, WIDE_STEP_US)
        trades.fill(self.transport, event_schema(app.events["Trade"]), "bench.trades.wide")
        tiles = {part.window.longest_us: part.window.tile_us for table in plan.tables for part in table.windows}
        right = sliding(trades, {name: (length, tiles[length]) for name, (length, _) in WIDE.items()})
        self._own_backlog(app, HERE / "trades_wide.py", trades, right, row)

    def _topic(self, what: str) -> str:
        self._runs += 1
        name = f"bench.{what}{self._runs}"
        self.transport.create_topics([TopicSpec(name, PARTITIONS, 1, {"retention.ms": "-1"})])
        return name


def say(line: str) -> None:
    """Progress, at once."""
    print(line, flush=True)


def main() -> None:
    """Run the chosen systems, and print the table and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000, help="in the backlog")
    parser.add_argument(
        "--limit", type=float, default=20.0, help="seconds of the backlog at most, from the first answer"
    )
    parser.add_argument("--latency", type=float, default=10.0, help="seconds of the latency measurement; 0 for none")
    parser.add_argument("--quick", action="store_true", help="a third of all that")
    parser.add_argument("--only", default="", help="names of systems, or parts of them, with commas between")
    parser.add_argument("--rounds", type=int, default=1, help="of the backlog; the one with the least CPU counts")
    parser.add_argument("--no-wide", action="store_true", help="without the view over three windows")
    parser.add_argument("--json", default="", help="write the figures to this file")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    share = 3 if given.quick else 1
    wanted = [part.strip() for part in given.only.split(",") if part.strip()]
    chosen = [system for system in SYSTEMS if not wanted or any(part in system.name for part in wanted)]
    folder = Path(tempfile.mkdtemp(prefix="bench-engine-"))
    kafka = LocalKafka(folder / "kafka", heap="1g")
    rows: list[Row] = []
    echo, wide = Row("echo"), Row("samestream, 1h 3h 24h")
    try:
        up = kafka.up(say)
        bench = Bench(folder, up.bootstrap, up.pid, given.events // share, given.limit / share, given.latency / share)
        say(f"{machine()}; {bench.transport.version()}")
        bench.prepare()
        for system in chosen:
            say(f"{system.name}{', exactly once' if system.exactly_once else ', at least once'}")
            row = Row(system.name)
            rows.append(row)
            if reason := system.absent():
                say(f"  {reason}")
                continue
            tries = []
            for _ in range(given.rounds):
                tries.append(replace(row))
                bench.backlog(system, tries[-1])
            best = min(tries, key=lambda one: one.cpu_s_per_million or float("inf"))
            row.__dict__.update(best.__dict__)
            if given.latency and row.equal is not None:
                bench.latency(system, row)
        if given.latency:
            say("echo: a transactional producer to a read_committed consumer")
            bench.echo(echo)
        if not given.no_wide and (not wanted or "samestream" in wanted):
            say("samestream, sliding windows of 1h, 3h and 24h")
            bench.wide(given.events // share, wide)
        bench.transport.close()
    finally:
        kafka.down()
        shutil.rmtree(folder, ignore_errors=True)
    report(rows, echo, wide)
    if given.json:
        Path(given.json).write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def report(rows: list[Row], echo: Row, wide: Row) -> None:
    """Print everything once more, and what the goals ask for."""
    head = ("system", "events/s", "CPU s per million", "p50 ms", "p99 ms", "peak MB", "equal")
    widths = (24, 10, 18, 8, 8, 8, 6)
    say(
        "\n"
        + "".join(
            f"{name:>{width}}" if at else f"{name:{width}}"
            for at, (name, width) in enumerate(zip(head, widths, strict=True))
        )
    )
    for row in [*rows, echo, wide]:
        if row.events_per_s is None and row.p50_ms is None and row in (echo, wide):
            continue
        cells = (
            _told(row.events_per_s, ",.0f"),
            _told(row.cpu_s_per_million, ".2f"),
            _told(row.p50_ms, ".1f"),
            _told(row.p99_ms, ".1f"),
            _told(row.peak_mb, ",.0f"),
            {True: "yes", False: "NO", None: "-"}[row.equal],
        )
        say(f"{row.system:24}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True)))
    say("Rates and CPU are of the second half of what each run wrote: compilers and caches are warm by then.")
    by_name = {row.system: row for row in rows}
    own = by_name.get("samestream")
    if own is None or not own.events_per_s or not own.cpu_s_per_million:
        return
    frameworks = [
        row for row in rows if row.events_per_s and next(s for s in SYSTEMS if s.name == row.system).is_framework
    ]
    streams = [row for row in rows if row.cpu_s_per_million and row.system.startswith("kafka streams")]
    loop = by_name.get("plain loop")
    say("\nsamestream, and what it aims at")
    say(f"  {own.cpu_s_per_million:.2f} CPU s per million events (at most 2.0)")
    if frameworks:
        best = max(frameworks, key=lambda row: row.events_per_s or 0)
        say(
            f"  {own.events_per_s / best.events_per_s:.1f} times the events/s of {best.system}, the fastest Python framework (15)"
        )
    if loop is not None and loop.cpu_s_per_million:
        say(f"  {loop.cpu_s_per_million / own.cpu_s_per_million:.1f} times the plain loop per CPU second (6)")
    if streams:
        best = min(streams, key=lambda row: row.cpu_s_per_million or float("inf"))
        say(f"  {best.cpu_s_per_million / own.cpu_s_per_million:.1f} times {best.system} per CPU second (2)")
    if own.p99_ms and echo.p99_ms:
        say(f"  p99 {own.p99_ms / echo.p99_ms:.1f} times that of the echo (2)")


def _told(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


if __name__ == "__main__":
    main()
