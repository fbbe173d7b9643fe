"""Whatever bytes arrive: each event is applied, late or dead with its reason, and everything behind it is processed."""

from __future__ import annotations

import random
from collections.abc import Iterator

import harness
import pytest
from harness import PLAN, SECOND_US, SHOP, START_US

from samestream.schemas import records
from samestream.schemas.avro import Codec
from samestream.streams.deploy import provision
from samestream.streams.engine import journal
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.kafka.transport import KafkaTransport
from samestream.streams.models.outcomes import OutcomeTask
from samestream.streams.transport import Outgoing, Transport

YEAR_1_US, YEAR_9999_US = -62_135_596_800_000_000, 253_370_764_800_000_000
TOPICS = [spec.name for spec in provision.topics(SHOP, PLAN)]
_REJECTED = Codec(records.REJECTED)


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    if request.param == "memory":
        yield harness.fresh()
        return
    kafka = KafkaTransport(request.getfixturevalue("broker"))
    provision.provision(kafka, SHOP, PLAN)
    yield kafka
    kafka.delete_topics(TOPICS)
    kafka.close()


def good(event: str, number: int, at_us: int) -> Outgoing:
    values: dict[str, object] = {
        "View": {"user": f"u{number}", "product": "p", "seconds": 1.5},
        "Price": {"product": f"p{number}", "cents": number},
        "Order": {"user": f"u{number}", "amount": 2.0},
    }[event]
    return harness.encode(PLAN, event, f"{'p' if event == 'Price' else 'u'}{number}", at_us + 1000, at=at_us, **values)


def bad(event: str) -> dict[str, Outgoing]:
    """One record of every kind of wrong, by the reason expected."""
    other = good("Order" if event != "Order" else "Price", 1, START_US)
    fine = good(event, 1, START_US + SECOND_US)
    topic = fine.topic
    assert fine.value is not None
    return {
        "undecodable": Outgoing(topic, b"u1", b"\x00\x01 not avro at all", START_US),
        "undecodable, cut off": fine._replace(value=fine.value[:-4]),
        "undecodable, too long": fine._replace(value=fine.value + b"\x00"),
        "wrong_schema": Outgoing(topic, b"u1", other.value, START_US),
        "wrong_schema, unknown": fine._replace(value=b"\xc3\x01" + bytes(8) + fine.value[10:]),
        "missing_key": fine._replace(key=None),
        "missing_key, empty": fine._replace(key=b""),
        "key_mismatch": fine._replace(key=b"somebody else"),
        "absurd_event_time, year 1": good(event, 1, YEAR_1_US)._replace(known_us=START_US),
        "absurd_event_time, year 9999": good(event, 1, YEAR_9999_US)._replace(known_us=START_US),
        "ahead_of_record": good(event, 1, START_US + 86_400 * SECOND_US)._replace(known_us=START_US),
        "empty_value": fine._replace(value=b""),
        "empty_value, null": fine._replace(value=None),
        "too_large": fine._replace(value=fine.value + random.Random(1).randbytes(5_000_000)),
    }


def test_every_bad_record_is_kept_with_its_reason_and_nothing_stops(transport: Transport) -> None:
    sent: dict[str, int] = {}
    wrong = {PLAN.events[event].topic: bad(event) for event in PLAN.events}
    for event, input in PLAN.events.items():
        mixed = []
        for number, record in enumerate(wrong[input.topic].values()):
            mixed += [good(event, number, START_US + number * SECOND_US), record]
        mixed.append(good(event, 99, START_US + 100 * SECOND_US))
        harness.send(transport, mixed)
        sent[input.topic] = len(mixed)
    harness.work_off(transport, FeatureTask(PLAN))
    harness.work_off(transport, OutcomeTask(PLAN, PLAN.models["Buys"]))
    balances = journal.balance(journal.read(transport, PLAN.journal))
    for topic, count in sent.items():
        balance = balances[topic]
        assert balance.read == count
        assert balance.dead == len(wrong[topic])
        assert balance.late == 0
        rejected = [
            (_REJECTED.decode(value or b""), key)
            for _, key, value, _ in harness.contents(transport, [f"{topic}.dead"])[f"{topic}.dead"]
        ]
        assert sorted(found["reason"] for found, _ in rejected) == sorted(
            reason.split(",")[0] for reason in wrong[topic]
        )
        originals = {(record.key, record.value) for record in wrong[topic].values()}
        assert {(found["key"], found["value"]) for found, _ in rejected} == originals
        for found, key in rejected:
            assert found["topic"] == topic
            assert found["offset"] >= 0
            assert found["detail"]
            assert key == found["key"]
    vectors = harness.contents(transport, ["shop.features.Buys"])["shop.features.Buys"]
    assert len(vectors) == balances["shop.views"].applied


def test_late_events_are_kept_too(transport: Transport) -> None:
    on_time = [good("Price", 7, START_US + hour * 3600 * SECOND_US) for hour in range(3)]
    late = good("Price", 7, START_US)._replace(known_us=START_US + 4 * 3600 * SECOND_US)
    harness.send(transport, [*on_time, late])
    harness.work_off(transport, FeatureTask(PLAN))
    ((_, key, value, known_us),) = harness.contents(transport, ["shop.prices.late"])["shop.prices.late"]
    assert value is not None
    found = _REJECTED.decode(value)
    assert (found["reason"], found["event_time"], found["value"], key) == ("late", START_US, late.value, late.key)
    assert known_us == late.known_us
    assert journal.balance(journal.read(transport, PLAN.journal))["shop.prices"] == journal.Balance(3, 1, 0)
