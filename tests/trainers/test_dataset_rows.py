"""Datasets of rows of one's own: any list of keys and instants, answered from the log."""

from __future__ import annotations

import random
import shutil
from itertools import accumulate
from pathlib import Path
from typing import Any

import harness
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from engines import read_back
from harness import PLAN, SECOND_US, START_US
from oracle import Oracle
from shop_log import EVENTS, MINUTE_US, build, instant, logged, no_broker, view

from samestream.schemas.errors import TrainingError
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.log import rewriting
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.memory.transport import MemoryTransport
from samestream.trainers import dataset, dataset_files
from samestream.trainers.request import Request


@pytest.mark.parametrize("mode", ["as_known", "point_in_time"])
def test_a_manifest_of_rows_says_nothing_of_where_they_lay(
    shop: tuple[MemoryTransport, FeatureLog], tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    rows = tmp_path / "here" / "asked.csv"
    rows.write_text(f"user,product,at\nu1,p1,{START_US + 3000 * SECOND_US}\nu2,p0,{START_US + 2000 * SECOND_US}\n")
    dataset_files.write(build(shop, mode=mode, rows=str(rows)), tmp_path / "first")
    assert "here" not in (tmp_path / "first" / "manifest.json").read_text()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainingError, match=r"(?s)the rows are not those of the manifest.*--rows"):
        dataset_files.read_manifest(tmp_path / "first")
    rows.rename(tmp_path / "elsewhere.csv")
    request, manifest = dataset_files.read_manifest(tmp_path / "first", Path("elsewhere.csv"))
    again = dataset.build(PLAN, request, shop[1], lambda: shop[0], manifest)
    dataset_files.compare(again, manifest)
    dataset_files.write(again, tmp_path / "again")
    both = [(tmp_path / name / "rows.parquet").read_bytes() for name in ("first", "again")]
    assert both[0] == both[1]
    (tmp_path / "elsewhere.csv").write_text("user,product,at\nu3,p1,1\n")
    with pytest.raises(TrainingError, match="the rows are not those of the manifest"):
        dataset_files.read_manifest(tmp_path / "first", Path("elsewhere.csv"))


def test_rows_of_ones_own(shop: tuple[MemoryTransport, FeatureLog], tmp_path: Path) -> None:
    served = build(shop, mode="point_in_time").parts["rows"].slice(0, 20)
    raw = {
        (row["_partition"], row["_offset"]): row
        for row in shop[1]
        .read("shop.views")
        .select(["_partition", "_offset", "user", "product", "at", "seconds"])
        .to_pylist()
    }
    asked = [raw[place] for place in zip(*(served[name].to_pylist() for name in served.column_names[:2]), strict=True)]
    pq.write_table(pa.Table.from_pylist(asked), tmp_path / "asked.parquet")
    lines = [f"{row['user']},{row['product']},{row['at'].isoformat()}" for row in asked]
    (tmp_path / "asked.csv").write_text("\n".join(["user,product,at", *lines]))
    for name in ("asked.parquet", "asked.csv"):
        found = build(shop, mode="point_in_time", rows=str(tmp_path / name)).parts["rows"]
        assert found["row"].to_pylist() == list(range(20))
        for column in ("entity", "event_time", "views", "seconds", "cents", "spread", "bought"):
            assert found[column].to_pylist() == served[column].to_pylist(), column
        assert set(found["_label_state"].to_pylist()) == {"labelled"}


def test_as_of_an_earlier_time_nothing_counts_that_was_not_yet_known(tmp_path: Path) -> None:
    at_us = START_US + 30 * MINUTE_US
    shop = logged(
        tmp_path / "log",
        [view("u", START_US + 25 * MINUTE_US), view("u", START_US + 26 * MINUTE_US, known_us=at_us + 5 * SECOND_US)],
    )
    pq.write_table(pa.Table.from_pylist([{"user": "u", "product": "p", "at": instant(at_us)}]), tmp_path / "a.parquet")
    for as_of_us, views in ((None, 2), (at_us + 5 * SECOND_US + 1, 2), (at_us + 5 * SECOND_US, 1)):
        asked = {"mode": "point_in_time", "rows": str(tmp_path / "a.parquet"), "as_of_us": as_of_us}
        assert build(shop, **asked).parts["rows"]["views"].to_pylist() == [views]


def test_as_known_at_instants_of_ones_own_is_what_had_been_applied_by_then(tmp_path: Path) -> None:
    transport = harness.fresh()
    harness.send(transport, EVENTS)
    harness.work_off(transport, FeatureTask(PLAN), batch_records=50)
    log = harness.write_log(transport, FeatureLog(tmp_path / "log"))
    draw, ends_us = random.Random(1), START_US + 600 * 7 * SECOND_US
    asked = [
        {"user": f"u{draw.randrange(5)}", "product": "p1", "at": draw.randrange(START_US, ends_us)} for _ in range(200)
    ]
    pq.write_table(pa.Table.from_pylist(asked), tmp_path / "a.parquet")
    # the events as plain Python has them: the known time that the order had come to, event time, user
    merged = Oracle(PLAN).run([read for read in read_back(PLAN, transport) if read.event in PLAN.inputs])
    reached = list(accumulate((read.known_us for read in merged), max))
    views = [
        (known_us, read.values["at"], read.values["user"])
        for known_us, read in zip(reached, merged, strict=True)
        if read.event == "View" and read.decision == "applied"
    ]
    assert len(views) < sum(read.event == "View" for read in merged)
    counts = {}
    for as_of_us in (None, START_US + 2000 * SECOND_US):
        request = Request("Buys", "as_known", as_of_us=as_of_us, rows=str(tmp_path / "a.parquet"))
        found = dataset.build(PLAN, request, log, no_broker).parts["rows"]["views"].to_pylist()
        for row, value in zip(asked, found, strict=True):
            at_us, by_us = row["at"], min(row["at"], as_of_us or ends_us)
            since_us = (at_us - 10 * MINUTE_US) // tile_us() * tile_us()
            assert value == sum(k < by_us and since_us <= t < at_us and u == row["user"] for k, t, u in views)
        counts[as_of_us] = sum(found)
    ideal = build((transport, log), mode="point_in_time", rows=str(tmp_path / "a.parquet")).parts["rows"]["views"]
    assert 0 < counts[START_US + 2000 * SECOND_US] < counts[None] < sum(ideal.to_pylist())


def tile_us() -> int:
    (window,) = {
        part.window for table in PLAN.tables for part in table.windows if part.window.reach_us < 12 * MINUTE_US
    }
    return window.tile_us


def test_asked_rows_whose_labels_were_cut_off_say_so(long: tuple[MemoryTransport, FeatureLog], tmp_path: Path) -> None:
    shutil.copytree(long[1].storage.root, tmp_path / "log")
    log, since_us = FeatureLog(tmp_path / "log"), START_US + 2000 * SECOND_US
    rewriting.cut(log, "shop.orders", rewriting.cut_offsets(log, "shop.orders", since_us))
    times = [since_us - 10 * MINUTE_US, START_US + 1499 * 7 * SECOND_US]
    pq.write_table(pa.table({"user": ["u1"] * 2, "product": ["p1"] * 2, "at": times}), tmp_path / "a.parquet")
    found = build((long[0], log), mode="point_in_time", rows=str(tmp_path / "a.parquet")).parts["rows"]
    assert found["_label_state"].to_pylist() == ["labels_cut_off", "horizon_not_over"]
    assert found["bought"].to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"user": ["u"], "at": [START_US]}, "the rows lack columns"),
        ({"user": ["u"], "product": ["p"], "at": ["yesterday"]}, "a column is of another type"),
        ({"user": [None], "product": ["p"], "at": [START_US]}, "a row has no key or no instant"),
        ({"user": pa.array([], pa.string()), "product": pa.array([], pa.string()), "at": []}, "there are no rows"),
        (b"PAR1 torn", "the rows cannot be read"),
        (None, "the rows cannot be read"),
    ],
    ids=["no column", "no time", "no key", "no row", "torn", "no file"],
)
def test_wrong_rows_are_told(
    shop: tuple[MemoryTransport, FeatureLog], tmp_path: Path, content: Any, message: str
) -> None:
    path = tmp_path / "asked.parquet"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        pq.write_table(pa.table(content), path)
    with pytest.raises(TrainingError, match=message) as told:
        build(shop, mode="point_in_time", rows=str(path))
    assert str(path) in str(told.value)
    assert "Hint:" in str(told.value)
