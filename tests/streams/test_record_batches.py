"""Kafka's record batches by our own client: what is written is read, and nothing that is wrong is read as if it were right."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samestream.streams.kafka.direct import batch_kernel, batches, fetch_messages, messages, rows, transaction_messages
from samestream.streams.kafka.direct.batches import CorruptBatchError
from samestream.streams.kafka.direct.messages import Answer
from samestream.streams.kafka.direct.transaction_messages import Identity
from samestream.streams.transport import Outgoing, partition_of
from samestream.streams.wire.packed import Packed

ME = Identity(7, 3)
TEXT = st.none() | st.binary(max_size=40)
RECORDS = st.lists(
    st.builds(
        Outgoing,
        st.just("t"),
        TEXT,
        TEXT,
        st.integers(1, 4_000_000_000_000).map(lambda ms: ms * 1000),
        st.just(0),
        st.lists(st.tuples(st.text(max_size=5), TEXT), max_size=2).map(tuple),
    ),
    min_size=1,
    max_size=60,
)


def written(records: list[Outgoing], codec: str, limit: int = 1_000_000) -> list[bytes]:
    (given_rows,) = rows.of_records(records, 1)
    chosen = np.arange(len(records))
    return [built.data for built in rows.built(given_rows, chosen, rows.CODECS[codec], limit, ME, 5)]


def at_offsets(parts: list[bytes], first: int) -> bytearray:
    """As a broker stores them: every batch at its offset, which the checksum does not cover."""
    out = bytearray()
    for part in parts:
        head = next(batches.heads(memoryview(part), 0, len(part)))
        out += struct.pack(">q", first) + part[8:]
        first += head.records
    return out


def read(data: bytearray, first: int = 0) -> list[tuple[int, int, bytes | None, bytes | None]]:
    view = memoryview(data)
    found = batches.columns([(view, head) for head in batches.heads(view, 0, len(view))], first)
    return list(zip(found.offsets.tolist(), found.known_us.tolist(), found.keys, found.values, strict=True))


@settings(deadline=None, max_examples=120)
@given(RECORDS, st.sampled_from(sorted(rows.CODECS)), st.integers(1, 400), st.integers(0, 50))
def test_what_is_written_is_read(records: list[Outgoing], codec: str, limit: int, skipped: int) -> None:
    data = at_offsets(written(records, codec, limit), 100)
    expected = [(100 + at, record.known_us, record.key, record.value) for at, record in enumerate(records)]
    assert read(data) == expected
    assert read(data, 100 + skipped) == expected[skipped:]


def test_batches_are_numbered_and_say_whose_they_are() -> None:
    records = [Outgoing("t", b"k", b"v" * 100, (1000 + at) * 1000, 0) for at in (3, 1, 9, 2)]
    first, second = written(records, "none", 250)
    fields = [batches.HEAD.unpack_from(part) for part in (first, second)]
    assert [part[9:] for part in fields] == [(7, 3, 5, 2), (7, 3, 7, 2)]  # producer, epoch, sequence, records
    assert [part[7:9] for part in fields] == [(1003, 1003), (1009, 1009)]  # base and greatest timestamp
    assert all(part[5] == batches.TRANSACTIONAL for part in fields)


def test_the_checksum_is_castagnolis() -> None:
    data = np.frombuffer(bytearray(b"123456789" * 3), np.uint8)
    assert batch_kernel.crc32c(data, 0, 9, batch_kernel.TABLES) == 0xE3069283
    assert batch_kernel.crc32c(data, 9, 18, batch_kernel.TABLES) == 0xE3069283
    assert batch_kernel.crc32c(data, 0, 0, batch_kernel.TABLES) == 0


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=40), st.integers(1, 50))
def test_keys_decide_as_the_other_clients_have_it(keys: list[bytes], partitions: int) -> None:
    numbers = np.full(len(keys) + 2, -1)
    numbers[0] = 3
    packed = Packed.of([b"given", None, *keys])
    batch_kernel.decide(packed.data, packed.bounds, packed.there, numbers, partitions, 11)
    assert numbers.tolist() == [3, 11, *(partition_of(key, partitions) for key in keys)]


@pytest.mark.parametrize("codec", sorted(rows.CODECS))
def test_a_flipped_bit_is_found_by_the_checksum(codec: str) -> None:
    data = at_offsets(written([Outgoing("t", b"k", b"value", 1_000_000, 0)] * 3, codec), 0)
    for at in range(batches.CRC_FROM, len(data)):
        broken = bytearray(data)
        broken[at] ^= 0x10
        with pytest.raises(CorruptBatchError, match=r"offset 0|malformed|bytes and"):
            read(broken)


@settings(deadline=None, max_examples=300)
@given(RECORDS, st.data())
def test_whatever_comes_is_read_or_refused_and_never_past_its_end(records: list[Outgoing], data: st.DataObject) -> None:
    (part,) = written(records, "none")
    payload = bytearray(part[batches.HEAD.size :])
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(payload)))
    results = []
    for behind in (b"\x00" * 64, b"\xff" * 64):  # what lies behind the end makes no difference
        whole = np.frombuffer(payload[:end] + behind, np.uint8)
        count, room = len(records), len(whole) + 1
        offsets, stamps = np.zeros(count, np.int64), np.zeros(count, np.int64)
        bounds, there = np.zeros((2, count + 1), np.int64), np.zeros((2, count), np.uint8)
        keys, values = np.zeros(room, np.uint8), np.zeros(room, np.uint8)
        found = batch_kernel.unpack(
            whole, 0, end, count, 0, 0, -1, 0, 0,
            offsets, stamps, keys, bounds[0], there[0], values, bounds[1], there[1],
        )  # fmt: skip
        assert -1 - count <= found <= count
        results.append((found, offsets.tolist(), stamps.tolist(), keys.tobytes(), values.tobytes(), bounds.tolist()))
        assert bounds.max() <= end
    assert results[0] == results[1]


def control(producer: int, kind: int) -> bytes:
    """The end of a transaction, as a broker writes it: a control batch with one record."""
    (given_rows,) = rows.of_records([Outgoing("t", struct.pack(">hh", 0, kind), b"", 1_000_000, 0)], 1)
    (built,) = rows.built(given_rows, np.arange(1), 0, 1000, Identity(producer, 0), 0)
    return reheaded(built.data, producer, batches.TRANSACTIONAL | 0x20)


def reheaded(part: bytes, producer: int, attributes: int) -> bytes:
    head = list(batches.HEAD.unpack_from(part))
    head[5], head[9] = attributes, producer
    out = bytearray(batches.HEAD.pack(*head) + part[batches.HEAD.size :])
    crc = batch_kernel.crc32c(np.frombuffer(out, np.uint8), batches.CRC_FROM, len(out), batch_kernel.TABLES)
    struct.pack_into(">I", out, batches.CRC_FROM - 4, crc)
    return bytes(out)


def test_only_committed_records_are_visible() -> None:
    def by(producer: int, text: bytes, transactional: bool = True) -> bytes:
        (part,) = written([Outgoing("t", None, text, 1_000_000, 0)], "none")
        return reheaded(part, producer, batches.TRANSACTIONAL if transactional else 0)

    abort, commit = 0, 1
    log = [
        by(1, b"undone"),  # 0
        by(2, b"kept"),  # 1
        by(3, b"no transaction", transactional=False),  # 2
        control(2, commit),  # 3
        by(1, b"undone too"),  # 4
        control(1, abort),  # 5
        by(1, b"kept in the next"),  # 6
        control(1, commit),  # 7
        by(1, b"undone again"),  # 8
        by(2, b"undone there"),  # 9
        control(2, abort),  # 10
        control(1, abort),  # 11
        by(2, b"last"),  # 12
    ]
    view = memoryview(at_offsets(log, 0))
    found = list(batches.heads(view, 0, len(view)))
    seen = batches.visible(view, found, [(1, 0), (2, 9), (1, 8)])
    assert [batches.columns([(view, head)], 0).values[0] for head in seen] == [
        b"kept",
        b"no transaction",
        b"kept in the next",
        b"last",
    ]
    # an answer may begin in the middle of a transaction: the broker still tells that it was aborted, and when it began
    assert [head.offset for head in batches.visible(view, found[4:6], [(1, 0)])] == []


def test_a_batch_that_is_cut_off_waits_for_the_next_answer() -> None:
    data = at_offsets(written([Outgoing("t", None, b"a", 1_000_000, 0)] * 9, "none", 20), 0)
    whole = list(batches.heads(memoryview(data), 0, len(data)))
    for end in range(len(data)):
        found = list(batches.heads(memoryview(data), 0, end))
        assert found == [head for head in whole if head.end <= end]


def test_an_old_format_is_named() -> None:
    data = at_offsets(written([Outgoing("t", None, b"a", 1_000_000, 0)], "none"), 0)
    data[16] = 1
    with pytest.raises(CorruptBatchError, match="offset 0 has format 1"):
        list(batches.heads(memoryview(data), 0, len(data)))


def test_an_answer_that_is_cut_off_is_refused_wherever_that_is() -> None:
    records = b"x" * 10
    part = (
        struct.pack(">ihqqqi", 0, 0, 9, 9, 0, 1)
        + struct.pack(">qq", 4, 5)
        + struct.pack(">ii", -1, len(records))
        + records
    )
    fetched = struct.pack(">ihi", 0, 0, 0) + messages.array([messages.text("t") + messages.array([part])])
    error, parts = fetch_messages.fetched_of(Answer(memoryview(fetched)))
    assert (error, parts[0].aborted, parts[0].end - parts[0].begin) == (0, ((4, 5),), 10)
    for end in range(len(fetched)):
        with pytest.raises(ValueError, match="cut off"):
            fetch_messages.fetched_of(Answer(memoryview(fetched)[:end]))
    joined = struct.pack(">i", 0) + messages.array([messages.text("t") + messages.array([struct.pack(">ih", 3, 51)])])
    assert set(transaction_messages.partition_errors(Answer(memoryview(joined))).values()) == {51}
    for end in range(len(joined)):
        with pytest.raises(ValueError, match="cut off"):
            transaction_messages.partition_errors(Answer(memoryview(joined)[:end]))
