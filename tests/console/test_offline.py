"""`samestream train`, `replay` and `parity`: what they refuse before they begin, and what `train` tells."""

from __future__ import annotations

from pathlib import Path

import harness
import pytest

from samestream.streams import model_registry
from samestream.streams.feature_log import FeatureLog
from samestream.streams.feature_task import FeatureTask
from samestream.streams.memory_transport import MemoryTransport
from samestream.streams.model_registry import ModelVersion
from samestream.streams.provision import provision
from samestream.trainers import train as training
from samestream.trainers.train import Trained

from .conftest import FLIGHTS, T0_US, Cli


@pytest.mark.parametrize("command", ["train", "replay", "parity"])
def test_before_apply_they_say_what_to_do(transport: MemoryTransport, cli: Cli, command: str) -> None:
    done = cli(command, FLIGHTS)
    assert done.exit_code == 1
    assert "flights: topics are missing. Found: flights.boarding" in done.stderr
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


def test_a_training_set_is_written_once_and_made_again(transport: MemoryTransport, cli: Cli, tmp_path: Path) -> None:
    shop = str(Path(harness.__file__).with_name("shop.py"))
    provision(transport, harness.SHOP, harness.PLAN)
    harness.send(transport, harness.shop_events(500))
    harness.work_off(transport, FeatureTask(harness.PLAN))
    harness.write_log(transport, FeatureLog(tmp_path / ".samestream" / "log"))
    first = cli("training-set", shop, "--split", "2023-11-14T22:40Z")
    assert first.exit_code == 0, first.output
    folder = first.stdout.splitlines()[-1].split(",")[0].removeprefix("wrote ")
    assert sorted(path.name for path in Path(folder).iterdir()) == ["manifest.json", "test.parquet", "train.parquet"]
    assert "there already" in cli("training-set", shop, "Buys", "--split", "2023-11-14T22:40Z").stdout
    again = cli("training-set", shop, "--manifest", folder)
    assert again.stdout.splitlines()[-1].startswith("the same as in the manifest: ")
    wrong = cli("training-set", shop, "--manifest", folder, "--to", "2024-01-01")
    assert (wrong.exit_code, "a manifest says all of it" in wrong.stderr) == (2, True)
    assert "no such mode" in cli("training-set", shop, "--mode", "magic").stderr
    assert "there is something already" in cli("training-set", shop, "--out", folder).stderr
