"""An app whose conditions, inputs and features are expressions of every sort."""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from samestream.schemas import Event, Features, Field, Model, event_time, field, key, label, when
from samestream.trainers import gradient_boosting


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Order(Event, topic="orders", lateness="10m"):
    id: Field[str] = key()
    user: Field[str] = field()
    n: Field[int] = field()
    x: Field[float | None] = field()
    price: Field[Decimal] = field(digits=12, scale=2)
    colour: Field[Colour] = field()
    tags: Field[list[str]] = field()
    props: Field[dict[str, float]] = field()
    born: Field[date] = field()
    at: Field[datetime] = event_time()


class Paid(Event, topic="paid", lateness="10m"):
    id: Field[str] = key()
    late: Field[int] = field()
    at: Field[datetime] = event_time()


class UserNow(Features, by=Order.user):
    nightly_1h = Order.count(over="1h", where=Order.at.hour("America/New_York") < 6)
    red_1h = when(Order.colour == Colour.RED).then(Order.price).otherwise(0).sum(over="1h")
    mean_length_1h = Order.id.length().mean(over="1h")
    sale_1h = Order.count(over="1h", where=Order.tags.contains("sale") | (Order.props.get("w") > 2))
    last_1h = Order.id.upper().last(over="1h")


class Late(Model, on=Order, trainer=gradient_boosting(every="1d", history="30d")):
    nightly = UserNow.nightly_1h
    red = UserNow.red_1h.fill(0).round(1)
    ln = UserNow.mean_length_1h.clip(high=3)
    sale = UserNow.sale_1h % 2
    last = UserNow.last_1h
    hour = Order.at.hour("Europe/Berlin")
    age = (Order.at - Order.born).floor().cast(int) // 86400
    tag = Order.tags.at(0)
    bucket = Order.user.hash_bucket(10)
    late = label(Paid.late > 3, by=Paid.id, within="1d")
