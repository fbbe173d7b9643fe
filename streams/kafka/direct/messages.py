"""Kafka's protocol: how requests and answers are framed, and who leads what. What is asked beyond that has files of its own.

Versions are the last ones before the flexible encoding, which every Kafka from 2.4 to 4 understands. Layouts are those of
Kafka's protocol guide; all numbers are big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from samestream.streams.transport import Partition

PRODUCE, FETCH, LIST_OFFSETS, METADATA, FIND_COORDINATOR, API_VERSIONS = 0, 1, 2, 3, 10, 18
INIT_PRODUCER, ADD_PARTITIONS, ADD_OFFSETS, END_TRANSACTION, COMMIT_OFFSETS = 22, 24, 25, 26, 28
VERSIONS = {
    PRODUCE: 7,
    FETCH: 11,
    LIST_OFFSETS: 2,
    METADATA: 7,
    FIND_COORDINATOR: 2,
    API_VERSIONS: 0,
    INIT_PRODUCER: 1,
    ADD_PARTITIONS: 1,
    ADD_OFFSETS: 1,
    END_TRANSACTION: 1,
    COMMIT_OFFSETS: 2,
}
"""Which version of each request we speak."""

WRITE_MARKERS, DESCRIBE_PRODUCERS, DESCRIBE_TRANSACTIONS, LIST_TRANSACTIONS = 27, 61, 65, 66
SELDOM = {WRITE_MARKERS: 1, DESCRIBE_PRODUCERS: 0, DESCRIBE_TRANSACTIONS: 0, LIST_TRANSACTIONS: 0}
"""Likewise of those about hanging transactions, which Kafka 3.0 and later understand; they have the flexible encoding only."""


class Broker(NamedTuple):
    """Where a broker is reached."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Leaders(NamedTuple):
    """Which broker leads each partition; ``errors`` are of partitions and topics that have none now.

    counts : how many partitions each topic has, led or not
    """

    leaders: dict[Partition, Broker]
    errors: dict[Partition, int]
    counts: dict[str, int]


class Answer:
    """Reads an answer from front to back. Raises ValueError where it is shorter than it says."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.at = data, 0

    def take(self, layout: struct.Struct) -> tuple[int, ...]:
        """The next numbers."""
        try:
            found = layout.unpack_from(self.data, self.at)
        except struct.error as short:
            raise ValueError("an answer is cut off") from short
        self.at += layout.size
        return found

    def number(self, layout: struct.Struct) -> int:
        """The next number."""
        return self.take(layout)[0]

    def skipped(self, length: int) -> int:
        """Where the next bytes begin; passes over them."""
        begin = self.at
        if length < 0 or begin + length > len(self.data):
            raise ValueError("an answer is cut off")
        self.at += length
        return begin

    def text(self) -> str:
        """The next text; empty where it is null."""
        length = max(self.number(INT16), 0)
        begin = self.skipped(length)
        return str(self.data[begin : begin + length], "utf-8", "replace")

    def count(self) -> int:
        """How many elements an array has; none where it is null."""
        return max(self.number(INT32), 0)


INT8, INT16, INT32, INT64 = (struct.Struct(f">{code}") for code in "bhiq")
_HEADER = struct.Struct(">hhi")
_RANGE = struct.Struct(">hhh")


def text(value: str) -> bytes:
    """A text as the protocol has it."""
    encoded = value.encode()
    return INT16.pack(len(encoded)) + encoded


def array(elements: Sequence[bytes]) -> bytes:
    """Elements as the protocol has them."""
    return INT32.pack(len(elements)) + b"".join(elements)


def by_topic(rows: Mapping[Partition, bytes]) -> bytes:
    """What is said of partitions, each begun by its number, in the order given but together by topic."""
    topics: dict[str, list[bytes]] = {}
    for part, row in rows.items():
        topics.setdefault(part.topic, []).append(INT32.pack(part.partition) + row)
    return array([text(topic) + array(parts) for topic, parts in topics.items()])


def request(kind: int, correlation: int, client_id: str, body: bytes) -> bytes:
    """A whole request, with its length in front.

    >>> request(API_VERSIONS, 7, "me", b"").hex()
    '0000000c001200000000000700026d65'
    """
    head = _HEADER.pack(kind, (VERSIONS | SELDOM)[kind], correlation) + text(client_id)
    if kind in SELDOM:
        head += b"\0"  # no tagged fields
    return INT32.pack(len(head) + len(body)) + head + body


def understood(answer: Answer) -> tuple[int, dict[int, tuple[int, int]]]:
    """The error, and the least and greatest version of each request that a broker understands."""
    error = answer.number(INT16)
    ranges = dict[int, tuple[int, int]]()
    for _ in range(answer.count()):
        kind, least, most = answer.take(_RANGE)
        ranges[kind] = least, most
    return error, ranges


def unsupported(ranges: Mapping[int, tuple[int, int]], ours: Mapping[int, int]) -> list[str]:
    """What of ours is not understood, for people; nothing where all is."""
    return [
        f"request {kind} in version {version} (it has {ranges.get(kind, 'none')})"
        for kind, version in ours.items()
        if not ranges.get(kind, (1, 0))[0] <= version <= ranges.get(kind, (1, 0))[1]
    ]


def metadata_body(topics: Iterable[str] | None) -> bytes:
    """Ask who leads the partitions of these topics, or of all that there are; none is made."""
    return (INT32.pack(-1) if topics is None else array([text(topic) for topic in topics])) + b"\0"


def leaders_of(answer: Answer) -> Leaders:
    """Who leads what."""
    answer.number(INT32)  # throttled for
    brokers = {}
    for _ in range(answer.count()):
        node, host, port = answer.number(INT32), answer.text(), answer.number(INT32)
        answer.text()  # rack
        brokers[node] = Broker(host, port)
    answer.text()  # cluster
    answer.number(INT32)  # controller
    found = Leaders({}, {}, {})
    for _ in range(answer.count()):
        error, topic = answer.number(INT16), answer.text()
        answer.number(INT8)  # whether internal
        if error:
            found.errors[Partition(topic, -1)] = error
        count = answer.count()
        if not error:
            found.counts[topic] = count
        for _ in range(count):
            error, number, leader = answer.number(INT16), answer.number(INT32), answer.number(INT32)
            answer.number(INT32)  # epoch
            for _ in range(3):  # replicas, those in sync, those away
                answer.skipped(4 * answer.count())
            if leader in brokers and not error:
                found.leaders[Partition(topic, number)] = brokers[leader]
            elif error:
                found.errors[Partition(topic, number)] = error
    return found
