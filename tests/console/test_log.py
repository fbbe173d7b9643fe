"""`samestream log`: compaction, retention and what it refuses, seen by the commands that read the log afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import harness
import pyarrow.parquet as pq
import pytest

from samestream.streams.log import rewriting
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.memory.transport import MemoryTransport

from .conftest import Cli, serve

SHOP = Path(harness.__file__).with_name("shop.py").read_text().replace('over="1d"', 'over="1h"')
EVENTS = 5_000  # seven seconds apart: nearly ten hours


@pytest.fixture
def served(transport: MemoryTransport, tmp_path: Path) -> Path:
    """A module `shop.py` that has served ten hours of events."""
    return serve(transport, tmp_path, SHOP, EVENTS)


def log_of(module: Path) -> FeatureLog:
    return FeatureLog(module.parent / ".samestream" / "log")


def test_the_log_is_shown_and_compacted(cli: Cli, served: Path) -> None:
    before = {topic: log_of(served).read(topic) for topic in log_of(served).topics()}
    done = cli("log", "show", served)
    assert done.exit_code == 0, done.output
    assert f"{before['shop.views'].num_rows:,}" in done.stdout
    assert cli("log", "compact", served, "--grace", "0").exit_code == 0
    for topic, rows in before.items():
        assert log_of(served).read(topic).equals(rows)
        assert len(log_of(served).batches(topic)) == 1
    assert cli("parity", served).exit_code == 0


def test_what_is_cut_off_is_out_of_reach_and_the_rest_is_whole(
    transport: MemoryTransport, cli: Cli, served: Path
) -> None:
    log = log_of(served)
    vectors, views = log.read("shop.features.Buys"), log.read("shop.views")
    assert cli("replay", served, "--from", "2023-11-15T06:00", "--out", "before.parquet").exit_code == 0
    dry = cli("log", "retain", served, "--keep", "3h", "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "would lose offsets of partition" in dry.stdout
    assert log.read("shop.views").equals(views)

    done = cli("log", "retain", served, "--keep", "3h", "--grace", "0")
    assert done.exit_code == 0, done.output
    left = log.read("shop.features.Buys")
    assert 0 < len(left) < len(vectors) / 2
    assert left.equals(vectors.slice(0, len(vectors)).filter(_since(vectors, log.ranges("shop.features.Buys"))))
    assert len(left) < len(log.read("shop.views")) < len(views)

    assert cli("replay", served, "--from", "2023-11-15T06:00", "--out", "after.parquet").exit_code == 0
    assert pq.read_table("after.parquet").equals(pq.read_table("before.parquet"))
    refused = cli("replay", served)
    assert refused.exit_code == 1
    assert "its beginning was cut off" in refused.stderr
    assert "--from" in refused.stderr
    parity = cli("parity", served, "--json", "parity.json")
    assert parity.exit_code == 0, parity.output
    found = json.loads(Path("parity.json").read_text())["Buys"]
    assert found["mismatched"] == found["as_known_mismatched"] == 0
    assert 0 < found["compared"] < len(vectors)
    assert found["as_known_compared"] == len(left)
    again = cli("log", "retain", served, "--keep", "3h")
    assert again.exit_code == 0
    assert "holds nothing that may go" in again.stdout


def test_events_with_their_rank_and_whether_they_were_applied(cli: Cli, served: Path) -> None:
    done = cli("log", "events", served, "View", "--out", "views.parquet")
    assert done.exit_code == 0, done.output
    views = pq.read_table("views.parquet")
    assert f"wrote {len(views)} events" in done.stdout.replace(",", "")
    vectors = log_of(served).read("shop.features.Buys")
    assert sum(views["_applied"].to_pylist()) == len(vectors) < len(views)
    assert len(set(views["_rank"].to_pylist())) == len(views)
    again = cli("log", "events", served, "View", "--out", "views.parquet")
    assert again.exit_code == 2
    assert "there is something already" in again.stderr
    assert "Expected: Price, View." in cli("log", "events", served, "Vew", "--out", "v.parquet").stderr


def test_vectors_of_cut_windows_are_not_compared(cli: Cli, served: Path) -> None:
    log = log_of(served)
    assert cli("log", "retain", served, "--keep", "3h").exit_code == 0
    left = len(log.read("shop.features.Buys"))
    for topic, ranges in ((topic, log.ranges(topic)) for topic in ("shop.views", "shop.prices")):
        rewriting.cut(log, topic, {number: (start + end) // 2 for number, (start, end) in ranges.items()})
    parity = cli("parity", served, "--json", "parity.json")
    assert parity.exit_code == 0, parity.output
    found = json.loads(Path("parity.json").read_text())["Buys"]
    assert found["mismatched"] == found["as_known_mismatched"] == 0
    assert found["as_known_compared"] == found["compared"] < left
    skew = cli("skew", served)
    assert "the beginning of the feature log was cut off" in skew.stderr


def _since(rows, ranges):  # type: ignore[no-untyped-def]
    import pyarrow as pa

    places = zip(rows["_partition"].to_pylist(), rows["_offset"].to_pylist(), strict=True)
    return pa.array([offset >= ranges[partition][0] for partition, offset in places])


def test_what_a_training_set_is_made_of_is_not_cut(cli: Cli, served: Path) -> None:
    made = cli("training-set", served)
    assert made.exit_code == 0, made.output
    refused = cli("log", "retain", served, "--keep", "3h")
    assert refused.exit_code == 1
    assert "training sets could not be made again, so nothing was cut" in refused.stderr
    assert "manifest.json" in refused.stderr
    forced = cli("log", "retain", served, "--keep", "3h", "--force")
    assert forced.exit_code == 0, forced.output
    (manifest,) = Path(".samestream/training-sets").glob("*/manifest.json")
    again = cli("training-set", served, "--manifest", manifest)
    assert again.exit_code == 1
    assert "does not hold what is to be read again" in again.stderr


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ((), 2, "say how much is to be kept"),
        (("--keep", "soon"), 2, "not a duration"),
        (("--before", "yesterday"), 2, "a time is not understood"),
        (("--keep", "1d", "--log", "elsewhere"), 1, "the log holds nothing of this app"),
    ],
)
def test_what_makes_no_sense_is_refused(
    cli: Cli, served: Path, options: tuple[str, ...], code: int, message: str
) -> None:
    done = cli("log", "retain", served, *options)
    assert (done.exit_code, message in done.stderr) == (code, True), done.output
