"""Logical types and nested records on both paths: the same columns, the same dead, and what instances said."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from avro_cases import assert_same, compare, mutated, record, some, with_defaults
from hypothesis import given, settings
from hypothesis import strategies as st
from typed_order import ADDRESS, ADDRESSES, NOON, ORDERS, Address, Colour, Order, order

from samestream.schemas import Event, Field, Nested, avro, event_time, field, key, nested
from samestream.schemas.app import app_of
from samestream.schemas.avro_events import EventCodec, plain_record
from samestream.schemas.kinds import EPOCH, Kind
from samestream.streams.columns import to_python
from samestream.streams.lowering import compile_app
from samestream.streams.plan import Input
from samestream.streams.transport import Fetched, Partition
from samestream.streams.wire.avro_columns import NotCovered, Program
from samestream.streams.wire.avro_values import Rows
from samestream.streams.wire.decode import Decoded, Decoder
from samestream.streams.wire.schema_store import SchemaStore


class Sale(Event, topic="shop.sales"):
    """Every type that the compiled path covers."""

    id: Field[UUID] = key()
    price: Field[Decimal] = field(digits=12, scale=2)
    tip: Field[Decimal | None] = field(digits=18, scale=0)
    day: Field[date | None] = field()
    colour: Field[Colour] = field()
    paint: Field[Colour | None] = field()
    seen: Field[datetime | None] = field(precision="ms")
    address: Nested[Address] = nested()
    bill: Nested[Address | None] = nested()
    name: Field[str | None] = field(default="nobody")
    at: Field[datetime] = event_time(precision="ms")


def input_of(event: type[Event]) -> Input:
    return replace(compile_app(app_of([event], "shop")).events[event.__name__], gate=None)


SALE, ORDER = input_of(Sale), input_of(Order)


def decoded(input: Input, values: list[bytes], keys: list[bytes | None], *schemas: avro.Schema) -> Decoded:
    stamps = np.ones(len(values), np.int64)
    fetched = Fetched(Partition("t", 0), np.arange(len(values)), stamps, keys, values)
    return Decoder(input, SchemaStore(None, "", schemas or [input.schema])).decode(fetched, 0)


def us(time: datetime) -> int:
    return (time - EPOCH) // timedelta(microseconds=1)


def us_of_day(day: date | None) -> int | None:
    return None if day is None else us(datetime(day.year, day.month, day.day, tzinfo=UTC))


def expected(instance: Any) -> dict[str, Any]:
    """The columns of an order or a sale, by what the declaration says, not by how it is done."""
    found: dict[str, Any] = {}
    for name in type(instance).columns:
        value: Any = instance
        units = name.endswith(".minor_units")
        for part in name.removesuffix(".minor_units").split("."):
            value = getattr(value, part) if value is not None else None
        found[name] = column_value(value, units)
    return found


def column_value(value: Any, units: bool = False) -> Any:
    match value:
        case Decimal():
            digits = -int(value.as_tuple().exponent)
            whole = int(value.scaleb(digits))
            return whole if units else float(whole) / 10.0**digits
        case datetime():
            return us(value)
        case date():
            return us_of_day(value)
        case UUID() | Colour():
            return str(value)
        case list():
            return [column_value(part) for part in value]
        case dict():
            return {name: column_value(part) for name, part in value.items()}
    return value


def sale(**changes: Any) -> Sale:
    values = {"id": UUID(int=7), "price": Decimal("-1.28"), "colour": "red", "address": ADDRESS, "at": NOON}
    return Sale(**(values | changes))


SALES = st.builds(
    lambda one, address, bill, paint: Sale(
        id=one.id,
        price=one.price,
        tip=one.tip,
        day=one.day,
        colour=one.colour,
        paint=paint,
        seen=one.seen,
        address=address,
        bill=bill,
        name=one.name,
        at=one.at,
    ),
    ORDERS,
    ADDRESSES,
    st.none() | ADDRESSES,
    st.none() | st.sampled_from(Colour),
)


@pytest.mark.parametrize(
    ("event", "input", "path"), [(Sale, SALE, "compiled"), (Order, ORDER, "general: tags is an array")]
)
def test_each_takes_its_path_and_says_why(event: type[Event], input: Input, path: str) -> None:
    assert Decoder(input, SchemaStore(None, "", [])).path(input.schema) == path


@settings(max_examples=60, deadline=None)
@given(st.lists(SALES, min_size=1, max_size=5), st.lists(ORDERS, min_size=1, max_size=3))
def test_columns_hold_what_instances_say(sales: list[Sale], orders: list[Order]) -> None:
    for input, instances in ((SALE, sales), (ORDER, orders)):
        codec = EventCodec(type(instances[0]))
        values = [codec.encode(one) for one in instances]  # type: ignore[arg-type]
        found = decoded(input, values, [str(one.id).encode() for one in instances])  # type: ignore[attr-defined]
        assert found.deaths == {}
        for name, column in found.columns.items():
            said = [exact(expected(one)[name]) for one in instances]
            assert [exact(value) for value in to_python(column)] == said, name


def exact(value: Any) -> Any:
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, list):
        return [exact(part) for part in value]
    return {name: exact(part) for name, part in value.items()} if isinstance(value, dict) else value


def fuzz(values: list[bytes], seed: int, count: int) -> list[bytes]:
    rng = random.Random(seed)
    return values + [mutated(rng, rng.choice(values), rng.choice(values)) for _ in range(count)]


SALES_LIST = [
    sale(),
    sale(tip=Decimal(10**18 - 1), day=date(1, 1, 1), seen=NOON, paint="blue", name=None),
    sale(bill=ADDRESS, price=Decimal("9999999999.99"), name="Ü"),
    sale(bill=Address(city="", zip="1", place=ADDRESS.place)),
]


def test_both_paths_agree_on_accidents_of_logical_types_and_nested_records() -> None:
    codec = EventCodec(Sale)
    values = fuzz([codec.encode(one) for one in SALES_LIST], 11, 20_000)
    dead = compare(SALE.schema, SALE.schema, SALE.columns, values, exact=False)
    assert 0.3 < dead / len(values) < 0.95


ELDER_PLACE = {"type": "record", "name": "Place", "fields": [{"name": "lat", "type": "float"}]}
ELDER_ADDRESS = {
    "type": "record",
    "name": "Address",
    "fields": [
        {"name": "place", "type": ELDER_PLACE},
        {"name": "lost", "type": ["null", "bytes"]},
        {"name": "city", "type": "string"},
    ],
}
LOST = {
    "type": "record",
    "name": "Lost",
    "fields": [{"name": "more", "type": ["null", "Address"]}, {"name": "n", "type": "int"}],
}
ELDER = {
    "type": "record",
    "name": "Sale",
    "fields": [
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "colour", "type": {"type": "enum", "name": "Colour", "symbols": ["green", "blue", "red"]}},
        {"name": "bill", "type": [ELDER_ADDRESS, "null"]},
        {"name": "lost", "type": ["null", LOST]},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
        {"name": "id", "type": "string"},
        {"name": "address", "type": "Address"},
        {"name": "day", "type": "int"},
    ],
}


def test_the_compiled_path_settles_what_our_own_producers_write() -> None:
    codec = EventCodec(Sale)
    assert compare(SALE.schema, SALE.schema, SALE.columns, [codec.encode(one) for one in SALES_LIST] * 100) == 0


def test_both_paths_agree_on_an_older_writer_of_another_shape() -> None:
    rng = random.Random(12)
    codec = avro.Codec(ELDER)

    def address() -> dict[str, Any]:
        return {"place": {"lat": some(rng, "float")}, "lost": some(rng, ["null", "bytes"]), "city": some(rng, "string")}

    def one() -> dict[str, Any]:
        return {
            "at": some(rng, "long"),
            "colour": rng.choice(["green", "blue", "red"]),
            "bill": rng.choice([None, address()]),
            "lost": rng.choice([None, {"more": rng.choice([None, address()]), "n": 1}]),
            "price": rng.randbytes(rng.choice([0, 1, 4, 5, 8, 9])),
            "id": rng.choice([str(UUID(int=5)), "A" * 36, str(UUID(int=2**128 - 1)).upper(), "x"]),
            "address": address(),
            "day": some(rng, "int"),
        }

    values = fuzz([codec.encode(one()) for _ in range(3000)], 13, 10_000)
    dead = compare(ELDER, SALE.schema, SALE.columns, values, exact=False)
    assert 0.5 < dead / len(values) < 0.99


def test_times_are_in_their_writers_unit_and_decimals_of_other_digits_are_refused() -> None:
    micros = record(at={"type": "long", "logicalType": "timestamp-micros"})
    millis = record(at={"type": "long", "logicalType": "timestamp-millis"})
    days = record(at={"type": "int", "logicalType": "date"})
    for writer, plain, read in (
        (micros, 5_000, 5_000),
        (millis, 5, 5_000),
        (days, 2, 172_800_000_000),
        (record(at="int"), 5, 5),
    ):
        value = avro.Codec(writer).encode({"at": plain})
        assert compare(writer, micros, {"at": Kind.TIME}, [value]) == 0
        assert Rows(micros, ["at"], writer).row({"at": plain}) == {"at": read}
    far = avro.Codec(millis).encode({"at": 2**62})
    assert compare(millis, micros, {"at": Kind.TIME}, [far]) == 1

    cents = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 3}
    other = with_defaults(SALE.schema)
    other["fields"] = [part | ({"type": cents} if part["name"] == "price" else {}) for part in other["fields"]]
    other["doc"] = "another"
    with pytest.raises(NotCovered, match="price has other digits"):
        Program.compile(other, SALE.schema, SALE.columns)
    found = decoded(SALE, [avro.Codec(other).encode(plain_record(sale()))], [str(UUID(int=7)).encode()], other)
    assert found.deaths[0] == ("wrong_schema", "price: decimal(12, 3), not decimal(12, 2)")


@pytest.mark.parametrize(
    ("name", "plain", "reason", "detail"),
    [
        (
            "price",
            (10**12).to_bytes(8, "big"),
            "invalid_value",
            "price: 0x000000e8d4a51000 has more than 12 digits, or none",
        ),
        ("price", b"", "invalid_value", "price: 0x has more than 12 digits, or none"),
        ("id", "x" * 36, "invalid_value", "id: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' is no UUID"),
        ("at", 2**62, "invalid_value", "at: 4611686018427387904 is a time beyond 64 bits of microseconds"),
    ],
)
def test_values_outside_their_type_are_dead_with_a_reason(name: str, plain: Any, reason: str, detail: str) -> None:
    value = avro.Codec(SALE.schema).encode(plain_record(sale()) | {name: plain})
    found = decoded(SALE, [value, EventCodec(Sale).encode(sale())], [str(UUID(int=7)).encode()] * 2)
    assert found.deaths == {0: (reason, detail)}


def test_a_symbol_that_nobody_declared_is_dead() -> None:
    colours = {"type": "enum", "name": "Colour", "symbols": ["red", "blue", "green"]}
    writer = with_defaults(SALE.schema)
    writer["fields"] = [part | ({"type": colours} if part["name"] == "colour" else {}) for part in writer["fields"]]
    value = avro.Codec(writer).encode(plain_record(sale()) | {"colour": "green"})
    found = decoded(SALE, [value], [str(UUID(int=7)).encode()], writer)
    assert found.deaths[0][0] == "undecodable"
    assert "green not found in reader symbol list" in found.deaths[0][1]


@settings(max_examples=100, deadline=None)
@given(ORDERS)
def test_rows_and_records_there_and_back(instance: Order) -> None:
    rows = Rows(ORDER.schema, ORDER.columns)
    row = rows.row(plain_record(instance))
    assert rows.row(rows.record(row)) == row
    avro.Codec(ORDER.schema).encode(rows.record(row))


def test_lists_and_maps_beside_the_compiled_path() -> None:
    """A union's array costs only the records that have one; what is in it is read as its type says."""
    schema = record(tags=["null", {"type": "array", "items": ["null", "double"]}], n="long")
    codec = avro.Codec(schema)
    values = [codec.encode({"tags": tags, "n": 1}) for tags in (None, [1.5, None, float("nan")], [])]
    columns = {"tags": Kind.LIST, "n": Kind.INT}
    assert compare(schema, schema, columns, values, exact=False) == 0
    assert Rows(schema, columns).row({"tags": [1.5, None, float("nan")], "n": 1})["tags"] == [1.5, None, None]
    assert_same(*[decoded_tags(schema, columns, values) for _ in range(2)])


def decoded_tags(schema: avro.Schema, columns: dict[str, Kind], values: list[bytes]) -> Any:
    input = Input("R", "r", schema, columns, frozenset({"tags"}), "", "n")
    found = decoded(input, values, [None] * len(values)).columns["tags"]
    assert to_python(found) == [None, [1.5, None, None], []]
    return found


def test_an_order_survives_the_general_path_whole() -> None:
    found = decoded(
        ORDER, [EventCodec(Order).encode(order(tags=["a"], limits={"x": None}))], [str(UUID(int=1)).encode()]
    )
    assert found.deaths == {}
    assert to_python(found.columns["tags"]) == [["a"]]
    assert to_python(found.columns["bill.place.lat"]) == [None]


def test_accidents_of_lists_maps_and_the_rest_never_end_the_decoder() -> None:
    """Whatever the bytes, a record is in the columns or dead with a reason."""
    instances = [order(), order(tags=["a", "Ü"], limits={"x": None, "y": 1.5}, bill=ADDRESS, times={"now": NOON})]
    values = fuzz([EventCodec(Order).encode(one) for one in instances], 21, 6000)
    found = decoded(ORDER, values, [str(UUID(int=1)).encode()] * len(values))
    assert {reason for reason, _ in found.deaths.values()} <= {
        "undecodable",
        "invalid_value",
        "key_mismatch",
        "empty_value",
    }
    assert 0.2 < found.dead.mean() < 0.95
    assert set(found.deaths) == set(np.flatnonzero(found.dead).tolist())
    for row in np.flatnonzero(~found.dead).tolist():
        assert isinstance(found.columns["tags"].values[row], list)
        assert isinstance(found.columns["times"].values[row], dict)
