"""The compiled half of our own Kafka client: record batches (format 2) into buffers, buffers into record batches, checksums.

A batch's records lie one after another: length, attributes, timestamp and offset as differences to the batch's, key, value,
headers; every number but the attributes is a zigzag varint. Nothing is read past the end that was given.
"""

# mypy: disable-error-code="arg-type, assignment, return-value"
# what is compiled reads single words; NumPy's stubs cannot tell them from Python's
# pyright: reportArgumentType=false, reportReturnType=false, reportAssignmentType=false, reportCallIssue=false

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from samestream.streams.engine.compiling import Words, compiled, lean
from samestream.streams.kafka.librdkafka_kernel import copy
from samestream.streams.wire.encode_kernel import number as write_varint

Bytes = NDArray[np.uint8]
Table = NDArray[np.uint32]

_CASTAGNOLI = 0x82F63B78
_LONGEST = 10  # bytes of a varint
AROUND = 5 + 1 + 10 + 5 + 5 + 5 + 1
"""Bytes of a record at most, without its key, value and headers."""
SIZE, BASE_MS, GREATEST_MS = range(3)  # what `pack` tells


def _tables() -> Table:
    """What eight bytes at once add to a CRC-32C, shape (8, 256)."""
    found = np.zeros((8, 256), np.uint32)
    for byte in range(256):
        state = byte
        for _ in range(8):
            state = (state >> 1) ^ (_CASTAGNOLI if state & 1 else 0)
        found[0, byte] = state
    for row in range(1, 8):
        found[row] = (found[row - 1] >> 8) ^ found[0][found[row - 1] & 0xFF]
    return found


TABLES = _tables()


@lean
def crc32c(data: Bytes, begin: int, end: int, tables: Table) -> int:
    """CRC-32C of some bytes; ``tables`` is `TABLES`."""
    state = np.uint32(0xFFFFFFFF)
    at = begin
    while at + 8 <= end:
        state ^= (
            np.uint32(data[at])
            | (np.uint32(data[at + 1]) << np.uint32(8))
            | (np.uint32(data[at + 2]) << np.uint32(16))
            | (np.uint32(data[at + 3]) << np.uint32(24))
        )
        state = (
            tables[7, state & np.uint32(0xFF)]
            ^ tables[6, (state >> np.uint32(8)) & np.uint32(0xFF)]
            ^ tables[5, (state >> np.uint32(16)) & np.uint32(0xFF)]
            ^ tables[4, state >> np.uint32(24)]
            ^ tables[3, data[at + 4]]
            ^ tables[2, data[at + 5]]
            ^ tables[1, data[at + 6]]
            ^ tables[0, data[at + 7]]
        )
        at += 8
    while at < end:
        state = (state >> np.uint32(8)) ^ tables[0, (state ^ np.uint32(data[at])) & np.uint32(0xFF)]
        at += 1
    return np.int64(state ^ np.uint32(0xFFFFFFFF))


@lean
def _varint(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """A zigzag varint and where it ends; an end of -1 where it does not end, or has more than 64 bits."""
    if at < end and data[at] < 0x80:
        value = np.int64(data[at])
        return (value >> 1) ^ -(value & 1), at + 1
    shift, value = np.int64(0), np.int64(0)
    for place in range(at, min(at + _LONGEST, end)):
        byte = np.int64(data[place])
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return ((value >> 1) & 0x7FFFFFFFFFFFFFFF) ^ -(value & 1), place + 1
        shift += 7
    return np.int64(0), np.int64(-1)


@compiled
def unpack(
    data: Bytes,
    begin: int,
    end: int,
    count: int,
    base_offset: int,
    base_ms: int,
    append_ms: int,
    first_offset: int,
    row: int,
    offsets: Words,
    stamps_ms: Words,
    keys: Bytes,
    key_bounds: Words,
    key_there: Bytes,
    values: Bytes,
    value_bounds: Words,
    value_there: Bytes,
) -> int:
    """Append a batch's records from ``first_offset`` on to columns that hold ``row`` of them; how many they hold then.

    append_ms : the stamp of all records, where the broker's clock stamped them; else -1
    Returns -1 - N where the N-th record of the batch is malformed.
    """
    data_from, keys_from, values_from = data.ctypes.data, keys.ctypes.data, values.ctypes.data
    at = begin
    key_at, value_at = key_bounds[row], value_bounds[row]
    for number in range(count):
        length, at = _varint(data, at, end)
        if at < 0 or length < 0 or length > end - at:
            return -1 - number
        stop = at + length
        delta_ms, at = _varint(data, at + 1, stop)
        if at < 0:
            return -1 - number
        delta, at = _varint(data, at, stop)
        if at < 0:
            return -1 - number
        key_length, at = _varint(data, at, stop)
        if at < 0 or key_length > stop - at:
            return -1 - number
        key_begin = at
        value_length, at = _varint(data, at + max(key_length, 0), stop)
        if at < 0 or value_length > stop - at:
            return -1 - number
        value_begin = at
        at = stop  # headers are passed over
        if base_offset + delta < first_offset:
            continue
        offsets[row] = base_offset + delta
        stamps_ms[row] = append_ms if append_ms >= 0 else base_ms + delta_ms
        key_there[row], value_there[row] = key_length >= 0, value_length >= 0
        if key_length > 0:
            copy(keys_from + key_at, data_from + key_begin, key_length)
            key_at += key_length
        if value_length > 0:
            copy(values_from + value_at, data_from + value_begin, value_length)
            value_at += value_length
        row += 1
        key_bounds[row], value_bounds[row] = key_at, value_at
    return row


@lean
def _size(value: int) -> int:
    """Bytes of a zigzag varint."""
    rest = (np.uint64(value) << np.uint64(1)) ^ np.uint64(value >> 63)
    size = np.int64(1)
    while rest >= np.uint64(0x80):
        rest >>= np.uint64(7)
        size += 1
    return size


@compiled
def pack(
    rows: Words,
    first: int,
    stamps_ms: Words,
    keys: Bytes,
    key_bounds: Words,
    key_there: Bytes,
    values: Bytes,
    value_bounds: Words,
    value_there: Bytes,
    headers: Bytes,
    header_bounds: Words,
    limit: int,
    out: Bytes,
    told: Words,
) -> int:
    """Write the records of ``rows`` from its place ``first`` on, until they would pass ``limit`` bytes; where it stopped.

    At least one is written. headers : of each record, as the format has them, their number included; empty for none
    out : has room for the limit, or for the first record if that is larger. told : SIZE, BASE_MS and GREATEST_MS
    """
    out_from, keys_from, values_from, headers_from = (
        out.ctypes.data,
        keys.ctypes.data,
        values.ctypes.data,
        headers.ctypes.data,
    )
    base_ms, greatest_ms, at, place = stamps_ms[rows[first]], stamps_ms[rows[first]], np.int64(0), np.int64(first)
    while place < len(rows):
        row = rows[place]
        key_size = key_bounds[row + 1] - key_bounds[row]
        value_size = value_bounds[row + 1] - value_bounds[row]
        header_size = header_bounds[row + 1] - header_bounds[row]
        key_told = key_size if key_there[row] else np.int64(-1)
        value_told = value_size if value_there[row] else np.int64(-1)
        delta_ms = stamps_ms[row] - base_ms
        size = (
            1 + _size(delta_ms) + _size(place - first) + _size(key_told) + key_size + _size(value_told) + value_size
            + max(header_size, 1)
        )  # fmt: skip
        if place > first and at + size + 5 > limit:
            break
        at = write_varint(size, out, at)
        out[at] = 0
        at = write_varint(delta_ms, out, at + 1)
        at = write_varint(place - first, out, at)
        at = write_varint(key_told, out, at)
        if key_size > 0:
            copy(out_from + at, keys_from + key_bounds[row], key_size)
            at += key_size
        at = write_varint(value_told, out, at)
        if value_size > 0:
            copy(out_from + at, values_from + value_bounds[row], value_size)
            at += value_size
        if header_size > 0:
            copy(out_from + at, headers_from + header_bounds[row], header_size)
            at += header_size
        else:
            out[at] = 0
            at += 1
        greatest_ms = max(greatest_ms, stamps_ms[row])
        place += 1
    told[SIZE], told[BASE_MS], told[GREATEST_MS] = at, base_ms, greatest_ms
    return place


@lean
def decide(keys: Bytes, bounds: Words, there: Bytes, numbers: Words, partitions: int, without_key: int) -> None:
    """Replace -1 among partition numbers by what the key says, as `streams.transport.partition_of` does."""
    mask, mix = np.uint32(0xFFFFFFFF), np.uint32(0x5BD1E995)
    for row in range(len(numbers)):
        if numbers[row] >= 0:
            continue
        if there[row] == 0:
            numbers[row] = without_key
            continue
        begin, size = bounds[row], bounds[row + 1] - bounds[row]
        state = np.uint32(np.uint32(0x9747B28C) ^ np.uint32(size))
        at, end = begin, begin + (size & ~3)
        while at < end:
            word = (
                np.uint32(keys[at])
                | (np.uint32(keys[at + 1]) << np.uint32(8))
                | (np.uint32(keys[at + 2]) << np.uint32(16))
                | (np.uint32(keys[at + 3]) << np.uint32(24))
            )
            word = np.uint32((word * mix) & mask)
            word = np.uint32(((word ^ (word >> np.uint32(24))) * mix) & mask)
            state = np.uint32(np.uint32((state * mix) & mask) ^ word)
            at += 4
        left = size & 3
        if left:
            word = np.uint32(0)
            for i in range(left):
                word |= np.uint32(keys[at + i]) << np.uint32(8 * i)
            state = np.uint32(((state ^ word) * mix) & mask)
        state = np.uint32(((state ^ (state >> np.uint32(13))) * mix) & mask)
        state = np.uint32(state ^ (state >> np.uint32(15)))
        numbers[row] = np.int64(state & np.uint32(0x7FFFFFFF)) % partitions
