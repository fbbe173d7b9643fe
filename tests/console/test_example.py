"""`samestream example --keep`: the log stays, and what is printed works on it without a broker."""

from __future__ import annotations

import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from samestream.console import settings

from .conftest import Cli


def test_what_is_kept_can_be_trained_on_without_a_broker(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "connect", lambda _: pytest.fail("it asked for a broker"))
    done = cli("example", "cards", "--keep", "kept")
    assert done.exit_code == 0, done.output
    assert "parity      0 of " in done.stdout
    commands = [line.split(maxsplit=1)[1] for line in done.stdout.splitlines() if line.startswith("  samestream ")]
    assert len(commands) == 3
    for command, mode in zip(commands, ("served", "as_known", "point_in_time"), strict=True):
        made = cli(*shlex.split(command))
        assert made.exit_code == 0, made.output
        assert pq.read_table(Path("kept", mode, "rows.parquet")).num_rows > 100
    again = cli("example", "cards", "--keep", "kept")
    assert (again.exit_code, "there is something already" in again.stderr) == (2, True)
