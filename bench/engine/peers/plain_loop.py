"""Plain Python: confluent-kafka and fastavro in one loop. At least once: offsets are stored behind what was delivered."""

from __future__ import annotations

from confluent_kafka import Consumer, Producer
from job import Codecs, Given, Windows

BATCH = 10_000


def main() -> None:
    given = Given.parse()
    codecs, windows = Codecs(given.folder), Windows()
    consumer = Consumer(
        {
            "bootstrap.servers": given.bootstrap,
            "group.id": given.target,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "queued.min.messages": 200_000,
            "fetch.wait.max.ms": 10,
        }
    )
    producer = Producer(
        {"bootstrap.servers": given.bootstrap, "linger.ms": 5, "queue.buffering.max.messages": 1_000_000}
    )
    consumer.subscribe([given.source])
    read, write, answer, produce, target = codecs.read, codecs.write, windows.answer, producer.produce, given.target
    since_commit = 0
    while True:
        messages = consumer.consume(1, 0.2)
        if not messages:
            continue
        messages += consumer.consume(BATCH - 1, 0)
        for message in messages:
            event = read(message.value())
            account = event["account"]
            produce(target, write(answer(account, event["at"], event["price"])), account)
            producer.poll(0)
        since_commit += len(messages)
        if since_commit > 100_000:
            producer.flush()
            consumer.commit(asynchronous=True)
            since_commit = 0


main()
