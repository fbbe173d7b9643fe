"""`samestream schemas`: files for every subject, and each violation named against files, the broker and a registry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from registry import running

from samestream.schemas import avro
from samestream.streams.deploy import provision
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.wire.registry import Registry

from .conftest import FLIGHTS, Cli

BOARDING = "flights.boarding-value"


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """The flights with a field of another type, one that is new and has no default, and one more that has one."""
    source = Path(FLIGHTS).read_text()
    old = "    distance: Field[float] = field("
    assert source.count(old) == 1
    new = "    gate: Field[str] = field()\n    seat: Field[int] = field(default=1)\n" + old
    path = tmp_path / "changed" / "flights.py"
    path.parent.mkdir()
    path.write_text(source.replace(old, new))
    return path


VIOLATION = (
    "Boarding.gate (the new schema reads the old schema): found no such field in what was written; expected a field with a "
    "default. Hint: give it a default, or declare it `| None`."
)


def test_a_file_for_every_subject(cli: Cli, tmp_path: Path) -> None:
    done = cli("schemas", "export", FLIGHTS, "--out", tmp_path / "avro")
    assert done.exit_code == 0, done.output
    names = {path.stem for path in (tmp_path / "avro").iterdir()}
    assert {BOARDING, "flights.features.LateArrival-value", "flights.predictions.LateArrival-value"} <= names
    assert len(done.stdout.splitlines()) == len(names)
    schema = json.loads((tmp_path / "avro" / f"{BOARDING}.avsc").read_text())
    avro.Codec(schema)
    assert schema["name"] == "Boarding"


def test_against_files(cli: Cli, changed: Path, tmp_path: Path) -> None:
    out = tmp_path / "avro"
    cli("schemas", "export", FLIGHTS, "--out", out)
    done = cli("schemas", "check", FLIGHTS, "--against", out, "--level", "full_transitive")
    assert (done.exit_code, done.stdout.split(",")[-1]) == (0, " 0 violations\n")
    done = cli("schemas", "check", changed, "--against", out)
    assert done.exit_code == 1
    assert done.stdout.splitlines()[0] == f"fail  {BOARDING}: {VIOLATION}"
    assert done.stdout.splitlines()[-1].endswith(" 1 violations")
    assert cli("schemas", "check", changed, "--against", out, "--level", "forward").exit_code == 0
    (out / f"{BOARDING}.avsc").write_text("{}")
    done = cli("schemas", "check", FLIGHTS, "--against", out)
    assert done.exit_code == 1
    assert "a file holds no Avro schema" in done.stderr


def test_against_the_broker(cli: Cli, changed: Path, transport: MemoryTransport) -> None:
    assert "0 of them known before, 0 violations" in cli("schemas", "check", FLIGHTS).stdout
    assert cli("apply", FLIGHTS).exit_code == 0
    assert cli("schemas", "check", FLIGHTS, "--against", "broker").exit_code == 0
    done = cli("schemas", "check", changed)
    assert done.exit_code == 1
    assert VIOLATION in done.stdout


def test_against_a_registry_and_by_its_own_level(cli: Cli, changed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from samestream.schemas.app import load

    with running() as server:
        registry = Registry(server.url)
        for subject, schema in provision.schemas(compile_app(load(FLIGHTS))):
            if subject.endswith("-value"):
                registry.register(subject, schema)
        monkeypatch.setenv("SAMESTREAM_REGISTRY_URL", server.url)
        assert cli("schemas", "check", FLIGHTS).exit_code == 0
        done = cli("schemas", "check", changed)
        assert (done.exit_code, VIOLATION in done.stdout) == (1, True)
        server.levels[""] = "FORWARD"
        assert cli("schemas", "check", changed).exit_code == 0
        assert cli("schemas", "check", changed, "--level", "backward").exit_code == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--level", "sideways"), "error: --level: no such level. Found: sideways. Expected: none, backward,"),
        (
            ("--against", "registry"),
            "error: --against registry: no registry is configured. Hint: set SAMESTREAM_REGISTRY_URL=",
        ),
        (
            ("--against", "nowhere"),
            "error: --against: no such folder. Found: nowhere. Expected: a folder of .avsc files, broker",
        ),
    ],
)
def test_wrong_usage_is_named(cli: Cli, options: tuple[str, str], said: str) -> None:
    done = cli("schemas", "check", FLIGHTS, *options)
    assert done.exit_code == 2
    assert done.stderr.startswith(said)
