"""`samestream run`: it ends when it should, with the code it should; SIGTERM drains on genuine Kafka."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samestream.console import pulses, roles
from samestream.console.crew import Crew, Lags
from samestream.schemas.app import App, load
from samestream.schemas.avro import Codec
from samestream.schemas.avro_schemas import event_schema
from samestream.schemas.errors import FencedError, TransportError
from samestream.streams.deploy.provision import provision
from samestream.streams.engine import journal
from samestream.streams.engine.processor import Health
from samestream.streams.kafka.local_kafka import LocalKafka
from samestream.streams.kafka.transport import KafkaTransport
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.transport import Outgoing

from .conftest import FLIGHTS, T0_US, Cli, departure


class Role:
    """A role that does what it is given to do."""

    def __init__(self, name: str, work: Callable[[threading.Event], None]) -> None:
        self.health, self._work = Health(name), work

    def run(self, stop: threading.Event) -> None:
        self.health.state = "running"
        self._work(stop)


def wait(stop: threading.Event) -> None:
    stop.wait()


def fail_with(error: Exception) -> Callable[[threading.Event], None]:
    def work(stop: threading.Event) -> None:
        raise error

    return work


def with_roles(monkeypatch: pytest.MonkeyPatch, *made: Role) -> None:
    every = iter([list(made)])
    monkeypatch.setattr(roles, "build", lambda *_, **__: next(every, []))


def test_a_role_that_fails_stops_the_others(
    applied: MemoryTransport, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    drained = threading.Event()

    def drain(stop: threading.Event) -> None:
        stop.wait()
        drained.set()

    error = TransportError("it vanished", where="topic", hint="look.")
    with_roles(monkeypatch, Role("one", drain), Role("two", fail_with(error)))
    done = cli("run", FLIGHTS)
    assert drained.is_set()
    assert (done.exit_code, done.stderr) == (1, "error: topic: it vanished. Hint: look.\n")
    assert "one stopped: 0 events" in done.stdout
    assert "two failed: 0 events" in done.stdout


def test_a_fenced_role_leaves_with_3(applied: MemoryTransport, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with_roles(monkeypatch, Role("one", fail_with(FencedError("Another writer has taken over", where="writer x"))))
    done = cli("run", FLIGHTS)
    assert done.exit_code == 3
    assert done.stderr == (
        "error: writer x: Another writer has taken over Hint: another process of this role runs; this one has stopped.\n"
    )


def test_missing_topics_and_roles_are_told(transport: MemoryTransport, cli: Cli) -> None:
    missing = cli("run", FLIGHTS)
    assert missing.exit_code == 1
    assert "topics are missing" in missing.stderr
    assert "samestream apply MODULE" in missing.stderr
    cli("apply", FLIGHTS)
    unknown = cli("run", FLIGHTS, "feature")
    assert unknown.exit_code == 2
    assert "features, scorer" in unknown.stderr


def test_a_run_that_ends_once_nothing_comes_writes_no_pulses(
    applied: MemoryTransport, cli: Cli, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulses, "_STEP_S", 0.01)
    assert cli("run", FLIGHTS, "monitor", "--until-idle", "0.2").exit_code == 0
    assert list(applied.read_all(compile_app(app).pulse)) == []


def test_an_app_applied_before_there_were_pulses_is_told_to_be_applied_again(
    applied: MemoryTransport, cli: Cli, app: App
) -> None:
    topic = compile_app(app).pulse
    applied.delete_topics([topic])
    done = cli("run", FLIGHTS, "monitor", "--until-idle", "0.1")
    assert done.exit_code == 1
    assert f"topics are missing. Expected: {topic}. Hint: create them with `samestream apply MODULE`." in done.stderr
    assert f"made topic   {topic}" in cli("apply", FLIGHTS).stdout
    assert cli("run", FLIGHTS, "monitor", "--until-idle", "0.1").exit_code == 0


def test_the_signal_handlers_are_given_back(
    applied: MemoryTransport, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with_roles(monkeypatch, Role("one", wait))
    assert cli("run", FLIGHTS, "--until-idle", "0.1").exit_code == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_lag_is_what_lies_in_the_topics(applied: MemoryTransport, app: App) -> None:
    built = roles.build("features", app, applied, "log")
    lags, crew = Lags(applied, app.name, built, every_s=0.01), Crew(built)
    writer = applied.writer()
    writer.send([Outgoing("flights.departures", b"k", b"v", T0_US)] * 3)
    writer.close()
    assert lags._measure(built[0]) == 3  # type: ignore[arg-type]
    crew.start()
    deadline_s = time.monotonic() + 60
    while built[0].health.events < 3:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    crew.stop.set()
    while crew.alive:
        time.sleep(0.01)
    assert lags._measure(built[0]) == 0  # type: ignore[arg-type]


@pytest.fixture
def module(nowhere: Path) -> Path:
    """The flights app under a name and topics of its own, so that it shares a broker with other tests."""
    name = f"cli{uuid.uuid4().hex[:8]}"
    path = nowhere / f"{name}.py"
    shutil.copy(FLIGHTS, path)
    path.write_text(path.read_text().replace('topic="flights.', f'topic="{name}.'))
    return path


def produce(broker: str, app: App, count: int) -> None:
    transport = KafkaTransport(broker)
    writer = transport.writer()
    codec, topic = Codec(event_schema(app.events["Departure"])), app.events["Departure"].topic
    values = [departure(number) for number in range(count)]
    writer.send(Outgoing(topic, one["flight_id"].encode(), codec.encode(one), one["at"]) for one in values)
    writer.send([Outgoing(topic, b"k", b"no event", T0_US)])
    writer.close()
    transport.close()


def command(*args: object) -> list[str]:
    return [sys.executable, "-c", "from samestream.console.main import main; main()", *map(str, args)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_the_process_at_once(module: Path, number: signal.Signals) -> None:
    """A role that hangs for ever, in a process of its own; whichever signal, the first one drains."""
    code = (
        "import sys, threading\n"
        "from samestream.console import apply, main, roles, settings\n"
        "from samestream.streams.memory.transport import MemoryBroker, MemoryTransport\n"
        "from samestream.streams.engine.processor import Health\n"
        "class Hung:\n"
        "    health = Health('hung', 'running')\n"
        "    def run(self, stop):\n"
        "        print('up', flush=True); stop.wait(); print('told', flush=True); threading.Event().wait()\n"
        "settings.connect = lambda _: MemoryTransport(MemoryBroker())\n"
        "apply.require = lambda *_: None\n"
        "roles.build = lambda *_, **__: [Hung()]\n"
        f"sys.argv[1:] = ['run', {str(module)!r}, 'features']\n"
        "main.main()"
    )
    running = subprocess.Popen([sys.executable, "-c", code], cwd=module.parent, stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == "up\n"
        running.send_signal(number)
        assert running.stdout.readline() == "told\n"
        assert running.poll() is None
        running.send_signal(number)
        assert running.wait(30) == 128 + number
    finally:
        running.kill()
        running.communicate()


@pytest.mark.kafka
def test_a_broker_that_is_gone_is_told_and_holds_nobody_up(module: Path, tmp_path: Path) -> None:
    kafka = LocalKafka(tmp_path / "own-kafka")
    bootstrap = kafka.up().bootstrap
    assert bootstrap is not None
    quick = (
        "from samestream.console import crew, main, run; crew.SILENT_S = 3.0; run.GRACE_S = 3.0; "
        f"import sys; sys.argv[1:] = ['run', {str(module)!r}, 'features', 'log', '--health-port', '0', "
        f"'--bootstrap', {bootstrap!r}]; main.main()"
    )
    provision(KafkaTransport(bootstrap), app := load(str(module)), compile_app(app))
    running = subprocess.Popen(
        [sys.executable, "-c", quick],
        cwd=module.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stdout is not None
        found = re.search(r"health at (http\S+)/health", running.stdout.readline())
        assert found is not None
        until_running(found[1])
        pid = kafka.status().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        deadline_s = time.monotonic() + 60
        while (state := health_of(found[1])["state"]) == "running":
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        assert state == "disconnected"
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=30)
    finally:
        running.kill()
        kafka.down()
    hung = re.search(r"^error: (.+) did not end: no broker has answered since .+; the next start recovers$", err, re.M)
    assert running.returncode == (1 if hung else 0), err
    assert "log stopped: 0 events, " in out


@pytest.mark.kafka
def test_apply_run_and_drain_on_kafka(broker: str, module: Path) -> None:
    app = load(str(module))
    here = {"cwd": module.parent, "text": True, "timeout": 120, "capture_output": True}
    applied = subprocess.run(command("apply", module, "--bootstrap", broker), **here)  # type: ignore[call-overload]
    assert applied.returncode == 0, applied.stderr
    produce(broker, app, 500)
    done = subprocess.run(  # type: ignore[call-overload]
        command("run", module, "features", "--until-idle", 1, "--bootstrap", broker), **here
    )
    assert done.returncode == 0, done.stderr
    assert "features stopped: 501 events, lag 0, results 0, late 0, dead 1" in done.stdout

    running = subprocess.Popen(
        command("run", module, "features", "--health-port", 0, "--bootstrap", broker),
        cwd=module.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stdout is not None
        found = re.search(r"health at (http\S+)/health", running.stdout.readline())
        assert found is not None
        health = until_running(found[1])
        assert health["roles"]["features"]["events"] == 501
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 0, err
    assert "features stopped: 501 events" in out
    transport = KafkaTransport(broker)
    entries = journal.read(transport, app.journal, "features")
    assert sum(part.read for part in journal.balance(entries).values()) == 501
    transport.close()


@pytest.mark.kafka
def test_the_second_of_two_stands_by_and_takes_over(broker: str, module: Path) -> None:
    provision(KafkaTransport(broker), app := load(str(module)), compile_app(app))
    started: list[subprocess.Popen[str]] = []

    def start() -> str:
        roles = ("features", "log", "--standby", "--health-port", 0, "--state", f"state{len(started)}")
        started.append(
            subprocess.Popen(
                command("run", module, *roles, "--bootstrap", broker),
                cwd=module.parent,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        assert started[-1].stdout is not None
        found = re.search(r"health at (http\S+)/health", started[-1].stdout.readline())
        assert found is not None
        return found[1]

    try:
        first = start()
        until_running(first)
        second = start()
        until_running(second, "standby")
        produce(broker, app, 100)
        while health_of(first)["roles"]["features"]["events"] < 101:
            time.sleep(0.05)
        started[0].kill()
        killed_s = time.monotonic()
        health = until_running(second)
        assert time.monotonic() - killed_s < 30
        assert health["roles"]["features"]["events"] == 101, "it was warm"
        produce(broker, app, 100)
        while health_of(second)["roles"]["features"]["events"] < 202:
            time.sleep(0.05)
        started[1].send_signal(signal.SIGTERM)
        out, _ = started[1].communicate(timeout=60)
        assert started[1].returncode == 0, out
        assert "features stopped: 202 events" in out
    finally:
        for one in started:
            one.kill()
            one.communicate()


def until_running(address: str, state: str = "running") -> dict[str, Any]:
    deadline_s = time.monotonic() + 60
    while True:
        found = health_of(address)
        if found["state"] == state:
            return found
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def health_of(address: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            code, body = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        code, body = error.code, error.read()
    found: dict[str, Any] = json.loads(body)
    assert code == (200 if found["state"] in ("running", "standby") else 503)
    return found
