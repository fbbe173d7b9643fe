"""The command line as such: its help, how failures are told, exit codes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from samestream.console import main, settings
from samestream.schemas.errors import BrokerError, FencedError, SettingsError, TransportError

from .conftest import FLIGHTS, Cli

COMMANDS = ["up", "apply", "run", "status", "topics", "redrive", "monitor", "down"]


def test_help_tells_the_story_in_order(cli: Cli) -> None:
    done = cli("--help")
    assert done.exit_code == 0
    words = [line.split()[1] for line in done.stdout.splitlines() if line.startswith(("\u2502 ", "| "))]
    assert [word for word in words if word in COMMANDS] == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example(cli: Cli, name: str) -> None:
    done = cli(name, "--help")
    assert done.exit_code == 0
    assert f"samestream {name}" in done.stdout.replace("Usage: samestream", "")


def test_help_loads_nothing_heavy() -> None:
    """Half a second for `--help` is a promise; what would break it is told by name, since clocks are noisy."""
    code = (
        "import sys; from samestream.console import main\n"
        "try: main.app(['run', '--help'])\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'pyarrow', 'numba', 'confluent_kafka', 'pydantic_settings', 'duckdb', 'sklearn', 'scipy', 'fastavro'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TransportError("it vanished", where="here", hint="look."), 1),
        (BrokerError("it vanished", where="here", hint="look."), 1),
        (SettingsError("it vanished", where="here", hint="look."), 2),
        (FencedError("it vanished", where="here", hint="look."), 3),
    ],
)
def test_errors_are_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int) -> None:
    def fail(_settings: object) -> None:
        raise error

    monkeypatch.setattr(settings, "connect", fail)
    done = cli("apply", FLIGHTS)
    assert (done.exit_code, done.stdout, done.stderr) == (code, "", "error: here: it vanished. Hint: look.\n")
    traced = cli("apply", FLIGHTS, "--debug")
    assert traced.exit_code == code
    assert traced.stderr.startswith("Traceback")
    assert traced.stderr.endswith("error: here: it vanished. Hint: look.\n")


def test_an_unforeseen_error_is_one_line_too(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_settings: object) -> None:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr(settings, "connect", fail)
    done = cli("apply", FLIGHTS)
    assert done.exit_code == 1
    assert done.stderr == (
        "error: ZeroDivisionError: division by zero Hint: this was not foreseen; run again with --debug for the trace.\n"
    )
    monkeypatch.setenv("SAMESTREAM_DEBUG", "1")
    assert cli("apply", FLIGHTS).stderr.startswith("Traceback")


def test_a_wrong_module_or_option(cli: Cli) -> None:
    done = cli("apply", "absent.py")
    assert (done.exit_code, done.stderr.startswith("error: absent.py: no such file")) == (1, True)
    assert cli("apply").exit_code == 2
    assert cli("apply", FLIGHTS, "--no-such-option").exit_code == 2
    assert cli("aply").exit_code == 2


def test_version(cli: Cli) -> None:
    assert cli("--version").stdout.startswith("samestream 0.")


def test_every_module_registers(cli: Cli) -> None:
    names = {command.name or command.callback.__name__ for command in main.app.registered_commands if command.callback}
    assert set(COMMANDS) <= names


def test_the_help_tells_of_every_command() -> None:
    assert [name for name in main.STORY if f"  samestream {name}" not in main.HELP] == []
