"""The compiled half of our own Kafka client: record batches (format 2) into buffers, and their checksums.

A batch's records lie one after another: length, attributes, timestamp and offset as differences to the batch's, key, value,
headers; every number but the attributes is a zigzag varint. Nothing is read past the end that was given.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from samestream.streams.engine.kernel import Words, compiled, lean
from samestream.streams.kafka.librdkafka_kernel import copy

Bytes = NDArray[np.uint8]
Table = NDArray[np.uint32]

_CASTAGNOLI = 0x82F63B78
_LONGEST = 10  # bytes of a varint


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
    return np.int64(state ^ np.uint32(0xFFFFFFFF))  # type: ignore[return-value]


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
    return np.int64(0), np.int64(-1)  # type: ignore[return-value]


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
