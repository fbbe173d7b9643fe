"""How records move: what the rest of samestream asks of a log, whichever one is behind it.

Two transports fulfil these protocols: genuine Kafka (`kafka/transport.py`) and one in memory (`memory/transport.py`).
The same tests run on both. Readers see committed records only; whoever needs order asks for it (DESIGN section 2).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samestream.schemas.errors import TransportError
from samestream.streams.wire.packed import held_bytes
from samestream.streams.wire.registry import Registry

Int64Array: TypeAlias = NDArray[np.int64]

EARLIEST = -2
"""The offset that stands for the first record a partition still holds."""

LATEST = -1
"""Where a group reader starts that wants only what is still to come."""

NOW = -1
"""The `known_us` of an `Outgoing` whose record the producer's clock shall stamp."""

MAX_RECORD_BYTES = 16 * 1024 * 1024
"""The largest record (key and value) that a client sends or reads; a topic's `max.message.bytes` may be lower."""

TAKEN_OVER = (
    "another process runs this role of this app: stop one of the two, or start one with --standby, to take over when the other"
    " is gone; for an app beside it, give one --namespace NAME, which prefixes its topics, groups and identities"
)
"""What to do where two processes are one to Kafka, of which the older one is fenced."""

MAX_EVENT_BYTES = 1024 * 1024
"""A longer event is dead: it would stall batches, and no event of fields is that long."""


class Partition(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


@dataclass(frozen=True, eq=False, slots=True)
class Fetched:
    """Consecutive records of one partition, in offset order; offsets may skip control records and aborted ones.

    offsets : shape (records,).
    known_us : record timestamps in microseconds since 1970, shape (records,), -1 where absent; whole milliseconds.
    keys, values : as long as `offsets`; None is null, which is not the same as empty. Lists, or `Packed` by a client
        that makes no objects.
    """

    partition: Partition
    offsets: Int64Array
    known_us: Int64Array
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def held_bytes(self) -> int:
        """About how much memory it keeps."""
        return self.offsets.nbytes + self.known_us.nbytes + held_bytes(self.keys) + held_bytes(self.values)

    def before(self, offset: int) -> Fetched:
        """The same records without those at `offset` and later."""
        count = int(np.searchsorted(self.offsets, offset))
        if count == len(self):
            return self
        return Fetched(
            self.partition, self.offsets[:count], self.known_us[:count], self.keys[:count], self.values[:count]
        )


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a partition ends, as offsets of the next record.

    stable : the last stable offset, up to which every transaction is decided and a reader can see.
    high : the high watermark; above `stable` while a transaction is open.
    """

    stable: int
    high: int


@dataclass(frozen=True)
class TopicSpec:
    """A topic to be created; `config` holds Kafka's topic properties, such as retention.ms."""

    name: str
    partitions: int = 1
    replication: int = 1
    config: Mapping[str, str] = field(default_factory=dict)


class Outgoing(NamedTuple):
    """A record to be sent. A tuple, as one is made per record: a frozen dataclass takes three times as long.

    known_us : record timestamp in microseconds since 1970, cut to milliseconds, at least 1000; `NOW` for the clock's.
    partition : None lets the key decide, as Java's default partitioner does (see `partition_of`).
    """

    topic: str
    key: bytes | None
    value: bytes | None
    known_us: int
    partition: int | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


class Reader(Protocol):
    """Reads committed records from partitions assigned by hand; belongs to one thread."""

    def assign(self, positions: Mapping[Partition, int]) -> None:
        """Replace the assignment: read each partition from that offset on, or from its first record for `EARLIEST`."""

    def fetch(self, max_records: int, timeout_s: float) -> list[Fetched]:
        """What is there now, after waiting at most `timeout_s` for something; one `Fetched` per partition.

        An end-of-partition event counts as something: an empty list may come early, with `next_offsets` moved on.
        Raises TransportError for what waiting does not cure, such as an offset the log no longer holds.
        """

    def hold(self, partitions: Set[Partition]) -> None:
        """Deliver nothing of these partitions until another call no longer names them; nothing is lost meanwhile."""

    def next_offsets(self) -> dict[Partition, int]:
        """Per partition the offset after everything delivered and after what an end of partition passed over."""

    def ends(self) -> dict[Partition, Ends]:
        """The ends of the assigned partitions, asked of the broker now."""

    def at_end(self) -> set[Partition]:
        """The partitions with nothing left to read and no transaction open, asked of the broker now."""

    def close(self) -> None:
        """Release every handle; twice does no harm."""


def nothing() -> None:
    """Nothing is to be done meanwhile."""


class TransactionalWriter(Protocol):
    """Writes records and consumer offsets together or not at all; belongs to one thread."""

    def open(self) -> None:
        """Take the identity over: what an older writer left open is aborted, and that writer is fenced from now on."""

    def begin(self, like_last: bool = False) -> None:
        """Start a transaction. Raises FencedError where a newer writer took over and this one knows it.

        like_last : it will write where the last one wrote, so what Kafka must know of that may be told at once; it must be
            committed or aborted soon, then, even if nothing is written
        """

    def send(self, records: Iterable[Outgoing]) -> None:
        """Add records to the transaction. Raises TransportError where one is refused; `commit` will then refuse too."""

    def commit(
        self,
        offsets: Mapping[Partition, int] | None = None,
        group: str | None = None,
        meanwhile: Callable[[], None] = nothing,
    ) -> None:
        """Make the transaction visible, with the `offsets` (of the next record) of that consumer `group`.

        meanwhile : called once, while the records are on their way; what it raises keeps the transaction from being committed

        It is decided when this returns, but readers may see it only milliseconds later: Kafka marks the partitions
        after it has answered. The next writer's `open` waits for those marks, so read a journal after `open`.
        Raises FencedError where a newer writer took over. Raises TransportError, with the transaction aborted, where
        any record could not be delivered; this writer is then spent, and the next one takes its identity over.
        """

    def abort(self) -> None:
        """Undo the transaction. Readers never see its records, but its offsets stay taken."""

    def close(self) -> None:
        """Abort what is open and release every handle; twice does no harm."""


class Writer(Protocol):
    """Writes records without a transaction, in order and without duplicates; belongs to one thread."""

    def send(self, records: Iterable[Outgoing]) -> None:
        """Hand records over; they are delivered while you go on."""

    def flush(self) -> None:
        """Wait for every delivery. Raises TransportError naming the first one that failed since, and how many did."""

    def close(self) -> None:
        """Flush and release every handle; twice does no harm."""


class Undelivered(NamedTuple):
    """A record that could not be delivered, and why."""

    record: Outgoing
    cause: TransportError


class Outbox(Protocol):
    """A bounded queue of records on their way to the log, in order per partition and without duplicates.

    It never blocks, unless told how long, so it serves threads and event loops alike. Thread-safe.
    """

    def offer(self, record: Outgoing) -> bool:
        """Take a record; False while the queue is full. Raises TransportError where it can never be sent."""

    def poll(self, timeout_s: float) -> int:
        """Wait at most so long for something to be delivered; how many records are still on their way."""

    def failed(self) -> list[Undelivered]:
        """The records that were found undeliverable since the last call."""

    def give_up(self) -> None:
        """Drop what is on its way: it fails, though what was already sent may have arrived."""

    def close(self) -> None:
        """Drop what is on its way and release every handle; twice does no harm."""


class GroupReader(Protocol):
    """Reads committed records of one topic as a member of a consumer group; belongs to one thread."""

    def fetch(self, max_records: int, timeout_s: float) -> list[Fetched]:
        """What is there now, after waiting at most `timeout_s`. Membership changes only in here."""

    @property
    def generation(self) -> int:
        """Changes with the assignment: what was fetched under an older one is another member's, or will be fetched again."""

    def done(self, part: Partition, next_offset: int) -> None:
        """Remember that everything before this offset is dealt with: for the next commit, or before the partition goes."""

    def commit(self) -> None:
        """Commit what is done. Raises TransportError where the group has gone on without this member."""

    def close(self) -> None:
        """Commit what is done and leave the group; twice does no harm."""


class Membership(Protocol):
    """A place in a consumer group that reads nothing; belongs to one thread."""

    def poll(self, timeout_s: float) -> None:
        """Take part, for so long; heartbeats go on by themselves in between."""

    @property
    def is_first(self) -> bool:
        """Whether of all living members this one is first: who is first stays so for as long as it lives."""

    def close(self) -> None:
        """Leave at once; twice does no harm."""


class Transport(Protocol):
    """A log: its topics, and the readers and writers on it. Thread-safe, unlike those.

    registry : the schema registry that goes with it, if there is one
    """

    registry: Registry | None

    @property
    def kind(self) -> str:
        """Either ``kafka`` or ``memory``."""

    def version(self) -> str:
        """What is connected to what, for people. Raises TransportError where no broker answers."""

    def reader(self) -> Reader:
        """A new reader, with nothing assigned."""

    def transactional_writer(self, identity: str) -> TransactionalWriter:
        """A new writer under that identity (Kafka's transactional.id); call its `open` first."""

    def writer(self) -> Writer:
        """A new writer without transactions."""

    def outbox(self) -> Outbox:
        """A new queue of records to be delivered one by one, for applications."""

    def group_reader(self, group: str, topic: str, start: int) -> GroupReader:
        """Join a group. Partitions it has no offsets for start at `EARLIEST`, `LATEST`, or a known time (us since 1970)."""

    def membership(self, group: str, topic: str) -> Membership:
        """Join a group for nothing but being seen there; ``topic`` has one partition."""

    def members(self, group: str) -> int:
        """How many living members a group has. Raises TransportError where the broker does not say."""

    def offsets_at(self, known_us: int, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Per partition the first offset whose record timestamp is at least that; the stable end where there is none.

        known_us : or `EARLIEST`, or `LATEST` for the stable end
        """

    def topics(self) -> dict[str, int]:
        """Partition count by topic name, internal topics left out."""

    def create_topics(self, specs: Sequence[TopicSpec]) -> list[str]:
        """Create those missing, wait until all have leaders, return the names created.

        Raises TransportError, before anything is created, where one exists with another partition count.
        """

    def delete_topics(self, names: Sequence[str]) -> None:
        """Delete those that exist and wait until they are gone."""

    def ends(self, partitions: Iterable[Partition]) -> dict[Partition, Ends]:
        """Where these partitions end now."""

    def starts(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The first offset these partitions still hold."""

    def holders(self, partitions: Iterable[Partition]) -> list[str]:
        """The identities that have transactions open in these partitions, as far as that can be asked."""

    def committed(self, group: str, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The offsets a consumer group has committed; partitions without one are left out."""

    def topic_config(self, name: str) -> dict[str, str]:
        """The topic's properties, defaults included."""

    def read_all(self, topic: str, start: Mapping[int, int] | None = None) -> Iterator[Fetched]:
        """Every committed record from the start, or from `start` per partition, to the stable end as of this call."""

    def close(self) -> None:
        """Release every handle; the readers and writers close themselves."""


def murmur2(data: bytes) -> int:
    """Hash keys as Kafka's Java clients do: 32-bit MurmurHash2 with seed 0x9747b28c, unsigned.

    >>> murmur2(b"foobar") - (1 << 32)
    -790332482
    """
    mask, mix = 0xFFFFFFFF, 0x5BD1E995
    size = len(data)
    state = 0x9747B28C ^ size
    whole = size & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * mix & mask
        word = (word ^ (word >> 24)) * mix & mask
        state = (state * mix & mask) ^ word
    if size > whole:
        state = (state ^ int.from_bytes(data[whole:], "little")) * mix & mask
    state = (state ^ (state >> 13)) * mix & mask
    return state ^ (state >> 15)


def partition_of(key: bytes, partitions: int) -> int:
    """The partition a keyed record goes to, in both transports and in Java's default partitioner.

    >>> partition_of(b"foobar", 12)
    6
    """
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def stamp_ms(record: Outgoing) -> int:
    """The record timestamp to send, in ms; 0 leaves it to the clock.

    Raises TransportError for an instant Kafka clients cannot express: before 1970, or in its first millisecond.
    """
    known_us = record.known_us
    if known_us >= 1000:
        return known_us // 1000
    if known_us == NOW:
        return 0
    raise TransportError(
        "A record timestamp cannot be sent",
        where=record.topic,
        found=f"known_us={known_us}",
        expected=f"at least 1000 microseconds since 1970, or {NOW} for the clock",
        hint="stamp the record with the instant the fact became known",
    )


def check_partition_counts(specs: Iterable[TopicSpec], existing: Mapping[str, int]) -> None:
    """Raise TransportError for the first spec whose topic exists with another partition count."""
    for spec in specs:
        found = existing.get(spec.name, spec.partitions)
        if found != spec.partitions:
            raise TransportError(
                "A topic exists with another number of partitions",
                where=spec.name,
                found=f"{found} partitions",
                expected=f"{spec.partitions}",
                hint="keys would move between partitions: declare the number found, or use a new topic name",
            )


def spent_writer(who: str) -> TransportError:
    """What a transactional writer raises when it is used again after a record could not be delivered."""
    hint = "close it, make a new one under the same identity and open that"
    return TransportError("A writer cannot go on after a failed delivery", where=who, hint=hint)


def ends_reached(next_offsets: Mapping[Partition, int], ends: Mapping[Partition, Ends]) -> set[Partition]:
    """The partitions that are read to the high watermark while no transaction is open."""
    return {part for part, end in ends.items() if next_offsets[part] >= end.high and end.stable == end.high}


def read_until(reader: Reader, stop: Mapping[Partition, int], patience_s: float = 60.0) -> Iterator[Fetched]:
    """Yield what an assigned reader delivers before the `stop` offset of each partition, then close the reader.

    It ends also where control records or aborted ones are the last: end-of-partition events pass over them.
    Raises TransportError when nothing moves for `patience_s`.
    """
    try:
        before = reader.next_offsets()
        moved_s = time.monotonic()
        while any(before[part] < offset for part, offset in stop.items()):
            for fetched in reader.fetch(10_000, 0.2):
                wanted = fetched.before(stop[fetched.partition])
                if len(wanted):
                    yield wanted
            after = reader.next_offsets()
            if after != before:
                before, moved_s = after, time.monotonic()
            elif time.monotonic() - moved_s > patience_s:
                behind = {str(part): f"{after[part]} of {offset}" for part, offset in stop.items()}
                raise TransportError(
                    f"Nothing could be read for {patience_s:g} s",
                    found=behind,
                    expected="every partition to be readable to its stable end",
                    hint="a partition without a leader stalls its readers: look at the broker's log",
                )
    finally:
        reader.close()


def send_all(transport: Transport, records: Iterable[Outgoing]) -> None:
    """Write records without a transaction and wait for every delivery. Raises TransportError naming the first that failed."""
    writer = transport.writer()
    try:
        writer.send(records)
        writer.flush()
    finally:
        writer.close()


def position(number: Int64Array, offset: Int64Array) -> Int64Array:
    """A partition's number and an offset in one word each, in order of partition, then offset; shape as given."""
    return (number << 48) | offset
