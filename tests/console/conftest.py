"""The command line on a log in memory, with the flights app applied."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import pytest
from typer.testing import CliRunner, Result

from samestream.console import main, settings
from samestream.schemas.app import App, load
from samestream.schemas.avro import Codec
from samestream.schemas.avro_schemas import event_schema
from samestream.streams.deploy.provision import provision
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryBroker, MemoryTransport
from samestream.streams.transport import Outgoing

FLIGHTS = str(Path(__file__).parents[2] / "examples" / "flights.py")
HOUR_US = 3_600_000_000
T0_US = 1_357_034_400_000_000  # 2013-01-01T10:00:00Z

Cli = Callable[..., Result]
Send = Callable[..., None]


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder and no variables of ours."""
    import os

    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("SAMESTREAM_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def app() -> App:
    return load(FLIGHTS)


@pytest.fixture
def transport(monkeypatch: pytest.MonkeyPatch) -> MemoryTransport:
    """An empty log, which every command connects to."""
    made = MemoryTransport(MemoryBroker())
    monkeypatch.setattr(settings, "connect", lambda _settings: made)
    return made


@pytest.fixture
def applied(transport: MemoryTransport, app: App) -> MemoryTransport:
    """The same with the topics of the flights app."""
    provision(transport, app, compile_app(app))
    return transport


def serve(transport: MemoryTransport, folder: Path, declared: str, count: int) -> Path:
    """A module `shop.py` of that text, which has served so many events and logged them; its path."""
    path = folder / "shop.py"
    path.write_text(declared)
    app = load(str(path))
    plan = compile_app(app)
    provision(transport, app, plan)
    harness.send(transport, harness.shop_events(count))
    harness.work_off(transport, FeatureTask(plan), plan, batch_records=60)
    harness.write_log(transport, FeatureLog(folder / ".samestream" / "log"), plan)
    return path


@pytest.fixture
def cli() -> Cli:
    """Run `samestream ...`; the result has exit_code, stdout and stderr."""

    def run(*args: str) -> Result:
        return CliRunner().invoke(main.app, [str(arg) for arg in args], prog_name="samestream")

    return run


def departure(number: int = 0, **values: Any) -> dict[str, Any]:
    """A departure, `number` minutes after T0_US, as its schema wants it."""
    return {
        "flight_id": f"F{number}",
        "carrier": "AA",
        "origin": "JFK",
        "dep_delay": 4.5,
        "dep_delay_hours": 0.075,
        "at": T0_US + number * 60_000_000,
    } | values


@pytest.fixture
def send(transport: MemoryTransport, app: App) -> Send:
    """Write an event, or bytes, to the topic of an event; the record is stamped at the event's time."""

    def write(event: str, value: dict[str, Any] | bytes | None, key: bytes | None = b"", known_us: int = T0_US) -> None:
        declared = app.events[event]
        if isinstance(value, dict):
            if key == b"":
                key = str(value[declared.key_field.name]).encode()
            value = Codec(event_schema(declared)).encode(value)
        writer = transport.writer()
        writer.send([Outgoing(declared.topic, key, value, known_us, 0)])
        writer.close()

    return write


@pytest.fixture
def rejected(applied: MemoryTransport, cli: Cli, send: Send, app: App) -> MemoryTransport:
    """Departures judged by the feature engine: two applied, one late, three dead at offsets 2, 3 and 4."""
    send("Departure", departure(0))
    send("Departure", departure(60), known_us=T0_US + HOUR_US)
    send("Departure", b"\x00not avro", b"F1", known_us=T0_US + HOUR_US)
    send("Departure", departure(61, carrier="\u00c6R"), b"other", known_us=T0_US + HOUR_US)
    send("Departure", departure(62, at=T0_US + 30 * HOUR_US), known_us=T0_US + HOUR_US)
    send("Departure", departure(1), known_us=T0_US + HOUR_US)
    done = cli("run", FLIGHTS, "features", "--until-idle", "0.1")
    assert done.exit_code == 0, done.output
    return applied


@pytest.fixture
def shop(transport: MemoryTransport, tmp_path: Path) -> str:
    """The shop after 500 events, logged."""
    provision(transport, harness.SHOP, harness.PLAN)
    harness.send(transport, harness.shop_events(500))
    harness.work_off(transport, FeatureTask(harness.PLAN), batch_records=40)
    harness.write_log(transport, FeatureLog(tmp_path / ".samestream" / "log"))
    return str(Path(harness.__file__).with_name("shop.py"))
