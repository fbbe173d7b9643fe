"""Evolution against fastavro itself: what is compatible is read whatever was written; what is not fails on some record."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from samestream.schemas import avro
from samestream.schemas.avro_names import Names, kind_of_type
from samestream.schemas.errors import SchemaError
from samestream.schemas.evolution import Level, Violation, check, violations

LEAVES = ["boolean", "int", "long", "float", "double", "string", "bytes"]


class Maker:
    """Random schemas, random changes to them, and random records of them."""

    def __init__(self, seed: int) -> None:
        self.rng, self.count = random.Random(seed), 0

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def record(self, depth: int = 2) -> dict[str, Any]:
        fields = [{"name": self.name("f"), "type": self.type(depth)} for _ in range(self.rng.randint(1, 4))]
        return {"type": "record", "name": self.name("R"), "fields": fields}

    def type(self, depth: int) -> Any:
        kind = self.rng.choice(["leaf"] * 4 + ["enum", "fixed", "null"] + ["record", "array", "map"] * (depth > 0))
        match kind:
            case "leaf":
                return self.rng.choice(LEAVES)
            case "enum":
                return {"type": "enum", "name": self.name("E"), "symbols": ["a", "b", "c"][: self.rng.randint(1, 3)]}
            case "fixed":
                return {"type": "fixed", "name": self.name("F"), "size": 2}
            case "null":
                inner = self.type(depth - 1)
                return ["null", inner] if not isinstance(inner, list) else inner
            case "record":
                return self.record(depth - 1)
            case "array":
                return {"type": "array", "items": self.type(depth - 1)}
        return {"type": "map", "values": self.type(depth - 1)}

    def changed(self, type_: Any) -> Any:
        """The same type after somebody's edit, or none."""
        if isinstance(type_, list):
            inner = next(part for part in type_ if part != "null")
            new = self.changed(inner)
            return self.rng.choice([new if isinstance(new, list) else ["null", new], new, [inner, "null"]])
        if isinstance(type_, str):
            if self.rng.random() < 0.4:
                return self.rng.choice([self.rng.choice(LEAVES), ["null", type_], ["null", self.rng.choice(LEAVES)]])
            return type_
        new = copy.deepcopy(type_)
        match type_["type"]:
            case "record":
                self.edit(new)
            case "enum":
                if self.rng.random() < 0.5:
                    new["symbols"] = self.rng.choice([["a"], ["c", "a"], ["a", "b", "c", "d"]])
                if self.rng.random() < 0.3:
                    new["default"] = new["symbols"][0]
            case "fixed":
                new["size"] = self.rng.choice([2, 2, 3])
            case "array":
                new["items"] = self.changed(type_["items"])
            case "map":
                new["values"] = self.changed(type_["values"])
        if "name" in new and self.rng.random() < 0.2:
            new["name"] += "x"
            if self.rng.random() < 0.5:
                new["aliases"] = [type_["name"]]
        return new

    def edit(self, record: dict[str, Any]) -> None:
        for field in list(record["fields"]):
            if self.rng.random() < 0.4:
                field["type"] = self.changed(field["type"])
            if self.rng.random() < 0.1:
                record["fields"].remove(field)
            elif self.rng.random() < 0.1:
                field["aliases"] = [field["name"]]
                field["name"] += "y"
        if self.rng.random() < 0.3:
            default = {"default": 7} if self.rng.random() < 0.5 else {}
            record["fields"].append({"name": self.name("n"), "type": "long", **default})
        self.rng.shuffle(record["fields"])

    def value(self, type_: Any) -> Any:
        if isinstance(type_, list):
            return self.value(self.rng.choice(type_))
        match kind_of_type(type_):
            case "null":
                return None
            case "boolean":
                return self.rng.random() < 0.5
            case "int" | "long":
                return self.rng.randint(-5, 5)
            case "float" | "double":
                return float(self.rng.randint(-5, 5))
            case "string":
                return "text"
            case "bytes":
                return b"bytes"
            case "enum":
                return self.rng.choice(type_["symbols"])
            case "fixed":
                return bytes(type_["size"])
            case "array":
                return [self.value(type_["items"]) for _ in range(3)]
            case "map":
                return {str(number): self.value(type_["values"]) for number in range(3)}
        return {field["name"]: self.value(field["type"]) for field in type_["fields"]}


def unreadable(writer: avro.Schema, reader: avro.Schema, maker: Maker, count: int) -> int:
    codec, failed = avro.Codec(writer), 0
    path = avro.Reader(writer, reader)
    # the order of fields and names decides nothing that a reader of one fingerprint would do
    for _ in range(count):
        try:
            path.read(codec.encode(maker.value(writer)))
        except SchemaError:
            failed += 1
    return failed


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**32))
def test_what_is_compatible_is_read_and_what_is_not_fails(seed: int) -> None:
    maker = Maker(seed)
    writer = maker.record()
    reader = copy.deepcopy(writer)
    maker.edit(reader)
    assume(reader["fields"])
    found = violations(writer, reader)
    failed = unreadable(writer, reader, maker, 10 if not found else 120)
    if found:
        assert failed, [part.line for part in found]
    else:
        assert not failed


def rec(*fields: Any, name: str = "Order") -> avro.Schema:
    return {"type": "record", "name": name, "namespace": "shop", "fields": list(fields)}


def f(name: str, type_: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type_, **more}


MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}
COLOUR = {"type": "enum", "name": "Colour", "symbols": ["red", "blue"]}
ADDRESS = rec(f("city", "string"), name="Address")
KEEPS = "a field keeps its type: add another field, with a default, and retire this one."


def money(digits: int, scale: int) -> Any:
    return {"type": "bytes", "logicalType": "decimal", "precision": digits, "scale": scale}


@pytest.mark.parametrize(
    ("writer", "reader", "line"),
    [
        (rec(), rec(f("a", "int")), "Order.a: found no such field in what was written; expected a field with a default. "
         "Hint: give it a default, or declare it `| None`."),
        (rec(f("a", "string")), rec(f("a", "int")), f"Order.a: found string; expected int. Hint: {KEEPS}"),
        (rec(f("a", "double")), rec(f("a", "long")), f"Order.a: found double; expected long. Hint: {KEEPS}"),
        (rec(f("a", ["null", "int"])), rec(f("a", "int")), "Order.a: found null; expected int. Hint: it may be null in what "
         "was written: keep it `| None`."),
        (rec(f("a", "int")), rec(f("a", ["null", "string"])), "Order.a: found int; expected null or string. Hint: a value "
         "once written stays readable: keep its type in the union."),
        (rec(f("a", COLOUR)), rec(f("a", COLOUR | {"symbols": ["red"]})), "Order.a: found symbols blue; expected one of red. "
         "Hint: keep the symbols; new ones are known to readers first."),
        (rec(f("a", COLOUR)), rec(f("a", COLOUR | {"name": "Paint"})), "Order.a: found enum Colour; expected enum Paint. "
         "Hint: a type keeps its name."),
        (rec(f("a", ADDRESS)), rec(f("a", rec(f("city", "string"), f("zip", "string"), name="Address"))),
         "Order.a.zip: found no such field in what was written; expected a field with a default. Hint: give it a default, or "
         "declare it `| None`."),
        (rec(f("a", {"type": "array", "items": "string"})), rec(f("a", {"type": "array", "items": "int"})),
         f"Order.a[]: found string; expected int. Hint: {KEEPS}"),
        (rec(f("a", {"type": "map", "values": "long"})), rec(f("a", {"type": "map", "values": "int"})),
         f"Order.a{{}}: found long; expected int. Hint: {KEEPS}"),
        (rec(f("a", money(12, 2))), rec(f("a", money(12, 3))), "Order.a: found decimal(12, 2); expected decimal(12, 3). Hint: "
         "a decimal keeps its digits and scale: add another field."),
        (rec(f("a", MILLIS)), rec(f("a", MICROS)), "Order.a: found timestamp-millis; expected timestamp-micros. Hint: what a "
         "number means cannot change: add another field."),
        (rec(), rec(name="Purchase"), "Order: found record Order; expected record Purchase. Hint: a type keeps its name."),
    ],
)  # fmt: skip
def test_each_violation_is_named_with_a_hint(writer: Any, reader: Any, line: str) -> None:
    assert [part.line for part in violations(writer, reader)] == [line]


@pytest.mark.parametrize(
    ("writer", "reader"),
    [
        (rec(f("a", "int")), rec(f("a", "double"))),
        (rec(f("a", "int"), f("b", "int")), rec(f("b", ["null", "long"]))),
        (rec(), rec(f("a", ["null", "string"], default=None))),
        (rec(f("old", "int")), rec(f("new", "int", aliases=["old"]))),
        (rec(f("a", COLOUR)), rec(f("a", COLOUR | {"symbols": ["red"], "default": "red"}))),
        (rec(name="Purchase"), rec() | {"aliases": ["Purchase"]}),
        (rec(f("a", ["null", "Order"])), rec(f("a", ["null", "shop.Order"]))),
        (rec(f("a", ADDRESS), f("b", "Address")), rec(f("b", ADDRESS), f("a", "shop.Address"))),
    ],
)
def test_what_the_specification_allows(writer: Any, reader: Any) -> None:
    assert violations(writer, reader) == []


def test_levels_look_where_they_say() -> None:
    first, second, third = (
        rec(f("a", "int")),
        rec(f("a", "int"), f("b", "int", default=0)),
        rec(f("b", "int"), f("c", "int", default=0)),
    )

    def found(level: str) -> list[tuple[str, str]]:
        return [(part.path, part.reading) for part in check(third, [first, second], Level(level))]

    backward = ("Order.b", "the new schema reads version 1")
    forward = [("Order.a", f"version {number} reads the new schema") for number in (1, 2)]
    assert found("none") == []
    assert found("backward") == []
    assert found("backward_transitive") == [backward]
    assert found("forward") == [forward[1]]
    assert found("forward_transitive") == forward
    assert found("full") == [forward[1]]
    assert found("full_transitive") == [backward, *forward]
    assert check(third, [], Level.FULL) == []


def test_a_violation_says_who_reads_whom() -> None:
    (one,) = check(rec(f("a", "int")), [rec()], Level.FULL)
    assert isinstance(one, Violation)
    assert one.line.startswith("Order.a (the new schema reads the old schema): found no such field")


def test_names_are_full_and_followed() -> None:
    inner = {"type": "record", "name": "other.Inner", "fields": [f("next", ["null", "Inner"]), f("back", "shop.Order")]}
    names = Names(rec(f("a", inner), f("b", "other.Inner")))
    assert set(names.types) == {"shop.Order", "other.Inner"}
    assert names.members(names.schema["fields"][1]["type"])[0]["fields"][0]["type"] == ["null", "other.Inner"]
