"""`samestream train`, `replay` and `parity`: what they refuse before they begin, and what `train` tells."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import harness
import pyarrow.parquet as pq
import pytest

from samestream.schemas.avro import Codec
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.log import log_source, vector_file
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.vector_resend import Pace
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.models import model_registry
from samestream.streams.models.model_registry import ModelVersion
from samestream.trainers import train as training
from samestream.trainers.train import Trained

from .conftest import FLIGHTS, T0_US, Cli


@pytest.mark.parametrize("command", ["train", "replay", "parity"])
def test_before_apply_they_say_what_to_do(transport: MemoryTransport, cli: Cli, command: str) -> None:
    done = cli(command, FLIGHTS)
    assert done.exit_code == 1
    assert "flights: topics are missing. Expected: flights.boarding" in done.stderr
    assert "Hint: create them with `samestream apply MODULE`." in done.stderr


@pytest.mark.parametrize(("command", "option"), [("replay", "--out"), ("parity", "--json")])
def test_a_folder_that_is_not_there_is_told_first(
    transport: MemoryTransport, cli: Cli, nowhere: Path, command: str, option: str
) -> None:
    done = cli(command, FLIGHTS, option, "absent/found")
    assert (done.exit_code, done.stderr) == (
        2,
        f"error: {option}: no such folder. Found: {nowhere / 'absent'}. Hint: create it first.\n",
    )


def test_train_names_the_champion_before_and_prints_whole_numbers_so(
    applied: MemoryTransport, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str, model: str = "LateArrival", slot: str = "champion") -> ModelVersion:
        return ModelVersion(model, name, T0_US, f"log/{name}", "digest", "fingerprint", 7, slot)

    done = Trained(version("third"), 1_234, {"iterations": 1_035.0, "holdout_loss": 0.25})
    monkeypatch.setattr(training, "train", lambda *_, **__: done)
    first = cli("train", FLIGHTS).stdout.splitlines()
    assert first[1] == "  replaces                none: it is the first"
    for one in (version("first"), version("second"), version("other", "Other"), version("shadow", slot="shadow")):
        model_registry.publish(applied, "flights.models", one)
    assert cli("train", FLIGHTS).stdout.splitlines() == [
        "LateArrival third: trained on 1,234 labelled vectors, published as champion",
        "  replaces                second",
        "  holdout_loss            0.2500",
        "  iterations              1,035",
        "  artifact                log/third",
    ]


def test_a_training_set_is_written_once_and_made_again(
    transport: MemoryTransport, cli: Cli, shop: str, tmp_path: Path
) -> None:
    harness.send(transport, harness.shop_events(1000)[500:])
    harness.work_off(transport, FeatureTask(harness.PLAN))
    harness.write_log(transport, FeatureLog(tmp_path / ".samestream" / "log"))
    first = cli("training-set", shop, "--split", "2023-11-14T22:58Z")
    assert first.exit_code == 0, first.output
    folder = first.stdout.splitlines()[-1].split(",")[0].removeprefix("wrote ")
    assert sorted(path.name for path in Path(folder).iterdir()) == ["manifest.json", "test.parquet", "train.parquet"]
    assert "there already" in cli("training-set", shop, "Buys", "--split", "2023-11-14T22:58Z").stdout
    again = cli("training-set", shop, "--manifest", folder)
    assert again.stdout.splitlines()[-1].startswith("the same as in the manifest: ")
    wrong = cli("training-set", shop, "--manifest", folder, "--to", "2024-01-01")
    assert (wrong.exit_code, "a manifest says all of it" in wrong.stderr) == (2, True)
    assert "no such mode" in cli("training-set", shop, "--mode", "magic").stderr
    assert "there is something already" in cli("training-set", shop, "--out", folder).stderr
    empty = cli("training-set", shop, "--split", "2023-11-20")
    assert (empty.exit_code, "no rows in test" in empty.stderr) == (1, True)


FROM, TO = "2023-11-14T22:30Z", "2023-11-14T22:50Z"


@pytest.mark.parametrize("source", [(), ("--from-topics",)], ids=["log", "topics"])
def test_a_replayed_range_is_what_was_served(
    transport: MemoryTransport, cli: Cli, shop: str, source: tuple[str, ...]
) -> None:
    done = cli("replay", shop, "--from", FROM, "--to", TO, "--out", "v.parquet", "--to-topic", "copy", *source)
    assert done.exit_code == 0, done.output
    codec = Codec(harness.PLAN.models["Buys"].vector_schema)
    every = harness.contents(transport, ["shop.features.Buys"])["shop.features.Buys"]
    served = {value: codec.decode(value or b"") for _, _, value, _ in every}
    low, high = (round(datetime.fromisoformat(text).timestamp() * 1e6) for text in (FROM, TO))
    wanted = {value: row for value, row in served.items() if low <= row["event_time"] < high}
    assert len(wanted) > 50
    assert {value for _, _, value, _ in harness.contents(transport, ["copy"])["copy"]} == set(wanted)
    table = pq.read_table("v.parquet")
    assert len(table) == len(wanted)
    for name in ("views", "seconds", "cents", "spread", "entity", "trigger_partition", "trigger_offset", "fingerprint"):
        place = ["trigger_partition", "trigger_offset"]
        found = {tuple(row[n] for n in place): row[name] for row in table.to_pylist()}
        assert found == {tuple(row[n] for n in place): row[name] for row in wanted.values()}, name


def test_a_killed_replay_goes_on_to_the_same_bytes(
    transport: MemoryTransport, cli: Cli, shop: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(log_source, "GROUP_EVENTS", 60)
    monkeypatch.setattr(vector_file.VectorFile.__init__, "__defaults__", (None, None, None, None, 50, False))
    assert cli("replay", shop, "--out", "whole.parquet", "--to-topic", "whole").exit_code == 0
    take = vector_file.VectorFile.take
    calls = []

    def killed(self: Any, sequence: int, every: Any) -> None:
        take(self, sequence, every)
        calls.append(sequence)
        if len(calls) % 5 == 0:
            raise OSError("killed")

    monkeypatch.setattr(vector_file.VectorFile, "take", killed)
    tries = 0
    while cli("replay", shop, "--out", "part.parquet").exit_code and tries < 20:
        tries += 1
    assert 0 < tries < 20
    assert Path("part.parquet").read_bytes() == Path("whole.parquet").read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith((".parts", ".part"))] == []
    resent = cli("replay", shop, "--to-topic", "whole")
    count = len(harness.contents(transport, ["shop.features.Buys"])["shop.features.Buys"])
    assert resent.stdout.startswith(f"sent 0 vectors to whole, which held {count}")
    other = cli("replay", shop, "--to-topic", "whole", "--from", FROM)
    assert "holds something else than the beginning of this replay" in other.stderr


@pytest.mark.parametrize("command", ["replay", "parity"])
def test_a_log_that_is_behind_the_journal_is_told(
    transport: MemoryTransport, cli: Cli, shop: str, command: str
) -> None:
    assert "behind" not in cli(command, shop).output
    harness.send(transport, harness.shop_events(560)[500:])
    harness.work_off(transport, FeatureTask(harness.PLAN), batch_records=10)
    done = cli(command, shop)
    assert done.exit_code == 0, done.output
    assert "the feature log is behind: 6 batches of the journal are not in it yet" in done.stderr


def test_features_and_wrong_ways_of_replaying(transport: MemoryTransport, cli: Cli, shop: str) -> None:
    assert cli("replay", shop, "--out", "v.parquet", "--features", "views,cents").exit_code == 0
    assert pq.read_schema("v.parquet").names[-2:] == ["views", "cents"]
    for options, message in (
        (("--features", "vews"), "no such input. Found: vews"),
        (("--from", TO, "--to", FROM), "the range is empty"),
        (("--from", "2030-01-01"), "there is nothing to replay"),
        (("--speed", "2"), "a speed is that of a topic"),
        (("--speed", "0", "--to-topic", "copy"), "a speed is a number above 0, or max"),
        (("--to-topic", "shop.features.Buys"), "a replay does not write to a topic of the app itself"),
        (("--model", "Sells"), "which model?"),
    ):
        done = cli("replay", shop, *options)
        assert done.exit_code in (1, 2), options
        assert message in done.stderr
        assert "Hint:" in done.stderr


def test_a_pace_waits_for_what_is_due() -> None:
    now, slept = [100.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(2.0, lambda: now[0], sleep)
    for known_us in (5_000_000, 5_000_000, 9_000_000, 8_000_000, 10_000_000):
        pace.wait(known_us)
    assert slept == [2.0, 0.5]
