"""`samestream status`: how far every processor has come, which partition holds the others back, and who runs here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from samestream.console import health_files, settings
from samestream.console.crew import Crew, Lags
from samestream.schemas.app import App
from samestream.streams.engine.health import Health, Stall
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.transport import Outgoing, Partition

from .conftest import FLIGHTS, HOUR_US, T0_US, Cli, Send, departure


@pytest.fixture(autouse=True)
def connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any address will do: the log is in memory."""
    monkeypatch.setenv("SAMESTREAM_BOOTSTRAP", "memory:1")
    assert settings.PREFIX == "SAMESTREAM_"


def test_watermarks_and_their_delay(applied: MemoryTransport, cli: Cli, send: Send) -> None:
    send("Departure", departure(0))
    send("Departure", departure(30), known_us=T0_US + HOUR_US)
    assert cli("run", FLIGHTS, "features", "--until-idle", "0.1").exit_code == 0
    done = cli("status", FLIGHTS)
    assert done.exit_code == 0, done.output
    row = r"features +flights.departures\[0\] +2013-01-01T10:30:00Z +30m 0s"
    assert re.search(row, done.stdout), done.stdout
    assert "waits for" not in done.stdout
    assert "running here" not in done.stdout


def test_an_event_time_ahead_of_its_record_is_told_until_others_reach_it(
    applied: MemoryTransport, cli: Cli, send: Send
) -> None:
    send("Departure", departure(40), known_us=T0_US)
    assert cli("run", FLIGHTS, "features", "--until-idle", "0.1").exit_code == 0
    said = cli("status", FLIGHTS).stdout
    assert "features: an event time of flights.departures[0] lies 40m 0s ahead of its record; until others" in said
    assert "is late. Hint: is a producer's clock ahead? A shorter `ahead=`" in said
    send("Departure", departure(41), known_us=T0_US + HOUR_US)
    assert cli("run", FLIGHTS, "features", "--until-idle", "0.1").exit_code == 0
    assert "ahead of its record" not in cli("status", FLIGHTS).stdout


def test_a_partition_that_holds_the_others_back_is_named(
    applied: MemoryTransport, cli: Cli, send: Send, app: App
) -> None:
    send("Departure", departure(0))
    assert cli("run", FLIGHTS, "features", "--until-idle", "0.1").exit_code == 0
    slow = applied.transactional_writer("slow")
    slow.open()
    slow.begin()
    slow.send([Outgoing(app.events["Weather"].topic, b"k", b"v", T0_US, 0)])
    done = cli("status", FLIGHTS)
    assert "features waits for flights.weather[0]: open transaction; nothing known later can pass it" in done.stdout
    slow.abort()
    assert "waits for" not in cli("status", FLIGHTS).stdout


class Busy:
    """A role with something to tell."""

    def __init__(self) -> None:
        self.health = Health("features", "running", batches=3, events=1000)
        self.health.last_batch_s, self.health.held_bytes, self.health.known_us = 0.031, 5_000_000, 90_000_000
        self.health.watermarks_us = {Partition("flights.departures", 0): 10_000_000}
        self.health.waits([Stall("flights.weather[0]", "open transaction")])

    def run(self, stop: threading.Event) -> None:
        stop.wait()


def test_who_runs_on_this_machine_is_told(
    applied: MemoryTransport, cli: Cli, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_files, "EVERY_S", 0.05)
    role = Busy()
    crew = Crew([role])
    told = health_files.HealthFile(Path(".samestream/state"), app.prefix, crew, Lags(applied, app.prefix, crew.roles))
    told.refresh()
    role.health.events = 2000
    time.sleep(0.06)
    told.refresh()
    (said,) = health_files.read(Path(".samestream/state"), app.prefix)
    assert 1_000 < said["roles"]["features"]["events_per_s"] < 20_000
    shown = cli("status", FLIGHTS).stdout
    waits = r"running, waits for flights.weather\[0\] \(open transaction\) since 0s"
    row = rf"features +{os.getpid()} +{waits} +[\d,]+ +31 +0 +5.0 +1m 20s +-"
    assert re.search(row, shown), shown
    told.close()
    assert "running here" not in cli("status", FLIGHTS).stdout


def test_files_of_the_dead_and_torn_ones_are_passed_over(applied: MemoryTransport, app: App) -> None:
    folder = Path("state/health")
    folder.mkdir(parents=True)
    (folder / f"{app.prefix}.1.json").write_text(json.dumps({"pid": 1, "at": time.time() - 60, "roles": {}}))
    (folder / f"{app.prefix}.2.json").write_text("{")
    (folder / f"{app.prefix}.other.3.json").write_text(json.dumps({"pid": 3, "at": time.time(), "roles": {}}))
    assert list(health_files.read(Path("state"), app.prefix)) == []


def test_files_of_killed_processes_are_removed_by_the_next_one(applied: MemoryTransport, app: App) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    folder = Path("state/health")
    folder.mkdir(parents=True)
    an_hour_ago = time.time() - 3600
    kept = {f"{app.prefix}.{os.getpid()}.json", f"{app.prefix}.other.{gone.pid}.json", f"{app.prefix}.{gone.pid}.json"}
    for name in (*kept, f"{app.prefix}.{gone.pid}.tmp"):
        (folder / name).write_text("{}")
        os.utime(folder / name, (an_hour_ago, an_hour_ago))
    os.utime(folder / f"{app.prefix}.{gone.pid}.json")  # written just now, by a process that cannot be seen from here
    crew = Crew([Busy()])
    health_files.HealthFile(Path("state"), app.prefix, crew, Lags(applied, app.prefix, crew.roles))
    assert {path.name for path in folder.iterdir()} == kept


def test_a_disk_that_is_full_stops_nothing(
    applied: MemoryTransport, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    Path("file").write_text("")
    crew = Crew([Busy()])
    told = health_files.HealthFile(Path("file"), app.prefix, crew, Lags(applied, app.prefix, crew.roles))
    told.refresh()
    told.close()
    assert "will not see this process" in caplog.text
