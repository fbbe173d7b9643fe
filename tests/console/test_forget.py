"""`samestream forget`: a person's rows say nothing any more, everybody else's are as they were, and readers say 'erased'."""

from __future__ import annotations

import json
from pathlib import Path

import harness
import pyarrow.parquet as pq
import pytest

from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.memory.transport import MemoryTransport

from .conftest import Cli, serve

SHOP = (
    Path(harness.__file__)
    .with_name("shop.py")
    .read_text()
    .replace("user: Field[str] = key()", "user: Field[str] = key(pii=True)")
)


@pytest.fixture
def served(transport: MemoryTransport, tmp_path: Path) -> Path:
    assert SHOP.count("pii=True") == 2
    return serve(transport, tmp_path, SHOP, 1500)


def test_a_person_is_forgotten_and_nobody_else(cli: Cli, served: Path, tmp_path: Path) -> None:
    root = tmp_path / ".samestream/log"
    before = {topic: FeatureLog(root).read(topic).to_pylist() for topic in FeatureLog(root).topics()}
    assert cli("replay", served, "--out", "before.parquet").exit_code == 0
    made = cli("training-set", served)
    assert made.exit_code == 0, made.output
    (manifest,) = Path(".samestream/training-sets").glob("*/manifest.json")

    done = cli("forget", served, "--key", "user=u3", "--yes")
    assert done.exit_code == 0, done.output
    assert "Kafka keeps its records of" in done.stdout
    assert f"May hold rows of this user: {manifest.parent}" in done.stdout.replace(str(tmp_path) + "/", "")

    log = FeatureLog(root)
    for topic in ("shop.views", "shop.orders"):
        after = log.read(topic).to_pylist()
        mine = [row for row in before[topic] if row["user"] == "u3"]
        assert mine
        assert sum(row["_erased"] is True for row in after) == len(mine)
        for was, now in zip(before[topic], after, strict=True):
            if was["user"] != "u3":
                assert {name: now[name] for name in was} == was
            else:
                assert str(now["user"]).startswith("erased-")
                assert {name: now[name] for name in was if name not in ("user", "_key")} == {
                    name: was[name] for name in was if name not in ("user", "_key")
                }
    vectors = log.read("shop.features.Buys").to_pylist()
    for was, now in zip(before["shop.features.Buys"], vectors, strict=True):
        if was["entity"] == "u3":
            assert now["_erased"]
            assert now["views"] is None
            assert now["cents"] is None
            assert now["trigger_offset"] == was["trigger_offset"]
        else:
            assert {name: now[name] for name in was} == was
    for path in root.rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None)
        assert not any(b"u3" in (key or b"") for key in table["_key"].to_pylist())

    again = cli("forget", served, "--key", "user=u3", "--yes")
    assert again.exit_code == 0
    assert "the log says nothing of this user, or no more" in again.stdout

    assert cli("replay", served, "--out", "after.parquet").exit_code == 0
    old, new = (pq.read_table(name).to_pylist() for name in ("before.parquet", "after.parquet"))
    assert len(old) == len(new)
    for was, now in zip(old, new, strict=True):
        assert str(now["entity"]).startswith("erased-") if was["entity"] == "u3" else was == now
    parity = cli("parity", served, "--json", "parity.json")
    assert parity.exit_code == 0, parity.output
    found = json.loads(Path("parity.json").read_text())["Buys"]
    gone = sum(row["entity"] == "u3" for row in before["shop.features.Buys"])
    assert (found["mismatched"], found["missing"], found["as_known_mismatched"], found["erased"]) == (0, 0, 0, gone)
    assert found["compared"] == len(vectors) - gone
    assert f"{gone:,} were erased" in parity.stdout

    for mode in ("served", "as_known", "point_in_time"):
        made = cli("training-set", served, "--mode", mode, "--out", mode)
        assert made.exit_code == 0, made.output
        erased = json.loads(Path(mode, "manifest.json").read_text())["counts"]["erased"]
        assert erased > gone if mode == "point_in_time" else erased == gone  # that one asks for late triggers too
        assert {row["entity"] for row in pq.read_table(f"{mode}/rows.parquet").to_pylist()} <= {"u0", "u1", "u2", "u4"}
    same = cli("training-set", served, "--manifest", manifest)
    assert same.exit_code == 1
    assert f"{gone} of its vectors were erased since" in same.stderr


@pytest.mark.parametrize(
    ("key", "code", "message"),
    [
        ("user", 2, "a person is named FIELD=VALUE"),
        ("product=p1", 2, "no event declares this field to be personal"),
    ],
)
def test_what_is_nobody_is_refused(cli: Cli, served: Path, key: str, code: int, message: str) -> None:
    for options in (("--yes",), ()):  # nobody is asked first
        done = cli("forget", served, "--key", key, *options)
        assert (done.exit_code, message in done.stderr) == (code, True), done.output
