"""Our own client beside the others, on genuine Kafka: each reads what the other wrote, however it is compressed."""

from __future__ import annotations

import time
import uuid

import numpy as np
import pytest
from confluent_kafka import Producer

from samestream.streams.kafka.direct.rows import CODECS
from samestream.streams.kafka.transport import KafkaTransport
from samestream.streams.transport import EARLIEST, Fetched, Outgoing, Partition, TopicSpec, read_until
from samestream.streams.wire.packed import Packed
from samestream.streams.wire.parcel import Parcel

pytestmark = pytest.mark.kafka


def told(found: list[Fetched]) -> dict[int, list[tuple[int, int, bytes | None, bytes | None]]]:
    """Offset, known time, key and value by partition."""
    out: dict[int, list[tuple[int, int, bytes | None, bytes | None]]] = {}
    for part in found:
        rows = zip(part.offsets.tolist(), part.known_us.tolist(), part.keys, part.values, strict=True)
        out.setdefault(part.partition.partition, []).extend(rows)
    return out


def new_topic(transport: KafkaTransport, partitions: int) -> str:
    name = f"d-{uuid.uuid4().hex[:12]}"
    transport.create_topics([TopicSpec(name, partitions, config={"retention.ms": "-1"})])
    return name


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_both_clients_read_what_librdkafka_compressed(broker: str, codec: str) -> None:
    direct, python = KafkaTransport(broker, client="direct"), KafkaTransport(broker, client="python")
    topic = new_topic(python, 2)
    producer = Producer({"bootstrap.servers": broker, "compression.type": codec, "linger.ms": 20})
    for i in range(5000):
        value = None if i % 97 == 0 else b"value %d " % i * (i % 40)
        producer.produce(topic, value, b"%d" % (i % 7) if i % 3 else None, i % 2, timestamp=1_360_000_000_000 + i)
    producer.flush(20)
    expected = told(list(python.read_all(topic)))
    assert sum(map(len, expected.values())) == 5000
    assert told(list(direct.read_all(topic))) == expected
    assert told(list(direct.read_all(topic, {0: 1234, 1: 2499}))) == {0: expected[0][1234:], 1: expected[1][2499:]}
    direct.close()
    python.close()


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_both_clients_read_what_we_compressed(broker: str, codec: str) -> None:
    direct = KafkaTransport(broker, {"compression.type": codec, "batch.size": "20000"}, client="direct")
    python = KafkaTransport(broker, client="python")
    topic = new_topic(python, 3)
    count = 20_000
    values = Packed.of([b"value %d " % i * (i % 20) for i in range(count)])
    known_us = 1_360_000_000_000_000 + np.arange(count) * 1000
    parcel = Parcel(topic, Packed.of([b"%d" % (i % 50) for i in range(count)]), values, known_us, np.full(count, -1))
    writer = direct.transactional_writer(topic)
    writer.open()
    for _ in range(2):  # each partition gets more batches than may be under way at once
        writer.begin()
        writer.send(parcel)
        writer.send([Outgoing(topic, None, b"after", 1_360_000_000_000_000, 1, (("header", b"1"),))])
        writer.commit()
    writer.close()
    parts = [Partition(topic, number) for number in range(3)]
    deadline_s = time.monotonic() + 20
    while any(end.stable != end.high for end in python.ends(parts).values()):
        assert time.monotonic() < deadline_s, "the transaction is not written out"
    expected = told(list(python.read_all(topic)))
    assert sum(map(len, expected.values())) == 2 * (count + 1)
    assert told(list(direct.read_all(topic))) == expected
    assert expected[1][-1][3] == b"after"
    direct.close()
    python.close()


def test_what_is_held_is_delivered_later_and_only_once(broker: str) -> None:
    direct = KafkaTransport(broker, client="direct")
    topic = new_topic(direct, 2)
    writer = direct.writer()
    writer.send(Outgoing(topic, None, b"%d" % i, 1_000_000 + i * 1000, i % 2) for i in range(2000))
    writer.close()
    reader = direct.reader()
    one, other = Partition(topic, 0), Partition(topic, 1)
    reader.assign({one: EARLIEST, other: EARLIEST})
    found = reader.fetch(100, 5.0)
    reader.hold({one})
    for _ in range(20):
        more = reader.fetch(100, 0.2)
        assert all(part.partition == other for part in more)
        found += more
    reader.hold(set())
    found += list(read_until(reader, {one: 1000, other: 1000}))
    values = {number: [int(row[3] or b"") for row in rows] for number, rows in told(found).items()}
    assert values == {0: list(range(0, 2000, 2)), 1: list(range(1, 2000, 2))}
    direct.close()
