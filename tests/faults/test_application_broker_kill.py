"""The broker, killed under an application: what was produced arrives once and in order, and what is consumed goes on."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime
from typing import Any

import pytest
from own_shop import until

from samestream.schemas import Event, Field, event_time, field, key
from samestream.schemas.avro import Codec
from samestream.schemas.avro_schemas import event_schema
from samestream.streams import Producer
from samestream.streams.kafka.local_kafka import LocalKafka
from samestream.streams.kafka.transport import KafkaTransport
from samestream.streams.transport import TopicSpec

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(500)]
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
COUNT = 3_000


class Note(Event, topic="notes", partitions=2):
    name: Field[str] = key()
    number: Field[int] = field()
    at: Field[datetime] = event_time()


def kill(kafka: LocalKafka) -> None:
    pid = kafka.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: "ended" in kafka.status().detail)


def test_what_is_produced_arrives_once_and_in_order(own_kafka: LocalKafka) -> None:
    transport = KafkaTransport(own_kafka.bootstrap)
    transport.create_topics([TopicSpec("notes", 2, config={"retention.ms": "-1"}), TopicSpec("app.schemas")])
    with Producer([Note], name="app", bootstrap=own_kafka.bootstrap) as producer:
        for number in range(COUNT):
            producer.produce(Note(name=f"k{number % 5}", number=number, at=NOON))
            if number == COUNT // 3:
                kill(own_kafka)  # with events on their way
            if number == 2 * COUNT // 3:
                assert producer.flush(timeout_s=0.1) > 0
                own_kafka.up()
    codec, found = Codec(event_schema(Note)), {f"k{rest}".encode(): [] for rest in range(5)}
    many: dict[Any, list[int]] = found
    for fetched in transport.read_all("notes"):
        for name, value in zip(fetched.keys, fetched.values, strict=True):
            many[name].append(codec.decode(value or b"")["number"])
    assert many == {f"k{rest}".encode(): list(range(rest, COUNT, 5)) for rest in range(5)}
    transport.close()


def test_what_never_arrives_is_named(own_kafka: LocalKafka) -> None:
    transport = KafkaTransport(own_kafka.bootstrap)
    transport.create_topics([TopicSpec("notes", 2), TopicSpec("app.schemas")])
    lost = []
    producer = Producer([Note], name="app", bootstrap=own_kafka.bootstrap, on_lost=lost.append)
    producer.produce(Note(name="first", number=0, at=NOON))
    assert producer.flush() == 0
    kill(own_kafka)
    for number in range(1, 4):
        producer.produce(Note(name="k", number=number, at=NOON))
    producer.close(timeout_s=1.0)
    assert [(one.event, one.key) for one in lost] == [("Note", "k")] * 3
    codec = Codec(event_schema(Note))
    assert sorted(codec.decode(one.value)["number"] for one in lost) == [1, 2, 3]
    transport.close()
