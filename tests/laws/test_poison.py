"""No record, wherever it lies, stops a processor: it is counted, and kept as far as a record can hold it."""

from __future__ import annotations

import harness
import pytest
from harness import PLAN, START_US

from samestream.schemas import records
from samestream.schemas.avro import Codec
from samestream.streams.engine import journal
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.transport import MAX_RECORD_BYTES, Outgoing

_REJECTED, _SCHEMA = Codec(records.REJECTED), Codec(records.SCHEMA)
VIEWS = "shop.views"


@pytest.mark.parametrize(
    ("key_bytes", "value_bytes"), [(1, MAX_RECORD_BYTES - 2), (9 * 1024 * 1024, 5), (8 * 1024 * 1024, 7 * 1024 * 1024)]
)
def test_a_record_as_large_as_can_be(key_bytes: int, value_bytes: int) -> None:
    transport = harness.fresh()
    huge = Outgoing(VIEWS, b"k" * key_bytes, b"v" * value_bytes, START_US)
    harness.send(transport, [huge, *harness.shop_events(20)])
    harness.work_off(transport, FeatureTask(PLAN))
    ((_, _, value, _),) = harness.contents(transport, [f"{VIEWS}.dead"])[f"{VIEWS}.dead"]
    kept = _REJECTED.decode(value or b"")
    assert (huge.value or b"").startswith(kept["value"])
    assert f"{value_bytes} of value" in kept["detail"] or kept["value"] == huge.value
    assert journal.balance(journal.read(transport, PLAN.journal))[VIEWS].dead == 1


@pytest.mark.parametrize(
    "junk",
    [
        b"anything",
        _SCHEMA.encode({"fingerprint": "00", "subject": "s", "schema": "no json"}),
        _SCHEMA.encode({"fingerprint": "00", "subject": "s", "schema": '"string"'}),
        _SCHEMA.encode({"fingerprint": "00", "subject": "s", "schema": '{"type":"record","name":"R"}'}),
        _SCHEMA.encode({"fingerprint": "00", "subject": "s", "schema": "[]"})[:-1],
    ],
)
def test_junk_on_the_schemas_topic(junk: bytes) -> None:
    transport = harness.fresh()
    unknown = harness.shop_events(1)[0]._replace(topic=VIEWS, value=b"\xc3\x01" + b"\x09" * 8 + b"body")
    harness.send(transport, [Outgoing(PLAN.schemas, b"x", junk, START_US), unknown])
    harness.work_off(transport, FeatureTask(PLAN))
    assert journal.balance(journal.read(transport, PLAN.journal))[VIEWS].dead == 1


@pytest.mark.parametrize(
    ("known_us", "reason"), [(253_402_300_800_000_000, "absurd_known_time"), (1000, "ahead_of_record")]
)
def test_a_record_timestamp_that_cannot_be(known_us: int, reason: str, tmp_path: object) -> None:
    """It is dead and moves nothing: the events behind it fare as if it had not been there."""
    events = harness.shop_events(200)
    clean, poisoned = harness.fresh(), harness.fresh()
    harness.send(clean, events)
    first = next(record for record in events if record.topic == VIEWS)
    harness.send(poisoned, [*events, first._replace(known_us=known_us)])
    for transport in (clean, poisoned):
        harness.work_off(transport, FeatureTask(PLAN))
    topic = PLAN.models["Buys"].topics["features"]
    assert harness.contents(poisoned, [topic]) == harness.contents(clean, [topic])
    ((_, _, value, _),) = harness.contents(poisoned, [f"{VIEWS}.dead"])[f"{VIEWS}.dead"]
    assert _REJECTED.decode(value or b"")["reason"] == reason
    harness.write_log(poisoned, FeatureLog(str(tmp_path)))
