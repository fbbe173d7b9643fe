"""The shop served in memory and logged, training sets of it, and single records of it by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import harness
from harness import PLAN, SECOND_US

from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.transport import Outgoing
from samestream.trainers import dataset
from samestream.trainers.dataset import Dataset
from samestream.trainers.request import Request

MINUTE_US = 60 * SECOND_US
EVENTS = harness.shop_events(600, seed=3)


def logged(folder: Path, records: list[Outgoing]) -> tuple[MemoryTransport, FeatureLog]:
    transport = harness.fresh()
    harness.send(transport, records)
    harness.work_off(transport, FeatureTask(PLAN))
    return transport, harness.write_log(transport, FeatureLog(folder))


def build(shop: tuple[MemoryTransport, FeatureLog], pinned: Any = None, **asked: Any) -> Dataset:
    return dataset.build(PLAN, Request("Buys", **asked), shop[1], lambda: shop[0], pinned)


def instant(time_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)


def view(user: str, at_us: int, known_us: int | None = None) -> Outgoing:
    known_us = known_us or at_us // 1000 * 1000 + 1000
    return harness.encode(PLAN, "View", user, known_us, user=user, product="p", seconds=1.0, at=at_us)


def order(user: str, at_us: int, amount: float = 1.0, known_us: int | None = None) -> Outgoing:
    return harness.encode(
        PLAN, "Order", user, known_us or at_us // 1000 * 1000 + 1000, user=user, amount=amount, at=at_us
    )


def price(at_us: int, cents: int) -> Outgoing:
    return harness.encode(PLAN, "Price", "p", at_us // 1000 * 1000 + 1000, product="p", cents=cents, at=at_us)


def no_broker() -> Any:
    raise AssertionError("the log holds the journal")
