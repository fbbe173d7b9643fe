"""Packed values are the list they were made of, whatever is asked of them, and decode to the same columns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samestream.schemas import avro
from samestream.schemas.expressions import Kind
from samestream.streams.plan import Input
from samestream.streams.transport import Fetched, Partition
from samestream.streams.wire.decode import Decoder
from samestream.streams.wire.packed import Packed
from samestream.streams.wire.schema_store import SchemaStore

SCHEMA: avro.Schema = {
    "type": "record",
    "name": "Sale",
    "fields": [{"name": "shop", "type": "string"}, {"name": "price", "type": ["null", "double"]}],
}
INPUT = Input("Sale", "sales", SCHEMA, {"shop": Kind.STRING, "price": Kind.FLOAT}, frozenset({"price"}), "shop", "")


@given(st.lists(st.none() | st.binary(max_size=5)), st.data())
def test_packed_values_are_the_list(values: list[bytes | None], data: st.DataObject) -> None:
    packed = Packed.of(values)
    assert packed == values
    assert [packed[at] for at in range(len(values))] == values
    start, stop = data.draw(st.integers(-1, len(values) + 1)), data.draw(st.integers(-1, len(values) + 1))
    part = packed[start:stop]
    assert isinstance(part, Packed)
    assert part == values[start:stop]
    assert list(part[1:]) == values[start:stop][1:]
    assert part.lengths.tolist() == [len(value or b"") for value in values[start:stop]]
    assert len(packed.data) > 0


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(IndexError):
        Packed.of([b"a"])[1]
    with pytest.raises(ValueError, match="step"):
        Packed.of([b"a"])[::2]


@settings(deadline=None)  # the first one compiles
@given(st.lists(st.sampled_from(["good", "mangled", "null", "empty", "long", "other key", "no key"]), max_size=12))
def test_packed_records_decode_as_lists_do(kinds: list[str]) -> None:
    good = avro.Codec(SCHEMA).encode({"shop": "a", "price": 1.5})
    made = {"mangled": good[:-1], "null": None, "empty": b"", "long": good + bytes(1 << 20)}
    values = [made.get(kind, good) for kind in kinds]
    keys = [{"other key": b"b", "no key": None}.get(kind, b"a") for kind in kinds]
    rows = np.arange(len(kinds))
    found = []
    for packed in (False, True):
        # a slice of more, so that the bytes do not begin where the buffer does
        every = (Packed.of([b"zz", *keys])[1:], Packed.of([good, *values])[1:]) if packed else (keys, values)
        fetched = Fetched(Partition("sales", 0), rows, rows * 1000, *every)
        found.append(Decoder(INPUT, SchemaStore(None, "", [SCHEMA])).decode(fetched, 0))
    plain, quick = found
    assert quick.deaths == plain.deaths
    assert quick.dead.tolist() == plain.dead.tolist()
    assert set(plain.deaths) == {row for row, kind in enumerate(kinds) if kind != "good"}
    for name, column in plain.columns.items():
        assert quick.columns[name].values.tolist() == column.values.tolist()
        assert quick.columns[name].valid.tolist() == column.valid.tolist()
    assert quick.slice(1, 3).values == plain.slice(1, 3).values
