"""What moving records costs by each of our three clients, in one run on genuine Kafka.

Run with ``make bench-transport``; it starts a Kafka of its own unless ``--bootstrap`` names one. CPU seconds are this
process's, all threads together, librdkafka's included; on a busy machine they say more than the clock.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from samestream.schemas import avro
from samestream.schemas.expressions import Kind
from samestream.streams.kafka.client import CLIENTS
from samestream.streams.kafka.local_kafka import LocalKafka
from samestream.streams.kafka.transport import KafkaTransport
from samestream.streams.plan import Input
from samestream.streams.transport import NOW, Outgoing, Partition, TopicSpec
from samestream.streams.wire.decode import Decoder
from samestream.streams.wire.packed import Packed
from samestream.streams.wire.parcel import Parcel
from samestream.streams.wire.schema_store import SchemaStore

BATCH = 10_000
SCHEMA: avro.Schema = {
    "type": "record",
    "name": "Sale",
    "fields": [
        {"name": "shop", "type": "string"},
        {"name": "price", "type": "double"},
        {"name": "count", "type": "long"},
        {"name": "note", "type": "string"},
    ],
}
INPUT = Input("Sale", "", SCHEMA, {"shop": Kind.STRING, "price": Kind.FLOAT}, frozenset(), "shop", "")


def main() -> None:
    """Measure the clients in turn, some rounds, and print the best of each, with the ratio of the last to the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--bootstrap", default="")
    given = parser.parse_args()
    kafka = None if given.bootstrap else LocalKafka(Path(tempfile.mkdtemp(prefix="bench-transport-")))
    try:
        compare(given.bootstrap or kafka.up().bootstrap, given.events, given.rounds)
    finally:
        if kafka is not None:
            kafka.down()


def compare(bootstrap: str, events: int, rounds: int) -> None:
    """Print the table."""
    codec = avro.Codec(SCHEMA)
    rng = np.random.default_rng(1)
    records = []
    for price, shop in zip(rng.random(BATCH).tolist(), rng.integers(0, 1000, BATCH).tolist(), strict=True):
        value = codec.encode({"shop": f"shop-{shop:03}", "price": price, "count": 1, "note": "x" * 62})
        records.append((b"shop-%03d" % shop, value))
    print(f"{events:,} records of {len(records[0][1])} bytes, best of {rounds} rounds")
    found: dict[tuple[str, str], float] = {}
    for _ in range(rounds):
        for client in CLIENTS:
            transport = KafkaTransport(bootstrap, client=client)
            topic = f"bench-{uuid.uuid4().hex[:8]}"
            transport.create_topics([TopicSpec(topic, 2)])
            for step, run in STEPS.items():
                cost = measured(partial(run, transport, topic, records, events))
                found[step, client] = min(cost, found.get((step, client), cost))
            transport.delete_topics([topic])
            transport.close()
    print(f"{'CPU s per million':22}" + "".join(f"{client:>10}" for client in CLIENTS) + f"{'ratio':>8}")
    for step in STEPS:
        costs = [found[step, client] * 1e6 / events for client in CLIENTS]
        print(f"{step:22}" + "".join(f"{cost:10.2f}" for cost in costs) + f"{costs[-1] / costs[0]:8.1f}")


def measured(run: Callable[[], None]) -> float:
    """CPU seconds of this process."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    run()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def produce(transport: KafkaTransport, topic: str, records: list[tuple[bytes, bytes]], events: int) -> None:
    """In transactions of 10,000; making the `Outgoing` of each is counted, as an engine has to."""
    writer = transport.transactional_writer(topic)
    writer.open()
    for turn in range(events // BATCH):
        writer.begin()
        writer.send([Outgoing(topic, key, value, NOW, turn % 2) for key, value in records])
        writer.commit()
    writer.close()


def produce_packed(transport: KafkaTransport, topic: str, records: list[tuple[bytes, bytes]], events: int) -> None:
    """In transactions of 10,000, from buffers, as compiled code leaves them; to a topic of its own."""
    keys, values = Packed.of([key for key, _ in records]), Packed.of([value for _, value in records])
    now, partitions = np.full(BATCH, NOW), np.arange(BATCH) % 2
    transport.create_topics([TopicSpec(f"{topic}.packed", 2)])
    writer = transport.transactional_writer(topic)
    writer.open()
    for _ in range(events // BATCH):
        writer.begin()
        writer.send(Parcel(f"{topic}.packed", keys, values, now, partitions))
        writer.commit()
    writer.close()
    transport.delete_topics([f"{topic}.packed"])


def fetch(transport: KafkaTransport, topic: str, records: list[tuple[bytes, bytes]], events: int) -> None:
    """Everything, without looking at it."""
    read(transport, topic, events, None)


def decode(transport: KafkaTransport, topic: str, records: list[tuple[bytes, bytes]], events: int) -> None:
    """Everything into columns, two of four fields, Kafka keys compared."""
    read(transport, topic, events, Decoder(INPUT, SchemaStore(None, "", [SCHEMA])))


def read(transport: KafkaTransport, topic: str, events: int, decoder: Decoder | None) -> None:
    """Fetch, and decode where there is a decoder. Raises RuntimeError for a record that cannot be read."""
    reader = transport.reader()
    reader.assign({Partition(topic, 0): 0, Partition(topic, 1): 0})
    left = events // BATCH * BATCH
    while left:
        for fetched in reader.fetch(BATCH, 1.0):
            left -= len(fetched)
            if decoder is not None and decoder.decode(fetched, 0).dead.any():
                raise RuntimeError("a record is dead")
    reader.close()


STEPS = {"produce": produce, "produce packed": produce_packed, "fetch": fetch, "fetch + decode": decode}


if __name__ == "__main__":
    main()
