"""An event with a field of every type, for tests; and any values that it may have."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from samestream.schemas import Event, Field, Nested, Record, event_time, field, key, nested


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Place(Record, owner="maps"):
    """A point on earth."""

    lat: Field[float] = field(low=-90, high=90)
    seen: Field[date | None] = field()


class Address(Record):
    city: Field[str] = field(doc="where the post goes")
    zip: Field[str | None] = field(pii=True)
    place: Nested[Place] = nested()


class Order(Event, topic="shop.orders", owner="shop-team", tags=("sales", "core")):
    """Somebody buys."""

    id: Field[UUID] = key()
    price: Field[Decimal] = field(digits=12, scale=2, unit="USD", low=0)
    tip: Field[Decimal | None] = field(digits=18, scale=0)
    day: Field[date] = field()
    colour: Field[Colour] = field(default=Colour.RED)
    seen: Field[datetime | None] = field(precision="ms")
    tags: Field[list[str]] = field()
    paid: Field[list[Decimal | None]] = field(digits=6, scale=3)
    times: Field[dict[str, datetime]] = field()
    limits: Field[dict[str, float | None] | None] = field()
    paints: Field[list[Colour]] = field(default=["blue"])
    address: Nested[Address] = nested(doc="where to")
    bill: Nested[Address | None] = nested()
    count: Field[int] = field()
    ratio: Field[float] = field()
    ok: Field[bool | None] = field(default=True)
    name: Field[str | None] = field(default="nobody")
    at: Field[datetime] = event_time()


NOON = datetime(2024, 2, 29, 12, 0, 0, 123456, UTC)
ADDRESS = Address(city="Ürümqi", place=Place(lat=43.8))


def order(**changes: Any) -> Order:
    values: dict[str, Any] = {
        "id": UUID(int=1),
        "price": Decimal("12.30"),
        "day": date(2024, 2, 29),
        "tags": [],
        "paid": [],
        "times": {},
        "address": ADDRESS,
        "count": 1,
        "ratio": 0.5,
        "at": NOON,
    }
    return Order(**(values | changes))


def decimals(digits: int, scale: int) -> st.SearchStrategy[Decimal]:
    most = 10**digits - 1
    return st.integers(-most, most).map(lambda units: Decimal(units).scaleb(-scale))


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
TIMES = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5, minutes=-30))]))
TIMES = TIMES.filter(lambda time: datetime(2, 1, 1, tzinfo=UTC) < time < datetime(9999, 1, 1, tzinfo=UTC))
FLOATS = st.floats(allow_nan=False)
PLACES = st.builds(Place, lat=FLOATS, seen=maybe(st.dates()))
ADDRESSES = st.builds(Address, city=TEXT, zip=maybe(TEXT), place=PLACES)
ORDERS = st.builds(
    Order,
    id=st.uuids(),
    price=decimals(12, 2),
    tip=maybe(decimals(18, 0)),
    day=st.dates(),
    colour=st.sampled_from(Colour),
    seen=maybe(TIMES),
    tags=st.lists(TEXT, max_size=3),
    paid=st.lists(maybe(decimals(6, 3)), max_size=3),
    times=st.dictionaries(TEXT, TIMES, max_size=3),
    limits=maybe(st.dictionaries(TEXT, maybe(FLOATS), max_size=3)),
    paints=st.lists(st.sampled_from(Colour), max_size=2),
    address=ADDRESSES,
    bill=maybe(ADDRESSES),
    count=st.integers(-(2**63), 2**63 - 1),
    ratio=FLOATS,
    ok=maybe(st.booleans()),
    name=maybe(TEXT),
    at=TIMES,
)
