"""Asking brokers to take records and to commit them together: Kafka's Produce request, and those about transactions."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from samestream.streams.kafka.direct.messages import INT8, INT16, INT32, INT64, Answer, Broker, by_topic, text
from samestream.streams.transport import Partition

TRANSACTION, GROUP = 1, 0
"""What a coordinator may be of."""

_ALL_IN_SYNC = -1
_NOT_ATTEMPTED = 55  # OPERATION_NOT_ATTEMPTED: another partition is to blame
_IDENTITY = struct.Struct(">qh")
_PRODUCED = struct.Struct(">hqqq")


class Identity(NamedTuple):
    """Who writes: Kafka's producer id, and how many times somebody has taken it over."""

    producer: int
    epoch: int


def coordinator_body(name: str, kind: int) -> bytes:
    """Ask who coordinates a transactional id or a group."""
    return text(name) + INT8.pack(kind)


def coordinator_of(answer: Answer) -> tuple[int, Broker]:
    """The error, and who it is."""
    answer.number(INT32)  # throttled for
    error = answer.number(INT16)
    answer.text()  # the error in words
    answer.number(INT32)  # node
    return error, Broker(answer.text(), answer.number(INT32))


def identity_body(transactional_id: str, timeout_ms: int) -> bytes:
    """Take a transactional id over."""
    return text(transactional_id) + INT32.pack(timeout_ms)


def identity_of(answer: Answer) -> tuple[int, Identity]:
    """The error, and who one is from now on."""
    answer.number(INT32)
    error = answer.number(INT16)
    return error, Identity(*answer.take(_IDENTITY))


def _whose(transactional_id: str, identity: Identity) -> bytes:
    return text(transactional_id) + _IDENTITY.pack(*identity)


def partitions_body(transactional_id: str, identity: Identity, partitions: Sequence[Partition]) -> bytes:
    """Let partitions join the transaction."""
    return _whose(transactional_id, identity) + by_topic(dict.fromkeys(partitions, b""))


def partition_errors(answer: Answer) -> dict[Partition, int]:
    """The error of each partition, of those that joined or of those whose offsets were committed."""
    answer.number(INT32)
    return {part: answer.number(INT16) for part in _parts(answer)}


def first_error(answer: Answer) -> int:
    """The first error of any partition that says something; 0 where all is well."""
    errors = [error for error in partition_errors(answer).values() if error]
    return next((error for error in errors if error != _NOT_ATTEMPTED), errors[0] if errors else 0)


def _parts(answer: Answer) -> Iterator[Partition]:
    for _ in range(answer.count()):
        topic = answer.text()
        for _ in range(answer.count()):
            yield Partition(topic, answer.number(INT32))


def produce_body(transactional_id: str, timeout_ms: int, written: Mapping[Partition, bytes]) -> bytes:
    """Hand over one record batch for each of some partitions."""
    rows = {part: INT32.pack(len(batch)) + batch for part, batch in written.items()}
    return text(transactional_id) + INT16.pack(_ALL_IN_SYNC) + INT32.pack(timeout_ms) + by_topic(rows)


def produce_errors(answer: Answer) -> dict[Partition, int]:
    """The error of each partition."""
    return {part: answer.take(_PRODUCED)[0] for part in _parts(answer)}


def offsets_joined_body(transactional_id: str, identity: Identity, group: str) -> bytes:
    """Let the offsets of a group join the transaction."""
    return _whose(transactional_id, identity) + text(group)


def offsets_body(transactional_id: str, identity: Identity, group: str, offsets: Mapping[Partition, int]) -> bytes:
    """Set the offsets of a group, once the transaction is committed."""
    no_epoch, no_metadata = INT32.pack(-1), INT16.pack(-1)
    rows = {part: INT64.pack(offset) + no_epoch + no_metadata for part, offset in offsets.items()}
    return text(transactional_id) + text(group) + _IDENTITY.pack(*identity) + by_topic(rows)


def end_body(transactional_id: str, identity: Identity, commit: bool) -> bytes:
    """Commit or abort the transaction."""
    return _whose(transactional_id, identity) + INT8.pack(commit)


def error_of(answer: Answer) -> int:
    """The one error of an answer that says no more than that."""
    answer.number(INT32)
    return answer.number(INT16)
