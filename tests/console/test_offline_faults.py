"""Damaged logs, ranges without anything, full disks: every command that reads the log says so, and leaves nothing half-written."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import harness
import pyarrow.parquet as pq
import pytest

from samestream.streams.deploy.provision import provision
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.memory.transport import MemoryTransport

from .conftest import Cli

COMMANDS = {
    "replay": ("--out", "made.parquet"),
    "backfill": ("--out", "made.parquet"),
    "counterfactual": ("--json", "made.json"),
    "training-set": ("--mode", "point_in_time", "--out", "made"),
    "skew": ("--out", "made.parquet"),
}


@pytest.fixture
def shop(transport: MemoryTransport, tmp_path: Path) -> Path:
    path = tmp_path / "shop.py"
    path.write_text(Path(harness.__file__).with_name("shop.py").read_text())
    provision(transport, harness.SHOP, harness.PLAN)
    harness.send(transport, harness.shop_events(500))
    harness.work_off(transport, FeatureTask(harness.PLAN), batch_records=60)
    harness.write_log(transport, FeatureLog(tmp_path / ".samestream" / "log"))
    return path


def asked(command: str, shop: Path, *options: str) -> tuple[Any, ...]:
    modules = (shop, shop) if command == "counterfactual" else (shop,)
    return (command, *modules, *COMMANDS[command], *options)


def refused(done: Any, folder: Path, *messages: str) -> None:
    assert done.exit_code in (1, 2), done.output
    assert any(message in done.stderr for message in messages), done.stderr
    assert "Hint:" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in folder.iterdir() if "made" in path.name] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_corrupt_or_missing_file_of_the_log(cli: Cli, shop: Path, tmp_path: Path, command: str) -> None:
    path = Path(FeatureLog(tmp_path / ".samestream" / "log").files("shop.views")[0])
    content = path.read_bytes()
    path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    refused(cli(*asked(command, shop)), tmp_path, "altered or torn")
    path.unlink()
    refused(cli(*asked(command, shop)), tmp_path, "cannot be read")
    path.write_bytes(content)
    assert cli(*asked(command, shop)).exit_code == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_a_range_without_anything(cli: Cli, shop: Path, tmp_path: Path, command: str) -> None:
    nothing = ("there is no", "there is nothing")
    refused(cli(*asked(command, shop, "--from", "2030-01-01")), tmp_path, *nothing)
    refused(cli(*asked(command, shop, "--to", "2001-01-01")), tmp_path, *nothing)


@pytest.mark.parametrize("command", [*COMMANDS, "train"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--from", "2023-11-15", "--to", "2023-11-14"),
            "--to: the range is empty. Found: 2023-11-14. Expected: later than 2023-11-15. Hint: --to is exclusive.",
        ),
        (
            ("--from", "noon"),
            "--from: a time is not understood. Found: noon. Hint: write 2013-02-01 or 2013-02-01T12:00Z.",
        ),
    ],
)
def test_a_range_that_is_none(
    cli: Cli, shop: Path, tmp_path: Path, command: str, options: tuple[str, ...], message: str
) -> None:
    done = cli(*((command, shop, *options) if command == "train" else asked(command, shop, *options)))
    assert (done.exit_code, done.stderr) == (2, f"error: {message}\n")
    assert not list(tmp_path.glob("made*"))


@pytest.mark.parametrize("command", ["replay", "backfill"])
def test_no_input_is_named(cli: Cli, shop: Path, tmp_path: Path, command: str) -> None:
    done = cli(*asked(command, shop, "--features", " ,"))
    assert (done.exit_code, done.stderr) == (
        2,
        "error: --features: no input is named. Found: ' ,'. Expected: cents, seconds, spread, views. "
        "Hint: names as the model declares them, with commas between.\n",
    )
    assert not list(tmp_path.glob("made*"))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk(cli: Cli, shop: Path, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    monkeypatch.setattr(Path, "write_text", full)
    refused(cli(*asked(command, shop)), tmp_path, "No space left on device")
