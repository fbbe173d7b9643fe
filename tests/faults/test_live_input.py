"""Input that arrives while processors are killed: the interleaving is theirs to choose, and their journal tells it."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import harness
import pytest
from own_shop import OwnShop, until

from samestream.schemas import records
from samestream.schemas.avro import Codec
from samestream.streams.engine import journal
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.transport import Outgoing

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
KILLS = 12
_REJECTED = Codec(records.REJECTED)


def produce(shop: OwnShop, events: list[Outgoing], stop: threading.Event) -> int:
    """Send events a few at a time, some in transactions, some of these aborted, until ``stop``; how many were sent."""
    plain, careful, draw = (
        shop.kafka.writer(),
        shop.kafka.transactional_writer(f"{shop.plan.app}.producer"),
        random.Random(7),
    )
    careful.open()
    at = 0
    while not stop.is_set() and at < len(events):
        chunk = events[at : at + draw.randrange(1, 40)]
        how = draw.choice(["plain", "plain", "committed", "aborted"])
        if how == "plain":
            plain.send(chunk)
            plain.flush()
        else:
            careful.begin()
            careful.send(chunk)
            if how == "committed":
                careful.commit()
            else:
                careful.abort()
        at += len(chunk) if how != "aborted" else 0
        stop.wait(draw.uniform(0.0, 0.02))
    plain.close()
    careful.close()
    return at


def visible(shop: OwnShop, topic: str) -> set[tuple[int, int]]:
    """Partition and offset of every committed record."""
    return {
        (fetched.partition.partition, offset)
        for fetched in shop.kafka.read_all(topic)
        for offset in fetched.offsets.tolist()
    }


def rejected(shop: OwnShop, topic: str) -> list[tuple[int, int]]:
    """Partition and offset of the event in every record of a `.late` or `.dead` topic."""
    found = [_REJECTED.decode(value or b"") for _, _, value, _ in harness.contents(shop.kafka, [topic])[topic]]
    return [(record["partition"], record["offset"]) for record in found]


def test_nothing_is_lost_and_nothing_comes_twice(shop: OwnShop, tmp_path: Path, round: int) -> None:
    events, task, draw = shop.events(50_000, seed=round), FeatureTask(shop.plan), random.Random(round)
    stop, sent = threading.Event(), []
    producer = threading.Thread(target=lambda: sent.append(produce(shop, events, stop)), daemon=True)
    producer.start()
    for number in range(KILLS):
        child = shop.start("features", batch_records=200)
        if number % 3:
            shop.await_batches(task, 1, child)
        time.sleep(draw.uniform(0.0, 0.1 if number % 3 else 0.3))
        assert child.kill() == -9, child.said()
    child = shop.start("features")
    shop.await_batches(task, 3, child)
    stop.set()
    producer.join(30)
    assert sent
    assert 500 < sent[0] < len(events), "the producer was to send all the time"
    targets = shop.targets(task)
    until(lambda: shop.reached(task, targets), child)
    child.end()

    entries = shop.check_journal(task, targets)
    features = Codec(shop.model.vector_schema)
    topic = shop.model.topics["features"]
    vectors = [features.decode(value or b"") for _, _, value, _ in harness.contents(shop.kafka, [topic])[topic]]
    for name, event in (("views", "View"), ("prices", "Price")):
        topic = shop.plan.events[event].topic
        outcomes = rejected(shop, f"{topic}.late") + rejected(shop, f"{topic}.dead")
        if name == "views":
            assert {vector["trigger_topic"] for vector in vectors} == {topic}
            outcomes += [(vector["trigger_partition"], vector["trigger_offset"]) for vector in vectors]
            assert len(outcomes) == len(set(outcomes)), "an event had two outcomes"
            assert set(outcomes) == visible(shop, topic)
        balance = journal.balance(entries)[topic]
        assert balance.read == len(visible(shop, topic))
        assert (balance.late, balance.dead) == (
            len(rejected(shop, f"{topic}.late")),
            len(rejected(shop, f"{topic}.dead")),
        )
    shop.check_replay(tmp_path / "log")
