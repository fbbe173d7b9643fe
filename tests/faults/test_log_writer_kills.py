"""The log's writer, killed: every record is in the log once, and whoever reads meanwhile sees whole batches only."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import harness
import log_victim
import pytest
from fate import LOG_POINTS
from log_rows import grown, table
from log_victim import started
from nursery import Child
from own_shop import LONG, OwnShop, count_of, until

from samestream.schemas import records
from samestream.schemas.avro import Codec
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.log import rewriting
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.log_writer import logged_inputs
from samestream.streams.models.outcomes import OutcomeTask

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
KILLS = 12


class Onlooker:
    """Reads the log without a pause while it is written; `close` raises what a reader must never meet."""

    def __init__(self, root: Path, topics: list[str], cut: bool = False) -> None:
        self._root, self._topics, self._cut = root, topics, cut
        self._stop, self.reads = threading.Event(), 0
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        log, rows = FeatureLog(self._root), dict.fromkeys(self._topics, 0)
        try:
            while not self._stop.is_set():
                for topic in self._topics:
                    table, ranges = log.read(topic, ["_partition", "_offset"]), log.ranges(topic)
                    places = set(zip(*(table[name].to_pylist() for name in table.schema.names), strict=True))
                    assert len(places) == len(table), "a record comes twice"
                    assert self._cut or len(table) >= rows[topic], "records have gone"
                    first = {number: 0 if self._cut else start for number, (start, _) in ranges.items()}
                    assert all(first[number] <= offset < ranges[number][1] for number, offset in places)
                    rows[topic] = len(table)
                    self.reads += 1
        except BaseException as failure:
            self._failure = failure

    def close(self) -> None:
        self._stop.set()
        self._thread.join(30)
        if self._failure is not None:
            raise self._failure


def served(shop: OwnShop, count: int, seed: int) -> None:
    """Events, the vectors made of them, and what is said of dead ones."""
    harness.send(shop.kafka, shop.events(count, seed))
    for role, task in (("features", FeatureTask(shop.plan)), ("outcomes", OutcomeTask(shop.plan, shop.model))):
        shop.work_off(role, task, shop.targets(task), batch_records=500)


def rows_of(root: Path, topics: list[str]) -> int:
    log = FeatureLog(root)
    return sum(batch.rows for topic in topics for batch in log.batches(topic))


def await_rows(root: Path, topics: list[str], child: Child) -> None:
    """Wait until there are more than now."""
    before = rows_of(root, topics)
    until(lambda: rows_of(root, topics) > before, child)


def check(shop: OwnShop, root: Path, topics: list[str]) -> None:
    """The log holds what the topics hold, but events that cannot be decoded."""
    log = FeatureLog(root)
    for topic in topics:
        expected = [
            (fetched.partition.partition, offset, known_us, key)
            for fetched in sorted(shop.kafka.read_all(topic), key=lambda part: (part.partition, part.offsets[0]))
            for offset, known_us, key in zip(
                fetched.offsets.tolist(), fetched.known_us.tolist(), fetched.keys, strict=True
            )
        ]
        dead = dead_of(shop, topic)
        table = log.read(topic, ["_partition", "_offset", "_known", "_key"])
        known = table["_known"].cast("int64").to_pylist()
        found = zip(
            table["_partition"].to_pylist(), table["_offset"].to_pylist(), known, table["_key"].to_pylist(), strict=True
        )
        assert list(found) == [row for row in expected if row[:2] not in dead], topic


def dead_of(shop: OwnShop, topic: str) -> set[tuple[int, int]]:
    """Partition and offset of a topic's dead events: they have no row."""
    codec, name = Codec(records.REJECTED), f"{topic}.dead"
    if name not in shop.kafka.topics():
        return set()
    found = [codec.decode(value or b"") for _, _, value, _ in harness.contents(shop.kafka, [name])[name]]
    return {(record["partition"], record["offset"]) for record in found}


def test_killed_at_random_instants(shop: OwnShop, tmp_path: Path, round: int) -> None:
    root, draw = tmp_path / "log", random.Random(round)
    topics = [part.topic for part in logged_inputs(shop.plan)]
    served(shop, 4000, round)
    total = sum(count_of(shop.kafka, topic) for topic in topics)
    onlooker = Onlooker(root, topics)
    for number in range(KILLS):
        child = shop.start("log", log=str(root), batch_rows=40)
        if number % 3:
            await_rows(root, topics, child)
        time.sleep(draw.uniform(0.0, 0.05 if number % 3 else 0.3))
        assert child.kill() == -9, child.said()
    assert rows_of(root, topics) < total, "it was done before the last kill"
    finish(shop, root, topics)
    onlooker.close()
    assert onlooker.reads > 20
    check(shop, root, topics)


def test_killed_at_every_point(shop: OwnShop, tmp_path: Path, round: int) -> None:
    root, draw = tmp_path / "log", random.Random(round)
    topics = [part.topic for part in logged_inputs(shop.plan)]
    served(shop, 4000, round)
    onlooker = Onlooker(root, topics)
    kills = [(point, times) for point in LOG_POINTS for times in (1, 1, 3)]
    draw.shuffle(kills)
    for point, times in kills:
        child = shop.start("log", log=str(root), batch_rows=40, point=point, times=times)
        assert child.wait() == -9, (point, times, child.said())
    finish(shop, root, topics)
    onlooker.close()
    check(shop, root, topics)


def rewritten(root: Path) -> tuple[list[tuple[int, int]], int]:
    """Offsets by partition in the log, each once; and how many rows are marked as erased."""
    log = FeatureLog(root)
    rows = log.read("t")
    places = list(zip(rows["_partition"].to_pylist(), rows["_offset"].to_pylist(), strict=True))
    expected = [(number, offset) for number, (start, end) in log.ranges("t").items() for offset in range(start, end)]
    assert sorted(places) == sorted(expected)
    return places, rows["_erased"].to_pylist().count(True) if "_erased" in rows.column_names else 0


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: a kill is none of a disk's business, and waiting for one takes long."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


@pytest.mark.rounds(10)
@pytest.mark.parametrize("how", list(log_victim.KILLS))
def test_rewrites_killed_at_every_point(memory: Path, how: str, round: int) -> None:
    """A writer appends and a reader reads, while compaction, retention, erasure or clearing die; each is whole or absent."""
    grown(memory / "fresh", batches=24, rows=3 + round % 3)
    if how in ("cut", "clear"):  # a file that the cut goes through; files that were replaced
        rewriting.compact(FeatureLog(memory / "fresh"), "t")
    kills = log_victim.KILLS[how]
    for number, (point, times) in enumerate(kills if LONG else dict(reversed(kills)).items()):
        root = memory / str(number)
        shutil.copytree(memory / "fresh", root)
        log, (before, _) = FeatureLog(root), rewritten(root)
        onlooker, writer = Onlooker(root, ["t"], cut=how == "cut"), log.writer("t")
        child = started(log_victim.rewrite, str(root), how, point, times)
        for _ in range(3):
            offset = writer.next_offsets()[0]
            writer.append(table([(0, offset, log_victim.CUT_US + offset)], x=[0.0]), {0: (offset, offset + 1)})
        child.join(60)
        assert child.exitcode == -9, (how, point, times)
        onlooker.close()
        after, marked = rewritten(root)
        cut = {place for place in before if place[1] < log.ranges("t")[place[0]][0]}
        assert set(before) - set(after) == (cut if how == "cut" else set())
        assert marked == 0 or marked >= sum(offset % 10 == 3 for _, offset in before)
        log_victim.rewrite(str(root), how)  # the next one does it
        rewriting.clear(log, "t", 0)
        again, marked = rewritten(root)
        kept = log.ranges("t")
        assert again == [place for place in after if place[1] >= kept[place[0]][0]]
        assert all((start > 0) == (how == "cut") for start, _ in kept.values())
        assert marked == (sum(offset % 10 == 3 for _, offset in again) if how == "erase" else 0)
        newest, named = log.batches("t")[0].number, {Path(path) for path in log.files("t")}
        assert all(path in named or int(path.name[:8]) > newest for path in root.rglob("0*.parquet"))
        shutil.rmtree(root)


def finish(shop: OwnShop, root: Path, topics: list[str]) -> None:
    """Let a writer catch up, undisturbed."""
    ends = {
        fetched.partition: int(fetched.offsets[-1]) + 1 for topic in topics for fetched in shop.kafka.read_all(topic)
    }
    log = FeatureLog(root)
    child = shop.start("log", log=str(root), batch_rows=40)
    until(lambda: all(log.offsets(part.topic).get(part.partition, 0) >= end for part, end in ends.items()), child)
    child.end()
