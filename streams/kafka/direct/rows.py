"""Records of one topic on their way into record batches: columns of bytes, and the batches made of them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from samestream.streams.kafka.direct import batch_kernel as kernel
from samestream.streams.kafka.direct.batches import (
    BEFORE_LENGTH,
    CRC_FROM,
    GZIP,
    HEAD,
    LZ4,
    NO_CODEC,
    SNAPPY,
    TRANSACTIONAL,
    ZSTD,
)
from samestream.streams.kafka.direct.transaction_messages import Identity
from samestream.streams.transport import Int64Array, Outgoing, stamp_ms
from samestream.streams.wire.encode_kernel import number as _varint
from samestream.streams.wire.packed import Bytes, Packed
from samestream.streams.wire.parcel import Parcel

CODECS = {"none": NO_CODEC, "gzip": GZIP, "snappy": SNAPPY, "lz4": LZ4, "zstd": ZSTD}
"""What ``compression.type`` may say."""

_FORMAT = 2
# an LZ4 frame of independent blocks of at most 64 KB, as Kafka wants them; the last byte is the head's own checksum
_LZ4_HEAD, _LZ4_END, _LZ4_BLOCK = bytes.fromhex("04224d18604082"), bytes(4), 64 * 1024
_LZ4_STORED = 1 << 31


class Rows(NamedTuple):
    """Records of one topic. headers : of each, as the record format has them; numbers : partitions, -1 lets the key decide."""

    topic: str
    keys: Packed
    values: Packed
    headers: Packed
    stamps_ms: Int64Array
    numbers: Int64Array

    def decided(self, partitions: int, without_key: int) -> Int64Array:
        """The partition of every record."""
        numbers = self.numbers.copy()
        if len(numbers) and numbers.min() < 0:
            kernel.decide(self.keys.data, self.keys.bounds, self.keys.there, numbers, partitions, without_key)
        return numbers

    def largest(self) -> int:
        """Bytes of the largest record at most."""
        sizes = self.keys.lengths + self.values.lengths + self.headers.lengths
        return int(sizes.max(initial=0)) + kernel.AROUND


def of_parcel(parcel: Parcel, now_ms: int) -> Rows:
    """The records of a parcel. Raises TransportError for a timestamp that Kafka cannot express."""
    for row in np.flatnonzero((parcel.known_us < 1000) & (parcel.known_us != -1)).tolist():
        stamp_ms(Outgoing(parcel.topic, None, None, int(parcel.known_us[row])))
    stamps_ms = np.where(parcel.known_us < 0, now_ms, parcel.known_us // 1000)
    none = Packed(np.zeros(1, np.uint8), np.zeros(len(parcel) + 1, np.int64), np.zeros(len(parcel), np.uint8))
    return Rows(parcel.topic, parcel.keys, parcel.values, none, stamps_ms, parcel.partitions)


def of_records(records: Iterable[Outgoing], now_ms: int) -> Iterator[Rows]:
    """Records by topic. Raises TransportError for a timestamp that Kafka cannot express."""
    topics: dict[str, list[Outgoing]] = {}
    for record in records:
        topics.setdefault(record.topic, []).append(record)
    for topic, mine in topics.items():
        yield Rows(
            topic,
            Packed.of([record.key for record in mine]),
            Packed.of([record.value for record in mine]),
            Packed.of([_headers(record.headers) for record in mine]),
            np.array([stamp_ms(record) or now_ms for record in mine], np.int64),
            np.array([-1 if record.partition is None else record.partition for record in mine], np.int64),
        )


def _headers(headers: Sequence[tuple[str, bytes | None]]) -> bytes:
    """As the record format has them; empty for none.

    >>> _headers([("a", b"b"), ("c", None)]).hex()
    '0402610262026301'
    """
    if not headers:
        return b""
    parts = [_number(len(headers))]
    for name, value in headers:
        parts += [_number(len(name.encode())), name.encode()]
        parts += [_number(-1)] if value is None else [_number(len(value)), value]
    return b"".join(parts)


def _number(value: int) -> bytes:
    out = np.empty(10, np.uint8)
    return out[: _varint(value, out, 0)].tobytes()


class Built(NamedTuple):
    """A record batch as it is sent, and how many records it has."""

    data: bytes
    records: int


def built(rows: Rows, chosen: Int64Array, codec: int, limit: int, identity: Identity, sequence: int) -> Iterator[Built]:
    """The record batches of some of the records, in order, each of about ``limit`` bytes before it is compressed.

    sequence : of the first record among all that the identity has written to the partition
    """
    out, told = np.empty(max(limit, rows.largest()) + kernel.AROUND, np.uint8), np.zeros(3, np.int64)
    place = 0
    while place < len(chosen):
        end = kernel.pack(
            chosen, place, rows.stamps_ms, rows.keys.data, rows.keys.bounds, rows.keys.there,
            rows.values.data, rows.values.bounds, rows.values.there, rows.headers.data, rows.headers.bounds,
            limit, out, told,
        )  # fmt: skip
        count, payload = end - place, _compressed(codec, out[: told[kernel.SIZE]])
        base_ms, greatest_ms = int(told[kernel.BASE_MS]), int(told[kernel.GREATEST_MS])
        length = HEAD.size - BEFORE_LENGTH + len(payload)
        batch = bytearray(HEAD.size + len(payload))
        HEAD.pack_into(
            batch, 0, 0, length, -1, _FORMAT, 0, TRANSACTIONAL | codec, count - 1, base_ms, greatest_ms,
            identity.producer, identity.epoch, sequence, count,
        )  # fmt: skip
        batch[HEAD.size :] = payload
        checksum = kernel.crc32c(np.frombuffer(batch, np.uint8), CRC_FROM, len(batch), kernel.TABLES)
        struct.pack_into(">I", batch, CRC_FROM - 4, checksum)
        yield Built(bytes(batch), count)
        place, sequence = end, later(sequence, count)


def later(sequence: int, count: int) -> int:
    """A sequence number so many records on; Kafka's begin anew after 31 bits."""
    return (sequence + count) & 0x7FFFFFFF


def compile_now() -> None:
    """Compile while nobody waits."""
    rows = next(of_records([Outgoing("topic", b"key", b"value", 1000)], 1))
    chosen = rows.decided(1, 0)
    list(built(rows, chosen, LZ4, 1000, Identity(0, 0), 0))


def _compressed(codec: int, payload: Bytes) -> bytes:
    if codec == LZ4:
        return b"".join(_lz4(payload))
    if codec == NO_CODEC:
        return payload.tobytes()
    name: Any = {GZIP: "gzip", SNAPPY: "snappy", ZSTD: "zstd"}[codec]
    return pa.Codec(name).compress(pa.py_buffer(payload.data)).to_pybytes()


def _lz4(payload: Bytes) -> Iterator[bytes]:
    codec = pa.Codec("lz4_raw")
    yield _LZ4_HEAD
    for begin in range(0, len(payload), _LZ4_BLOCK):
        raw = payload[begin : begin + _LZ4_BLOCK]
        block = codec.compress(pa.py_buffer(raw.data)).to_pybytes()
        if len(block) < len(raw):
            yield len(block).to_bytes(4, "little") + block
        else:
            yield (len(raw) | _LZ4_STORED).to_bytes(4, "little") + raw.tobytes()
    yield _LZ4_END
