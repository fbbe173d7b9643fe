"""Large records on genuine Kafka, far ahead of a partition that holds them back: the process does not grow with its input."""

from __future__ import annotations

import re
import time
from pathlib import Path

import harness
import pytest
from harness import START_US
from nursery import Child
from own_shop import LONG, OwnShop, until

from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.transport import Outgoing

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not LONG, reason="1 GB through a broker: make faults"),
]
MB = 1024 * 1024
RECORDS, SIZE = 1200, 900_000
HELD = 32 * MB
QUEUE = 32 * MB  # what librdkafka fetches ahead


def resident(child: Child, what: str = "VmRSS") -> int:
    """What a process holds in memory, in bytes."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{child.pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def view(shop: OwnShop, number: int, size: int) -> Outgoing:
    at = START_US + number * 1_000_000
    return shop.event("View", "u", at, user="u", product="p" * size, seconds=1.0, at=at)


def price(shop: OwnShop, second: int) -> Outgoing:
    at = START_US + second * 1_000_000
    return shop.event("Price", "p", at, product="p", cents=1, at=at)


def test_memory_is_bounded_whatever_waits(shop: OwnShop) -> None:
    task = FeatureTask(shop.plan)
    harness.send(shop.kafka, [view(shop, 0, 10), price(shop, 0)])
    targets = shop.targets(task)
    child = shop.start("features", 500, held_bytes=HELD)
    until(lambda: shop.reached(task, targets), child)
    before = resident(child)

    slow = shop.kafka.transactional_writer(f"{shop.plan.app}.slow")
    slow.open()
    slow.begin()
    slow.send([price(shop, 1)])  # nobody passes it, until it is decided
    plain = shop.kafka.writer()
    for first in range(1, RECORDS + 1, 50):
        plain.send(view(shop, number, SIZE) for number in range(first, min(first + 50, RECORDS + 1)))
        plain.flush()
    plain.close()
    until(lambda: "waiting for" in child.said(), child, 120.0)
    assert "(open transaction)" in child.said()
    grown = 0
    for _ in range(20):
        grown = max(grown, resident(child) - before)
        time.sleep(0.1)
    slow.commit()
    slow.close()
    targets = shop.targets(task)
    while not shop.reached(task, targets):
        assert child.ended is None, child.said()
        grown = max(grown, resident(child) - before)
        time.sleep(0.05)
    peak = resident(child, "VmHWM") - before
    print(
        f"{RECORDS * SIZE / MB:.0f} MB waited; the process grew by {grown / MB:.0f} MB, {peak / MB:.0f} MB at its peak"
    )
    child.end()
    assert peak < HELD + QUEUE + 600 * MB  # batches under way, and what the C library has not given back
    assert peak < RECORDS * SIZE
    assert len(shop.outputs()[shop.model.topics["features"]]) == RECORDS + 1
