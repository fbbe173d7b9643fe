"""What every transport must do: the same tests on genuine Kafka and on the log in memory."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pytest

from samestream.schemas.errors import FencedError, TransportError
from samestream.streams.kafka.client import CLIENTS
from samestream.streams.kafka.direct.reader import DirectReader
from samestream.streams.kafka.native_reader import NativeReader
from samestream.streams.kafka.transport import KafkaTransport
from samestream.streams.memory.transport import MemoryBroker, MemoryTransport
from samestream.streams.transport import (
    EARLIEST,
    NOW,
    Ends,
    Fetched,
    Outgoing,
    Partition,
    Reader,
    TopicSpec,
    Transport,
    partition_of,
)
from samestream.streams.wire.packed import Packed
from samestream.streams.wire.parcel import Parcel

Opened = Callable[[], Transport]


@pytest.fixture(params=["memory", *(pytest.param(client, marks=pytest.mark.kafka) for client in CLIENTS)])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    """The log in memory, and genuine Kafka by either client."""
    made: Transport
    if request.param != "memory":
        made = KafkaTransport(request.getfixturevalue("broker"), client=request.param)
    else:
        made = MemoryTransport(MemoryBroker())
    yield made
    made.close()


def new_topic(transport: Transport, partitions: int = 1, **config: str) -> str:
    name = f"t-{uuid.uuid4().hex[:12]}"
    spec = TopicSpec(name, partitions, config={key.replace("_", "."): value for key, value in config.items()})
    assert transport.create_topics([spec]) == [name]
    return name


def until(condition: Callable[[], bool], doing: str) -> None:
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s, f"gave up waiting until {doing}"


def read(reader: Reader, count: int) -> list[Fetched]:
    """Fetch until `count` records are there; never more."""
    found: list[Fetched] = []
    until(lambda: found.extend(reader.fetch(1000, 0.2)) or sum(map(len, found)) >= count, f"{count} records are read")
    assert sum(map(len, found)) == count
    return found


def values(found: list[Fetched]) -> list[bytes | None]:
    return [value for fetched in found for value in fetched.values]


def send(transport: Transport, topic: str, *sent: str, partition: int = 0) -> None:
    writer = transport.writer()
    writer.send(Outgoing(topic, None, text.encode(), NOW, partition) for text in sent)
    writer.flush()
    writer.close()


def record(topic: str, text: str, partition: int = 0) -> Outgoing:
    return Outgoing(topic, None, text.encode(), NOW, partition)


def decided(transport: Transport, topic: str) -> list[Fetched]:
    """All records, once what was committed can be seen: Kafka answers a commit before it marks the partitions."""
    parts = [Partition(topic, number) for number in range(transport.topics()[topic])]
    until(lambda: all(end.stable == end.high for end in transport.ends(parts).values()), "everything is decided")
    return list(transport.read_all(topic))


def test_order_within_each_partition(transport: Transport) -> None:
    first, second = new_topic(transport, 2), new_topic(transport)
    parts = [Partition(first, 0), Partition(first, 1), Partition(second, 0)]
    writer = transport.writer()
    writer.send(Outgoing(*(p := parts[i % 3])[:1], None, b"%d" % i, NOW, p.partition) for i in range(3000))
    writer.close()
    reader = transport.reader()
    reader.assign(dict.fromkeys(parts, EARLIEST))
    found = read(reader, 3000)
    for code, part in enumerate(parts):
        mine = [fetched for fetched in found if fetched.partition == part]
        assert values(mine) == [b"%d" % i for i in range(code, 3000, 3)]
        assert np.concatenate([fetched.offsets for fetched in mine]).tolist() == list(range(1000))
    assert reader.next_offsets() == dict.fromkeys(parts, 1000)
    reader.close()


def test_one_fetch_groups_by_partition_and_keeps_its_limit(transport: Transport) -> None:
    topic = new_topic(transport, 2)
    for partition in (0, 1):
        send(transport, topic, *map(str, range(50)), partition=partition)
    reader = transport.reader()
    reader.assign({Partition(topic, 0): 0, Partition(topic, 1): 0})
    count = 0
    while count < 100:
        found = reader.fetch(7, 5.0)
        assert sum(map(len, found)) <= 7
        assert len({fetched.partition for fetched in found}) == len(found)
        count += sum(map(len, found))
    assert count == 100
    reader.close()


def test_timestamps_nulls_and_empty_bytes_survive(transport: Transport) -> None:
    topic = new_topic(transport, retention_ms="-1")
    before_us = time.time_ns() // 1000 - 1000
    writer = transport.writer()
    writer.send(
        [
            Outgoing(topic, b"k", b"v", 1_360_000_000_123_000, 0, (("reason", b"because"),)),
            Outgoing(topic, None, b"", 1_000, 0),
            Outgoing(topic, b"", None, 1_360_000_000_123_999, 0),  # cut to the millisecond
            Outgoing(topic, None, None, NOW, 0),
        ]
    )
    writer.flush()
    reader = transport.reader()
    reader.assign({Partition(topic, 0): 0})
    found = read(reader, 4)
    assert [key for fetched in found for key in fetched.keys] == [b"k", None, b"", None]
    assert values(found) == [b"v", b"", None, None]
    known_us = np.concatenate([fetched.known_us for fetched in found])
    assert known_us.dtype == np.int64
    assert known_us[:3].tolist() == [1_360_000_000_123_000, 1_000, 1_360_000_000_123_000]
    assert before_us <= known_us[3] <= time.time_ns() // 1000
    writer.close()
    reader.close()


def test_a_parcel_arrives_as_its_records_do(transport: Transport) -> None:
    topic = new_topic(transport, 3)
    texts: list[bytes | None] = [b"zero", None, b"", *(b"%d" % i for i in range(3, 2000))]
    keys = [None if i % 5 == 4 else b"%d" % i for i in range(2000)]
    known_us = np.arange(2000) * 1000 + 1_360_000_000_000_000
    partitions = np.where(np.array([key is None for key in keys]), 1, -1)
    parcel = Parcel(topic, Packed.of([b"x", *keys])[1:], Packed.of([b"x", *texts])[1:], known_us, partitions)
    writer = transport.transactional_writer(topic)
    writer.open()
    writer.begin()
    writer.send(parcel)
    writer.commit()
    writer.begin()

    def deliver() -> None:
        writer.send(Parcel(topic, Packed.of([None]), Packed.of([None]), np.array([999]), np.array([0])))
        writer.commit()

    with pytest.raises(TransportError, match="timestamp"):
        deliver()
    writer.close()
    found = decided(transport, topic)
    for number in range(3):
        rows = [i for i, key in enumerate(keys) if (1 if key is None else partition_of(key, 3)) == number]
        mine = [fetched for fetched in found if fetched.partition.partition == number]
        assert values(mine) == [texts[i] for i in rows]
        assert [key for fetched in mine for key in fetched.keys] == [keys[i] for i in rows]
        assert np.concatenate([fetched.known_us for fetched in mine]).tolist() == known_us[rows].tolist()


def test_records_with_headers_keep_their_place(transport: Transport) -> None:
    topic = new_topic(transport)
    headers = (("reason", b"because"), ("empty", b""), ("null", None))
    sent = [Outgoing(topic, None, b"%d" % i, NOW, 0, headers if i % 3 == 1 else ()) for i in range(20)]
    writer = transport.writer()
    writer.send(sent)
    writer.close()
    assert values(decided(transport, topic)) == [record.value for record in sent]


def test_a_timestamp_that_kafka_cannot_express_is_refused(transport: Transport) -> None:
    topic = new_topic(transport)
    writer = transport.writer()

    def deliver() -> None:
        writer.send([Outgoing(topic, None, b"", 999, 0)])
        writer.flush()

    with pytest.raises(TransportError, match="timestamp"):
        deliver()
    writer.close()
    assert decided(transport, topic) == []


def test_transactions_are_invisible_until_committed_and_never_once_aborted(transport: Transport) -> None:
    topic = new_topic(transport, 2)
    parts = [Partition(topic, 0), Partition(topic, 1)]
    reader = transport.reader()
    reader.assign(dict.fromkeys(parts, 0))
    writer = transport.transactional_writer(topic)
    writer.open()

    writer.begin()
    writer.send([record(topic, "aborted", 0), record(topic, "aborted", 1)])
    writer.abort()
    until(lambda: not reader.fetch(1000, 0.2) and reader.at_end() == set(parts), "the aborted ones are passed over")
    assert reader.next_offsets() == reader_highs(reader)

    writer.begin()
    writer.send([record(topic, "kept", 0), record(topic, "kept", 1)])
    until(lambda: all(end.high > end.stable for end in reader.ends().values()), "the records reach the log")
    assert reader.fetch(1000, 0.3) == []
    writer.commit()
    found = read(reader, 2)
    assert {fetched.partition for fetched in found} == set(parts)
    assert values(found) == [b"kept", b"kept"]

    writer.begin()
    writer.send([record(topic, "left open", 0)])
    writer.close()  # aborts
    until(lambda: not reader.fetch(1000, 0.2) and reader.at_end() == set(parts), "the open one is passed over")
    reader.close()


def test_a_transaction_is_aborted_at_any_instant_after_another_one(transport: Transport) -> None:
    """Kafka writes a committed transaction out after it has answered, and until then lets nothing join the next."""
    topic = new_topic(transport)
    writer = transport.transactional_writer(topic)
    writer.open()
    for number in range(60):
        writer.begin()
        writer.send([record(topic, f"kept {number}")])
        writer.commit()
        writer.begin()
        writer.send([record(topic, "aborted")])
        time.sleep(number * 0.0002)  # the instants of interest lie within 12 ms
        writer.abort()
    writer.close()
    assert values(decided(transport, topic)) == [f"kept {number}".encode() for number in range(60)]


def reader_highs(reader: Reader) -> dict[Partition, int]:
    return {part: end.high for part, end in reader.ends().items()}


def test_an_open_transaction_holds_the_stable_end_and_at_end_back(transport: Transport) -> None:
    topic = new_topic(transport)
    part = Partition(topic, 0)
    send(transport, topic, "a", "b")
    reader = transport.reader()
    reader.assign({part: 0})
    read(reader, 2)
    until(lambda: reader.fetch(1000, 0.2) == [] and reader.at_end() == {part}, "the end is reached")

    writer = transport.transactional_writer(topic)
    writer.open()
    writer.begin()
    writer.send([record(topic, "c")])
    until(lambda: reader.ends() == {part: Ends(stable=2, high=3)}, "the open transaction shows")
    assert reader.fetch(1000, 0.3) == []
    assert reader.at_end() == set()
    send(transport, topic, "d")  # decided, but behind an open transaction
    assert reader.ends() == {part: Ends(stable=2, high=4)}
    assert transport.ends([part]) == reader.ends()
    assert reader.fetch(1000, 0.3) == []
    assert reader.next_offsets() == {part: 2}

    writer.commit()
    assert values(read(reader, 2)) == [b"c", b"d"]
    # The control record at offset 4 trails: no record ever says that it was passed over.
    until(lambda: reader.fetch(1000, 0.2) == [] and reader.at_end() == {part}, "the control record is passed over")
    assert reader.next_offsets() == {part: 5}
    writer.close()
    reader.close()


def test_assign_starts_anew_at_the_given_offsets(transport: Transport) -> None:
    topic = new_topic(transport, 2)
    send(transport, topic, "a", "b", "c", partition=0)
    send(transport, topic, "x", "y", partition=1)
    reader = transport.reader()
    reader.assign({Partition(topic, 0): 0, Partition(topic, 1): 0})
    assert reader.next_offsets() == {Partition(topic, 0): 0, Partition(topic, 1): 0}
    reader.fetch(1, 5.0)
    reader.assign({Partition(topic, 0): 1})  # drops what was fetched ahead
    assert values(read(reader, 2)) == [b"b", b"c"]
    reader.assign({Partition(topic, 1): EARLIEST})
    assert values(read(reader, 2)) == [b"x", b"y"]
    assert reader.next_offsets() == {Partition(topic, 1): 2}
    assert transport.starts([Partition(topic, 1)]) == {Partition(topic, 1): 0}
    reader.close()


def test_an_offset_the_log_does_not_hold_is_refused(transport: Transport) -> None:
    topic = new_topic(transport)
    send(transport, topic, "a")
    reader = transport.reader()
    reader.assign({Partition(topic, 0): 100})

    def fetched() -> bool:
        return bool(reader.fetch(10, 0.2))

    with pytest.raises(TransportError, match="Hint: the"):
        until(fetched, "the reader complains")
    reader.close()


def test_a_second_writer_with_the_same_identity_fences_the_first(transport: Transport) -> None:
    topic = new_topic(transport)
    first = transport.transactional_writer(topic)
    first.open()
    first.begin()
    first.send([record(topic, "zombie")])
    until(lambda: transport.ends([Partition(topic, 0)])[Partition(topic, 0)].high == 1, "the record reaches the log")
    second = transport.transactional_writer(topic)
    second.open()
    with pytest.raises(FencedError):
        first.commit()
    with pytest.raises(FencedError):
        first.begin()
    second.begin()
    second.send([record(topic, "heir")])
    second.commit()
    first.close()
    second.close()
    assert values(decided(transport, topic)) == [b"heir"]


def test_a_fenced_writer_is_told_so_when_it_sends(transport: Transport) -> None:
    topic = new_topic(transport)
    first, second = transport.transactional_writer(topic), transport.transactional_writer(topic)
    first.open()
    second.open()

    def go_on() -> None:
        first.begin()
        first.send([record(topic, "zombie")])
        first.commit()

    with pytest.raises(FencedError, match="taken over"):
        go_on()
    with pytest.raises(FencedError):
        go_on()
    first.close()
    second.close()
    assert decided(transport, topic) == []


def test_offsets_of_a_group_are_committed_with_the_transaction(transport: Transport) -> None:
    topic, group = new_topic(transport, 2), f"g-{uuid.uuid4().hex[:8]}"
    parts = [Partition(topic, 0), Partition(topic, 1)]
    writer = transport.transactional_writer(topic)
    writer.open()
    assert transport.committed(group, parts) == {}
    writer.begin()
    writer.send([record(topic, "a")])
    writer.commit({parts[0]: 7}, group)
    assert transport.committed(group, parts) == {parts[0]: 7}
    writer.begin()
    writer.commit({parts[0]: 8, parts[1]: 3}, group)  # offsets alone
    assert transport.committed(group, parts) == {parts[0]: 8, parts[1]: 3}
    with pytest.raises(TransportError, match="group"):
        writer.commit({parts[0]: 9})
    writer.close()


def test_topics_are_created_once_and_never_with_another_partition_count(transport: Transport) -> None:
    topic, other = new_topic(transport, 3, retention_ms="-1"), f"t-{uuid.uuid4().hex[:12]}"
    assert transport.topics()[topic] == 3
    assert transport.create_topics([TopicSpec(topic, 3), TopicSpec(other, 2)]) == [other]
    with pytest.raises(TransportError) as refused:
        transport.create_topics([TopicSpec("t-never-made"), TopicSpec(topic, 4)])
    assert str(refused.value) == (
        f"{topic}: A topic exists with another number of partitions\n"
        "Found: 3 partitions\n"
        "Expected: 4\n"
        "Hint: keys would move between partitions: declare the number found, or use a new topic name"
    )
    assert "t-never-made" not in transport.topics()
    assert transport.topic_config(topic)["retention.ms"] == "-1"
    assert transport.topic_config(other)["cleanup.policy"] == "delete"
    transport.delete_topics([topic, "t-never-made"])
    assert topic not in transport.topics()
    assert other in transport.topics()
    assert not any(name.startswith("__") for name in transport.topics())


def test_read_all_ends_where_nothing_readable_is_last(transport: Transport) -> None:
    topic = new_topic(transport, 4)
    writer = transport.transactional_writer(topic)
    writer.open()
    parts = [Partition(topic, number) for number in range(3)]

    def await_ends(stable: int, high: int, *numbers: int) -> None:
        expected = {parts[number]: Ends(stable, high) for number in numbers}
        until(lambda: transport.ends(expected) == expected, f"{numbers} end at {stable} and {high}")

    decisions = ("a", writer.commit), ("never", writer.abort), ("b", writer.commit), ("never", writer.abort)
    for turn, (text, decide) in enumerate(decisions):
        writer.begin()
        writer.send([record(topic, text, 0), record(topic, text, 1)])
        await_ends(2 * turn, 2 * turn + 1, 0, 1)  # or an abort would drop them before they reach the log
        decide()
        await_ends(2 * turn + 2, 2 * turn + 2, 0, 1)
    writer.begin()
    writer.send([record(topic, "never", 2)])  # partition 2 has an aborted record only, 3 is empty
    await_ends(0, 1, 2)
    writer.abort()
    await_ends(2, 2, 2)
    writer.begin()
    writer.send([record(topic, "open", 0)])
    await_ends(8, 9, 0)

    everything = transport.read_all(topic)
    rest = transport.read_all(topic, {0: 2, 1: 100})
    send(transport, topic, "too late", partition=1)
    assert by_partition(everything) == {0: [b"a", b"b"], 1: [b"a", b"b"]}
    assert by_partition(rest) == {0: [b"b"]}
    writer.commit()
    writer.close()
    assert by_partition(decided(transport, topic)) == {0: [b"a", b"b", b"open"], 1: [b"a", b"b", b"too late"]}
    assert by_partition(transport.read_all(topic, {0: 6, 1: EARLIEST})) == {0: [b"open"], 1: [b"a", b"b", b"too late"]}


def by_partition(found: Iterable[Fetched]) -> dict[int, list[bytes | None]]:
    grouped: dict[int, list[bytes | None]] = {}
    for fetched in found:
        grouped.setdefault(fetched.partition.partition, []).extend(fetched.values)
    return grouped


def test_a_missing_topic_is_named(transport: Transport) -> None:
    with pytest.raises(TransportError, match="t-never-made"):
        transport.read_all("t-never-made")


SMALL = {"max_message_bytes": "1048588"}


def test_large_records_go_through_where_the_topic_allows_them(transport: Transport) -> None:
    large, small = new_topic(transport, max_message_bytes="6291456"), new_topic(transport, **SMALL)
    value = bytes(range(256)) * (5 * 4096)  # 5 MB
    writer = transport.writer()
    writer.send([Outgoing(large, b"k", value, NOW), Outgoing(large, b"k", b"after", NOW)])
    writer.flush()
    assert values(list(transport.read_all(large))) == [value, b"after"]

    incompressible = np.random.default_rng(1).bytes(2 * 1024 * 1024)
    writer.send([Outgoing(small, b"k", incompressible, NOW) for _ in range(2)])
    with pytest.raises(TransportError, match=r"the first of 2 that failed[\s\S]*Hint: raise the topic's max.message"):
        writer.flush()
    writer.send([Outgoing(small, b"k", b"after", NOW)])
    writer.close()
    assert values(list(transport.read_all(small))) == [b"after"]


def test_a_record_that_cannot_be_delivered_aborts_its_transaction(transport: Transport) -> None:
    topic = new_topic(transport, **SMALL)
    writer = transport.transactional_writer(topic)
    writer.open()
    writer.begin()
    too_large = Outgoing(topic, None, np.random.default_rng(1).bytes(2 * 1024 * 1024), NOW, 0)
    writer.send([record(topic, "never"), too_large])
    with pytest.raises(TransportError, match=r"Hint: raise the topic's max.message.bytes"):
        writer.commit()
    with pytest.raises(TransportError, match="Hint: close it, make a new one"):
        writer.begin()
    writer.close()
    heir = transport.transactional_writer(topic)
    heir.open()
    for text in ("kept", "kept too"):
        heir.begin()
        heir.send([record(topic, text)])
        heir.commit()
    heir.close()
    assert values(decided(transport, topic)) == [b"kept", b"kept too"]


def test_keys_go_where_java_clients_put_them(transport: Transport) -> None:
    topic = new_topic(transport, 7)
    keys = [b"%d" % i * (i % 5 + 1) for i in range(300)] + [b""]
    writer = transport.writer()
    writer.send(Outgoing(topic, key, key, NOW) for key in keys)
    writer.close()
    found = by_partition(transport.read_all(topic))
    assert found == {number: [key for key in keys if partition_of(key, 7) == number] for number in sorted(found)}
    assert sum(map(len, found.values())) == len(keys)


def test_a_writer_that_was_never_opened_says_what_to_call(transport: Transport) -> None:
    writer = transport.transactional_writer("t-unopened")
    with pytest.raises(TransportError, match="Hint: call open"):
        writer.begin()
    writer.close()


def test_it_says_what_it_is(transport: Transport) -> None:
    assert transport.kind in ("memory", "kafka")
    assert transport.kind in transport.version().lower()
    if isinstance(transport, KafkaTransport):
        assert f"({transport.client} client)" in transport.version()
        reader = transport.reader()
        assert isinstance(reader, NativeReader) == (transport.client == "native")
        assert isinstance(reader, DirectReader) == (transport.client == "direct")
        reader.close()


@pytest.mark.parametrize("transport", ["memory", pytest.param("python", marks=pytest.mark.kafka)], indirect=True)
def test_members_of_a_group_are_seen_and_stand_in_line(transport: Transport) -> None:
    """Whatever the client reads and writes by, memberships are of one kind."""
    topic, group = new_topic(transport), f"g-{uuid.uuid4().hex[:8]}"
    assert transport.members(group) == 0

    def polled() -> bool:
        for one in line:
            one.poll(0.05)
        return True

    line = [transport.membership(group, topic)]
    until(lambda: polled() and line[0].is_first, "the first member is first")
    line += [transport.membership(group, topic) for _ in range(2)]
    until(lambda: polled() and transport.members(group) == 3, "three are seen")
    for _ in range(10):
        polled()
    assert [one.is_first for one in line] == [True, False, False]
    line.pop(0).close()
    until(lambda: polled() and any(one.is_first for one in line), "another is first")
    assert sorted(one.is_first for one in line) == [False, True]
    until(lambda: transport.members(group) == 2, "one has left")
    for one in line:
        one.close()
        one.close()
    until(lambda: transport.members(group) == 0, "all have left")
