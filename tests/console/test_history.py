"""`samestream backfill` and `counterfactual`: another definition over the history that one has served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import harness
import pyarrow.parquet as pq
import pytest

from samestream.schemas.app import load
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryTransport

from .conftest import Cli, serve

SHOP = Path(harness.__file__).with_name("shop.py").read_text()
ORDERS = """

class OrdersNow(Features, by=Order.user):
    spent_1h = Order.amount.sum(over="1h")
"""
LONGER = SHOP.replace('views_10m = View.count(over="10m")', 'views_10m = View.count(over="30m")')
WIDER = SHOP.replace("\n\nclass Buys(", f"{ORDERS}\n\nclass Buys(").replace(
    "    bought =", "    spent = OrdersNow.spent_1h\n    bought ="
)


@pytest.fixture
def served(transport: MemoryTransport, tmp_path: Path) -> Path:
    """A module `shop.py` that has served 900 events."""
    return serve(transport, tmp_path, SHOP, 900)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    (tmp_path / "other").mkdir()
    return tmp_path / "other" / "shop.py"


def test_the_same_definition_differs_in_nothing(cli: Cli, served: Path) -> None:
    done = cli("counterfactual", served, served, "--json", "found.json")
    assert done.exit_code == 0, done.output
    found = json.loads(Path("found.json").read_text())["Buys"]
    assert found["vectors"] > 200
    assert found["only_old"] == found["only_new"] == 0
    assert {name: part["differ"] for name, part in found["features"].items()} == dict.fromkeys(found["features"], 0)
    assert "no scores: no published model fits both" in done.stdout


def test_a_longer_window_changes_its_feature_alone(
    transport: MemoryTransport, cli: Cli, served: Path, other: Path, tmp_path: Path
) -> None:
    other.write_text(LONGER)
    topics = harness.contents(transport, sorted(transport.topics()))
    assert cli("counterfactual", served, other, "--json", "found.json").exit_code == 0
    found = json.loads(Path("found.json").read_text())["Buys"]["features"]
    assert found["views"]["differ"] > 100
    assert found["views"]["greatest"] >= 1
    assert all(found[name]["differ"] == 0 for name in ("seconds", "cents", "spread"))
    assert harness.contents(transport, sorted(transport.topics())) == topics


def test_a_new_feature_of_a_new_topic_is_backfilled_beside_what_was_served(
    transport: MemoryTransport, cli: Cli, served: Path, other: Path, tmp_path: Path
) -> None:
    other.write_text(WIDER)
    plan = compile_app(load(str(other)))
    log = FeatureLog(tmp_path / ".samestream" / "log")
    logged = {(r["trigger_partition"], r["trigger_offset"]): r for r in log.read("shop.features.Buys").to_pylist()}
    done = cli("backfill", other, "--out", "history.parquet")
    assert done.exit_code == 0, done.output
    rows = pq.read_table("history.parquet").to_pylist()
    assert {(row["trigger_partition"], row["trigger_offset"]) for row in rows} == set(logged)
    for row in rows:
        was = logged[row["trigger_partition"], row["trigger_offset"]]
        assert all(row[name] == was[name] for name in ("views", "seconds", "cents", "spread"))
    # the same events sent again to a processor of the new definition from the first event on
    again = harness.fresh(load(str(other)), plan)
    harness.send(again, harness.shop_events(900))
    harness.work_off(again, FeatureTask(plan), plan)
    new = harness.write_log(again, FeatureLog(tmp_path / "again"), plan).read("shop.features.Buys").to_pylist()
    spent = {(row["trigger_partition"], row["trigger_offset"]): row["spent"] for row in new}
    assert {(row["trigger_partition"], row["trigger_offset"]): row["spent"] for row in rows} == spent
    assert any(value is not None for value in spent.values())
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines()[:-1])
    assert lines["spent"].split() == ["0", "as", "served", str(len(rows)), "computed"]
    assert lines["views"].split() == [str(len(rows)), "as", "served", "0", "computed"]
    middle = sorted(row["event_time"] for row in rows)[len(rows) // 2]
    done = cli("backfill", other, "--from", middle.isoformat(), "--out", "late.parquet")
    count = sum(row["event_time"] >= middle for row in rows)
    assert f"wrote {count:,} vectors" in done.stdout
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("views")] == [str(count)]


NEW_FIELDS = SHOP.replace(
    "    amount: Field[float] = field()\n",
    "    amount: Field[float] = field()\n    km: Field[float | None] = field()\n    shop: Field[str] = field(default='x')\n",
).replace(
    "    seconds: Field[float | None] = field(low=0)\n",
    "    seconds: Field[float | None] = field(low=0)\n    via: Field[str | None] = field()\n",
)


@pytest.mark.parametrize(
    "command",
    [
        ("train", "--force"),
        ("skew",),
        *[("training-set", "--out", "made", "--mode", mode) for mode in ("served", "as_known", "point_in_time")],
    ],
)
def test_a_field_that_nothing_reads_and_the_log_does_not_know_yet_changes_nothing(
    cli: Cli, served: Path, command: tuple[str, ...]
) -> None:
    served.write_text(NEW_FIELDS.replace("Order.amount > 0", "Order.amount > 5"))
    done = cli(command[0], served, *command[1:])
    assert done.exit_code == 0, done.output


def test_a_default_stands_for_a_field_that_the_log_does_not_know_yet(cli: Cli, served: Path) -> None:
    served.write_text(NEW_FIELDS.replace("label(Order.amount > 0", 'label(Order.shop == "x"'))
    done = cli("training-set", served, "--out", "made", "--mode", "point_in_time")
    assert done.exit_code == 0, done.output
    assert set(pq.read_table("made/rows.parquet")["bought"].to_pylist()) == {1.0}


def test_vectors_of_another_definition_are_named_where_there_are_no_others(
    cli: Cli, served: Path, tmp_path: Path
) -> None:
    assert "another definition" not in cli("replay", served).stderr
    count = len(FeatureLog(tmp_path / ".samestream" / "log").read("shop.features.Buys"))
    served.write_text(LONGER)
    for command, hint in (("train", "point_in_time"), ("training-set", "counterfactual"), ("skew", "counterfactual")):
        done = cli(command, served)
        assert done.exit_code in (1, 2)
        assert "no vector of the present definition" in done.stderr
        assert f"{count} vectors of another definition were passed over" in done.stderr
        assert hint in done.stderr
    assert cli("training-set", served, "--mode", "point_in_time").exit_code == 0
    replayed = cli("replay", served)
    assert replayed.exit_code == 0
    assert "13 batches were served by another definition" in replayed.stderr
    compared = cli("parity", served)
    assert (compared.exit_code, "nothing was compared" in compared.stderr) == (1, True)
    assert f"{count} of another one" in compared.stderr


def test_what_cannot_be_done_is_told(cli: Cli, served: Path, other: Path, tmp_path: Path) -> None:
    other.write_text(SHOP)
    unknown = tmp_path / "never.py"
    unknown.write_text(SHOP)
    for arguments, message in (
        (("backfill", served, "--out", "h.parquet", "--features", "vews"), "no such input"),
        (("backfill", served, "--out", "h.parquet", "--from", "2040-01-01"), "there is no history in this range"),
        (("counterfactual", unknown, served), "there is no journal to follow"),
        (("counterfactual", served, other, "--from", "2040-01-01"), "there is nothing to compare"),
        (("counterfactual", served, served, "--new-version", "x"), "no such version of the model"),
    ):
        done = cli(*arguments)
        assert done.exit_code in (1, 2), arguments
        assert message in done.stderr
        assert "Hint:" in done.stderr
    assert not Path("h.parquet").exists()


def test_scores_are_compared_by_the_model_that_fits_both(cli: Cli, served: Path, other: Path) -> None:
    halved = ("label(Order.amount > 0", "label(Order.amount > 5")  # or all labels would be the same
    served.write_text(SHOP.replace(*halved))
    other.write_text(LONGER.replace(*halved))
    trained = cli("train", served, "--force")
    assert trained.exit_code == 0, trained.output
    version = trained.stdout.split()[1].rstrip(":")
    done = cli("counterfactual", served, other, "--json", "found.json")
    assert done.exit_code == 0, done.output
    found = json.loads(Path("found.json").read_text())["Buys"]
    assert found["versions"] == [version, version]
    assert found["score"]["compared"] == found["vectors"]
    assert cli("counterfactual", served, served, "--json", "same.json").exit_code == 0
    assert json.loads(Path("same.json").read_text())["Buys"]["score"]["differ"] == 0


RETYPED = {
    "text": SHOP.replace("seconds: Field[float | None] = field(low=0)", "seconds: Field[str | None] = field()").replace(
        "View.seconds.mean(", "View.seconds.length().mean("
    ),
    "a whole number": SHOP.replace("seconds: Field[float | None]", "seconds: Field[int | None]"),
}


@pytest.mark.parametrize("case", RETYPED)
@pytest.mark.parametrize("command", ["replay", "backfill", "counterfactual", "training-set"])
def test_a_field_of_another_type_is_not_cast(cli: Cli, served: Path, other: Path, command: str, case: str) -> None:
    other.write_text(RETYPED[case])
    arguments = {
        "replay": ("replay", other, "--out", "made.parquet"),
        "backfill": ("backfill", other, "--out", "made.parquet"),
        "counterfactual": ("counterfactual", served, other),
        "training-set": ("training-set", other, "--mode", "point_in_time", "--out", "made"),
    }[command]
    done = cli(*arguments)
    assert done.exit_code == 1, done.output
    assert "View.seconds: the log holds a field as another type than is declared. Found: double." in done.stderr
    assert "Hint: give the new field another name" in done.stderr
    assert not list(Path().glob("made*"))


@pytest.mark.parametrize("case", RETYPED)
def test_nor_is_one_in_a_topic(cli: Cli, served: Path, other: Path, case: str) -> None:
    other.write_text(RETYPED[case])
    done = cli("replay", other, "--from-topics", "--out", "made.parquet")
    assert done.exit_code == 1, done.output
    assert "cannot be read as it is declared, and that could be when it was served. Found: " in done.stderr
    assert "Hint: a field of another type?" in done.stderr
    assert not Path("made.parquet").exists()


def test_figures_are_not_written_over_in_silence(cli: Cli, served: Path) -> None:
    commands: dict[str, tuple[Any, ...]] = {
        "parity.json": ("parity", served, "--json"),
        "skew.json": ("skew", served, "--json"),
        "skew.parquet": ("skew", served, "--out"),
        "difference.json": ("counterfactual", served, served, "--json"),
    }
    for name, command in commands.items():
        Path(name).write_text("mine")
        done = cli(*command, name)
        assert done.exit_code == 2, done.output
        assert f"{command[-1]}: there is something already. Found: {name}." in done.stderr
        assert "say --overwrite" in done.stderr
        assert Path(name).read_text() == "mine"
        assert cli(*command, name, "--overwrite").exit_code == 0
        assert Path(name).read_bytes() != b"mine"


def test_whole_numbers_widen_to_floats(cli: Cli, served: Path, other: Path) -> None:
    other.write_text(SHOP.replace("cents: Field[int]", "cents: Field[float]"))
    done = cli("counterfactual", served, other)
    assert done.exit_code == 0, done.output
    assert cli("training-set", other, "--mode", "point_in_time").exit_code == 0
