"""A small app for tests: two sources, a trigger that is a source itself, nulls, whole numbers and floats."""

from datetime import datetime

from samestream.monitors import Monitors, drift, parity, quality, silence
from samestream.schemas import Event, Features, Field, Model, event_time, field, key, label
from samestream.trainers import gradient_boosting


class View(Event, topic="shop.views", lateness="1m", partitions=2):
    user: Field[str] = key()
    product: Field[str] = field()
    seconds: Field[float | None] = field(low=0)
    at: Field[datetime] = event_time()


class Price(Event, topic="shop.prices", lateness="5m", partitions=1):
    product: Field[str] = key()
    cents: Field[int] = field()
    at: Field[datetime] = event_time()


class Order(Event, topic="shop.orders", lateness="10m", partitions=2):
    user: Field[str] = key()
    amount: Field[float] = field()
    at: Field[datetime] = event_time()


class UserNow(Features, by=View.user):
    views_10m = View.count(over="10m")
    mean_seconds_1h = View.seconds.mean(over="1h")


class ProductNow(Features, by=Price.product):
    cents = Price.cents.last(over="1d")
    spread_1h = Price.cents.max(over="1h") - Price.cents.min(over="1h")


class Buys(Model, on=View, trainer=gradient_boosting(every="1d", history="7d")):
    views = UserNow.views_10m
    seconds = UserNow.mean_seconds_1h
    cents = ProductNow.cents
    spread = ProductNow.spread_1h
    bought = label(Order.amount > 0, by=Order.user, within="30m")


class BuysHealth(Monitors, of=Buys, alarms="1/week"):
    features = parity(), drift(window="1h"), quality(), silence(longer_than="2h")
    scores = drift(window="1h")
