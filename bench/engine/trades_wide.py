"""The same events, a quarter of a second apart: count, sum and mean over one hour, three hours and a day, sliding."""

from __future__ import annotations

from datetime import datetime

from samestream.schemas import Event, Features, Field, Model, event_time, field, key, label
from samestream.trainers import gradient_boosting


class Trade(Event, topic="bench.trades.wide", lateness="10s", partitions=4):
    """An event of ten fields and about 94 bytes."""

    account: Field[str] = key()
    symbol: Field[str] = field()
    venue: Field[str] = field()
    price: Field[float] = field()
    fee: Field[float | None] = field()
    quantity: Field[int] = field()
    order: Field[int] = field()
    is_buy: Field[bool] = field()
    note: Field[str] = field()
    at: Field[datetime] = event_time()


class AccountNow(Features, by=Trade.account):
    """Three aggregates over three windows."""

    trades_1h = Trade.count(over="1h")
    trades_3h = Trade.count(over="3h")
    trades_24h = Trade.count(over="24h")
    total_1h = Trade.price.sum(over="1h")
    total_3h = Trade.price.sum(over="3h")
    total_24h = Trade.price.sum(over="24h")
    mean_1h = Trade.price.mean(over="1h")
    mean_3h = Trade.price.mean(over="3h")
    mean_24h = Trade.price.mean(over="24h")


class Activity(Model, on=Trade, trainer=gradient_boosting(every="1d", history="7d")):
    """One vector per event."""

    trades_1h = AccountNow.trades_1h
    trades_3h = AccountNow.trades_3h
    trades_24h = AccountNow.trades_24h
    total_1h = AccountNow.total_1h
    total_3h = AccountNow.total_3h
    total_24h = AccountNow.total_24h
    mean_1h = AccountNow.mean_1h
    mean_3h = AccountNow.mean_3h
    mean_24h = AccountNow.mean_24h
    again = label(Trade.price > 50, by=Trade.account, within="5m")
