"""The file of `replay` and `backfill`: what it never replaces, and parts beside it that are not as they were written."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import pyarrow.parquet as pq
import pytest

from samestream.schemas.app import load
from samestream.streams.deploy.provision import provision
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.log import log_source, vector_file
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryTransport

from .conftest import Cli


@pytest.mark.parametrize("command", ["replay", "backfill"])
def test_a_file_that_is_there_is_left_alone(cli: Cli, shop: str, command: str) -> None:
    notes = Path("notes.txt")
    notes.write_text("mine")
    done = cli(command, shop, "--out", "notes.txt")
    assert (done.exit_code, done.stderr) == (
        2,
        "error: --out: there is something already. Found: notes.txt. Hint: choose another name, or say --overwrite.\n",
    )
    assert notes.read_text() == "mine"
    assert cli(command, shop, "--out", "notes.txt", "--overwrite").exit_code == 0
    assert len(pq.read_table(notes)) > 0


def test_a_file_that_came_meanwhile_is_left_alone(cli: Cli, shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take = vector_file.VectorFile.take

    def meanwhile(self: Any, sequence: int, every: Any) -> None:
        Path("made.parquet").write_text("mine")
        take(self, sequence, every)

    monkeypatch.setattr(vector_file.VectorFile, "take", meanwhile)
    done = cli("replay", shop, "--out", "made.parquet")
    assert (done.exit_code, "there is something already" in done.stderr) == (2, True)
    assert Path("made.parquet").read_text() == "mine"


def torn(path: Path) -> None:
    path.write_bytes(b"PAR1torn")


def altered(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 1
    path.write_bytes(content)


@pytest.fixture
def interrupted(cli: Cli, shop: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`whole.parquet`, and the folder of the parts of `made.parquet`, which was not put together."""
    monkeypatch.setattr(log_source, "GROUP_EVENTS", 60)
    monkeypatch.setattr(vector_file.VectorFile.__init__, "__defaults__", (None, None, None, None, 50, False))
    assert cli("replay", shop, "--out", "whole.parquet").exit_code == 0
    with monkeypatch.context() as killed:
        killed.setattr(vector_file.VectorFile, "finish", lambda *_: 1 / 0)
        assert cli("replay", shop, "--out", "made.parquet").exit_code == 1
    (folder,) = Path().glob(".made.parquet.*.parts")
    assert len(list(folder.iterdir())) > 2
    return folder


@pytest.mark.parametrize("damage", [torn, altered])
@pytest.mark.parametrize("number", [0, 1, -1])
def test_a_damaged_part_is_made_again(
    cli: Cli, shop: str, interrupted: Path, damage: Callable[[Path], None], number: int
) -> None:
    damage(sorted(interrupted.glob("*.parquet"))[number])
    done = cli("replay", shop, "--out", "made.parquet")
    assert done.exit_code == 0, done.output
    assert Path("made.parquet").read_bytes() == Path("whole.parquet").read_bytes()
    assert not interrupted.exists()


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "make room, then"),
        (errno.EACCES, "let this user read and write there, then"),
        (errno.EIO, "mend what is found, then"),
    ],
)
def test_the_hint_is_of_the_error(
    cli: Cli, shop: str, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(pq, "write_table", refused)
    done = cli("replay", shop, "--out", "made.parquet")
    assert done.exit_code == 1
    assert f"Hint: {advice} run the same command again" in done.stderr


def test_models_with_inputs_of_one_name_and_two_types(transport: MemoryTransport, cli: Cli, tmp_path: Path) -> None:
    other = tmp_path / "two.py"
    text = Path(harness.__file__).with_name("shop.py").read_text()
    other.write_text(
        text
        + """

class Sells(Model, on=View, trainer=gradient_boosting(every="1d", history="7d")):
    views = View.product
    bought = label(Order.amount > 0, by=Order.user, within="30m")
"""
    )
    app = load(str(other))
    plan = compile_app(app)
    provision(transport, app, plan)
    harness.send(transport, harness.shop_events(100))
    harness.work_off(transport, FeatureTask(plan), plan)
    harness.write_log(transport, FeatureLog(tmp_path / ".samestream" / "log"), plan)
    done = cli("replay", other, "--out", "made.parquet")
    assert done.exit_code == 1
    assert "Buys, Sells: models have inputs of one name and different types" in done.stderr
    assert "Hint: name one with --model" in done.stderr
    assert cli("replay", other, "--out", "made.parquet", "--model", "Sells").exit_code == 0
