"""A log in memory, with Kafka's semantics as far as samestream relies on them: for tests, and where no Kafka can be had.

Offsets, transactions, control records, fencing and key partitioning are as on Kafka. It keeps everything until the
process ends and nothing after that; retention and compaction do not happen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from threading import Condition
from typing import Literal

import numpy as np

from samestream.schemas.errors import FencedError, TransportError
from samestream.streams.memory.group import MemoryGroupReader
from samestream.streams.memory.membership import MemoryMembership
from samestream.streams.memory.outbox import MemoryOutbox
from samestream.streams.transport import (
    EARLIEST,
    LATEST,
    MAX_RECORD_BYTES,
    TAKEN_OVER,
    Ends,
    Fetched,
    GroupReader,
    Membership,
    Outbox,
    Outgoing,
    Partition,
    Reader,
    TopicSpec,
    TransactionalWriter,
    Writer,
    check_partition_counts,
    ends_reached,
    nothing,
    partition_of,
    read_until,
    spent_writer,
    stamp_ms,
)
from samestream.streams.wire.registry import Registry

# What Kafka answers for a topic that sets none of these.
_DEFAULT_CONFIG = {"cleanup.policy": "delete", "max.message.bytes": "1048588", "retention.ms": "604800000"}


@dataclass(eq=False, slots=True)
class _Transaction:
    """Records refer to their transaction, so that one assignment decides all of them."""

    state: Literal["open", "committed", "aborted"] = "open"
    firsts: dict[Partition, int] = field(default_factory=dict)  # its first offset per partition


@dataclass(eq=False, slots=True)
class _Slot:
    """What one offset holds; a control record carries no record."""

    record: Outgoing | None
    known_us: int
    transaction: _Transaction | None

    @property
    def visible(self) -> bool:
        return self.record is not None and (self.transaction is None or self.transaction.state == "committed")


class MemoryBroker:
    """The log itself; share one between the transports of a process. Thread-safe.

    `changed` guards everything below it and is notified whenever a reader could see something new.
    """

    def __init__(self) -> None:
        self.changed = Condition()
        self.configs: dict[str, dict[str, str]] = {}
        self.logs: dict[Partition, list[_Slot]] = {}
        self.counts: dict[str, int] = {}
        self.groups: dict[str, dict[Partition, int]] = {}
        self.members: dict[str, list[MemoryMembership]] = {}
        self.epochs: dict[str, int] = {}
        self.open_transactions: dict[str, _Transaction] = {}
        self.woken = 0
        self._unkeyed = 0

    def wake(self) -> None:
        """Let readers that wait for records return without any: for who has told them to stop, and will not wait either."""
        with self.changed:
            self.woken += 1
            self.changed.notify_all()

    def log(self, part: Partition) -> list[_Slot]:
        """The slots of a partition. Raises TransportError where there is none such."""
        found = self.logs.get(part)
        if found is None:
            hint = "create the topic first, and look at the partition number"
            raise TransportError("There is no such partition", where=str(part), found=sorted(self.counts), hint=hint)
        return found

    def stable(self, part: Partition) -> int:
        """The first offset of an open transaction, or the end."""
        firsts = [t.firsts[part] for t in self.open_transactions.values() if part in t.firsts]
        return min(firsts, default=len(self.log(part)))

    def append(self, records: Iterable[Outgoing], transaction: _Transaction | None) -> None:
        """Put records at the ends of their partitions. Raises TransportError at the first that does not fit."""
        with self.changed:
            try:
                for record in records:
                    part = Partition(record.topic, self._choose(record))
                    log = self.log(part)
                    _check_size(record, int(self.configs[record.topic]["max.message.bytes"]))
                    known_us = (stamp_ms(record) or time.time_ns() // 1_000_000) * 1000
                    if transaction is not None:
                        transaction.firsts.setdefault(part, len(log))
                    log.append(_Slot(record, known_us, transaction))
            finally:
                self.changed.notify_all()

    def _choose(self, record: Outgoing) -> int:
        if record.partition is not None:
            return record.partition
        count = self.counts.get(record.topic, 1)
        if record.key is not None:
            return partition_of(record.key, count)
        self._unkeyed += 1
        return self._unkeyed % count

    def decide(self, identity: str, state: Literal["committed", "aborted"]) -> None:
        """End the open transaction, all partitions at once, each with a control record; call it under the lock."""
        transaction = self.open_transactions.pop(identity)
        transaction.state = state
        for part in transaction.firsts:
            if part in self.logs:
                self.logs[part].append(_Slot(None, -1, None))
        self.changed.notify_all()


def _check_size(record: Outgoing, topic_bytes: int) -> None:
    size = len(record.key or b"") + len(record.value or b"")
    if size > min(topic_bytes, MAX_RECORD_BYTES):
        raise TransportError(
            "A record is too large",
            where=record.topic,
            found=f"{size} bytes",
            expected=f"at most {min(topic_bytes, MAX_RECORD_BYTES)}",
            hint=f"raise the topic's max.message.bytes (clients send up to {MAX_RECORD_BYTES} bytes)",
        )


class MemoryTransport:
    """The same interface as Kafka's, on a `MemoryBroker`."""

    def __init__(self, broker: MemoryBroker, registry: Registry | None = None) -> None:
        self._broker, self.registry = broker, registry

    @property
    def kind(self) -> str:
        """Always ``memory``."""
        return "memory"

    def version(self) -> str:
        """Says that nothing is kept."""
        return "in-memory log (nothing outlives this process)"

    def reader(self) -> Reader:
        """A reader on the shared broker."""
        return MemoryReader(self._broker)

    def transactional_writer(self, identity: str) -> TransactionalWriter:
        """A transactional writer on the shared broker."""
        return MemoryTransactionalWriter(self._broker, identity)

    def writer(self) -> Writer:
        """A plain writer on the shared broker."""
        return MemoryWriter(self._broker)

    def outbox(self) -> Outbox:
        """An outbox on the shared broker."""
        return MemoryOutbox(self._broker)

    def group_reader(self, group: str, topic: str, start: int) -> GroupReader:
        """A reader that has every partition: a group has one member here."""
        return MemoryGroupReader(self, self._broker, group, topic, start)

    def membership(self, group: str, topic: str) -> Membership:
        """Stand in line."""
        return MemoryMembership(self._broker, group)

    def members(self, group: str) -> int:
        """Those that have been heard of lately."""
        with self._broker.changed:
            return sum(one.is_alive for one in self._broker.members.get(group, []))

    def offsets_at(self, known_us: int, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Found by looking at every record."""
        found = {}
        with self._broker.changed:
            for part in partitions:
                log, stable = self._broker.log(part), self._broker.stable(part)
                later = (at for at in range(stable) if known_us != LATEST and log[at].known_us >= known_us)
                found[part] = next(later, stable)
        return found

    def topics(self) -> dict[str, int]:
        """Partition count by name."""
        with self._broker.changed:
            return {name: self._broker.counts[name] for name in sorted(self._broker.counts)}

    def create_topics(self, specs: Sequence[TopicSpec]) -> list[str]:
        """Create what is missing, at once."""
        broker = self._broker
        with broker.changed:
            check_partition_counts(specs, broker.counts)
            created = [spec for spec in specs if spec.name not in broker.counts]
            for spec in created:
                broker.counts[spec.name] = spec.partitions
                broker.configs[spec.name] = {**_DEFAULT_CONFIG, **spec.config}
                broker.logs.update({Partition(spec.name, number): [] for number in range(spec.partitions)})
            return [spec.name for spec in created]

    def delete_topics(self, names: Sequence[str]) -> None:
        """Forget those that exist."""
        with self._broker.changed:
            for name in set(names) & set(self._broker.counts):
                for number in range(self._broker.counts.pop(name)):
                    del self._broker.logs[Partition(name, number)]
                del self._broker.configs[name]

    def ends(self, partitions: Iterable[Partition]) -> dict[Partition, Ends]:
        """Exact: nothing moves while they are read."""
        with self._broker.changed:
            return {part: Ends(self._broker.stable(part), len(self._broker.log(part))) for part in partitions}

    def starts(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Always 0, as nothing is ever removed."""
        with self._broker.changed:
            return {part: min(0, len(self._broker.log(part))) for part in partitions}

    def holders(self, partitions: Iterable[Partition]) -> list[str]:
        """The identities with an open transaction that has written there."""
        wanted = set(partitions)
        with self._broker.changed:
            return sorted(
                name for name, open_ in self._broker.open_transactions.items() if wanted & open_.firsts.keys()
            )

    def committed(self, group: str, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """What transactions have committed for the group."""
        with self._broker.changed:
            offsets = self._broker.groups.get(group, {})
            return {part: offsets[part] for part in partitions if part in offsets}

    def topic_config(self, name: str) -> dict[str, str]:
        """The properties given at creation over a few of Kafka's defaults."""
        with self._broker.changed:
            self._broker.log(Partition(name, 0))
            return dict(sorted(self._broker.configs[name].items()))

    def read_all(self, topic: str, start: Mapping[int, int] | None = None) -> Iterator[Fetched]:
        """Yield up to the stable end as of this call."""
        partitions = [Partition(topic, number) for number in range(self.topics().get(topic, 1))]
        firsts = dict.fromkeys(partitions, 0)
        for number, offset in (start or {}).items():
            firsts[Partition(topic, number)] = 0 if offset == EARLIEST else offset
        stop = {part: end.stable for part, end in self.ends(partitions).items() if firsts[part] < end.stable}
        reader = self.reader()
        reader.assign({part: firsts[part] for part in stop})
        return read_until(reader, stop)

    def close(self) -> None:
        """Nothing to release: the broker belongs to whoever made it."""


class MemoryReader:
    """Walks the slots up to the stable end and passes over what no reader may see."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._next: dict[Partition, int] = {}
        self._held: set[Partition] = set()

    def assign(self, positions: Mapping[Partition, int]) -> None:
        """Replace the assignment."""
        with self._broker.changed:
            for part in positions:
                self._broker.log(part)
        self._next = {Partition(*part): 0 if offset == EARLIEST else offset for part, offset in positions.items()}
        self._held = set()

    def hold(self, partitions: Set[Partition]) -> None:
        """Pass these over in `fetch`."""
        self._held = set(partitions)

    def fetch(self, max_records: int, timeout_s: float) -> list[Fetched]:
        """Wait on the broker's condition for records, or for something to pass over."""
        deadline_s = time.monotonic() + timeout_s
        with self._broker.changed:
            woken = self._broker.woken
            while True:
                before = dict(self._next)
                found, room = [], max_records
                for part in sorted(before.keys() - self._held):
                    fetched = self._take(part, room)
                    if len(fetched):
                        found.append(fetched)
                        room -= len(fetched)
                left_s = deadline_s - time.monotonic()
                if found or self._next != before or left_s <= 0 or self._broker.woken != woken:
                    return found
                self._broker.changed.wait(min(left_s, 0.2))

    def _take(self, part: Partition, room: int) -> Fetched:
        log, stable, at = self._broker.log(part), self._broker.stable(part), self._next[part]
        if not 0 <= at <= len(log):
            raise TransportError(
                "The log does not hold an offset",
                where=str(part),
                found=at,
                expected=f"0 to {len(log)}",
                hint="the topic was recreated, or the offset belongs to another one",
            )
        offsets: list[int] = []
        while at < stable and (len(offsets) < room or not log[at].visible):
            if log[at].visible:
                offsets.append(at)
            at += 1
        self._next[part] = max(at, self._next[part])
        slots = [log[offset] for offset in offsets]
        records = [slot.record for slot in slots if slot.record is not None]
        known_us = np.array([slot.known_us for slot in slots], np.int64)
        return Fetched(
            part, np.array(offsets, np.int64), known_us, [r.key for r in records], [r.value for r in records]
        )

    def next_offsets(self) -> dict[Partition, int]:
        """A copy."""
        return dict(self._next)

    def ends(self) -> dict[Partition, Ends]:
        """Exact for all partitions together."""
        with self._broker.changed:
            return {part: Ends(self._broker.stable(part), len(self._broker.log(part))) for part in self._next}

    def at_end(self) -> set[Partition]:
        """As for Kafka."""
        return ends_reached(self._next, self.ends())

    def close(self) -> None:
        """Forget the assignment."""
        self._next = {}


class MemoryWriter:
    """Appends at once; what does not fit is reported by `flush`, as Kafka does."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._failed: list[TransportError] = []

    def send(self, records: Iterable[Outgoing]) -> None:
        """Append one by one, so that one refused record does not hold up the others."""
        for record in records:
            try:
                self._broker.append([record], None)
            except TransportError as refused:
                self._failed.append(refused)

    def flush(self) -> None:
        """Raise for the first record that was refused since the last flush."""
        failed, self._failed = self._failed, []
        if failed:
            first = failed[0]
            what = f"{first.what} (the first of {len(failed)} that failed)"
            raise TransportError(
                what, where=first.where, found=first.found, expected=first.expected, hint=first.hint
            ) from first

    def close(self) -> None:
        """Flush."""
        self.flush()


class MemoryTransactionalWriter:
    """Appends at once under an undecided transaction; an epoch per identity fences older writers."""

    def __init__(self, broker: MemoryBroker, identity: str) -> None:
        self._broker = broker
        self._identity = identity
        self._epoch = -1
        self._transaction: _Transaction | None = None
        self._refused: TransportError | None = None

    def open(self) -> None:
        """Take the next epoch and abort what an older writer left open."""
        with self._broker.changed:
            self._epoch = self._broker.epochs[self._identity] = self._broker.epochs.get(self._identity, 0) + 1
            if self._identity in self._broker.open_transactions:
                self._broker.decide(self._identity, "aborted")

    def _check_epoch(self) -> None:
        newest = self._broker.epochs.get(self._identity, 0)
        if self._epoch == -1:
            raise TransportError("A writer was used before it was opened", where=self._where, hint="call open first")
        if self._epoch < newest:
            self._transaction = None
            raise FencedError(
                "Another writer has taken over",
                where=self._where,
                found=f"epoch {self._epoch}, the newest is {newest}",
                hint=TAKEN_OVER,
            )

    def _current(self) -> _Transaction:
        self._check_epoch()
        if self._transaction is None:
            raise TransportError("There is no transaction", where=self._where, hint="call begin first")
        return self._transaction

    @property
    def _where(self) -> str:
        return f"writer {self._identity}"

    def begin(self, like_last: bool = False) -> None:
        """Start a transaction."""
        del like_last  # joining takes no time here
        with self._broker.changed:
            self._check_epoch()
            if self._refused is not None:
                raise spent_writer(self._where)
            if self._transaction is not None:
                raise TransportError("A transaction is already open", where=self._where, hint="commit or abort it")
            self._transaction = self._broker.open_transactions[self._identity] = _Transaction()

    def send(self, records: Iterable[Outgoing]) -> None:
        """Append; a record that does not fit is reported by `commit`, as Kafka does."""
        with self._broker.changed:
            transaction = self._current()
            try:
                self._broker.append(records, transaction)
            except TransportError as refused:
                self._refused = self._refused or refused

    def commit(
        self,
        offsets: Mapping[Partition, int] | None = None,
        group: str | None = None,
        meanwhile: Callable[[], None] = nothing,
    ) -> None:
        """Decide the records and store the offsets in one step."""
        meanwhile()
        if offsets and group is None:
            hint = "pass the group the offsets belong to"
            raise TransportError("Offsets are committed for a consumer group", where=self._where, hint=hint)
        with self._broker.changed:
            self._current()
            if self._refused is not None:
                self.abort()
                raise self._refused
            self._transaction = None
            if offsets and group is not None:
                self._broker.groups.setdefault(group, {}).update(offsets)
            self._broker.decide(self._identity, "committed")

    def abort(self) -> None:
        """Decide the transaction; without one this does nothing."""
        with self._broker.changed:
            self._check_epoch()
            if self._transaction is not None:
                self._transaction = None
                self._broker.decide(self._identity, "aborted")

    def close(self) -> None:
        """Abort what is open, unless a newer writer has already done so."""
        with self._broker.changed:
            if self._transaction is not None and self._epoch == self._broker.epochs.get(self._identity):
                self.abort()
            self._transaction = None
