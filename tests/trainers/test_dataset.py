"""Datasets: the three readings of the log, horizons, splits, as of an earlier time, made again bit for bit."""

from __future__ import annotations

import errno
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import harness
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from engines import read_back
from harness import PLAN, SECOND_US, START_US
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Oracle
from shop_log import EVENTS, MINUTE_US, build, instant, logged, no_broker, order, price, view

from samestream.schemas.errors import FeatureLogError, RecoveryError, TrainingError
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.log import judged_log, rewriting
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.memory.transport import MemoryTransport
from samestream.trainers import dataset, dataset_files
from samestream.trainers.request import Request


@pytest.mark.parametrize("mode", ["served", "as_known", "point_in_time"])
def test_every_vector_is_a_row_or_counted(shop: tuple[MemoryTransport, FeatureLog], mode: str) -> None:
    found = build(shop, mode=mode)
    counts = found.counts
    assert counts["labelled"] == len(found.parts["rows"]) > 50
    assert counts["horizon_not_over"] > 50
    names = ("labelled", "unlabelled", "horizon_not_over", "infinite_labels")
    assert sum(counts[name] for name in names) == counts["vectors"]


def test_as_known_has_the_rows_that_were_served(shop: tuple[MemoryTransport, FeatureLog]) -> None:
    served, known = (build(shop, mode=mode).parts["rows"] for mode in ("served", "as_known"))
    exact = ["trigger_partition", "trigger_offset", "entity", "event_time", "_known", "views", "cents", "bought"]
    for name in exact:
        assert served[name].to_pylist() == known[name].to_pylist(), name
    assert known["seconds"].to_pylist() == [pytest.approx(value) for value in served["seconds"].to_pylist()]


@pytest.mark.parametrize("mode", ["served", "as_known", "point_in_time"])
def test_a_manifest_makes_the_same_bytes_after_more_was_logged(tmp_path: Path, mode: str) -> None:
    events = harness.shop_events(1000, seed=3)
    transport, log = logged(tmp_path / "log", events[:900])
    middle_us = START_US + 45 * MINUTE_US
    first = build((transport, log), mode=mode, splits_us=(middle_us,))
    assert min(map(len, first.parts.values())) > 20
    dataset_files.write(first, tmp_path / "first")
    harness.send(transport, events[900:])
    harness.work_off(transport, FeatureTask(PLAN))
    harness.write_log(transport, log)
    assert build((transport, log), mode=mode, splits_us=(middle_us,)).digest != first.digest
    request, manifest = dataset_files.read_manifest(tmp_path / "first")
    again = dataset.build(PLAN, request, log, lambda: transport, manifest)
    dataset_files.compare(again, manifest)
    dataset_files.write(again, tmp_path / "again")
    for name in ("train.parquet", "test.parquet", "manifest.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_manifest_tells_other_data(shop: tuple[MemoryTransport, FeatureLog], tmp_path: Path) -> None:
    dataset_files.write(build(shop), tmp_path / "set")
    path = tmp_path / "set" / "manifest.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | {"digest": "0", "parts": {"rows": {"rows": 1, "digest": "0"}}}))
    request, manifest = dataset_files.read_manifest(path)
    with pytest.raises(TrainingError, match="differ from what the manifest says"):
        dataset_files.compare(build(shop, manifest), manifest)
    with pytest.raises(TrainingError, match="of another definition"):
        build(shop, whole | {"definition": "0" * 16})
    beyond = {topic: {n: [a, b + 1] for n, (a, b) in parts.items()} for topic, parts in whole["offsets"].items()}
    with pytest.raises(FeatureLogError, match="does not hold what is to be read again"):
        build(shop, whole | {"offsets": beyond})
    assert request.model == "Buys"
    for content in ("", "{}", "[]", '{"request": 1}'):
        path.write_text(content)
        with pytest.raises(TrainingError, match=r"not the manifest of a training set"):
            dataset_files.read_manifest(path)


def test_only_what_was_over_and_known_at_the_split_is_trained_on(tmp_path: Path) -> None:
    """Were a row with an open horizon kept because its label is there already, the outcome known sooner would be all that stays."""
    split_us = START_US + 40 * MINUTE_US
    shop = logged(
        tmp_path,
        [
            view("early", START_US),
            view("late", START_US + SECOND_US),
            view("edge", START_US + 10 * MINUTE_US),
            view("before", START_US + 10 * MINUTE_US - 1),
            order("edge", START_US + 13 * MINUTE_US),
            order("before", START_US + 13 * MINUTE_US),
            order("early", START_US + 5 * MINUTE_US, known_us=split_us - 1000),
            order("late", START_US + 6 * MINUTE_US, known_us=split_us),
            view("early", split_us + SECOND_US),
            order("early", split_us + 2 * SECOND_US),
            *[order(f"later{n}", START_US + 90 * MINUTE_US) for n in range(20)],
        ],
    )
    found = build(shop, splits_us=(split_us,))
    assert sorted(found.parts["train"]["entity"].to_pylist()) == ["before", "early"]
    assert found.parts["test"]["entity"].to_pylist() == ["early"]
    assert found.counts["horizon_not_over_in_its_part"] == 2


@pytest.mark.parametrize(
    ("after_us", "is_over"), [(0, False), (1, True)], ids=["at the horizon", "a microsecond later"]
)
def test_a_horizon_is_over_when_labels_have_passed_it_by_their_lateness(
    tmp_path: Path, after_us: int, is_over: bool
) -> None:
    close_us = START_US + 30 * MINUTE_US + 10 * MINUTE_US + after_us
    shop = logged(
        tmp_path,
        [
            view("u", START_US - MINUTE_US),
            view("u", START_US),
            order("u", START_US + SECOND_US),
            *[order(f"w{n}", close_us) for n in range(20)],
        ],
    )
    found = build(shop)
    assert found.counts["labelled"] == 1 + is_over
    assert found.counts["horizon_not_over"] == 1 - is_over


def test_as_known_follows_the_journal_in_the_log_as_the_one_on_the_broker(
    shop: tuple[MemoryTransport, FeatureLog], tmp_path: Path
) -> None:
    logged_one = dataset.build(PLAN, Request("Buys", "as_known"), shop[1], no_broker)
    shutil.copytree(shop[1].storage.root, tmp_path / "log")
    shutil.rmtree(tmp_path / "log" / PLAN.journal)  # as an older version wrote it
    old = FeatureLog(tmp_path / "log")
    assert dataset.build(PLAN, Request("Buys", "as_known"), old, lambda: shop[0]).manifest == logged_one.manifest
    with pytest.raises(RecoveryError, match=r"(?s)the journal does not say.*Hint: let"):
        judged_log.judged(PLAN, old, "View")


def test_every_event_of_the_log_has_its_rank_and_whether_it_was_applied(
    shop: tuple[MemoryTransport, FeatureLog],
) -> None:
    merged = Oracle(PLAN).run([read for read in read_back(PLAN, shop[0]) if read.event in PLAN.inputs])
    expected = {(r.event, r.partition, r.offset): (r.rank, r.decision == "applied") for r in merged}
    found = {}
    for event in PLAN.inputs:
        for row in judged_log.judged(PLAN, shop[1], event, ["at"]).to_pylist():
            found[event, row["_partition"], row["_offset"]] = (row["_rank"], row["_applied"])
    assert found == expected
    assert {applied for _, applied in found.values()} == {True, False}


@pytest.mark.parametrize("mode", ["served", "as_known", "point_in_time"])
def test_labels_that_cannot_be_known_are_no_labels(
    long: tuple[MemoryTransport, FeatureLog], tmp_path: Path, mode: str
) -> None:
    whole = build(long, mode=mode)
    shutil.copytree(long[1].storage.root, tmp_path / "log")
    log, since_us = FeatureLog(tmp_path / "log"), START_US + 2000 * SECOND_US
    rewriting.cut(log, "shop.orders", rewriting.cut_offsets(log, "shop.orders", since_us))
    found = build((long[0], log), mode=mode)
    assert found.counts["labels_cut_off"] > 0
    counted = ("labelled", "unlabelled", "horizon_not_over", "infinite_labels", "labels_cut_off")
    assert sum(found.counts.get(name, 0) for name in counted) == found.counts["vectors"] == whole.counts["vectors"]
    later = pc.greater_equal(whole.parts["rows"]["event_time"], found.parts["rows"]["event_time"][0])
    assert whole.parts["rows"].filter(later).equals(found.parts["rows"])
    assert found.parts["rows"]["event_time"].cast(pa.int64())[0].as_py() >= since_us
    shutil.rmtree(tmp_path / "log" / "shop.orders")
    with pytest.raises(FeatureLogError, match=r"(?s)lacks topics that labels are made of.*shop.orders.*Hint"):
        build((long[0], log), mode=mode)


def test_as_known_leaves_out_what_was_made_of_events_that_were_cut_off(tmp_path: Path) -> None:
    transport = harness.fresh()
    harness.send(transport, EVENTS)
    harness.work_off(transport, FeatureTask(PLAN), batch_records=50)
    log = harness.write_log(transport, FeatureLog(tmp_path / "log"))
    whole = build((transport, log), mode="as_known")
    # the views of some batches go, and no price: what a view is made of reaches back a day, of prices, and an hour, of views
    rewriting.cut(log, "shop.views", {0: 20, 1: 20})
    with pytest.raises(TrainingError, match=r"(?s)windows of all vectors reach before that.*Hint: choose a later"):
        build((transport, log), mode="as_known")
    asked = {"user": ["u1"], "product": ["p1"], "at": [START_US + 4000 * SECOND_US]}
    pq.write_table(pa.table(asked), tmp_path / "a.parquet")
    with pytest.raises(FeatureLogError, match="windows of these rows reach before that"):
        build((transport, log), mode="as_known", rows=str(tmp_path / "a.parquet"))
    assert whole.counts["vectors"] > 300


def test_wrong_ranges_are_told(shop: tuple[MemoryTransport, FeatureLog]) -> None:
    for asked in ({"from_us": 5, "to_us": 5}, {"from_us": 5, "splits_us": (4,)}, {"splits_us": (6, 5)}):
        with pytest.raises(TrainingError, match="do not follow each other"):
            build(shop, **asked)
    with pytest.raises(TrainingError, match="there is no vector in this range") as told:
        build(shop, to_us=0)
    assert "any to 1970-01-01T00:00:00.000000Z" in str(told.value)
    with pytest.raises(TrainingError, match="rows of your own were never served"):
        build(shop, rows="a.csv")
    with pytest.raises(TrainingError, match="no vector has a label yet"):
        build(shop, from_us=START_US + 590 * 7 * SECOND_US)


@pytest.mark.parametrize("mode", ["served", "point_in_time"])
def test_a_split_that_leaves_a_part_empty_is_refused(shop: tuple[MemoryTransport, FeatureLog], mode: str) -> None:
    middle_us, far_us = START_US + 1500 * SECOND_US, START_US + 10**13
    for splits_us, part in (((far_us,), "test"), ((1,), "train"), ((middle_us, middle_us + 1), "validation")):
        with pytest.raises(TrainingError, match=f"(?s)no rows in [a-z, ]*{part}.*Hint: choose --split"):
            build(shop, mode=mode, splits_us=splits_us)


def test_columns_are_of_the_same_types_in_every_mode(shop: tuple[MemoryTransport, FeatureLog]) -> None:
    served, known, ideal = (
        build(shop, mode=mode).parts["rows"].schema for mode in ("served", "as_known", "point_in_time")
    )
    assert served == known == ideal
    assert served.field("trigger_partition").type == pa.int64()


def test_a_corrupt_file_of_the_log_is_told(tmp_path: Path, shop: tuple[MemoryTransport, FeatureLog]) -> None:
    shutil.copytree(shop[1].storage.root, tmp_path / "log")
    broken = FeatureLog(tmp_path / "log")
    path = Path(broken.files("shop.orders")[0])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FeatureLogError, match="altered or torn"):
        build((shop[0], broken))
    path.unlink()
    with pytest.raises(FeatureLogError, match="cannot be read"):
        build((shop[0], broken))


@pytest.mark.parametrize(("mode", "after"), [("served", 4), ("as_known", 60), ("point_in_time", 4)])
def test_files_that_are_replaced_and_cleared_while_they_are_read_change_nothing(
    tmp_path: Path, mode: str, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport, log = harness.fresh(), FeatureLog(tmp_path)
    for first in range(0, len(EVENTS), 60):
        harness.send(transport, EVENTS[first : first + 60])
        harness.work_off(transport, FeatureTask(PLAN))
        harness.write_log(transport, log)
    expected = build((transport, log), mode=mode)
    decoded, reads, replaced = FeatureLog.decoded, itertools.count(), []

    def overtaken(reader: FeatureLog, *what: Any) -> pa.Table:
        if next(reads) == after:
            monkeypatch.undo()
            for topic in log.topics():
                rewriting.compact(FeatureLog(tmp_path), topic)
                replaced.append(rewriting.clear(FeatureLog(tmp_path), topic, 0))
        return decoded(reader, *what)

    monkeypatch.setattr(FeatureLog, "decoded", overtaken)
    found = build((transport, log), mode=mode)
    assert sum(replaced) > 40
    assert (found.digest, found.counts) == (expected.digest, expected.counts)


def test_a_topic_that_the_log_lacks_is_told_and_one_without_events_is_none(
    tmp_path: Path, shop: tuple[MemoryTransport, FeatureLog]
) -> None:
    shutil.copytree(shop[1].storage.root, tmp_path / "log")
    shutil.rmtree(tmp_path / "log" / "shop.prices")
    pq.write_table(
        pa.Table.from_pylist([{"user": "u", "product": "p", "at": instant(START_US)}]), tmp_path / "a.parquet"
    )
    for asked in ({}, {"rows": str(tmp_path / "a.parquet")}):
        with pytest.raises(FeatureLogError, match=r"(?s)lacks topics .* no batch of shop.prices.*Hint:"):
            build((shop[0], FeatureLog(tmp_path / "log")), mode="point_in_time", **asked)
    quiet = logged(tmp_path / "quiet", [view("u", START_US)])
    found = build(quiet, mode="point_in_time", rows=str(tmp_path / "a.parquet")).parts["rows"]
    assert found["cents"].to_pylist() == [None]


def test_what_reaches_before_a_log_that_was_cut_is_left_out_and_counted(tmp_path: Path) -> None:
    """Views count for an hour, prices for a day: of the views what came before noon was cut off."""
    hour_us = 60 * MINUTE_US
    noon_us = START_US // hour_us * hour_us
    views = [view("u", noon_us + number * hour_us) for number in range(-2, 5)]
    ends = [order(f"w{n}", noon_us + 9 * hour_us) for n in range(20)]
    labels = [order("u", noon_us + number * hour_us + 1) for number in range(-2, 5)]
    whole = logged(tmp_path / "log", sorted([*views, *labels, *ends], key=lambda record: record.known_us))
    before = build(whole, mode="point_in_time").parts["rows"]
    log = whole[1]
    kept = log.read("shop.views", ["_partition", "_offset"], known_from_us=noon_us)
    rewriting.cut(log, "shop.views", {kept["_partition"][0].as_py(): kept["_offset"][0].as_py()})
    # the first view that is left was known at noon: what was cut off happened up to an hour (`ahead`) later than that
    found = build(whole, mode="point_in_time")
    assert found.counts["history_cut_off"] == 3  # at noon, and one and two hours later: the tail is floored to its tile
    assert found.parts["rows"].to_pylist() == before.to_pylist()[-2:]
    early, late = ({"user": "u", "product": "p", "at": instant(noon_us + n * hour_us)} for n in (1, 4))
    pq.write_table(pa.Table.from_pylist([early, late]), tmp_path / "a.parquet")
    with pytest.raises(FeatureLogError, match=r"(?s)was cut off.*1 of 2 rows.*Hint:"):
        build(whole, mode="point_in_time", rows=str(tmp_path / "a.parquet"))
    pq.write_table(pa.Table.from_pylist([late]), tmp_path / "a.parquet")
    assert build(whole, mode="point_in_time", rows=str(tmp_path / "a.parquet")).parts["rows"]["views"].to_pylist() == [
        0
    ]


def test_a_full_disk_leaves_nothing(
    shop: tuple[MemoryTransport, FeatureLog], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = build(shop)

    def full(_made: Path, path: Path) -> None:
        path.write_bytes(b"PAR1")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(TrainingError, match="nothing of it is left") as told:
        dataset_files.write(found, tmp_path / "set")
    assert "No space left on device" in str(told.value)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    dataset_files.write(found, tmp_path / "set")
    with pytest.raises(TrainingError, match="there is something already"):
        dataset_files.write(found, tmp_path / "set")


LATER = st.sampled_from([0, 1, 2, SECOND_US, MINUTE_US, 20 * MINUTE_US])


@settings(max_examples=12, deadline=None)
@given(future=st.lists(st.tuples(st.sampled_from(["view", "price", "order"]), LATER), min_size=1, max_size=6))
def test_no_future_value_enters_a_vector(
    tmp_path_factory: pytest.TempPathFactory, future: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("leak")
    past = [view("u", START_US - MINUTE_US), price(START_US - MINUTE_US, 5), view("u", START_US)]
    make = {
        "view": lambda at_us: view("u", at_us),
        "price": lambda at_us: price(at_us, 999),
        "order": lambda at_us: order("u", at_us),
    }
    end = [order(f"w{n}", START_US + 90 * MINUTE_US) for n in range(20)]
    label = order("u", START_US + 25 * MINUTE_US, -1.0)
    events = [make[what](START_US + after_us) for what, after_us in future]
    shop = logged(folder, [*past, *sorted([*events, label], key=lambda record: record.known_us), *end])
    boundary = any(what == "order" and after_us > 0 for what, after_us in future)
    for mode in ("served", "as_known", "point_in_time"):
        table = build(shop, mode=mode, from_us=START_US, to_us=START_US + 1).parts["rows"]
        rows = [row for row in table.to_pylist() if row["_known"] <= instant(START_US + 1000)]
        assert {(row["views"], row["seconds"], row["cents"], row["spread"]) for row in rows} == {(1, 1.0, 5, 0)}, mode
        assert {row["bought"] for row in rows} == {float(boundary)}, mode
