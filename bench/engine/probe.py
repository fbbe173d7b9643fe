"""Event-to-feature latency: writes events at a steady rate and hears the answers, in a process of its own, by one clock.

Latency is from the instant before an event is handed to the producer to the instant its answer is handed over by the
consumer, so a record that waits anywhere waits on that clock. With ``--echo`` a transactional producer writes straight to
the topic that is read: what a transaction and two hops cost without any engine.
"""

from __future__ import annotations

import argparse
import gc
import json
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from events import START_US, Trades

RATE_S, SLOW_RATE_S, WARM_S, TICK_S, PATIENCE_S = 5_000, 200, 3.0, 0.001, 5.0


class Answers:
    """Hears what is written to a topic, each record with the instant it came."""

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self.consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"probe-{uuid.uuid4().hex}",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 5,
                "fetch.queue.backoff.ms": 1,
            }
        )
        self.consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
        self.heard: list[tuple[float, bytes]] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self) -> None:
        while not self.stop.is_set():
            messages = self.consumer.consume(1, 0.05)
            if messages:
                messages += self.consumer.consume(5_000, 0)
                now_s = time.perf_counter()
                self.heard += [(now_s, message.value()) for message in messages if message.error() is None]

    def close(self) -> None:
        self.stop.set()
        self.thread.join()
        self.consumer.close()


def number_of(value: bytes, step_us: int) -> int:
    """Which event an answer is of: both kinds of answer begin with account and event time."""
    size, at = _varint(value, 10)
    time_us, _ = _varint(value, at + size)
    return (time_us - START_US) // step_us


def _varint(data: bytes, at: int) -> tuple[int, int]:
    shift, found = 0, 0
    while True:
        byte = data[at]
        at += 1
        found |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (found >> 1) ^ -(found & 1), at


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("bootstrap", "source", "target", "schema", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--echo", action="store_true")
    given = parser.parse_args()
    settings: dict[str, Any] = {
        "bootstrap.servers": given.bootstrap,
        "linger.ms": 5,  # as our own producer; with 0 the broker would be asked thousands of times a second, and fall behind
        "partitioner": "murmur2_random",
    }
    if given.echo:
        settings["transactional.id"] = f"echo-{uuid.uuid4().hex}"
    producer = Producer(settings)
    if given.echo:
        producer.init_transactions(30)
    most = int((given.seconds + WARM_S + 120) * RATE_S)
    events = Trades.drawn(most)
    schema = json.loads(Path(given.schema).read_text())
    answers = Answers(given.bootstrap, given.target, given.partitions)
    records, sent = [], [0.0] * most
    for first in range(0, most, 10_000):
        records += [
            (record.key, record.value) for record in events.records(schema, "", first, min(first + 10_000, most))
        ]
        if len(records) >= (given.seconds + WARM_S + 30) * RATE_S:
            break
    gc.collect()
    gc.disable()
    row, measured_from, measured_to = 0, 0, 0
    began_s, due_s, rate, fast_s = time.perf_counter(), time.perf_counter(), SLOW_RATE_S, 0.0
    while True:
        now_s = time.perf_counter()
        due = int((now_s - due_s) * rate)
        if due > 0:
            if given.echo:
                producer.begin_transaction()
            for _ in range(min(due, len(records) - row)):
                key, value = records[row]
                sent[row] = time.perf_counter()
                producer.produce(given.source if not given.echo else given.target, value, key)
                row += 1
            if given.echo:
                producer.commit_transaction(30)
            due_s += due / rate
            producer.poll(0)
        if not fast_s and answers.heard:
            rate, due_s, fast_s = RATE_S, now_s, now_s
        elif fast_s and not measured_from and now_s > fast_s + WARM_S:
            measured_from = row
        elif measured_from and row - measured_from >= given.seconds * RATE_S:
            measured_to = row
            break
        if row == len(records) or (not fast_s and now_s - began_s > 90):
            break
        rest_s = TICK_S - (time.perf_counter() - now_s)
        if rest_s > 0:
            time.sleep(rest_s)
    producer.flush(10)
    end_s, heard = time.perf_counter(), -1
    while time.perf_counter() - end_s < PATIENCE_S and heard != len(answers.heard):
        heard = len(answers.heard)
        time.sleep(0.5)
    answers.close()
    if given.echo:
        number = {value: place for place, (_, value) in enumerate(records)}
        found = [(number[value], now_s) for now_s, value in answers.heard]
    else:
        found = [(number_of(value, events.step_us), now_s) for now_s, value in answers.heard]
    late = sorted((now_s - sent[place]) * 1000 for place, now_s in found if measured_from <= place < measured_to)
    told = {
        "asked": measured_to - measured_from,
        "heard": len(late),
        "p50_ms": late[len(late) // 2] if late else None,
        "p99_ms": late[len(late) * 99 // 100] if late else None,
    }
    Path(given.out).write_text(json.dumps(told))


main()
