"""What compiled code writes is, byte for byte, what fastavro writes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samestream.schemas.avro import Codec
from samestream.schemas.avro_schemas import avro_type
from samestream.schemas.errors import SchemaError
from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.transport import Outgoing
from samestream.streams.wire import encode
from samestream.streams.wire.encode import Coded, Constant, RecordEncoder
from samestream.streams.wire.packed import Packed
from samestream.streams.wire.parcel import Parcel
from tests.support.made_columns import LISTS, MAPS, SCALARS, VALUES


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """A schema of made-up fields, a column for each, and the same as records."""
    rows = draw(st.integers(0, 6))
    fields: list[dict[str, Any]] = []
    columns: dict[str, Any] = {}
    records: list[dict[str, Any]] = [{} for _ in range(rows)]
    for number, type_ in enumerate(draw(st.lists(st.sampled_from([*SCALARS, *LISTS, *MAPS]), max_size=6))):
        name, nullable = f"f{number}", draw(st.booleans())
        written = avro_type(type_.kind, nullable, type_.item)
        if nullable and draw(st.booleans()):
            written = written[::-1]  # as where the default is not null
        possible = [value for value in VALUES[type_] if nullable or value is not None]
        drawn = draw(st.lists(st.sampled_from(possible), min_size=rows, max_size=rows))
        column = cols.from_values(drawn, type_.kind)
        fields.append({"name": name, "type": written})
        columns[name] = column
        for record, value in zip(records, cols.to_python(column), strict=True):
            record[name] = value
        if draw(st.booleans()):
            fields.append({"name": f"{name}_coded", "type": written})
            codes = draw(st.lists(st.integers(0, len(possible) - 1), min_size=rows, max_size=rows))
            is_constant = draw(st.booleans())
            columns[f"{name}_coded"] = Constant(possible[0]) if is_constant else Coded(possible, np.array(codes, int))
            for record, code in zip(records, codes, strict=True):
                record[f"{name}_coded"] = possible[0 if is_constant else code]
    return {"type": "record", "name": "Made", "fields": fields}, columns, records


@settings(max_examples=200, deadline=None)
@given(tables())
def test_the_bytes_are_those_of_fastavro(made: tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]) -> None:
    schema, columns, records = made
    found = RecordEncoder(schema).encode(columns, len(records))
    assert list(found) == [Codec(schema).encode(record) for record in records]


@pytest.mark.parametrize("values", [[0, 1, -1, 10, -10, 99, 2**63 - 1, -(2**63)], ["", "a", "é", "𝄞"], [True, False]])
def test_keys_are_those_of_python(values: list[Any]) -> None:
    kind = {int: Kind.INT, str: Kind.STRING, bool: Kind.BOOL}[type(values[0])]
    assert list(encode.keys_of(cols.from_values(values, kind))) == [encode.encode_key(value) for value in values]


def test_a_value_that_is_missing_names_its_field() -> None:
    schema = {"type": "record", "name": "Made", "fields": [{"name": name, "type": "long"} for name in ("a", "b")]}
    columns = {"a": cols.from_values([1, 2], Kind.INT), "b": cols.from_values([1, None], Kind.INT)}
    with pytest.raises(SchemaError, match=r"Made\.b") as refused:
        RecordEncoder(schema).encode(columns, 2)
    assert "record 1" in str(refused.value)


def test_only_what_is_no_number_condition_or_text_is_written_in_python() -> None:
    types = {type_: avro_type(type_.kind, nullable, type_.item) for nullable in (0, 1) for type_ in [*SCALARS, *LISTS]}
    for type_, written in types.items():
        encoder = RecordEncoder({"type": "record", "name": "Made", "fields": [{"name": "f", "type": written}]})
        assert encoder.in_python == (["f"] if type_ in LISTS else [])


@settings(deadline=None)  # the first compiles
@given(st.lists(st.binary(max_size=5)), st.binary(max_size=12), st.binary(max_size=12))
def test_a_parcel_gets_another_header(bodies: list[bytes], old: bytes, new: bytes) -> None:
    count = len(bodies)
    values = Packed.of([old + body for body in bodies])
    parcel = Parcel("t", Packed.of([b"k"] * count), values, np.full(count, 7), np.full(count, -1))
    assert list(parcel.reheaded(old, new)) == [Outgoing("t", b"k", new + body, 7) for body in bodies]
