"""Kafka's protocol, as much of it as a reader needs: requests as bytes, and answers as values.

Versions are the last ones before the flexible encoding, which every Kafka from 2.4 to 4 understands. Layouts are those of
Kafka's protocol guide; all numbers are big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from samestream.streams.transport import Partition

FETCH, METADATA, API_VERSIONS = 1, 3, 18
VERSIONS = {FETCH: 11, METADATA: 7, API_VERSIONS: 0}
"""Which version of each request we speak."""

READ_COMMITTED = 1
_UNKNOWN_EPOCH = -1


class Broker(NamedTuple):
    """Where a broker is reached."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Leaders(NamedTuple):
    """Which broker leads each partition; ``errors`` are of partitions and topics that have none now."""

    leaders: dict[Partition, Broker]
    errors: dict[Partition, int]


class Part(NamedTuple):
    """What a broker says of one partition that was to be fetched.

    error : Kafka's code; 0 for none
    aborted : (producer id, first offset) of transactions that were aborted, as far as they matter to these records
    begin, end : where the record batches lie in the answer
    """

    partition: Partition
    error: int
    high: int
    stable: int
    aborted: tuple[tuple[int, int], ...]
    begin: int
    end: int


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
_FETCH_HEAD = struct.Struct(">iiiibiii")
_FETCH_PART = struct.Struct(">iiqqi")
_PART_HEAD = struct.Struct(">ihqqqi")
_ABORTED = struct.Struct(">qq")
_RECORDS = struct.Struct(">ii")
_RANGE = struct.Struct(">hhh")


def text(value: str) -> bytes:
    """A text as the protocol has it."""
    encoded = value.encode()
    return INT16.pack(len(encoded)) + encoded


def request(kind: int, correlation: int, client_id: str, body: bytes) -> bytes:
    """A whole request, with its length in front.

    >>> request(API_VERSIONS, 7, "me", b"").hex()
    '0000000c001200000000000700026d65'
    """
    head = _HEADER.pack(kind, VERSIONS[kind], correlation) + text(client_id)
    return INT32.pack(len(head) + len(body)) + head + body


def unsupported(answer: Answer) -> list[str]:
    """What of ours a broker does not understand, for people; nothing where it understands all."""
    error = answer.number(INT16)
    ranges = dict[int, tuple[int, int]]()
    for _ in range(answer.count()):
        kind, least, most = answer.take(_RANGE)
        ranges[kind] = least, most
    if error:
        return [f"error {error}"]
    return [
        f"request {kind} in version {version} (it has {ranges.get(kind, 'none')})"
        for kind, version in VERSIONS.items()
        if not ranges.get(kind, (1, 0))[0] <= version <= ranges.get(kind, (1, 0))[1]
    ]


def metadata_body(topics: Iterable[str]) -> bytes:
    """Ask who leads the partitions of these topics; none is made."""
    named = [text(topic) for topic in topics]
    return INT32.pack(len(named)) + b"".join(named) + b"\0"


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
    found = Leaders({}, {})
    for _ in range(answer.count()):
        error, topic = answer.number(INT16), answer.text()
        answer.number(INT8)  # whether internal
        if error:
            found.errors[Partition(topic, -1)] = error
        for _ in range(answer.count()):
            error, number, leader = answer.number(INT16), answer.number(INT32), answer.number(INT32)
            answer.number(INT32)  # epoch
            for _ in range(3):  # replicas, those in sync, those away
                answer.skipped(4 * answer.count())
            if leader in brokers and not error:
                found.leaders[Partition(topic, number)] = brokers[leader]
            elif error:
                found.errors[Partition(topic, number)] = error
    return found


def fetch_body(
    positions: Mapping[Partition, int], wait_ms: int, least_bytes: int, most_bytes: int, most_part_bytes: int
) -> bytes:
    """Ask for committed records of some partitions from offsets on, in the order given."""
    topics: dict[str, list[bytes]] = {}
    for part, offset in positions.items():
        row = _FETCH_PART.pack(part.partition, _UNKNOWN_EPOCH, offset, -1, most_part_bytes)
        topics.setdefault(part.topic, []).append(row)
    # no session: every request names all its partitions
    head = _FETCH_HEAD.pack(-1, wait_ms, least_bytes, most_bytes, READ_COMMITTED, 0, -1, len(topics))
    rows = [text(topic) + INT32.pack(len(parts)) + b"".join(parts) for topic, parts in topics.items()]
    return head + b"".join(rows) + INT32.pack(0) + text("")


def fetched_of(answer: Answer) -> tuple[int, list[Part]]:
    """The error of the whole, and what there is of each partition."""
    answer.number(INT32)  # throttled for
    error = answer.number(INT16)
    answer.number(INT32)  # session
    found = []
    for _ in range(answer.count()):
        topic = answer.text()
        for _ in range(answer.count()):
            number, failed, high, stable, _, count = answer.take(_PART_HEAD)
            aborted = tuple(answer.take(_ABORTED) for _ in range(max(count, 0)))
            _, length = answer.take(_RECORDS)  # the first is a replica to be preferred: we name no rack
            begin = answer.skipped(max(length, 0))
            part = Partition(topic, number)
            found.append(Part(part, failed, high, stable, aborted, begin, begin + max(length, 0)))  # type: ignore[arg-type]
    return error, found
