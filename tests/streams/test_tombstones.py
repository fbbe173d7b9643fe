"""Records of reference tables: a null value deletes, and the known time is the time of a table that declares none."""

from __future__ import annotations

import numpy as np

from samestream.schemas.avro import Codec
from samestream.schemas.expressions import Kind
from samestream.streams.columns import to_python
from samestream.streams.plan import Gate, Input
from samestream.streams.transport import Fetched, Partition
from samestream.streams.wire.decode import Decoder
from samestream.streams.wire.schema_store import SchemaStore

FIELDS = [{"name": "id", "type": "long"}, {"name": "year", "type": ["null", "long"]}]
SCHEMA = {"type": "record", "name": "Plane", "fields": FIELDS}
KINDS = {"id": Kind.INT, "year": Kind.INT}
GATE = Gate(0, 0, 3_600_000_000, 0, 2**60)
SECOND_US = 1_000_000


def test_a_null_value_is_a_record_of_nothing_but_its_key() -> None:
    planes = Input("Plane", "planes", SCHEMA, KINDS, frozenset({"year"}), "id", "", GATE, is_table=True)
    value = Codec(SCHEMA).encode({"id": 7, "year": 1990})
    known_us = np.arange(1, 6) * SECOND_US
    fetched = Fetched(
        Partition("planes", 0), np.arange(5), known_us, [b"7", b"7", b"x", None, b"7"], [value, None, None, None, b""]
    )
    found = Decoder(planes, SchemaStore(None, "", [SCHEMA])).decode(fetched, 0)
    assert found.dead.tolist() == [False, False, True, True, True]
    assert {offset: reason for offset, (reason, _) in found.deaths.items()} == {
        2: "wrong_key",
        3: "missing_key",
        4: "empty_value",
    }
    assert to_python(found.columns["id"])[:2] == [7, 7]
    assert to_python(found.columns["year"])[:2] == [1990, None]
    assert found.time_us[:2].tolist() == [SECOND_US, 2 * SECOND_US]
