"""`samestream example --keep`: the log stays, and what is printed works on it without a broker."""

from __future__ import annotations

import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from samestream.console import settings
from samestream.schemas.errors import TransportError
from samestream.streams.log.feature_log import FeatureLog

from .conftest import Cli


def test_what_is_kept_can_be_trained_on_without_a_broker(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: object) -> None:
        raise TransportError("nothing answers at this address")

    monkeypatch.setattr(settings, "connect", nobody)
    done = cli("example", "cards", "--keep", "kept")
    assert done.exit_code == 0, done.output
    assert "parity      0 of " in done.stdout
    commands = [line.split(maxsplit=1)[1] for line in done.stdout.splitlines() if line.startswith("  samestream ")]
    assert len(commands) == 5
    for command, mode in zip(commands[:3], ("served", "as_known", "point_in_time"), strict=True):
        made = cli(*shlex.split(command))
        assert made.exit_code == 0, made.output
        assert pq.read_table(Path("kept", mode, "rows.parquet")).num_rows > 100
    replay, skew = (cli(*shlex.split(command)) for command in commands[3:])
    assert (replay.exit_code, skew.exit_code) == (0, 0), replay.output + skew.output
    assert "the feature log alone is read: nothing answers at this address" in replay.stderr
    place = [("trigger_partition", "ascending"), ("trigger_offset", "ascending")]
    served = FeatureLog("kept/log").read("cards.features.WhoPays").sort_by(place)
    replayed = pq.read_table("kept/replayed.parquet").sort_by(place)
    features = [name for name in replayed.column_names if name in served.column_names]
    assert len(features) > 5
    assert replayed.select(features).to_pylist() == served.select(features).to_pylist()
    assert f"of {len(served):,} vectors would differ" in skew.stdout
    again = cli("example", "cards", "--keep", "kept")
    assert (again.exit_code, "there is something already" in again.stderr) == (2, True)
