"""The records that samestream writes itself evolve so that old readers read new records, and new readers old ones."""

from typing import Any

import pytest

from samestream.schemas import avro, records
from samestream.schemas.avro import Codec, Reader, schema_fingerprint

PLACE = {"event_time": 5, "trigger_topic": "t", "trigger_partition": 0, "trigger_offset": 1}
PREDICTED = {"entity": "u", **PLACE, "model": "m", "version": "1", "fingerprint": "f", "score": 0.5}
HAPPENED = {"entity": 7, **PLACE, "version": "1", "score": 0.5, "state": "labelled", "label": 1.0}
HAPPENED |= {"label_time": 6, "label_known_time": 7}

# the schema, its first fields' fingerprint as it was before models could predict classes, a record, what came since
CASES = [
    (records.PREDICTION, "fa11cf9057cba9cc", PREDICTED, {"value": "a", "probabilities": {"a": 0.5, "b": 0.5}}),
    (records.OUTCOME, "b78d4541b25f3e5f", HAPPENED, {"value": "a", "label_value": "b", "label_probability": 0.5}),
]


@pytest.mark.parametrize(("schema", "fingerprint", "record", "since"), CASES, ids=["prediction", "outcome"])
def test_what_was_written_before_there_were_classes_and_what_is_written_now(
    schema: avro.Schema, fingerprint: str, record: dict[str, Any], since: dict[str, Any]
) -> None:
    former = schema | {"fields": [field for field in schema["fields"] if field["name"] not in since]}
    assert schema_fingerprint(former).hex() == fingerprint  # records in topics carry it
    assert Reader(former, schema).read(Codec(former).encode(record)) == record | dict.fromkeys(since)
    assert Reader(schema, former).read(Codec(schema).encode(record | since)) == record


@pytest.mark.parametrize("schema", records.ALL.values(), ids=list(records.ALL))
def test_whatever_may_be_null_is_null_by_default(schema: avro.Schema) -> None:
    for field in schema["fields"]:
        if isinstance(field["type"], list) and "null" in field["type"]:
            assert field["default"] is None
            assert field["type"][0] == "null"
