"""`samestream rebuild`: snapshots of another definition are refused with this remedy, and afterwards everything goes on."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from samestream.streams.memory.transport import MemoryTransport

from .conftest import FLIGHTS, HOUR_US, T0_US, Cli, Send, departure


@pytest.fixture
def module(nowhere: Path) -> Path:
    """The flights app in a file that can be changed."""
    path = nowhere / "flights.py"
    path.write_text(Path(FLIGHTS).read_text())
    return path


def changed(module: Path) -> None:
    """Another definition of a feature."""
    text = module.read_text()
    assert 'mean(over="1h")' in text
    module.write_text(text.replace('mean(over="1h")', 'mean(over="2h")'))


def run(cli: Cli, module: Path, *more: str) -> Any:
    return cli("run", module, "features", "--until-idle", "0.1", *more)


def test_a_changed_definition_is_refused_until_it_is_rebuilt(
    applied: MemoryTransport, cli: Cli, send: Send, module: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(5):
        send("Departure", departure(number), known_us=T0_US + number * 60_000_000)
    assert run(cli, module).exit_code == 0
    (file,) = Path(".samestream/state/flights.features").glob("*.npz")
    changed(module)
    refused = run(cli, module)
    assert refused.exit_code == 1
    assert "the snapshots are of another definition" in refused.stderr
    assert "samestream rebuild MODULE" in refused.stderr

    done = cli("rebuild", module)
    assert done.exit_code == 0, done.output
    assert "features: 1 snapshots discarded, 1 batches of the journal replayed" in done.stdout
    assert "scorer.LateArrival: 0 snapshots discarded, 0 batches" in done.stdout
    assert not file.exists()
    send("Departure", departure(9), known_us=T0_US + HOUR_US)
    with caplog.at_level(logging.INFO):
        assert run(cli, module).exit_code == 0
    assert "restored the state after batch 1 from a snapshot" in caplog.text


def test_snapshots_of_another_journal_hold_nobody_up(
    applied: MemoryTransport, cli: Cli, send: Send, module: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as after the topics were deleted and made again."""
    send("Departure", departure(0))
    assert run(cli, module).exit_code == 0
    applied._broker.logs = {part: [] for part in applied._broker.logs}
    changed(module)
    cli("apply", module)
    send("Departure", departure(0))
    assert run(cli, module).exit_code == 0, "of another definition, but of a journal that is gone"
    assert "is not of this journal" in caplog.text


def test_where_snapshots_lie_and_how_often_is_a_setting(applied: MemoryTransport, cli: Cli, send: Send) -> None:
    send("Departure", departure(0))
    assert cli("run", FLIGHTS, "features", "--until-idle", "0.1", "--snapshot-every", "0").exit_code == 0
    assert not list(Path(".samestream").rglob("*.npz"))
    send("Departure", departure(1))
    assert cli("run", FLIGHTS, "features", "--until-idle", "0.1", "--state", "elsewhere").exit_code == 0
    assert list(Path("elsewhere/flights.features").glob("*.npz"))


def test_wrong_roles_and_disks_are_told(applied: MemoryTransport, cli: Cli, send: Send) -> None:
    wrong = cli("rebuild", FLIGHTS, "log")
    assert wrong.exit_code == 2
    assert "no such role" in wrong.stderr
    send("Departure", departure(0))
    assert cli("run", FLIGHTS, "features", "--until-idle", "0.1").exit_code == 0
    Path("file").write_text("")
    full = cli("rebuild", FLIGHTS, "features", "--state", "file")
    assert full.exit_code == 1
    assert "could not be kept" in full.stderr
