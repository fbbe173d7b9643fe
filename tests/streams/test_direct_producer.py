"""How our own producer takes answers, in whatever order brokers give them; without a broker."""

from __future__ import annotations

import struct
import time
from collections import deque
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from confluent_kafka import KafkaError

from samestream.streams.kafka.direct import batches, messages, producer, rows
from samestream.streams.kafka.direct.messages import Answer, Broker
from samestream.streams.kafka.direct.producer import DirectProducer
from samestream.streams.kafka.direct.transaction_messages import Identity
from samestream.streams.transport import Outgoing, Partition

ONE, OTHER = Broker("one", 1), Broker("other", 2)
PART = Partition("t", 0)
SETTINGS = {
    "transactional.id": "me",
    "message.max.bytes": 1_000_000,
    "compression.type": "none",
    "receive.message.max.bytes": 1_000_000,
    "bootstrap.servers": "127.0.0.1:1",
    "client.id": "test",
    "batch.size": 40,
}


class Connection:
    """Takes everything and answers nothing; tests answer for it."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    def send(self, kind: int, body: bytes) -> None:
        assert kind == messages.PRODUCE

    def close(self) -> None:
        """Nothing to close."""


def writing(leader: Broker) -> tuple[DirectProducer, dict[Broker, Any]]:
    """A producer in a transaction that the partition has joined and taken something of."""
    made = DirectProducer(SETTINGS)
    connections: dict[Broker, Any] = {broker: Connection(broker) for broker in (ONE, OTHER)}
    made._cluster._connections = dict(connections)
    made._cluster.leaders, made._cluster.counts = {PART: leader}, {"t": 1}
    made._transaction._identity, made._transaction._active = Identity(5, 0), True
    made._transaction.joined.add(PART)
    made._proven.add(PART)
    made._clean.add(PART)
    made._hanging.end_all = lambda _identity, _is_under_way, wanted=(): set(wanted or ())  # type: ignore[method-assign]
    return made, connections


def send(made: DirectProducer, monkeypatch: pytest.MonkeyPatch, *texts: str) -> list[Any]:
    """Hand records over, a batch each; the batches that wait."""
    monkeypatch.setattr(producer, "readable", lambda *_: False)
    (given,) = rows.of_records([Outgoing("t", None, text.encode() * 20, 1_000_000, 0) for text in texts], 1)
    made.send(given)
    return list(made._waiting[PART])


def test_what_overtakes_an_earlier_batch_is_sent_again_and_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    made, connections = writing(ONE)
    first, second = send(made, monkeypatch, "a", "b")
    assert (first.sent, second.sent) == (connections[ONE], connections[ONE])
    second.sent = connections[OTHER]  # as if the leader had changed in between
    made._acknowledged(connections[OTHER], PART, second, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER)
    assert second.sent is None
    made._acknowledged(connections[OTHER], PART, first, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER)  # not where it is now
    made._acknowledged(connections[ONE], PART, first, 0)
    assert list(made._waiting[PART]) == [second]
    made._cluster.leaders[PART] = OTHER
    made._push()
    assert second.sent is connections[OTHER]
    made._acknowledged(connections[OTHER], PART, second, 0)
    assert (made._waiting, made.failures, made.is_spoiled) == ({}, 0, False)


def test_a_new_leader_gets_nothing_before_the_old_one_has_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    made, connections = writing(ONE)
    (first,) = send(made, monkeypatch, "a")
    made._cluster.leaders[PART] = OTHER
    _, second = send(made, monkeypatch, "b")
    assert (first.sent, second.sent) == (connections[ONE], None)
    made._lost_broker(ONE)
    made._cluster.leaders[PART] = OTHER
    made._push()
    assert (first.sent, second.sent) == (connections[OTHER], None)  # and one at a time, until it has taken one
    made._acknowledged(connections[OTHER], PART, first, 0)
    made._push()
    assert second.sent is connections[OTHER]


def test_what_is_given_up_leaves_the_transaction_to_the_take_over(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = writing(ONE)
    send(made, monkeypatch, "a")
    asked: list[int] = []
    monkeypatch.setattr(made._transaction, "_ask", lambda kind, _body: asked.append(kind))
    made.abort_transaction(1.0)
    assert (asked, made.is_spoiled, made._waiting, made._asked) == ([], True, {}, {})
    made, connections = writing(ONE)
    (batch,) = send(made, monkeypatch, "a")
    made._transaction._begun = True
    monkeypatch.setattr(made._transaction, "_ask", lambda kind, _body: asked.append(kind))
    made._acknowledged(connections[ONE], PART, batch, KafkaError.MSG_SIZE_TOO_LARGE)
    made._asked.clear()
    made.abort_transaction(1.0)  # it was answered: nothing can come after the end
    assert (asked, made.failures, made.is_spoiled) == ([messages.END_TRANSACTION], 1, True)


def test_a_leader_that_rests_is_not_asked_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = writing(ONE)
    monkeypatch.setattr(made._cluster, "connection", lambda _: None)
    (batch,) = send(made, monkeypatch, "a")
    pauses: list[float] = []
    # of this module only: threads that other tests left sleep, too
    monkeypatch.setattr(producer, "time", SimpleNamespace(sleep=pauses.append, monotonic=time.monotonic))
    for _ in range(3):
        batch.not_before_s = 0.0
        made.poll(0.2)
    assert batch.sent is None
    assert all(pause > 0.0 for pause in pauses)
    assert len(pauses) == 3


def test_no_number_is_given_twice_whatever_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = writing(ONE)
    real = rows.built

    def interrupted(*given: Any) -> Any:
        for number, batch in enumerate(real(*given)):
            if number == 1:
                raise MemoryError
            yield batch

    monkeypatch.setattr(producer.packing, "built", interrupted)
    with pytest.raises(MemoryError):
        send(made, monkeypatch, "a", "b", "c")
    waiting = made._waiting.get(PART, deque())
    assert made._sequences[PART] >= sum(batch.built.records for batch in waiting) == 1


def test_a_topic_that_cannot_be_described_now_has_no_number_of_partitions() -> None:
    topic = struct.pack(">h", 5) + messages.text("t") + b"\0" + messages.array([])
    answer = (
        struct.pack(">i", 0) + messages.array([]) + messages.text("c") + struct.pack(">i", 1) + messages.array([topic])
    )
    found = messages.leaders_of(Answer(memoryview(answer)))
    assert (found.counts, found.errors) == ({}, {Partition("t", -1): 5})


def test_a_control_batch_without_its_record_is_passed_over() -> None:
    head = batches.HEAD.pack(0, batches.HEAD.size - 12, 0, 2, 0, batches.TRANSACTIONAL | 0x20, 0, 0, 0, 9, 0, 0, 0)
    data = bytearray(head)
    crc = producer.packing.kernel.crc32c(
        np.frombuffer(data, np.uint8), batches.CRC_FROM, len(data), producer.packing.kernel.TABLES
    )
    struct.pack_into(">I", data, batches.CRC_FROM - 4, crc)
    found = list(batches.heads(memoryview(data), 0, len(data)))
    assert batches.visible(memoryview(data), found, [(9, 0)]) == []
