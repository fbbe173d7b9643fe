"""Asking a broker for record batches, and where partitions end: Kafka's Fetch and ListOffsets requests."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from samestream.streams.kafka.direct.messages import INT8, INT16, INT32, INT64, Answer, array, by_topic, text
from samestream.streams.transport import Partition

_READ_COMMITTED = 1
_LATEST = -1
_UNKNOWN_EPOCH = -1
_HEAD = struct.Struct(">iiiibii")
_POSITION = struct.Struct(">iqqi")
_PART = struct.Struct(">ihqqqi")
_ABORTED = struct.Struct(">qq")
_RECORDS = struct.Struct(">ii")
_END = struct.Struct(">ihqq")


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


def fetch_body(
    positions: Mapping[Partition, int], wait_ms: int, least_bytes: int, most_bytes: int, most_part_bytes: int
) -> bytes:
    """Ask for committed records of some partitions from offsets on, in the order given."""
    # no session: every request names all its partitions
    head = _HEAD.pack(-1, wait_ms, least_bytes, most_bytes, _READ_COMMITTED, 0, -1)
    rows = {part: _POSITION.pack(_UNKNOWN_EPOCH, offset, -1, most_part_bytes) for part, offset in positions.items()}
    return head + by_topic(rows) + array([]) + text("")


def fetched_of(answer: Answer) -> tuple[int, list[Part]]:
    """The error of the whole, and what there is of each partition."""
    answer.number(INT32)  # throttled for
    error = answer.number(INT16)
    answer.number(INT32)  # session
    found = []
    for _ in range(answer.count()):
        topic = answer.text()
        for _ in range(answer.count()):
            number, failed, high, stable, _, count = answer.take(_PART)
            aborted = tuple(answer.take(_ABORTED) for _ in range(max(count, 0)))
            _, length = answer.take(_RECORDS)  # the first is a replica to be preferred: we name no rack
            begin = answer.skipped(max(length, 0))
            part = Partition(topic, number)
            found.append(Part(part, failed, high, stable, aborted, begin, begin + max(length, 0)))  # type: ignore[arg-type]
    return error, found


def ends_body(partitions: Iterable[Partition], committed: bool) -> bytes:
    """Ask for the last stable offsets, or for the high watermarks."""
    rows = dict.fromkeys(partitions, INT64.pack(_LATEST))
    return INT32.pack(-1) + INT8.pack(_READ_COMMITTED if committed else 0) + by_topic(rows)


def ends_of(answer: Answer) -> dict[Partition, tuple[int, int]]:
    """The error and the offset of each partition."""
    answer.number(INT32)
    found = {}
    for _ in range(answer.count()):
        topic = answer.text()
        for _ in range(answer.count()):
            number, error, _, offset = answer.take(_END)
            found[Partition(topic, number)] = error, offset
    return found
