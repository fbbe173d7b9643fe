"""The feature log holds what was appended, once, whatever happens to its writers."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samestream.schemas.errors import FeatureLogError
from samestream.streams.log.feature_log import KEY_SCHEMA, FeatureLog
from samestream.streams.storage import Storage

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
START_US = int(datetime(2013, 2, 8, tzinfo=UTC).timestamp()) * 1_000_000


def table(rows, **columns):
    """Rows are (partition, offset, known_us); further columns as given, one value per row."""
    partitions, offsets, known = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    keys = [b"k%d" % offset if offset % 3 else None for offset in offsets]
    arrays = [
        pa.array(values, field.type)
        for values, field in zip([partitions, offsets, known, keys], KEY_SCHEMA, strict=True)
    ]
    return pa.table([*arrays, *map(pa.array, columns.values())], names=[*KEY_SCHEMA.names, *columns])


def rows_of(read):
    return list(zip(read["_partition"].to_pylist(), read["_offset"].to_pylist(), strict=True))


@st.composite
def histories(draw):
    """Up to three partitions of records, some offsets without a row, cut into batches at arbitrary offsets."""
    records, batches = [], []
    ends = draw(st.lists(st.integers(0, 25), min_size=1, max_size=3))
    for partition, end in enumerate(ends):
        for offset in range(end):
            if draw(st.integers(0, 4)):
                records.append((partition, offset, START_US + draw(st.integers(-2 * DAY_US, 2 * DAY_US))))
    at = dict.fromkeys(range(len(ends)), 0)
    while at != dict(enumerate(ends)):
        cut = {p: min(ends[p], at[p] + draw(st.integers(0, 10))) for p in at}
        batches.append({p: (at[p], cut[p]) for p in at if cut[p] > at[p] or draw(st.booleans())})
        at = cut if cut != at else dict(enumerate(ends))
        if at != cut:
            batches[-1] = {p: (cut[p], at[p]) for p in at}
    return records, batches


@settings(max_examples=40, deadline=None)
@given(histories(), st.sampled_from(["auto", "date", "hour"]), st.randoms())
def test_what_is_appended_in_any_batches_is_read_once_and_in_order(tmp_path_factory, history, partition_by, random):
    records, batches = history
    log = FeatureLog(tmp_path_factory.mktemp("log"), partition_by)
    writer = log.writer("flights.arrivals")
    value = {record: random.random() for record in records}
    for ranges in batches:
        batch = [r for r in records if r[0] in ranges and ranges[r[0]][0] <= r[1] < ranges[r[0]][1]]
        random.shuffle(batch)
        writer.append(table(batch, x=pa.array([value[r] for r in batch], pa.float64())), ranges)

    read = FeatureLog(log.storage.root).read("flights.arrivals")

    known = read["_known"].cast(pa.int64()).to_pylist()
    assert [(*at, when) for at, when in zip(rows_of(read), known, strict=True)] == sorted(records)
    assert not records or read["x"].to_pylist() == [value[r] for r in sorted(records)]
    assert read["_key"].to_pylist() == [b"k%d" % o if o % 3 else None for _, o, _ in sorted(records)]
    ends = {p: max(ranges[p][1] for ranges in batches if p in ranges) for ranges in batches for p in ranges}
    assert log.offsets("flights.arrivals") == ends
    assert log.ranges("flights.arrivals") == {p: (0, end) for p, end in ends.items()}


class Killed(Exception):
    """Stands for SIGKILL: nothing of the writer's runs after it."""


POINTS = ["before a file", "after a file", "before the manifest", "after the manifest"]


@pytest.mark.parametrize("seed", range(8))
def test_killed_anywhere_a_new_writer_loses_nothing_and_repeats_nothing(tmp_path, monkeypatch, seed):
    rng = np.random.default_rng(seed)
    stream = [
        (p, o, START_US + int(rng.integers(3 * DAY_US))) for p in range(2) for o in range(60) if rng.random() < 0.9
    ]
    due: list[str] = []  # the point at which the running writer dies, if any
    write, create = Storage.write, Storage.create

    def dying(function, name):
        def run(self, path, content):
            if due == [f"before {name}"]:
                raise Killed
            result = function(self, path, content)
            if due == [f"after {name}"]:
                raise Killed
            return result

        return run

    monkeypatch.setattr(Storage, "write", dying(write, "a file"))
    monkeypatch.setattr(Storage, "create", dying(create, "the manifest"))
    deaths = dict.fromkeys(POINTS, 0)
    log = FeatureLog(tmp_path)
    while (at := log.offsets("t")) != {0: 60, 1: 60}:
        writer = log.writer("t")
        assert writer.next_offsets() == at
        try:
            while at != {0: 60, 1: 60}:
                ranges = {p: (at.get(p, 0), min(60, at.get(p, 0) + int(rng.integers(1, 8)))) for p in range(2)}
                due[:] = [str(rng.choice(POINTS))] if rng.random() < 0.5 else []
                batch = [r for r in stream if ranges[r[0]][0] <= r[1] < ranges[r[0]][1]]
                writer.append(table(batch), ranges)
                at = writer.next_offsets()
        except Killed:
            deaths[due[0]] += 1
        log = FeatureLog(tmp_path)  # a new process

    assert sum(deaths.values()) > 3
    assert rows_of(log.read("t")) == [(p, o) for p, o, _ in stream]
    assert log.ranges("t") == {0: (0, 60), 1: (0, 60)}


def test_a_process_killed_with_files_written_leaves_a_log_that_goes_on(tmp_path):
    program = """
        import os, signal, sys
        import pyarrow as pa
        from samestream.streams.log.feature_log import KEY_SCHEMA, FeatureLog
        from samestream.streams.storage import Storage

        def batch(start):
            columns = [[0] * 5, range(start, start + 5), range(start, start + 5), [b"k"] * 5]
            return pa.table([pa.array(c, f.type) for c, f in zip(columns, KEY_SCHEMA)], schema=KEY_SCHEMA)

        writer = FeatureLog(sys.argv[1]).writer("t")
        writer.append(batch(0), {0: (0, 5)})
        Storage.create = lambda self, path, content: os.kill(os.getpid(), signal.SIGKILL)
        writer.append(batch(5), {0: (5, 10)})
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(program), str(tmp_path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert len(list(tmp_path.rglob("*.parquet"))) == 2  # the second is a leftover

    log = FeatureLog(tmp_path)
    assert len(log.files("t")) == 1
    writer = log.writer("t")
    assert writer.next_offsets() == {0: 5}
    writer.append(table([(0, o, START_US) for o in range(5, 12)]), {0: (5, 12)})
    assert rows_of(log.read("t")) == [(0, o) for o in range(12)]


def test_of_two_writers_one_is_refused_and_the_winners_rows_stand(tmp_path):
    log = FeatureLog(tmp_path)
    first, second = log.writer("t"), log.writer("t")
    first.append(table([(0, 0, START_US)], x=[1.0]), {0: (0, 1)})
    with pytest.raises(FeatureLogError, match="another writer owns this log: it has added batch 0"):
        second.append(table([(0, 0, START_US)], x=[2.0]), {0: (0, 1)})
    assert log.read("t")["x"].to_pylist() == [1.0]
    log.writer("t").append(table([(0, 1, START_US)], x=[3.0]), {0: (1, 2)})
    assert log.read("t")["x"].to_pylist() == [1.0, 3.0]


def test_only_one_of_many_creates_a_name(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    storage = Storage(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda i: storage.create(f"{storage.root}/00000000.json", b"%d" % i), range(40)))
    assert sum(won) == 1
    assert storage.read(f"{storage.root}/00000000.json") == b"%d" % won.index(True)
    assert os.listdir(tmp_path) == ["00000000.json"]


def test_a_batch_without_rows_advances(tmp_path):
    log = FeatureLog(tmp_path)
    writer = log.writer("t")
    writer.append(table([]), {0: (7, 9), 1: (0, 0)})  # a partition may begin anywhere: retention took 0 to 6
    writer.append(table([]), {0: (9, 9)})  # covers nothing new: no batch
    assert len(log.batches("t")) == 1
    assert log.offsets("t") == {0: 9, 1: 0}
    assert log.read("t").num_rows == 0
    assert log.read("t").schema.names == KEY_SCHEMA.names


def test_a_topic_without_batches_is_empty(tmp_path):
    log = FeatureLog(tmp_path / "not yet made")
    assert (log.topics(), log.offsets("t"), log.batches("t"), log.files("t")) == ([], {}, [], [])
    assert log.read("t").schema == KEY_SCHEMA
    log.writer("b").append(table([(0, 0, START_US)]), {0: (0, 1)})
    log.writer("a.late").append(table([(0, 0, START_US)]), {0: (0, 1)})
    assert log.topics() == ["a.late", "b"]


@pytest.mark.parametrize(
    ("rows", "ranges", "message"),
    [
        (
            [],
            {0: (4, 5)},
            r"t partition 0: a batch does not continue the log\nFound: \[4, 5\)\nExpected: a range from 3\n",
        ),
        ([], {0: (2, 5)}, r"Found: \[2, 5\)"),
        ([], {0: (3, 2)}, r"Found: \[3, 2\)"),
        ([(0, 5, 0)], {0: (3, 5)}, "offset 5 of partition 0 is outside the batch's ranges"),
        ([(1, 3, 0)], {0: (3, 5)}, "offset 3 of partition 1 is outside"),
        ([(0, 4, 0), (0, 3, 0), (0, 4, 1)], {0: (3, 5)}, "offset 4 of partition 0 comes twice"),
        ([(0, 4, None)], {0: (3, 5)}, "null in _partition, _offset or _known"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_and_changes_nothing(tmp_path, rows, ranges, message):
    log = FeatureLog(tmp_path)
    writer = log.writer("t")
    writer.append(table([(0, 0, START_US)]), {0: (0, 3)})
    with pytest.raises(FeatureLogError, match=message):
        writer.append(table(rows), ranges)
    assert writer.next_offsets() == log.offsets("t") == {0: 3}


def test_wrong_key_columns_are_refused(tmp_path):
    writer = FeatureLog(tmp_path).writer("t")
    good = table([(0, 0, START_US)])
    with pytest.raises(FeatureLogError, match=r"t column _known: wrong column\nFound: 0 columns of that name"):
        writer.append(good.drop_columns(["_known"]), {0: (0, 1)})
    bad = good.set_column(1, "_offset", good["_offset"].cast(pa.int32()))
    with pytest.raises(FeatureLogError, match=r"t column _offset: wrong column\nFound: int32\nExpected: int64"):
        writer.append(bad, {0: (0, 1)})
    with pytest.raises(FeatureLogError, match="not the name of a topic"):
        FeatureLog(tmp_path).writer("../t")


def test_columns_may_be_added_and_widened_but_not_change_meaning(tmp_path):
    log = FeatureLog(tmp_path)
    writer = log.writer("t")
    writer.append(table([(0, 0, START_US)], n=[1], gone=["a"]), {0: (0, 1)})
    writer.append(
        table([(0, 1, START_US)], **{"n": [2.5], "CarrierNow.mean_delay_3h": [0.1], "many": [[1, 2]]}), {0: (1, 2)}
    )
    with pytest.raises(FeatureLogError, match="a column changed its type"):
        writer.append(table([(0, 2, START_US)], n=["three"]), {0: (2, 3)})
    assert log.read("t").drop_columns(KEY_SCHEMA.names).to_pydict() == {
        "n": [1.0, 2.5],
        "gone": ["a", None],
        "CarrierNow.mean_delay_3h": [None, 0.1],
        "many": [None, [1, 2]],
    }
    chosen = log.read("t", ["CarrierNow.mean_delay_3h", "n"])
    assert chosen.to_pydict() == {"CarrierNow.mean_delay_3h": [None, 0.1], "n": [1.0, 2.5]}
    with pytest.raises(FeatureLogError, match=r"(?s)no such column.*Found: m\n.*Columns of t: _partition, .*, gone, "):
        log.read("t", ["n", "m"])


def one_file(tmp_path):
    log = FeatureLog(tmp_path)
    log.writer("t").append(table([(0, o, START_US) for o in range(50)]), {0: (0, 50)})
    (path,) = log.files("t")
    return log, Path(path)


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_file_is_named(tmp_path, damage):
    log, path = one_file(tmp_path)
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content if damage == "flip" else content[:-1])
    with pytest.raises(FeatureLogError, match=r"(?s)00000000-\w{16}.parquet: .*\nHint: ") as caught:
        log.read("t")
    assert ("cannot be read" if damage == "remove" else "altered or torn") in str(caught.value)
    assert damage != "remove" or isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_damaged_or_missing_manifest_is_named(tmp_path):
    log, _ = one_file(tmp_path)
    log.writer("t").append(table([]), {0: (50, 60)})
    manifest = tmp_path / "t/_manifests/00000000.json"
    good = manifest.read_bytes()
    manifest.write_bytes(good[:-2])
    with pytest.raises(FeatureLogError, match=r"00000000.json: a manifest cannot be read"):
        FeatureLog(tmp_path).read("t")
    manifest.unlink()
    with pytest.raises(FeatureLogError, match=r"00000000.json: a manifest cannot be read"):
        FeatureLog(tmp_path).batches("t")
    manifest.write_bytes(good.replace(b"[0,50]", b"[0,49]"))
    with pytest.raises(
        FeatureLogError, match=r"t batch 1 partition 0: offsets do not continue\nFound: 50\nExpected: 49"
    ):
        FeatureLog(tmp_path).ranges("t")


def test_a_manifest_reads_well(tmp_path):
    one_file(tmp_path)
    document = json.loads((tmp_path / "t/_manifests/00000000.json").read_text())
    (file,) = document["files"]
    assert file["path"].startswith("dt=2013-02-08/hour=00/00000000-")
    assert file["offsets"] == {"0": [0, 50]}
    assert (file["rows"], file["known_us"]) == (50, [START_US, START_US])
    assert (document["batch"], document["ranges"], document["next_offsets"]) == (0, {"0": [0, 50]}, {"0": 50})
    assert document["columns"]["_known"] == "timestamp[us, tz=UTC]"
    assert document["written_by"].startswith("samestream ")


@pytest.mark.parametrize("partition_by", ["auto", "date", "hour"])
def test_pruning_by_known_time_is_exact(tmp_path, partition_by):
    rng = np.random.default_rng(5)
    known = [START_US + int(us) for us in rng.integers(3 * DAY_US, size=300)]
    known[:4] = [START_US + DAY_US - 1, START_US + DAY_US, START_US + DAY_US + HOUR_US, START_US + 2 * DAY_US]
    log = FeatureLog(tmp_path, partition_by)
    writer = log.writer("t")
    for start in (0, 150):
        part = [(o % 2, o // 2, known[o]) for o in range(start, start + 150)]
        writer.append(table(part), dict.fromkeys((0, 1), (start // 2, start // 2 + 75)))
    bounds = [(START_US + DAY_US, START_US + 2 * DAY_US), (None, known[2]), (known[2], None), (known[2], known[2] + 1)]
    for low, high in [*bounds, (known[2], known[2])]:
        kept = [(o % 2, o // 2) for o in range(300) if (low or 0) <= known[o] < (high or START_US + 9 * DAY_US)]
        assert rows_of(log.read("t", known_from_us=low, known_to_us=high)) == sorted(kept)
    day = log.files("t", START_US + DAY_US, START_US + 2 * DAY_US)
    assert day
    assert all("/dt=2013-02-09/" in path for path in day)
    for path in set(log.files("t")) - set(day):
        os.unlink(path)  # a file outside the bounds is not even opened
    assert log.read("t", ["_known"], START_US + DAY_US, START_US + 2 * DAY_US).num_rows > 50


def test_other_filesystems_keep_the_same_log(tmp_path):
    log = FeatureLog(tmp_path)
    log.storage.filesystem, log.storage.root = pafs._MockFileSystem(), "bucket/log"
    first, second = log.writer("t"), log.writer("t")
    first.append(table([(0, 0, START_US)]), {0: (0, 1)})
    with pytest.raises(FeatureLogError, match="another writer owns this log"):
        second.append(table([(0, 0, START_US)]), {0: (0, 1)})
    first.append(table([(0, 1, START_US + DAY_US)]), {0: (1, 3)})
    assert rows_of(log.read("t")) == [(0, 0), (0, 1)]
    assert (log.topics(), log.offsets("t"), list(tmp_path.iterdir())) == (["t"], {0: 3}, [])


def test_a_uri_names_the_same_log_as_a_path(tmp_path):
    one_file(tmp_path)
    assert FeatureLog(tmp_path.as_uri()).read("t").equals(FeatureLog(str(tmp_path)).read("t"))


def test_six_hundred_small_files_read_fast(tmp_path):
    rng = np.random.default_rng(1)
    log = FeatureLog(tmp_path)
    writer = log.writer("t")
    rows, days = 400 * 31, 31
    for number in range(20):
        known = START_US + (np.arange(rows) % days) * DAY_US
        columns = [
            np.zeros(rows, "i4"),
            np.arange(rows) + number * rows,
            known,
            [b"k%d" % (i % 40) for i in range(rows)],
        ]
        keys = [pa.array(values, field.type) for values, field in zip(columns, KEY_SCHEMA, strict=True)]
        values = {f"x{i}": pa.array(rng.normal(size=rows)) for i in range(8)}
        batch = pa.table([*keys, *values.values()], names=[*KEY_SCHEMA.names, *values])
        writer.append(batch, {0: (number * rows, (number + 1) * rows)})
    started = time.perf_counter()
    read = FeatureLog(tmp_path).read("t")
    assert (len(log.files("t")), read.num_rows) == (620, 20 * rows)
    assert time.perf_counter() - started < 5  # about 0.4 s on two idle cores
