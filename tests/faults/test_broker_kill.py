"""The broker, killed and started again: processors go on by themselves, or leave with an error and recover."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import harness
import pytest
from nursery import Nursery
from own_shop import LONG, OwnShop, until

from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.kafka.local_kafka import LocalKafka

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(500)]


@pytest.mark.rounds(3)
@pytest.mark.parametrize("absent_s", [0, 20] if LONG else [0])
def test_the_broker_is_killed(
    own_kafka: LocalKafka, nursery: Nursery, tmp_path: Path, absent_s: int, round: int
) -> None:
    shop, draw = OwnShop(own_kafka.bootstrap, nursery, tmp_path), random.Random(round)
    events, task = shop.events(3000, seed=round), FeatureTask(shop.plan)
    harness.send(shop.kafka, events)
    targets = shop.targets(task)
    child, restarts = shop.start("features", batch_records=20), 0
    for _ in range(2 if LONG else 1):
        shop.await_batches(task, 20, child)
        time.sleep(draw.uniform(0.0, 0.05))
        pid = own_kafka.status().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        killed_s = time.monotonic()
        until(lambda: "ended" in own_kafka.status().detail)
        time.sleep(absent_s)
        own_kafka.up()
        up_s = time.monotonic()
        before = shop.sequence(task)
        while shop.sequence(task) <= before + 1:  # the last one before the kill may show only now
            if child.ended is not None:
                assert child.ended == 1, child.said()
                child, restarts = shop.start("features", batch_records=20), restarts + 1
            assert time.monotonic() - up_s < 90, child.said()
            time.sleep(0.02)
        waited_s = time.monotonic() - up_s
        print(f"killed; up after {up_s - killed_s:.1f} s; going on {waited_s:.1f} s later; {restarts} restarts")
    until(lambda: shop.reached(task, targets), child)
    child.end()
    assert shop.outputs() == shop.undisturbed(events)
    shop.check_journal(task, targets)
