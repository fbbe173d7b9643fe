"""The health endpoint: its states, and metrics that Prometheus can read."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from samestream.console.crew import Crew, Lags
from samestream.console.health import HealthServer
from samestream.schemas.errors import SettingsError
from samestream.streams.journal import Balance
from samestream.streams.memory_transport import MemoryTransport
from samestream.streams.processor import Health


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
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(families) == len(set(families))
    assert body.endswith("\n")


def test_a_port_that_is_taken(crew: Crew, server: HealthServer, transport: MemoryTransport) -> None:
    with pytest.raises(SettingsError, match="health port"):
        HealthServer(crew, Lags(transport, "flights", crew.roles), "127.0.0.1", server.port)
