"""Types of fields: what they accept, how they are written, and that nothing changes on the way there and back."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from typed_order import NOON, ORDERS, Address, Colour, Order, Place, order

from samestream.schemas import Event, Field, Nested, Record, Table, event_time, field, key, nested
from samestream.schemas.avro_events import EventCodec, plain_record
from samestream.schemas.avro_schemas import event_schema
from samestream.schemas.errors import DeclarationError, SchemaError, ValueRefusedError
from samestream.schemas.expressions import Kind


@settings(max_examples=200, deadline=None)
@given(ORDERS)
def test_an_event_of_every_type_is_the_same_there_and_back(instance: Order) -> None:
    codec = EventCodec(Order)
    found = codec.decode(codec.encode(instance))
    assert found == instance
    assert isinstance(found.colour, Colour)
    assert found.price.as_tuple().exponent == -2


def test_the_schema_says_it_all() -> None:
    schema = event_schema(Order)
    said = {part["name"]: {k: v for k, v in part.items() if k != "name"} for part in schema["fields"]}
    assert (schema["doc"], schema["owner"], schema["tags"]) == ("Somebody buys.", "shop-team", ["sales", "core"])
    assert said["id"]["type"] == {"type": "string", "logicalType": "uuid"}
    assert said["price"] == {
        "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2},
        "unit": "USD",
        "low": 0,
    }
    assert said["day"]["type"] == {"type": "int", "logicalType": "date"}
    enum = {"type": "enum", "name": "Colour", "symbols": ["red", "blue"]}
    assert said["colour"] == {"type": enum, "default": "red"}
    assert said["paints"] == {"type": {"type": "array", "items": "Colour"}, "default": ["blue"]}
    assert said["seen"] == {"type": ["null", {"type": "long", "logicalType": "timestamp-millis"}], "default": None}
    assert said["limits"]["type"] == ["null", {"type": "map", "values": ["null", "double"]}]
    assert said["name"] == {"type": ["string", "null"], "default": "nobody"}
    city, _, place = said["address"]["type"]["fields"]
    assert (said["address"]["doc"], city["doc"]) == ("where to", "where the post goes")
    assert (place["type"]["doc"], place["type"]["owner"]) == ("A point on earth.", "maps")
    assert said["bill"] == {"type": ["null", "Address"], "default": None}


def test_columns_are_flat_and_of_the_kinds_of_expressions() -> None:
    kinds = {name: (part.kind, part.item, part.nullable) for name, part in Order.columns.items()}
    assert kinds["price"] == (Kind.FLOAT, None, False)
    assert kinds["price.minor_units"] == (Kind.INT, None, False)
    assert kinds["day"] == (Kind.TIME, None, False)
    assert kinds["paid"] == (Kind.LIST, Kind.FLOAT, False)
    assert kinds["times"] == (Kind.MAP, Kind.TIME, False)
    assert kinds["address.place.lat"] == (Kind.FLOAT, None, False)
    assert kinds["bill.place.lat"] == (Kind.FLOAT, None, True)
    assert "bill" not in kinds
    assert Order.colour.symbols == ("red", "blue")
    assert repr(Order.address.city) == "Order.address.city"
    assert Order.address.city.event is Order
    assert Order.price.minor_units().name == "price.minor_units"


def test_an_instance_holds_values_and_defaults_of_its_own() -> None:
    one, other = order(), order()
    assert (one.colour, one.name, one.ok, one.tip, one.paints) == (Colour.RED, "nobody", True, None, [Colour.BLUE])
    one.paints.append(Colour.RED)
    assert other.paints == [Colour.BLUE]
    assert one.address.city == "Ürümqi"
    assert order(seen=NOON).seen == datetime(2024, 2, 29, 12, 0, 0, 123000, UTC)
    assert order(colour="blue").colour is Colour.BLUE
    assert plain_record(order(price=Decimal("-1.28")))["price"] == b"\x80"


def test_on_a_value_that_does_not_fit_the_whole_message() -> None:
    with pytest.raises(ValueRefusedError) as caught:
        order(price=1.5)
    assert str(caught.value) == (
        "Order.price: a value does not fit its field\n"
        "Found: 1.5 (float), which is no Decimal\n"
        "Expected: Decimal\n"
        "Hint: pass a Decimal."
    )


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"price": Decimal("0.001")}, "Decimal('0.001') (Decimal), which has more than 2 digits after the point"),
        ({"price": Decimal("1e10")}, "Decimal('1E+10') (Decimal), which has more than 12 digits"),
        ({"price": Decimal("1e999999")}, "Decimal('1E+999999') (Decimal), which has more than 12 digits"),
        ({"price": Decimal("NaN")}, "Decimal('NaN') (Decimal), which is no number"),
        ({"price": None}, "None (NoneType), which is no Decimal"),
        ({"id": "1"}, "'1' (str), which is no UUID"),
        ({"day": NOON}, "which is no date"),
        ({"at": datetime(2024, 1, 1)}, "which has no time zone"),
        ({"colour": "green"}, "'green' (str), which is none of red, blue"),
        ({"count": 2**63}, "which does not fit 64 bits"),
        ({"count": True}, "True (bool), which is no whole number"),
        ({"ratio": float("nan")}, "nan (float), which is no number: streams read a NaN as null"),
        ({"ratio": 10**400}, "which does not fit a float"),
        ({"tags": "abc"}, "'abc' (str), which is no list"),
        ({"tags": ["a", 1]}, "which element 1: 1 is no text"),
        ({"times": {1: NOON}}, "which key 1: 1 is no text"),
        ({"times": {"a": None}}, "which at 'a': None is no datetime"),
        ({"name": "\ud800"}, "which cannot be written as UTF-8"),
        ({"address": {"city": "x"}}, "{'city': 'x'} (dict)"),
        ({"address": None}, "None (NoneType)"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], found: str) -> None:
    with pytest.raises(ValueRefusedError) as caught:
        order(**changes)
    assert caught.value.where == f"Order.{next(iter(changes))}"
    assert found in str(caught.value.found)
    assert caught.value.hint
    assert caught.value.expected


def test_also_when_it_is_set_later_or_deep_inside() -> None:
    one = order()
    with pytest.raises(ValueRefusedError, match=r"Order\.count: a value does not fit"):
        one.count = "2"  # type: ignore[assignment]
    with pytest.raises(ValueRefusedError, match=r"Place\.lat: a value is missing\nExpected: float\nHint: pass lat="):
        Place()  # type: ignore[call-arg]
    with pytest.raises(ValueRefusedError, match=r"Order\.prise: no such field\nFound: prise"):
        order(prise=1)
    with pytest.raises(ValueRefusedError, match=r"Order\.address: a value is missing\nExpected: Address"):
        Order(
            id=UUID(int=1), price=Decimal(1), day=NOON.date(), tags=[], paid=[], times={}, count=1, ratio=1.0, at=NOON
        )  # type: ignore[call-arg]


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ValueRefusedError) as caught:
        Place(lat="north", sen=1, seen=2)  # type: ignore[arg-type, call-arg]
    assert str(caught.value) == (
        "Place: 3 values do not fit\n"
        "Found: Place.sen: sen; Place.lat: 'north' (str), which is no number; Place.seen: 2 (int), which is no date\n"
        "Expected: Place.sen: lat, seen; Place.lat: float; Place.seen: date | None\n"
        "Hint: compare them with the fields that Place declares."
    )


def test_a_nan_is_null_where_there_may_be_none() -> None:
    assert order(tip=float("nan")).tip is None


def test_bytes_outside_a_logical_type_are_told() -> None:
    codec = EventCodec(Order)
    for name, plain, said in (
        ("price", (10**12).to_bytes(8, "big"), "has more than 12 digits"),
        ("day", 2**31 - 1, "is outside the years 1 to 9999"),
        ("id", "no uuid", "badly formed"),
    ):
        with pytest.raises(SchemaError) as caught:
            codec.decode(codec.codec.encode(plain_record(order()) | {name: plain}))
        assert caught.value.where == f"Order.{name}"
        assert said in str(caught.value.found)


class Dash(StrEnum):
    A_B = "a-b"


class Empty(StrEnum):
    pass


@pytest.mark.parametrize(
    ("hint", "made", "message"),
    [
        (Field[Decimal], field(), "x.a: a Decimal needs its digits\nFound: digits=None, scale=None\nExpected: digits="),
        (Field[Decimal], field(digits=19, scale=2), "x.a: a Decimal needs its digits\nFound: digits=19, scale=2"),
        (Field[Decimal], field(digits=3, scale=4), "x.a: a Decimal needs its digits\nFound: digits=3, scale=4"),
        (Field[int], field(digits=3), "x.a: an option means nothing for this type\nFound: digits on int\nExpected: "),
        (Field[str], field(precision="ms"), "x.a: an option means nothing for this type\nFound: precision on str\n"),
        (Field[datetime], field(precision="ns"), 'x.a: no such precision\nFound: \'ns\'\nExpected: "us" or "ms"\n'),
        (Field[Dash], field(), "x.a: an enum's symbols are names in Avro\nFound: 'a-b'\nExpected: letters"),
        (Field[Empty], field(), "x.a: an enum's symbols are names in Avro\nFound: no member of Empty\n"),
        (
            Field[list[list[int]]],
            field(),
            "x.a: a field needs a type that Avro knows\nFound: list[int]\nExpected: str,",
        ),
        (Field[dict[int, str]], field(), "x.a: a field needs a type that Avro knows\nFound: dict[int, str]\n"),
        (Field[complex], field(), "x.a: a field needs a type that Avro knows\nFound: complex\n"),
        (Field[int | str], field(), "x.a: a field needs a type that Avro knows\n"),
        (
            Field[int],
            field(default="1"),
            "x.a: the default does not fit the field\nFound: '1' (str), which is no whole",
        ),
        (Field[int], field(default=None), "x.a: the default does not fit the field\nFound: None (NoneType)"),
        (Nested[Colour], nested(), "x.a: a nested field needs its record\n"),
        (Field[int], nested(), "x.a: a nested field needs its record\n"),
        (
            Nested[Place],
            None,
            "x.a: a field is annotated but not declared\nFound: no value\nExpected: nested()\nHint: a: ... = nested().",
        ),
    ],
)
def test_wrong_declarations(hint: Any, made: Any, message: str) -> None:
    body = {
        "__annotations__": {"id": Field[str], "a": hint, "at": Field[datetime]},
        "id": key(),
        "at": event_time(),
    }
    with pytest.raises(DeclarationError) as caught:
        type("x", (Event,), body | ({} if made is None else {"a": made}), topic="t")
    assert str(caught.value).startswith(message)


def test_a_record_is_no_event() -> None:
    with pytest.raises(
        DeclarationError, match=r"Address\.city: a record's field is read through the event that nests it"
    ):
        _ = Address.city
    with pytest.raises(DeclarationError, match=r"Bad\.id: keys and event times belong to the event\nFound: key\(\)"):
        type("Bad", (Record,), {"__annotations__": {"id": Field[str]}, "id": key()})
    with pytest.raises(DeclarationError, match=r"Bad: a record is made of fields\nFound: none"):
        type("Bad", (Record,), {})
    with pytest.raises(DeclarationError, match=r"Order\.count: only a Decimal has minor units\nFound: int"):
        Order.count.minor_units()
    with pytest.raises(AttributeError):
        _ = Order.address.town  # type: ignore[attr-defined]


class Shop(Table, topic="shop.shops"):
    id: Field[str] = key()
    address: Nested[Address] = nested()


def test_nested_fields_of_a_table_are_looked_up_like_others() -> None:
    found = Shop.of(Order.name).address
    assert repr(found.city) == "Shop.of(Order.name).address.city"
    assert repr(found.place.lat) == "Shop.of(Order.name).address.place.lat"
