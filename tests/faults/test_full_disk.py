"""The broker's disk fills up: Kafka ends itself; with room again, and started again, everything goes on as if nothing had been."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from nursery import Nursery
from own_shop import LONG, OwnShop, until
from small_disk import SmallDisk

from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.kafka.local_kafka import LocalKafka

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(500)]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    try:
        disk = SmallDisk(tmp_path / "disk", megabytes=128)
    except (PermissionError, FileNotFoundError) as refused:
        pytest.skip(f"a small disk cannot be mounted here: {refused}")
    yield disk
    disk.close()


@pytest.mark.rounds(5)
def test_of_the_broker(disk: SmallDisk, nursery: Nursery, tmp_path: Path, round: int) -> None:
    kafka, draw = LocalKafka(disk.folder / "kafka"), random.Random(round)
    kafka.up()
    try:
        shop = OwnShop(kafka.bootstrap, nursery, tmp_path)
        events, task = shop.events(3000, seed=round), FeatureTask(shop.plan)
        harness.send(shop.kafka, events)
        targets = shop.targets(task)
        child = shop.start("features", batch_records=20)
        for _ in range(3 if LONG else 1):
            shop.await_batches(task, 5, child)
            disk.fill(draw.randrange(20_000))
            until(lambda: "ended" in kafka.status().detail, timeout_s=90)
            time.sleep(draw.uniform(0.0, 1.0))
            disk.empty()
            kafka.up()
            before = shop.sequence(task)
            while shop.sequence(task) <= before + 1:
                if child.ended is not None:
                    assert child.ended == 1, child.said()
                    child = shop.start("features", batch_records=20)
                time.sleep(0.02)
        until(lambda: shop.reached(task, targets), child)
        child.end()
        assert shop.outputs() == shop.undisturbed(events)
        shop.check_journal(task, targets)
    finally:
        disk.empty()
        kafka.down()
