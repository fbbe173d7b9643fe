"""The latest event before an instant, by one reading of the log: what a plain loop finds, and what SQL's as-of join does."""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest

from samestream.schemas import Event, Features, Field, Model, event_time, field, key, label
from samestream.schemas.app import App
from samestream.streams.lowering import compile_app
from samestream.streams.sql import duckdb_log
from samestream.streams.sql.latest import latest
from samestream.streams.sql.point_in_time import point_in_time
from samestream.trainers import gradient_boosting

TIME = pa.timestamp("us", "UTC")


class Quote(Event, topic="latest.quotes", lateness="10s"):
    stock: Field[str] = key()
    price: Field[float | None] = field()
    at: Field[datetime] = event_time()


class Trade(Event, topic="latest.trades", lateness="10s"):
    stock: Field[str] = key()
    at: Field[datetime] = event_time()


class StockNow(Features, by=Quote.stock):
    ever = Quote.price.last(over="lifetime")
    hour = Quote.price.last(over="1h", tile="1m")


class Rises(Model, on=Trade, trainer=gradient_boosting(every="1d", history="7d")):
    ever = StockNow.ever
    hour = StockNow.hour
    more = label(Quote.price > 1, by=Quote.stock, within="1h")


PLAN = compile_app(App("latest", {"Quote": Quote, "Trade": Trade}, {"StockNow": StockNow}, {"Rises": Rises}, {}))


@pytest.mark.parametrize("value", [pa.float64(), pa.string(), pa.int64(), pa.bool_()])
@pytest.mark.parametrize("in_order", [True, False])
def test_a_plain_loop_finds_the_same(value: Any, in_order: bool) -> None:
    draw = random.Random(5)
    asked = [(draw.randrange(1, 5), draw.randrange(30)) for _ in range(60)]
    asked.sort(key=lambda row: row[1] if in_order else draw.random())
    make = {pa.float64(): float, pa.string(): str, pa.int64(): int, pa.bool_(): lambda number: number % 2 == 0}[value]

    def made(number: int) -> Any:
        return None if draw.random() < 0.2 else make(number)

    events = [
        (draw.choice(["a", "b", "c", None, "z"]), draw.randrange(30), draw.randrange(3), offset, made(offset))
        for offset in range(200)
    ]
    names = ("by", "time", "_partition", "_offset", "value")
    types = (pa.string(), pa.int64(), pa.int32(), pa.int64(), value)
    tables = [
        pa.table(
            {
                name: pa.array(column, type_)
                for name, column, type_ in zip(names, zip(*part, strict=True), types, strict=True)
            }
        )
        for part in (events[:70], events[70:])
    ]
    keys = ["a", "b", "c", "never"]
    table = pa.table(
        {"_row": range(60), "key": [code for code, _ in asked], "instant": [instant for _, instant in asked]}
    )
    rows = latest(table, pa.array(keys), tables, "by", "time", "value").to_pylist()
    found = {row["_row"]: (row["t"], row["x"]) for row in rows}
    for number, (code, instant) in enumerate(asked):
        mine = [event for event in events if event[0] == keys[code - 1] and event[1] < instant and event[4] is not None]
        right = max(mine, key=lambda event: event[1:4], default=None)
        assert found.get(number) == (right and (right[1], right[4]))


def test_so_does_the_join_in_sql(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(7)

    def rows(count: int, **more: Any) -> pa.Table:
        at = [draw.randrange(0, 20_000_000_000, 1_000_000) for _ in range(count)]
        marks = {"_partition": pa.array([0] * count, pa.int32()), "_offset": range(count)}
        stocks = [f"s{draw.randrange(9)}" for _ in range(count)]
        return pa.table({**marks, "stock": stocks, "at": pa.array(at).cast(TIME), **more})

    trades = rows(300)
    quotes = rows(40, price=[draw.choice([None, draw.random(), float("nan")]) for _ in range(40)])
    events = {"Quote": quotes, "Trade": trades.slice(0, 0)}
    direct = point_in_time(PLAN, PLAN.models["Rises"], trades, events)
    monkeypatch.setattr(duckdb_log, "ASKED_ROWS", 0)
    joined = point_in_time(PLAN, PLAN.models["Rises"], trades, events)
    assert direct.equals(joined)
    assert 0 < direct["hour"].null_count < 300
    assert direct["ever"].null_count < direct["hour"].null_count
