"""Compaction, retention and clearing change which files there are, never which rows; readers and writers go on meanwhile."""

import os
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from log_rows import HOUR_US, START_US, grown, table

from samestream.schemas.errors import FeatureLogError
from samestream.streams.log import rewriting
from samestream.streams.log.feature_log import ERASED, FeatureLog
from samestream.streams.storage import Storage


def test_compaction_leaves_every_row_in_fewer_files_and_one_manifest(tmp_path):
    log = grown(tmp_path)
    before, ranges = log.read("t"), log.ranges("t")
    assert (len(log.files("t")), len(log.batches("t"))) == (40, 40)

    done = rewriting.compact(log, "t")

    assert (done.files_before, done.files_after) == (40, 7)  # seven hours
    assert log.read("t").equals(before)
    assert (log.ranges("t"), len(log.batches("t"))) == (ranges, 1)
    assert all("/dt=2013-02-08/hour=" in path for path in log.files("t"))
    assert FeatureLog(tmp_path).read("t", ["x"], START_US + HOUR_US, START_US + 2 * HOUR_US).num_rows == 60
    assert rewriting.compact(log, "t").number is None  # there is nothing to do any more
    log.writer("t").append(table([(0, 200, START_US)], x=[1.0]), {0: (200, 201)})
    assert log.read("t").num_rows == 401


def test_a_day_that_is_over_and_small_becomes_one_file(tmp_path):
    log = grown(tmp_path, batches=100, step_us=HOUR_US)
    before = log.read("t")
    rewriting.compact(log, "t")
    days = {path.rpartition("/")[0].rpartition("/t/")[2] for path in log.files("t")}
    assert {f"dt=2013-02-{day:02d}" for day in (8, 9, 10, 11)} < days
    assert {day for day in days if day.startswith("dt=2013-02-12/")}  # the newest stays by the hour
    assert log.read("t").equals(before)


def test_a_row_is_written_a_logarithmic_number_of_times(tmp_path):
    log = FeatureLog(tmp_path)
    writer, written = log.writer("t"), 0
    for number in range(200):
        writer.append(
            table([(0, o, START_US + o) for o in range(number * 50, number * 50 + 50)]),
            {0: (number * 50, number * 50 + 50)},
        )
        if writer.since_base >= 8:
            written += rewriting.compact(log, "t").rows
            writer.refresh()
    assert log.read("t", ["_offset"])["_offset"].to_pylist() == list(range(10_000))
    assert written < 12 * 10_000
    assert len(log.files("t")) < 40


def test_appending_goes_on_while_it_is_compacted(tmp_path):
    log = grown(tmp_path)
    writer = log.writer("t")
    rewriting.compact(FeatureLog(tmp_path), "t")  # takes the number that the writer is about to use
    writer.append(table([(0, 200, START_US)], x=[200.0]), {0: (200, 201)})
    writer.append(table([(0, 201, START_US)], x=[201.0]), {0: (201, 202)})
    assert log.read("t").num_rows == 402
    assert log.ranges("t") == {0: (0, 202), 1: (0, 200)}
    late = log.writer("t")
    log.writer("t").append(table([(0, 202, START_US)], x=[0.0]), {0: (202, 203)})
    with pytest.raises(FeatureLogError, match="another writer owns this log"):
        late.append(table([(0, 202, START_US)], x=[0.0]), {0: (202, 203)})


def test_what_is_appended_during_a_rewrite_is_taken_along(tmp_path, monkeypatch):
    log = grown(tmp_path)
    writer, create, others = log.writer("t"), Storage.create, [3]

    def crowded(self, path, content):
        if b'"kind":"compact"' in content and others[0]:
            others[0] -= 1
            offset = writer.next_offsets()[1]
            writer.append(table([(1, offset, START_US)], x=[0.0]), {1: (offset, offset + 1)})
        return create(self, path, content)

    monkeypatch.setattr(Storage, "create", crowded)
    done = rewriting.compact(FeatureLog(tmp_path), "t")
    assert done.number == 43
    assert log.ranges("t") == {0: (0, 200), 1: (0, 203)}
    assert log.read("t").num_rows == 403
    assert len(log.batches("t")) == 1


def test_of_two_rewrites_at_once_one_begins_again(tmp_path, monkeypatch):
    log, create, others = grown(tmp_path), Storage.create, [1]

    def crowded(self, path, content):
        if b'"kind":"retain"' in content and others[0]:
            others[0] -= 1
            rewriting.compact(FeatureLog(tmp_path), "t")
        return create(self, path, content)

    monkeypatch.setattr(Storage, "create", crowded)
    before = log.read("t")
    rewriting.cut(log, "t", rewriting.cut_offsets(log, "t", START_US + HOUR_US))
    assert log.read("t").equals(kept(before, 30))
    assert log.ranges("t") == {0: (30, 200), 1: (30, 200)}


def kept(rows, first):
    return rows.filter(pa.array(rows["_offset"].to_numpy() >= first))


def test_clearing_removes_what_nobody_names_and_nothing_else(tmp_path):
    log = grown(tmp_path)
    before = log.read("t")
    leftover = tmp_path / "t/dt=2013-02-08/hour=00/00000007-0123456789abcdef.parquet"
    leftover.write_bytes(b"what a killed writer left")
    coming = tmp_path / "t/dt=2013-02-08/hour=00/00000099-0123456789abcdef.parquet"
    coming.write_bytes(b"what a writer is about to name")
    assert rewriting.clear(log, "t", 0) == 0  # no rewrite, nothing is known to be dead
    rewriting.compact(log, "t")
    assert rewriting.clear(log, "t") == 0  # readers may be at work
    assert rewriting.clear(log, "t", 0) == 40 + 1 + 40  # files, leftover, manifests
    assert {Path(path) for path in log.files("t")} | {coming} == set(tmp_path.rglob("*.parquet"))
    assert [path.name for path in tmp_path.rglob("*.json")] == ["00000040.json"]
    assert FeatureLog(tmp_path).read("t").equals(before)
    assert rewriting.clear(log, "t", 0) == 0


def test_a_reader_whose_files_go_reads_their_successors(tmp_path, monkeypatch):
    log, decoded, once = grown(tmp_path), FeatureLog.decoded, [True]
    before = log.read("t")

    def slow(self, *given):
        if once[0]:
            once[0] = False
            rewriting.compact(FeatureLog(tmp_path), "t")
            rewriting.clear(FeatureLog(tmp_path), "t", 0)
        return decoded(self, *given)

    monkeypatch.setattr(FeatureLog, "decoded", slow)
    assert FeatureLog(tmp_path).read("t").equals(before)


def test_readers_and_a_writer_beside_endless_rewriting(tmp_path):
    log, stop, failed = grown(tmp_path, batches=6), threading.Event(), []

    def reading():
        seen = 0
        try:
            mine = FeatureLog(tmp_path)
            while not stop.is_set():
                offsets = mine.read("t", ["_partition", "_offset"])
                for partition in (0, 1):
                    found = offsets.filter(pa.array(offsets["_partition"].to_numpy() == partition))[
                        "_offset"
                    ].to_pylist()
                    assert found == list(range(len(found)))
                assert len(offsets) >= seen
                seen = len(offsets)
        except BaseException as error:
            failed.append(error)

    def tidying():
        try:
            while not stop.is_set():
                rewriting.compact(FeatureLog(tmp_path), "t")
                rewriting.clear(FeatureLog(tmp_path), "t", 0)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=target) for target in (reading, reading, tidying)]
    for thread in threads:
        thread.start()
    writer = log.writer("t")
    for offset in range(30, 130):
        writer.append(
            table([(p, offset, START_US + offset) for p in (0, 1)], x=[0.0, 0.0]),
            dict.fromkeys((0, 1), (offset, offset + 1)),
        )
    stop.set()
    for thread in threads:
        thread.join()
    assert not failed
    assert log.read("t").num_rows == 260


def test_a_writer_that_was_idle_appends_behind_all_rewrites(tmp_path):
    """Numbers that it has not seen taken may be free again: what they replaced was cleared away."""
    log = FeatureLog(tmp_path)
    writer = log.writer("t")
    writer.append(table([(0, offset, START_US + offset * HOUR_US) for offset in range(3)]), {0: (0, 3)})
    for start in (1, 2):
        rewriting.cut(FeatureLog(tmp_path), "t", {0: start})
    rewriting.clear(FeatureLog(tmp_path), "t", 0)
    writer.append(table([(0, 3, START_US)]), {0: (3, 4)})
    assert FeatureLog(tmp_path).read("t")["_offset"].to_pylist() == [2, 3]
    assert FeatureLog(tmp_path).ranges("t") == {0: (2, 4)}
    assert log.writer("t").next_offsets() == writer.next_offsets() == {0: 4}


def test_a_rewrite_beneath_others_begins_again(tmp_path, monkeypatch):
    log = FeatureLog(tmp_path)
    log.writer("t").append(table([(0, offset, START_US + offset * HOUR_US) for offset in range(4)]), {0: (0, 4)})
    write_all, rivals = rewriting.write_all, [1, 2]

    def overtaken(*args, **options):
        if rivals:
            starts = [rivals.pop(0) for _ in tuple(rivals)]
            for start in starts:
                rewriting.cut(FeatureLog(tmp_path), "t", {0: start})
            rewriting.clear(FeatureLog(tmp_path), "t", 0)
        return write_all(*args, **options)

    monkeypatch.setattr(rewriting, "write_all", overtaken)
    rewriting.cut(log, "t", {0: 3})
    assert FeatureLog(tmp_path).read("t")["_offset"].to_pylist() == [3]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_sequence_of_operations_reads_as_a_list_of_rows(tmp_path_factory, data):
    """The model is a list; the log is whatever appends, compactions, cuts and clearings made of it."""
    log, rows, first = FeatureLog(tmp_path_factory.mktemp("log")), [], {0: 0, 1: 0}
    writer, at = log.writer("t"), {0: 0, 1: 0}
    for _ in range(data.draw(st.integers(3, 14))):
        step = data.draw(st.sampled_from(["append", "append", "append", "compact", "cut", "clear", "restart"]))
        if step == "append":
            ranges = {p: (at[p], at[p] + data.draw(st.integers(0, 6))) for p in (0, 1)}
            made = [
                (p, o, START_US + data.draw(st.integers(0, 3 * 24)) * HOUR_US)
                for p, (start, end) in ranges.items()
                for o in range(start, end)
                if data.draw(st.integers(0, 5))
            ]
            writer.append(table(made), ranges)
            rows += made
            at = {p: end for p, (_, end) in ranges.items()}
        elif step == "compact":
            rewriting.compact(FeatureLog(log.storage.root), "t")
        elif step == "cut":
            before_us = START_US + data.draw(st.integers(0, 3 * 24 + 1)) * HOUR_US
            rewriting.cut(log, "t", rewriting.cut_offsets(log, "t", before_us))
            later = {p: [o for q, o, known in rows if q == p and known >= before_us] for p in (0, 1)}
            if log.topics():
                first = {p: max(first[p], min(later[p], default=at[p])) for p in (0, 1)}
            rows = [row for row in rows if row[1] >= first[row[0]]]
        elif step == "clear":
            rewriting.clear(log, "t", 0)
        else:
            log = FeatureLog(log.storage.root)
            writer = log.writer("t")
        read = FeatureLog(log.storage.root).read("t")
        found = zip(
            *(read[name].cast(pa.int64()).to_pylist() for name in ("_partition", "_offset", "_known")), strict=True
        )
        assert list(found) == sorted(rows)
        if log.topics():
            assert log.ranges("t") == {p: (first[p], at[p]) for p in (0, 1) if p in log.ranges("t")}


def test_retention_cuts_whole_offsets_and_loses_nothing_that_is_younger(tmp_path):
    log = FeatureLog(tmp_path)
    known = [0, 5, 1, 7, 2, 3, 9]  # hours; what came late stays
    writer = log.writer("t")
    for offset, hour in enumerate(known):
        writer.append(table([(0, offset, START_US + hour * HOUR_US)]), {0: (offset, offset + 1)})
    assert rewriting.cut_offsets(log, "t", START_US + 4 * HOUR_US) == {0: 1}
    done = rewriting.cut(log, "t", rewriting.cut_offsets(log, "t", START_US + 4 * HOUR_US))
    assert (done.rows, log.ranges("t")) == (1, {0: (1, 7)})
    assert log.read("t")["_offset"].to_pylist() == [1, 2, 3, 4, 5, 6]
    assert rewriting.cut(log, "t", rewriting.cut_offsets(log, "t", START_US + 4 * HOUR_US)).number is None
    rewriting.cut(log, "t", rewriting.cut_offsets(log, "t", START_US + 99 * HOUR_US))
    assert (log.read("t").num_rows, log.ranges("t"), log.offsets("t")) == (0, {0: (7, 7)}, {0: 7})
    log.writer("t").append(table([(0, 7, START_US)]), {0: (7, 8)})
    assert log.read("t")["_offset"].to_pylist() == [7]


def test_erasure_keeps_rows_and_marks_them(tmp_path):
    log = grown(tmp_path, batches=4)

    def forget(rows):
        mine = np.array([key == b"k3" for key in rows["_key"].to_pylist()], np.bool_)
        none = pa.nulls(len(rows), pa.binary())
        keys = pa.chunked_array([pa.compute.if_else(pa.array(mine), none, rows["_key"].combine_chunks())])
        return rows.set_column(rows.column_names.index("_key"), "_key", keys), mine

    before = log.read("t")
    done = rewriting.erase(log, "t", forget)
    assert done.rows == 4
    after = log.read("t")
    assert after.drop_columns(["_key", ERASED]).equals(before.drop_columns(["_key"]))
    assert [key for key, gone in zip(before["_key"].to_pylist(), after[ERASED].to_pylist(), strict=True) if gone] == [
        b"k3"
    ] * 4
    assert b"k3" not in after["_key"].to_pylist()
    assert rewriting.erase(log, "t", forget).number is None
    rewriting.clear(log, "t", 0)
    log.writer("t").append(table([(0, 20, START_US)], x=[0.0]), {0: (20, 21)})
    assert log.read("t")[ERASED].to_pylist().count(True) == 4
    assert all(b"k3" not in path.read_bytes() for path in tmp_path.rglob("*.parquet"))


def test_no_room_is_told_and_leaves_nothing(tmp_path):
    """A file system of 300 kB, if this machine lets us mount one; else a limit on the size of files."""
    import subprocess
    import sys
    import textwrap

    program = """
        import resource, signal, sys
        sys.path.insert(0, sys.argv[2])
        import log_rows as t
        from samestream.streams.log import rewriting
        from samestream.schemas.errors import FeatureLogError

        log = t.grown(sys.argv[1])
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (800, 800))
        for attempt in (
            lambda: rewriting.compact(log, "t"),
            lambda: rewriting.cut(log, "t", rewriting.cut_offsets(log, "t", t.START_US + 65 * 60 * 1_000_000)),
            lambda: log.writer("t").append(t.table([(0, 200, 0)] , x=[0.0]), {0: (200, 201)}),
        ):
            try:
                attempt()
            except FeatureLogError as error:
                print(error.line)
    """
    folder = str(Path(__file__).parents[1] / "support")
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path), folder],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = ran.stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert "the feature log cannot be written: nothing of this batch counts" in line
        assert "File too large" in line
        assert line.endswith("Hint: make room, then start again: it goes on where the log ends.")
    log = FeatureLog(tmp_path)
    assert log.read("t").num_rows == 400
    assert len(log.batches("t")) == 40
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_full_disk_is_told_and_writing_goes_on_once_there_is_room(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs -o size=200k samestream {disk}"):
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        log, offset = FeatureLog(disk / "log"), 0
        writer = log.writer("t")
        noise = np.random.default_rng(1)

        def more():
            nonlocal offset
            rows = [(0, o, START_US + o) for o in range(offset, offset + 1000)]
            writer.append(table(rows, x=noise.random(1000).tolist()), {0: (offset, offset + 1000)})
            offset += 1000

        def fill():
            while True:
                more()

        with pytest.raises(
            FeatureLogError, match=r"(?s)nothing of this batch counts.*No space left.*Hint: make room"
        ) as told:
            fill()
        assert told.value.__cause__.errno == 28
        assert offset
        assert log.read("t").num_rows == offset
        assert not list(disk.rglob("*.tmp"))
        with pytest.raises(FeatureLogError, match="make room"):
            more()
        assert FeatureLog(disk / "log").offsets("t") == {0: offset}
        assert not os.system(f"mount -o remount,size=2m {disk}")
        more()
        assert FeatureLog(disk / "log").read("t").num_rows == offset
    finally:
        os.system(f"umount {disk}")
