"""Memory is bounded whatever comes how fast: a partition far ahead of the others is not read on, by number and by bytes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import harness
import pytest
from harness import PLAN, SECOND_US, START_US

from samestream.streams.deploy import provision
from samestream.streams.engine import processor as loop
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.engine.health import OPEN_TRANSACTION
from samestream.streams.engine.processor import Processor
from samestream.streams.transport import Outgoing


def views(count: int, size: int, partition: int = 0) -> list[Outgoing]:
    """Views of products with long names, one a second."""
    found = []
    for number in range(count):
        at = START_US + number * SECOND_US
        values: dict[str, Any] = {"user": "u", "product": "p" * size, "seconds": 1.0, "at": at}
        found.append(harness.encode(PLAN, "View", "u", at, **values)._replace(partition=partition))
    return found


def price(second: int) -> Outgoing:
    at = START_US + second * SECOND_US
    return harness.encode(PLAN, "Price", "p", at, product="p", cents=second, at=at)


def until(done: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


@pytest.mark.parametrize(("count", "size"), [(6_000, 20), (3_000, 5_000), (300, 200_000)])
def test_what_is_held_is_bounded(count: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An open transaction holds everything back; two partitions bring more than may be held. Then it is decided."""
    held, fetched, records = 4 * 1024 * 1024, 512 * 1024, 500
    for name, value in (("_LEAST_HELD_BYTES", 256 * 1024), ("_FETCH_BYTES", fetched), ("_STALL_S", 0.2)):
        monkeypatch.setattr(loop, name, value)
    transport = harness.fresh()
    late = transport.transactional_writer("slow")
    late.open()
    late.begin()
    late.send([price(0)])
    harness.send(transport, [*views(count, size, 0), *views(count, size, 1)])
    task, stop = FeatureTask(PLAN), threading.Event()
    worker = Processor(
        transport,
        PLAN.app,
        PLAN.journal,
        task,
        provision.store(transport, PLAN),
        batch_records=records,
        held_bytes=held,
        wait_s=0.0,
    )
    thread = threading.Thread(target=worker.run, args=(stop,), daemon=True)
    thread.start()
    health = worker.health
    until(lambda: bool(health.stalls))
    assert health.stalls == [("shop.prices[0]", OPEN_TRANSACTION)]
    assert health.stalled_since is not None
    first = 10 * (3 * size + 1000)  # so many records are asked for when it is not known how large they are
    assert health.most_held_bytes <= held + 2 * fetched + first
    assert health.held_bytes > 0
    late.commit()
    until(lambda: health.events == 2 * count + 1)
    assert health.most_held_bytes <= held + 2 * fetched + first
    assert health.stalls == []
    assert health.stalled_since is None
    stop.set()
    thread.join(30)
    total = 2 * count * (2 * size + 400)  # each text is held twice: as it came, and decoded
    assert total > 2 * health.most_held_bytes, "there was far more than was ever held"


def test_batches_are_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_BATCH_BYTES", 1_000_000)
    transport = harness.fresh()
    harness.send(transport, views(300, 20_000))
    worker = harness.work_off(transport, FeatureTask(PLAN))
    assert worker.health.batches >= 300 * 20_000 / 1_000_000
