"""The app of the benchmark: a vector for every event, of five aggregates over tumbling windows of five minutes."""

from __future__ import annotations

from datetime import datetime

from samestream.schemas import Event, Features, Field, Model, event_time, field, key, label
from samestream.trainers import gradient_boosting


class Trade(Event, topic="bench.trades", lateness="10s", alignment="1m", partitions=4):
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
    """Five aggregates over five minutes."""

    trades = Trade.count(every="5m")
    total = Trade.price.sum(every="5m")
    least = Trade.price.min(every="5m")
    most = Trade.price.max(every="5m")
    mean = Trade.price.mean(every="5m")


class Activity(Model, on=Trade, trainer=gradient_boosting(every="1d", history="7d")):
    """One vector per event."""

    trades = AccountNow.trades
    total = AccountNow.total
    least = AccountNow.least
    most = AccountNow.most
    mean = AccountNow.mean
    again = label(Trade.price > 50, by=Trade.account, within="5m")
