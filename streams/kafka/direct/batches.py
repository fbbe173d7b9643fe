"""Record batches as brokers hand them over: checked, decompressed, committed ones only, as columns."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from samestream.streams.kafka.direct import batch_kernel as kernel
from samestream.streams.transport import Fetched, Int64Array, Partition
from samestream.streams.wire.packed import Bytes, Packed

HEAD = struct.Struct(">qiibIhiqqqhii")
BEFORE_LENGTH, CRC_FROM = 12, 21  # bytes in front of what `length` counts, and of what the checksum is of
_CODEC, _APPENDED, TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20  # of a batch's attributes
NO_CODEC, GZIP, SNAPPY, LZ4, ZSTD = range(5)
_STREAMED: dict[int, Any] = {LZ4: "lz4", ZSTD: "zstd"}  # pyarrow's stubs want each name as a type
_XERIAL = b"\x82SNAPPY\0"
_ABORT = 0  # of a control record's type
_LEAST_RECORD = 7  # bytes
_GUESS = 4  # times smaller than it was is what compressed data may be, before more room is made


class CorruptBatchError(ValueError):
    """A record batch is not what it should be; the message says how."""


class Head(NamedTuple):
    """The head of a batch, and where it lies.

    offset, last : of the first record that was ever in it, and of the last
    """

    begin: int
    end: int
    offset: int
    last: int
    attributes: int
    base_ms: int
    greatest_ms: int
    producer: int
    records: int


def heads(data: memoryview, begin: int, end: int) -> Iterator[Head]:
    """The batches between two places, but a last one that is cut off. Raises CorruptBatchError for what is no batch."""
    while end - begin >= HEAD.size:
        offset, length, _, magic, _, attributes, delta, base, greatest, producer, _, _, count = HEAD.unpack_from(
            data, begin
        )
        if magic != 2:
            raise CorruptBatchError(
                f"the record batch at offset {offset} has format {magic}, which only Kafka before 0.11 wrote"
            )
        stop = begin + BEFORE_LENGTH + length
        if length < HEAD.size - BEFORE_LENGTH or delta < 0 or count < 0:
            raise CorruptBatchError(
                f"the record batch at offset {offset} says it has {length} bytes and {count} records"
            )
        if stop > end:
            return
        yield Head(begin, stop, offset, offset + delta, attributes, base, greatest, producer, count)
        begin = stop


def visible(data: memoryview, found: Sequence[Head], aborted: Sequence[tuple[int, int]]) -> list[Head]:
    """The batches that are to be read: no control records, and nothing of a transaction that was aborted.

    aborted : (producer id, first offset), as the broker told them with these batches
    """
    coming, undone = sorted(aborted, key=lambda pair: pair[1]), set[int]()
    wanted = []
    for head in found:
        while coming and coming[0][1] <= head.last:
            undone.add(coming.pop(0)[0])
        if head.attributes & _CONTROL:
            if head.producer in undone and _control_type(data, head) == _ABORT:
                undone.remove(head.producer)
        elif head.records and not (head.attributes & TRANSACTIONAL and head.producer in undone):
            wanted.append(head)
    return wanted


def _control_type(data: memoryview, head: Head) -> int:
    """What the one record of a control batch says: 0 aborted, 1 committed; its key is a version and that."""
    rows = columns([(data, head)], head.offset)
    key = (rows.keys[0] if len(rows) else None) or b""  # compaction may leave a batch without its record
    return int.from_bytes(key[2:4], "big") if len(key) >= 4 else -1


@dataclass(frozen=True, slots=True)
class Columns:
    """Records side by side; `Fetched` without its partition."""

    offsets: Int64Array
    known_us: Int64Array
    keys: Packed
    values: Packed

    def __len__(self) -> int:
        return len(self.offsets)

    def of(self, part: Partition) -> Fetched:
        """As a reader hands them on."""
        return Fetched(part, self.offsets, self.known_us, self.keys, self.values)

    def between(self, begin: int, end: int) -> Columns:
        """Some of them, not copied."""
        if begin == 0 and end >= len(self):
            return self
        return Columns(self.offsets[begin:end], self.known_us[begin:end], self.keys[begin:end], self.values[begin:end])


def columns(wanted: Sequence[tuple[memoryview, Head]], first_offset: int, check: bool = True) -> Columns:
    """The records of batches, each in its answer, from an offset on.

    check : whether to compute their checksums
    Raises CorruptBatchError, naming the batch.
    """
    payloads = [_payload(data, head, check) for data, head in wanted]
    count, room = sum(head.records for _, head in wanted), max(sum(len(payload) for payload in payloads), 1)
    offsets, stamps_ms = np.empty(count, np.int64), np.empty(count, np.int64)
    bounds, there = np.zeros((2, count + 1), np.int64), np.empty((2, count), np.uint8)
    keys, values = np.empty(room, np.uint8), np.empty(room, np.uint8)
    row = 0
    for (_, head), payload in zip(wanted, payloads, strict=True):
        append_ms = head.greatest_ms if head.attributes & _APPENDED else -1
        found = kernel.unpack(
            payload, 0, len(payload), head.records, head.offset, head.base_ms, append_ms, first_offset, row,
            offsets, stamps_ms, keys, bounds[0], there[0], values, bounds[1], there[1],
        )  # fmt: skip
        if found < 0:
            raise CorruptBatchError(f"record {-1 - found} of the batch at offset {head.offset} is malformed")
        row = found
    known_us = np.where(stamps_ms[:row] < 0, -1, stamps_ms[:row] * 1000)
    packed = [
        Packed(room[: max(int(edge[row]), 1)], edge[: row + 1], given[:row])
        for room, edge, given in zip((keys, values), bounds, there, strict=True)
    ]
    return Columns(offsets[:row], known_us, packed[0], packed[1])


def compile_now() -> None:
    """Compile while nobody waits."""
    columns([], 0)
    kernel.crc32c(np.zeros(1, np.uint8), 0, 1, kernel.TABLES)


def _payload(data: memoryview, head: Head, check: bool) -> Bytes:
    """The records of a batch as they were before they were compressed."""
    whole = np.frombuffer(data, np.uint8)
    if check:
        (told,) = struct.unpack_from(">I", data, head.begin + CRC_FROM - 4)
        if kernel.crc32c(whole, head.begin + CRC_FROM, head.end, kernel.TABLES) != told:
            raise CorruptBatchError(f"the record batch at offset {head.offset} does not match its checksum")
    begin = head.begin + HEAD.size
    codec = head.attributes & _CODEC
    if codec == NO_CODEC:
        payload = whole[begin : head.end]
    else:
        try:
            payload = _decompressed(codec, data[begin : head.end])
        except (OSError, pa.ArrowException, zlib.error, ValueError) as refused:
            raise CorruptBatchError(
                f"the record batch at offset {head.offset} cannot be decompressed: {refused}"
            ) from refused
    if head.records > len(payload) // _LEAST_RECORD:
        raise CorruptBatchError(f"the record batch at offset {head.offset} is too short for {head.records} records")
    return payload


def _decompressed(codec: int, data: memoryview) -> Bytes:
    """Always into bytes that may be written, or numba would compile all that reads them twice."""
    if codec in _STREAMED:
        return _streamed(_STREAMED[codec], data)
    if codec == GZIP:
        return np.frombuffer(bytearray(zlib.decompress(data, 31)), np.uint8)
    if codec == SNAPPY:
        return np.frombuffer(bytearray().join(_unsnapped(data)), np.uint8)
    raise ValueError(f"compression {codec} is not known")


def _streamed(codec: Any, data: memoryview) -> Bytes:
    """A frame, whose size nothing says."""
    out, filled = np.empty(_GUESS * len(data) + 1, np.uint8), 0
    with pa.CompressedInputStream(pa.BufferReader(pa.py_buffer(data)), codec) as stream:
        while got := stream.readinto(out.data[filled:]):
            filled += got
            if filled == len(out):
                out = np.concatenate([out, np.empty_like(out)])
    return out[:filled]


def _unsnapped(data: memoryview) -> Iterator[bytes]:
    """Java writes blocks with their lengths in front; others write one block."""
    if bytes(data[:8]) != _XERIAL:
        yield _unsnapped_block(data)
        return
    at = 16
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        at += 4
        yield _unsnapped_block(data[at : at + length])
        at += length


def _unsnapped_block(block: memoryview) -> bytes:
    size = shift = 0
    for byte in block[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    found: bytes = pa.Codec("snappy").decompress(block, size, asbytes=True)
    return found
