"""Replay from the feature log: however entries are taken together and the log is cut, the vectors are those that were served."""

from __future__ import annotations

import threading
from pathlib import Path

import harness
import numpy as np
import pytest
from harness import PLAN
from hypothesis import given, settings
from hypothesis import strategies as st

from samestream.schemas.errors import FeatureLogError, RecoveryError
from samestream.streams.columns import CodedText, ColumnData
from samestream.streams.deploy import provision
from samestream.streams.engine import arrangement, journal
from samestream.streams.engine.feature_task import NAME, FeatureTask, VectorEncoder
from samestream.streams.engine.key_index import KeyIndex
from samestream.streams.log import log_source, rewriting, vector_replay
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.log_writer import LogWriter
from samestream.streams.log.topic_stream import TopicStream
from samestream.streams.log.vector_replay import replayed
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.transport import Outgoing


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[MemoryTransport, FeatureLog]:
    """Late and dead events among others, served in batches of 23 and logged in batches of 40, by the hour."""
    transport = harness.fresh()
    events = harness.shop_events(700, seed=3)
    for at in (100, 101, 350, 699):
        events.insert(at, Outgoing("shop.views", b"u1", b"not an event", events[at].known_us))
    harness.send(transport, events)
    harness.work_off(transport, FeatureTask(PLAN), batch_records=23)
    log, stop = FeatureLog(tmp_path_factory.mktemp("log"), partition_by="hour"), threading.Event()
    writer = LogWriter(transport, PLAN, log, provision.store(transport, PLAN), batch_rows=40)
    end = sum(len(part) for topic in writer._topics for part in transport.read_all(topic))
    thread = threading.Thread(target=writer.run, args=(stop,))
    thread.start()
    while thread.is_alive() and writer.health.events < end:
        thread.join(0.01)
    stop.set()
    thread.join()
    return transport, log


@pytest.mark.parametrize("events", [1, 40, 170, 100_000])
def test_however_many_entries_come_together_the_vectors_are_those_served(
    served: tuple[MemoryTransport, FeatureLog], monkeypatch: pytest.MonkeyPatch, events: int
) -> None:
    transport, log = served
    monkeypatch.setattr(log_source, "GROUP_EVENTS", events)
    encoder, found, groups, read = VectorEncoder(PLAN), [], 0, 0
    for entry, batch, every in replayed(PLAN, transport, log):
        found += [record.value for vectors in every for record in encoder.records(vectors)]
        groups += 1
        read += len(batch) + sum(len(part.dead) for part in entry.ranges)
    assert found == [
        value for _, _, value, _ in harness.contents(transport, ["shop.features.Buys"])["shop.features.Buys"]
    ]
    entries = journal.read(transport, PLAN.journal, NAME)
    assert groups == {1: len(entries), 100_000: 1}.get(events, groups)
    assert read == sum(part.read for part in journal.balance(entries).values())
    assert sum(part.dead for part in journal.balance(entries).values()) == 4


def test_where_entries_are_put_together_does_not_depend_on_where_one_begins(
    served: tuple[MemoryTransport, FeatureLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_source, "GROUP_EVENTS", 100)
    entries = journal.read(served[0], PLAN.journal, NAME)
    whole = log_source.groups(entries, 0, len(entries))
    assert whole[0][0] == 0
    assert whole[-1][1] == len(entries)
    assert [end for _, end in whole[:-1]] == [first for first, _ in whole[1:]]
    for number, (first, _) in enumerate(whole):
        assert log_source.groups(entries, first, len(entries)) == whole[number:]
        assert log_source.groups(entries, first, first) == []
    assert log_source.groups(entries, whole[1][0] + 1, len(entries))[1:] == whole[2:]


def test_no_more_is_held_than_was_not_yet_taken(served: tuple[MemoryTransport, FeatureLog]) -> None:
    log = served[1]
    stream, most = TopicStream(log, "shop.views", ["user", "seconds"], coded=True), 0
    whole = log.read("shop.views")
    ends = {number: end for number, (_, end) in log.ranges("shop.views").items()}
    for start in range(0, max(ends.values()), 10):
        for number in ends:
            for rows in stream.take(number, start, start + 10):
                users = rows.table["user"].cast("string").to_pylist()
                mine = [at for at, part in enumerate(whole["_partition"].to_pylist()) if part == number]
                offsets = [whole["_offset"][at].as_py() for at in mine]
                assert users == [whole["user"][mine[offsets.index(offset)]].as_py() for offset in rows.offsets.tolist()]
        most = max(most, sum(len(rows.offsets) for held in stream._held.values() for rows in held))
    assert 0 < most < len(whole) / 3
    assert not any(stream._held.values())


@pytest.mark.parametrize("half", [False, True])
def test_a_log_that_was_compacted_replays_the_same(
    served: tuple[MemoryTransport, FeatureLog], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: bool
) -> None:
    """Files of a day hold offsets that stand between each other's, since known times do not rise with them."""
    transport, log = served
    monkeypatch.setattr(log_source, "GROUP_EVENTS", 60)
    rewritten = FeatureLog(tmp_path)
    for topic in log.topics():
        writer, batches = rewritten.writer(topic), log.batches(topic)
        for batch in batches:
            writer.append(log.read_batch(topic, batch, batch.schema), batch.ranges)
            if batch.number == len(batches) // 2 or not half:
                rewriting.compact(rewritten, topic)
                writer.refresh()
    encoder = VectorEncoder(PLAN)
    found = [
        record.value
        for _, _, every in replayed(PLAN, transport, rewritten)
        for vectors in every
        for record in encoder.records(vectors)
    ]
    assert found == [
        value for _, _, value, _ in harness.contents(transport, ["shop.features.Buys"])["shop.features.Buys"]
    ]


def test_a_log_that_lacks_events_is_told(served: tuple[MemoryTransport, FeatureLog], tmp_path: Path) -> None:
    transport, log = served
    entries = journal.read(transport, PLAN.journal, NAME)
    short = FeatureLog(tmp_path)
    for topic in log.topics():
        writer = short.writer(topic)
        for batch in log.batches(topic)[: -1 if topic == "shop.views" else None]:
            table = log.read_batch(topic, batch, batch.schema)
            if topic == "shop.prices" and batch.number == 0:
                table = table.slice(len(table) // 2)  # fewer events than the journal says were applied
            writer.append(table, batch.ranges)
    with pytest.raises(RecoveryError, match="does not hold what the journal says was applied"):
        list(replayed(PLAN, transport, short))
    with pytest.raises(RecoveryError, match="has not come as far as the journal"):
        list(vector_replay.replayed(PLAN, transport, short, entries=entries))


def test_a_file_that_is_gone_or_corrupt_is_told(served: tuple[MemoryTransport, FeatureLog], tmp_path: Path) -> None:
    import shutil

    transport, log = served
    shutil.copytree(log.storage.root, tmp_path / "log")
    broken = FeatureLog(tmp_path / "log")
    path = Path(broken.files("shop.views")[1])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FeatureLogError, match="altered or torn"):
        list(replayed(PLAN, transport, broken))
    path.unlink()
    with pytest.raises(FeatureLogError, match="cannot be read"):
        list(replayed(PLAN, transport, broken))


RUNS = st.lists(st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=3, max_size=3), min_size=1, max_size=4)


@settings(deadline=None)  # compiled when first called
@given(RUNS)
def test_merging_is_sorting(batches: list[list[list[int]]]) -> None:
    """By batch, known time, partition, place; records of a partition lie side by side."""
    known, batch_of, starts, ends = [], [], np.zeros((len(batches), 3), np.int64), np.zeros((len(batches), 3), np.int64)
    for partition in range(3):
        for number, parts in enumerate(batches):
            starts[number, partition] = len(known)
            known += sorted(parts[partition])
            batch_of += [number] * len(parts[partition])
            ends[number, partition] = len(known)
    found = arrangement.merged(np.array(known, np.int64), starts, ends)
    assert found.tolist() == np.lexsort((known, batch_of)).tolist()


@settings(deadline=None)
@given(st.lists(st.integers(0, 5)))
def test_counting_is_sorting(places: list[int]) -> None:
    assert arrangement.by_place(np.array(places, np.int64), 6).tolist() == np.argsort(places, kind="stable").tolist()


def test_coded_texts_have_the_ids_of_the_texts_that_occur() -> None:
    texts = np.array(["a", "never", "b", "a", ""], object)
    column = CodedText(np.array([2, 0, 3, 4], np.int32), texts, np.array([True, True, True, False]))
    assert column.values.tolist() == ["b", "a", "a", ""]
    taken = column.take(np.array([2, 0]))
    assert (taken.values.tolist(), taken.codes.tolist()) == (["a", "b"], [3, 2])  # type: ignore[attr-defined]
    index, rows = KeyIndex([True]), np.array([0, 1, 2])
    found = index.ids([column], rows)
    assert len(index) == 2
    assert found.tolist() == index.ids([ColumnData(column.values, column.valid)], rows).tolist()
