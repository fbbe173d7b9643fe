"""What a type checker says of right expressions: `assert_type` is checked by mypy in tests/schemas/test_expressions.py."""

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import assert_type
from uuid import UUID

from samestream.schemas import Event, Expr, Field, Nested, Record, event_time, field, key, nested, when


class Colour(StrEnum):
    RED = "red"


class Address(Record):
    city: Field[str] = field()
    zip: Field[str | None] = field()


class Order(Event, topic="o"):
    id: Field[str] = key()
    n: Field[int] = field()
    x: Field[float | None] = field()
    price: Field[Decimal] = field(digits=12, scale=2)
    colour: Field[Colour] = field()
    uid: Field[UUID] = field()
    born: Field[date] = field()
    ok: Field[bool] = field()
    tags: Field[list[str]] = field()
    sizes: Field[list[int | None] | None] = field()
    props: Field[dict[str, float]] = field()
    tip: Field[Decimal | None] = field(digits=5, scale=2)
    day: Field[date | None] = field()
    address: Nested[Address] = nested()
    bill: Nested[Address | None] = nested()
    at: Field[datetime] = event_time()


assert_type(Order.n + 1, Expr[int])
assert_type(Order.n + Order.x, Expr[float])
assert_type(Order.n / 2, Expr[float])
assert_type(Order.n // 2, Expr[int])
assert_type(Order.x % 2, Expr[float])
assert_type(1 - Order.n, Expr[int])
assert_type(1.5 * Order.n, Expr[float])
assert_type(-Order.n, Expr[int])
assert_type(abs(Order.x), Expr[float])
assert_type(Order.price * 2, Expr[float])
assert_type(Order.price * Order.n, Expr[float])
assert_type(Order.price * Decimal("1.1"), Expr[float])
assert_type(Order.price > 15, Expr[bool])
assert_type(Order.price > Decimal(15), Expr[bool])
assert_type(Order.n > Order.x, Expr[bool])
assert_type(Order.at - Order.born, Expr[float])
assert_type(Order.at - datetime.now(UTC), Expr[float])
assert_type(datetime.now(UTC) - Order.at, Expr[float])
assert_type(Order.at > date(2020, 1, 1), Expr[bool])
assert_type(Order.born > Order.at, Expr[bool])
assert_type(Order.id + "x", Expr[str])
assert_type("x" + Order.id, Expr[str])
assert_type(Order.id.concat("a", Order.colour), Expr[str])
assert_type(Order.colour == Colour.RED, Expr[bool])
assert_type(Order.colour == "red", Expr[bool])
assert_type(Order.uid == UUID(int=1), Expr[bool])
assert_type(Order.uid == Order.id, Expr[bool])
assert_type(Order.id.is_in("a", "b"), Expr[bool])
assert_type(Order.n.is_in(1, 2.5), Expr[bool])
assert_type(Order.n.fill(0), Expr[int])
assert_type(Order.x.fill(0), Expr[float])
assert_type(Order.price.fill(0), Expr[float])
assert_type(Order.ok.fill(False), Expr[bool])
assert_type(Order.id.fill("a"), Expr[str])
assert_type(Order.at.fill(Order.at), Expr[datetime])
assert_type(Order.tags.fill(Order.tags), Expr[list[str]])
assert_type(when(Order.ok).then(1).otherwise(2), Expr[int])
assert_type(when(Order.ok).then(1).otherwise(2.5), Expr[float])
assert_type(when(Order.ok).then("a").when(Order.n > 1).then(Order.id).otherwise(Order.colour), Expr[str])
assert_type(when(Order.ok).then(Order.x).when(Order.n > 1).then(1).otherwise(0).mean(over="1h"), Expr[float])
assert_type(when(Order.ok).then(Order.tags).otherwise(Order.tags), Expr[list[str]])
assert_type(Order.n.cast(float), Expr[float])
assert_type(Order.x.cast(int), Expr[int])
assert_type(Order.id.cast(int), Expr[int])
assert_type(Order.n.cast(bool), Expr[bool])
assert_type(Order.n.cast(str), Expr[str])
assert_type(Order.n.clip(low=0), Expr[int])
assert_type(Order.n.clip(0, 1.5), Expr[float])
assert_type(Order.x.log().exp().sqrt().floor().ceil().round(2), Expr[float])
assert_type(Order.id.lower().upper().length(), Expr[int])
assert_type(Order.tags.length(), Expr[int])
assert_type(Order.tags.contains("a"), Expr[bool])
assert_type(Order.sizes.contains(3), Expr[bool])
assert_type(Order.id.contains("a"), Expr[bool])
assert_type(Order.tags.at(0), Expr[str])
assert_type(Order.props.get("a"), Expr[float])
assert_type(Order.at.year("America/New_York"), Expr[int])
assert_type(Order.born.weekday(), Expr[int])
assert_type(Order.id.hash_bucket(10), Expr[int])
assert_type(Order.ok & ~(Order.n > 1) | True, Expr[bool])
assert_type(Order.n.sum(over="1h"), Expr[int])
assert_type(Order.id.last(over="1h"), Expr[str])
assert_type(Order.at.max(over="1h"), Expr[datetime])
assert_type(Order.ok.last(over="1h"), Expr[bool])
assert_type(Order.price.sum(over="1h"), Expr[float])
assert_type(Order.price.mean(over="1h"), Expr[float])
assert_type(when(Order.ok).then("a").last(over="1h"), Expr[str])
assert_type(Order.price, Field[float])
assert_type(Order.tip, Field[float | None])
assert_type(Order.uid, Field[str])
assert_type(Order.day, Field[datetime | None])
assert_type(Order.price.minor_units(), Field[int])
assert_type(Order.address.city, Field[str])
assert_type(Order.bill.zip, Field[str | None])
assert_type(Order.address.city == "Oslo", Expr[bool])


def values(order: Order) -> None:
    """On an instance there are values."""
    assert_type(order.price, Decimal)
    assert_type(order.day, date | None)
    assert_type(order.uid, UUID)
    assert_type(order.colour, Colour)
    assert_type(order.sizes, list[int | None] | None)
    assert_type(order.address.city, str)
    assert_type(order.bill, Address | None)
