"""What a coordinator decided of transactions: the topic in which it remembers that, read as Kafka's own formatter reads it."""

from __future__ import annotations

import struct
import time
from contextlib import closing
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from samestream.streams.kafka.direct.hanging_messages import Flexible
from samestream.streams.kafka.direct.messages import INT16, INT32, Answer
from samestream.streams.kafka.direct.transaction_messages import Identity
from samestream.streams.kafka.errors import LOG
from samestream.streams.transport import Partition

TOPIC = "__transaction_state"

EMPTY, PREPARE_COMMIT, PREPARE_ABORT = 0, 2, 3
"""States of a transactional id: taken over and nothing begun; decided, and about to be written into the partitions."""

_ANSWER_S = 15.0
_UNIT = struct.Struct(">H")
_VALUE = struct.Struct(">qhib")


class Remembered(NamedTuple):
    """One state of a transactional id.

    partitions : those that had joined
    """

    state: int
    identity: Identity
    partitions: frozenset[Partition]


def partition_of(transactional_id: str, count: int) -> int:
    """Which partition of the topic remembers a transactional id: Java's hash of a text, without its sign.

    >>> partition_of("shop.features", 50), partition_of("", 50)
    (0, 0)
    """
    code = 0
    for (unit,) in _UNIT.iter_unpack(transactional_id.encode("utf-16-be")):
        code = (31 * code + unit) & 0xFFFFFFFF
    return (code if code < 1 << 31 else ((1 << 32) - code) & 0x7FFFFFFF) % count


def read(bootstrap: str, client_id: str, transactional_id: str, count: int) -> list[Remembered]:
    """All that the topic, of so many partitions, still says of a transactional id, oldest first.

    Kafka compacts the topic: of what is older than the first that is found, nothing is known; nothing is missing after it.
    Raises KafkaException where it may not be read, or is not answered.
    """
    settings = {
        "bootstrap.servers": bootstrap,
        "client.id": client_id,
        "group.id": transactional_id,  # it is never joined
        "enable.auto.commit": False,
    }
    part = TopicPartition(TOPIC, partition_of(transactional_id, count))
    found = list[Remembered]()
    with closing(Consumer(settings, logger=LOG)) as consumer:
        part.offset, end = consumer.get_watermark_offsets(part, timeout=_ANSWER_S)
        consumer.assign([part])
        deadline_s, at = time.monotonic() + _ANSWER_S, part.offset
        while (
            at < end
        ):  # not to where a fetch says that it ends: others go on, and after a restart that may be a place of long ago
            messages = consumer.consume(10_000, 0.2)
            if messages:
                deadline_s = time.monotonic() + _ANSWER_S
            elif time.monotonic() > deadline_s:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"reading {TOPIC}"))
            for message in messages:
                if (error := message.error()) is not None:
                    raise KafkaException(error)
                at, value = (message.offset() or 0) + 1, message.value()
                if value is not None and _name(message.key()) == transactional_id:
                    found.append(remembered(value))
    return found


def _name(key: bytes | None) -> str:
    answer = Answer(memoryview(key or b"\xff\xff"))
    return answer.text() if answer.number(INT16) == 0 else ""


def remembered(value: bytes) -> Remembered:
    """A record of the topic. Raises ValueError where it is of a version that is not known."""
    answer = Answer(memoryview(value))
    version = answer.number(INT16)
    if version not in (0, 1):
        raise ValueError(f"{TOPIC} has records of version {version}")
    flexible = Flexible(answer) if version else None
    read = flexible or answer
    length = flexible.length if flexible else answer.count
    producer, epoch, _, state = answer.take(_VALUE)
    partitions = set()
    for _ in range(length()):
        topic = read.text()
        partitions |= {Partition(topic, answer.number(INT32)) for _ in range(length())}
        if flexible:
            flexible.tags()
    return Remembered(state, Identity(producer, epoch), frozenset(partitions))
