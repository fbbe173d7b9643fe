"""The health endpoint: its states, and metrics that Prometheus can read."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from samestream.console import crew as crew_module
from samestream.console.crew import Crew, Lags
from samestream.console.health import HealthServer
from samestream.console.progress import Progress
from samestream.schemas.app import App
from samestream.schemas.errors import SettingsError, TransportError
from samestream.streams.engine.health import Health, Stall
from samestream.streams.engine.journal import Balance
from samestream.streams.memory.transport import MemoryBroker, MemoryTransport
from samestream.streams.transport import Partition


class Waiting:
    """A role that runs until stopped, and says what it is told to say."""

    def __init__(self, name: str) -> None:
        self.health = Health(name)

    def run(self, stop: threading.Event) -> None:
        self.health.state = "running"
        stop.wait()


@pytest.fixture
def crew(transport: MemoryTransport) -> Crew:
    return Crew([Waiting("features"), Waiting('odd"\\name')])


@pytest.fixture
def server(crew: Crew, transport: MemoryTransport) -> Iterator[HealthServer]:
    server = HealthServer(crew, Lags(transport, "flights", crew.roles), "127.0.0.1", 0)
    yield server
    server.close()


def get(server: HealthServer, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_states(crew: Crew, server: HealthServer) -> None:
    code, body = get(server, "/health")
    assert (code, json.loads(body)["state"]) == (503, "starting")
    for role in crew.roles:
        role.health.state = "running"
    crew.roles[0].health.stalled_by = ["shop.orders[1]"]
    code, body = get(server, "/health")
    found = json.loads(body)
    assert (code, found["state"]) == (200, "running")
    assert found["roles"]["features"]["stalled_by"] == ["shop.orders[1]"]
    assert found["roles"]["features"]["lag"] == 0
    crew.stop.set()
    assert (get(server, "/health")[0], crew.state) == (503, "stopping")
    crew.roles[1].health.state = "failed"
    code, body = get(server, "/health")
    assert (code, json.loads(body)["state"]) == (503, "failed")
    assert get(server, "/")[0] == 404


def test_metrics(crew: Crew, server: HealthServer) -> None:
    health = crew.roles[0].health
    health.balances, health.batches, health.lag = {"shop.orders": Balance(1_234_567, 2, 3)}, 7, 40
    code, body = get(server, "/metrics")
    assert code == 200
    lines = body.splitlines()
    assert 'samestream_events_total{role="features",topic="shop.orders",decision="applied"} 1234567' in lines
    assert 'samestream_events_total{role="features",topic="shop.orders",decision="late"} 2' in lines
    assert 'samestream_events_total{role="features",topic="shop.orders",decision="dead"} 3' in lines
    assert 'samestream_batches_total{role="features"} 7' in lines
    assert 'samestream_lag{role="features"} 40' in lines
    assert 'samestream_stalled{role="odd\\"\\\\name"} 0' in lines
    health.watermarks_us, health.known_us = {Partition("shop.orders", 1): 4_000_000}, 9_500_000
    health.waits([Stall("shop.orders[0]", "open transaction")])
    health.held_bytes, health.batch_s, health.last_batch_s, health.snapshots = 1_000, 2.5, 0.25, 3
    lines = get(server, "/metrics")[1].splitlines()
    assert 'samestream_watermark_seconds{role="features",topic="shop.orders",partition="1"} 4' in lines
    assert 'samestream_watermark_delay_seconds{role="features",topic="shop.orders",partition="1"} 5.5' in lines
    assert 'samestream_holds_back{role="features",partition="shop.orders[0]",why="open transaction"} 1' in lines
    assert 'samestream_stalled{role="features"} 1' in lines
    assert 'samestream_held_bytes{role="features"} 1000' in lines
    assert 'samestream_batch_seconds_total{role="features"} 2.5' in lines
    assert 'samestream_snapshots_total{role="features"} 3' in lines
    said = json.loads(get(server, "/health")[1])["roles"]["features"]
    assert said["stalls"] == [{"partition": "shop.orders[0]", "why": "open transaction"}]
    assert said["stalled_seconds"] >= 0
    assert (said["batch_seconds"], said["held_bytes"]) == (0.25, 1000)
    assert said["watermark_delay_seconds"] == {"shop.orders[1]": 5.5}
    health.flows()
    assert not [line for line in get(server, "/metrics")[1].splitlines() if line.startswith("samestream_holds_back{")]
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(families) == len(set(families))
    assert body.endswith("\n")


def test_a_broker_that_is_gone_is_told(crew: Crew, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = threading.Event()

    class Leaving(MemoryTransport):
        def topics(self) -> dict[str, int]:
            if gone.is_set():
                raise TransportError("it vanished", where="here", hint="look.")
            return super().topics()

    monkeypatch.setattr(crew_module, "SILENT_S", 0.3)
    lags = Lags(Leaving(MemoryBroker()), app.name, crew.roles, every_s=0.01)
    server = HealthServer(crew, lags, "127.0.0.1", 0)
    progress = Progress(crew.roles)
    for role in crew.roles:
        role.health.state = "running"
    try:
        lags.start()
        assert until(server, 200)["broker_silent_since"] is None
        assert "samestream_broker_up 1" in get(server, "/metrics")[1].splitlines()
        gone.set()
        found = until(server, 503)
        assert found["state"] == "disconnected"
        assert abs(datetime.fromisoformat(found["broker_silent_since"]).timestamp() - time.time()) < 60
        assert found["roles"]["features"]["state"] == "running"
        assert "samestream_broker_up 0" in get(server, "/metrics")[1].splitlines()
        assert "disconnected: no broker has answered since" in progress._line(crew.roles[0], lags)
        gone.clear()
        assert until(server, 200)["state"] == "running"
        crew.stop.set()
        assert until(server, 503)["state"] == "stopping"
    finally:
        lags.close()
        server.close()


def until(server: HealthServer, wanted: int) -> dict[str, Any]:
    deadline_s = time.monotonic() + 30
    while True:
        code, body = get(server, "/health")
        if code == wanted:
            found: dict[str, Any] = json.loads(body)
            return found
        assert time.monotonic() < deadline_s, body
        time.sleep(0.01)


def test_a_port_that_is_taken(crew: Crew, server: HealthServer, transport: MemoryTransport) -> None:
    with pytest.raises(SettingsError, match="health port"):
        HealthServer(crew, Lags(transport, "flights", crew.roles), "127.0.0.1", server.port)
