"""Asking what is open in partitions, and ending it: requests that Kafka has for its own tools, in the flexible encoding."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from samestream.streams.kafka.direct.messages import INT8, INT16, INT32, INT64, Answer
from samestream.streams.kafka.direct.transaction_messages import Identity
from samestream.streams.transport import Partition

_NO_TAGS = b"\0"
_IDENTITY = struct.Struct(">qh")
_ACTIVE = struct.Struct(">qiiqiq")


class Open(NamedTuple):
    """What a producer has open in a partition.

    identity : of who wrote it
    coordinator_epoch : of the coordinator that last ended something of it there; -1 where none has
    last_sequence : the number of the last record
    start : the offset at which it begins; -1 where nothing is open
    """

    partition: Partition
    identity: Identity
    coordinator_epoch: int
    last_sequence: int
    start: int


class Marker(NamedTuple):
    """The end of a transaction, as it is written into its partitions."""

    identity: Identity
    coordinator_epoch: int
    commit: bool


class Flexible:
    """Reads what has the flexible encoding from front to back. Raises ValueError where it is shorter than it says."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.number, self.take = answer.number, answer.take

    def length(self) -> int:
        """The length of a text or an array; -1 where it is null."""
        return self._varint() - 1

    def text(self) -> str:
        """The next text; empty where it is null."""
        length = max(self.length(), 0)
        begin = self._answer.skipped(length)
        return str(self._answer.data[begin : begin + length], "utf-8", "replace")

    def tags(self) -> None:
        """Pass over tagged fields."""
        for _ in range(self._varint()):
            self._varint()
            self._answer.skipped(self._varint())

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._answer.number(INT8)) < 0:  # the sign says that more comes
            value |= (byte & 0x7F) << shift
            shift += 7
        return value | byte << shift


def _answered(answer: Answer) -> Flexible:
    read = Flexible(answer)
    read.tags()  # the header's
    return read


def varint(value: int) -> bytes:
    """An unsigned number in as many bytes as it needs.

    >>> varint(1).hex(), varint(300).hex()
    ('01', 'ac02')
    """
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def text(value: str) -> bytes:
    """A text."""
    encoded = value.encode()
    return varint(len(encoded) + 1) + encoded


def array(elements: Iterable[bytes]) -> bytes:
    """Some elements."""
    found = list(elements)
    return varint(len(found) + 1) + b"".join(found)


def _by_topic(partitions: Iterable[Partition]) -> bytes:
    topics: dict[str, list[bytes]] = {}
    for part in partitions:
        topics.setdefault(part.topic, []).append(INT32.pack(part.partition))
    return array(text(topic) + array(numbers) + _NO_TAGS for topic, numbers in topics.items())


def producers_body(partitions: Iterable[Partition]) -> bytes:
    """Ask who has written to some partitions, and what of it is open."""
    return _by_topic(partitions) + _NO_TAGS


def producers_of(answer: Answer) -> tuple[dict[Partition, int], list[Open]]:
    """The errors of partitions, and all that is known of their producers."""
    read = _answered(answer)
    read.number(INT32)  # throttled for
    errors, found = dict[Partition, int](), []
    for part in _parts(read, errors):
        read.text()  # the error in words
        for _ in range(read.length()):
            producer, epoch, sequence, _, coordinator, start = read.take(_ACTIVE)
            read.tags()
            found.append(Open(part, Identity(producer, epoch), coordinator, sequence, start))
    return errors, found


def _parts(read: Flexible, errors: dict[Partition, int]) -> Iterator[Partition]:
    """Partitions by topic, whose errors are noted; who iterates reads what else is said of each."""
    for _ in range(read.length()):
        topic = read.text()
        for _ in range(read.length()):
            part = Partition(topic, read.number(INT32))
            if error := read.number(INT16):
                errors[part] = error
            yield part
            read.tags()
        read.tags()


def markers_body(markers: Mapping[Marker, Sequence[Partition]]) -> bytes:
    """Ask a leader to write the ends of transactions into partitions."""
    return (
        array(
            _IDENTITY.pack(*marker.identity)
            + INT8.pack(marker.commit)
            + _by_topic(partitions)
            + INT32.pack(marker.coordinator_epoch)
            + _NO_TAGS
            for marker, partitions in markers.items()
        )
        + _NO_TAGS
    )


def marker_errors(answer: Answer) -> dict[Partition, int]:
    """The errors of partitions into which an end could not be written."""
    read, errors = _answered(answer), dict[Partition, int]()
    for _ in range(read.length()):
        read.number(INT64)  # producer
        for _ in _parts(read, errors):
            pass
        read.tags()
    return errors


def listing_body(producers: Sequence[int]) -> bytes:
    """Ask a broker which transactional ids it coordinates, of those that have these producer ids."""
    return array([]) + array(INT64.pack(producer) for producer in producers) + _NO_TAGS


def listed(answer: Answer) -> tuple[int, dict[int, str]]:
    """The error, and the transactional id of each producer id."""
    read = _answered(answer)
    read.number(INT32)
    error = read.number(INT16)
    for _ in range(read.length()):
        read.text()  # a state that it does not know
    found = dict[int, str]()
    for _ in range(read.length()):
        name, producer = read.text(), read.number(INT64)
        found[producer] = name
        read.text()  # state
        read.tags()
    return error, found


def state_body(transactional_id: str) -> bytes:
    """Ask a coordinator how a transactional id stands."""
    return array([text(transactional_id)]) + _NO_TAGS


def holder_of(answer: Answer) -> tuple[int, Identity]:
    """The error, and who holds the transactional id."""
    read = _answered(answer)
    read.number(INT32)
    if read.length() < 1:
        raise ValueError("a coordinator says nothing of what was asked")
    error = read.number(INT16)
    for _ in range(2):
        read.text()  # its name, its state
    read.number(INT32)  # the time that it has
    read.number(INT64)  # when it began
    return error, Identity(*read.take(_IDENTITY))
