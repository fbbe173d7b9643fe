"""Sales of many shops over thirty days, and instants at which shops are asked about: what the joins run on.

Instants are even and sales odd microseconds, so that it does not matter whether a sale at the very instant counts, on which
systems differ.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from samestream.schemas import Event, Features, Field, Model, event_time, field, key, label
from samestream.schemas.app import App
from samestream.streams.log import rewriting
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.lowering import compile_app
from samestream.streams.plan import Plan
from samestream.trainers import gradient_boosting

START_US, DAY_US, MINUTE_US = 1_767_225_600_000_000, 86_400_000_000, 60_000_000  # from 2026-01-01
TIME = pa.timestamp("us", "UTC")
BATCH = 500_000


class Sale(Event, topic="bench.sales", lateness="10s"):
    """A sale in a shop."""

    shop: Field[int] = key()
    amount: Field[float] = field()
    at: Field[datetime] = event_time()


class Ask(Event, topic="bench.asks", lateness="10s"):
    """Somebody asks about a shop."""

    shop: Field[int] = key()
    at: Field[datetime] = event_time()


class ShopNow(Features, by=Sale.shop):
    """The last sale; and windows of 60 and of 288 tiles."""

    latest = Sale.amount.last(over="lifetime")
    sales_1h = Sale.count(over="1h", tile="1m")
    mean_1h = Sale.amount.mean(over="1h", tile="1m")
    mean_1d = Sale.amount.mean(over="1d", tile="5m")
    most_1d = Sale.amount.max(over="1d", tile="5m")


class LastValue(Model, on=Ask, trainer=gradient_boosting(every="1d", history="30d")):
    """The last value before each instant."""

    latest = ShopNow.latest
    more = label(Sale.amount > 1, by=Sale.shop, within="1h")


class Windowed(Model, on=Ask, trainer=gradient_boosting(every="1d", history="30d")):
    """Four aggregates over two windows."""

    sales_1h = ShopNow.sales_1h
    mean_1h = ShopNow.mean_1h
    mean_1d = ShopNow.mean_1d
    most_1d = ShopNow.most_1d
    more = label(Sale.amount > 1, by=Sale.shop, within="1h")


def plan_of(model: type[Model]) -> Plan:
    """The plan of an app with one of the two models."""
    events, views = {"Sale": Sale, "Ask": Ask}, {"ShopNow": ShopNow}
    return compile_app(App("bench", events, views, {model.__name__: model}, {}))


def write(folder: Path, sales: int, asks: int, shops: int) -> None:
    """Write the sales as a feature log, compacted as each night, and as one Parquet file, `sales.parquet`; and `asks.parquet`."""
    rng, log = np.random.default_rng(0), FeatureLog(folder / "log").writer(Sale.topic)
    at = np.sort(rng.integers(0, 30 * DAY_US // 2, sales)) * 2 + 1 + START_US
    shop, amount = rng.integers(0, shops, sales), rng.normal(100, 20, sales)
    table = pa.table({"shop": shop, "amount": amount, "at": pa.array(at).cast(TIME)})
    pq.write_table(table, folder / "sales.parquet", compression="zstd")
    for first in range(0, sales, BATCH):
        part, end = table.slice(first, BATCH), min(first + BATCH, sales)
        marks = {
            "_partition": pa.array(np.zeros(len(part), np.int32)),
            "_offset": pa.array(np.arange(first, end)),
            "_known": part["at"],
            "_key": pa.nulls(len(part), pa.binary()),
        }
        log.append(pa.table({**marks, **{name: part[name] for name in part.column_names}}), {0: (first, end)})
    rewriting.compact(FeatureLog(folder / "log"), Sale.topic)
    at = np.sort(rng.integers(0, 30 * DAY_US // 2, asks)) * 2 + START_US
    asked = pa.table({"row": np.arange(asks), "shop": rng.integers(0, shops, asks), "at": pa.array(at).cast(TIME)})
    pq.write_table(asked, folder / "asks.parquet", compression="zstd")
