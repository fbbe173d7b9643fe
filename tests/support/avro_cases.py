"""Avro records for tests, lawful and broken; and the two paths that read them, side by side."""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from samestream.schemas import avro
from samestream.schemas.errors import SchemaError
from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.columns import ColumnData
from samestream.streams.wire.avro_columns import GOOD, Batch, Program
from samestream.streams.wire.avro_values import Rows
from samestream.streams.wire.avro_wire import Wire
from samestream.streams.wire.decode import MAX_EVENT_BYTES, _Writer

SUITS = {"type": "enum", "name": "Suit", "symbols": ["hearts", "spades", "clubs"]}
HASH = {"type": "fixed", "name": "Hash", "size": 5}


def record(**fields: Any) -> avro.Schema:
    return {"type": "record", "name": "R", "fields": [{"name": name, "type": type_} for name, type_ in fields.items()]}


def with_defaults(schema: avro.Schema, **defaults: Any) -> avro.Schema:
    fields = [
        field | ({"default": defaults[field["name"]]} if field["name"] in defaults else {})
        for field in schema["fields"]
    ]
    return schema | {"fields": fields}


def some(rng: random.Random, type_: Any) -> Any:
    """A random value of a type."""
    if isinstance(type_, list):
        return some(rng, rng.choice(type_))
    name = type_["type"] if isinstance(type_, dict) else type_
    if name in ("int", "long"):
        bits = 31 if name == "int" else 63
        return rng.choice(
            [0, 1, -1, 2**bits - 1, -(2**bits), rng.randint(-100, 100), rng.randint(-(2**bits), 2**bits - 1)]
        )
    if name in ("float", "double"):
        value = rng.choice([0.0, -0.0, 1.5, -3.25, float("inf"), float("nan"), rng.gauss(0, 1e6)])
        return struct.unpack("f", struct.pack("f", value))[0] if name == "float" else value
    return {
        "null": lambda: None,
        "boolean": lambda: rng.random() < 0.5,
        "string": lambda: rng.choice(["", "u", "Ünïcode", "汉字", "🂡x", f"user-{rng.randrange(10**6)}", "x" * 70]),
        "bytes": lambda: rng.choice([b"", b"abc", "é".encode(), b"\xff\xfe"]),
        "fixed": lambda: rng.randbytes(type_["size"]),
        "enum": lambda: rng.choice(type_["symbols"]),
    }[name]()


def lawful(rng: random.Random, schema: avro.Schema, count: int) -> list[bytes]:
    codec = avro.Codec(schema)
    return [codec.encode({field["name"]: some(rng, field["type"]) for field in schema["fields"]}) for _ in range(count)]


def mutated(rng: random.Random, value: bytes, other: bytes) -> bytes:
    """The same bytes after an accident, or two."""
    body = bytearray(value[10:])
    for _ in range(rng.choice([1, 1, 2])):
        at = rng.randrange(len(body) + 1)
        match rng.randrange(8):
            case 0:
                body[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del body[at:]
            case 2:
                body += rng.randbytes(rng.randrange(1, 4))
            case 3:
                del body[at : at + rng.randrange(1, 4)]
            case 4:
                body[at:at] = rng.choice([b"\x80", b"\xff", b"\x80\x00", b"\xff" * 9 + b"\x01", b"\xff" * 12, b"\x01"])
            case 5:
                body[at : at + 1] = bytes([body[at] ^ 1 << rng.randrange(8)]) if at < len(body) else b"\x7f"
            case 6:
                body[at:] = other[10 + at :]
            case 7:
                body[at:] = rng.randbytes(rng.randrange(30))
    return value[:10] + bytes(body)


def general(
    writer: avro.Schema, reader: avro.Schema, columns: dict[str, Kind], values: list[bytes]
) -> list[dict[str, Any] | None]:
    path = _Writer(avro.Reader(writer, reader), Wire(writer), Rows(reader, columns, writer), None)
    found: list[dict[str, Any] | None] = []
    for value in values:
        try:
            found.append(path.read(value))
        except SchemaError:
            found.append(None)
    return found


def assert_same(left: ColumnData, right: ColumnData) -> None:
    assert left.values.dtype == right.values.dtype
    np.testing.assert_array_equal(left.valid, right.valid)
    if left.values.dtype == np.float64:  # by bits: -0.0 is not 0.0
        np.testing.assert_array_equal(left.values.view(np.int64), right.values.view(np.int64))
    else:
        assert left.values.tolist() == right.values.tolist()
        assert list(map(type, left.values.tolist())) == list(map(type, right.values.tolist()))


def compare(
    writer: avro.Schema, reader: avro.Schema, columns: Mapping[str, Any], values: list[bytes], *, exact: bool = True
) -> int:
    """Both paths over the same bytes; returns how many records are dead.

    exact : whether the compiled path must settle every lawful record itself
    """
    kinds = {name: part if isinstance(part, Kind) else part.kind for name, part in columns.items()}
    program = Program.compile(writer, reader, kinds)
    batch = Batch(values, kinds, MAX_EVENT_BYTES)
    batch.run(program)
    expected = general(writer, reader, kinds, values)
    lawful = np.array([row is not None for row in expected], bool)
    settled = batch.status == GOOD
    wrong = np.flatnonzero(settled != lawful if exact else settled & ~lawful)
    assert not len(wrong), (values[wrong[0]].hex(), expected[wrong[0]], batch.status[wrong[0]])
    left = np.flatnonzero(lawful & ~settled).tolist()
    if left:
        batch.fill(left, [row for row in map(expected.__getitem__, left) if row is not None])
    blank = dict.fromkeys(kinds)
    filled = [row if row is not None else blank for row in expected]
    found = batch.finish()
    for name, kind in kinds.items():
        assert_same(found[name], cols.from_values([row[name] for row in filled], kind))
    return sum(row is None for row in expected)
