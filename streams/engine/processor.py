"""The processor: reads its inputs in order, hands batches to a task, commits everything a batch caused in one transaction.

The feature engine, the scorer, the outcome join and the monitors are all tasks of this one loop, so each has the same order,
journal, exactly-once output and recovery (DESIGN section 2).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from samestream.schemas import records
from samestream.schemas.avro import Codec
from samestream.schemas.errors import RecoveryError, TransportError
from samestream.streams.engine import journal, replay
from samestream.streams.engine.clock import LATE_REASONS, Clocks
from samestream.streams.engine.journal import Balance, Entry
from samestream.streams.engine.order import APPLIED, DEAD, Batch, Merge
from samestream.streams.plan import Input
from samestream.streams.transport import Outgoing, Partition, Reader, TransactionalWriter, Transport
from samestream.streams.wire.decode import UNKNOWN_KNOWN_US, Decoded, Decoder
from samestream.streams.wire.parcel import Parcel
from samestream.streams.wire.schema_store import SchemaStore

log = logging.getLogger("samestream")
_REJECTED = Codec(records.REJECTED)
_STALL_S = 10.0
_HEARTBEAT_S = 5.0
_KEPT_KEY_BYTES, _KEPT_VALUE_BYTES = 1024 * 1024, 8 * 1024 * 1024  # of a reject: it must fit a record itself
_HELD_BATCHES = 4  # how many batches of one partition are read ahead at most
_JOURNAL_PATIENCE_S = 75.0  # a broker aborts an abandoned transaction after 60 s


@dataclass(frozen=True)
class Emitted:
    """What a batch caused: records to write, how many results among them, and switches for the journal.

    parcels : more records, in buffers
    """

    records: Sequence[Outgoing] = ()
    results: int = 0
    switches: tuple[str, ...] = ()
    parcels: Sequence[Parcel] = ()


class Task(Protocol):
    """What a processor does with batches. Its state must be a function of the batches alone."""

    @property
    def name(self) -> str:
        """Names the journal entries; with the app it is the transactional identity."""

    @property
    def inputs(self) -> Sequence[Input]:
        """The topics it reads, and how."""

    @property
    def owned(self) -> frozenset[str]:
        """The inputs, by name, whose late and dead events this task's processor writes out."""

    @property
    def fingerprint(self) -> str:
        """Of the definition it runs."""

    @property
    def memory_us(self) -> int | None:
        """How far back in event time its state reaches: older batches are not replayed on recovery. None: all are."""

    @property
    def query_lag_us(self) -> int:
        """How far behind the greatest event time applied it still answers instants."""

    def process(self, batch: Batch, clocks: Clocks) -> Emitted:
        """Apply a judged batch."""

    def recall(self, switches: Sequence[str]) -> None:
        """Take up the switches of entries that recovery passed over."""


@dataclass
class Health:
    """How a processor is doing; read by the health endpoint and by progress displays."""

    name: str
    state: str = "starting"
    batches: int = 0
    events: int = 0
    results: int = 0
    lag: int = 0
    known_us: int = 0
    stalled_by: list[str] = field(default_factory=list)
    balances: dict[str, Balance] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)


class Processor:
    """Runs one task on one transport until told to stop.

    batch_records : the most records in one transaction
    wait_s : how long an event at the live tail waits for earlier ones of other partitions
    accept_partitions : go on even if a topic has another number of partitions than the journal says
    """

    def __init__(
        self,
        transport: Transport,
        app: str,
        journal_topic: str,
        task: Task,
        store: SchemaStore,
        *,
        batch_records: int = 20_000,
        wait_s: float = 0.005,
        accept_partitions: bool = False,
    ) -> None:
        self.task, self.health = task, Health(task.name)
        self._accept_partitions = accept_partitions
        self._transport, self._journal_topic, self._store = transport, journal_topic, store
        self._identity = f"{app}.{task.name}"
        self._batch_records, self._wait_s = batch_records, wait_s
        self._decoders = {part.topic: Decoder(part, store) for part in task.inputs}
        self._clocks = Clocks(task.query_lag_us)
        self._sequence = 0
        self._partitions: tuple[tuple[str, int], ...] = ()
        self._side_partitions: dict[str, int] = {}

    def run(self, stop: threading.Event) -> None:
        """Recover, then process until ``stop`` is set; the batch under way is finished first.

        Raises FencedError when another process with the same identity takes over.
        """
        writer = self._transport.transactional_writer(self._identity)
        reader: Reader | None = None
        try:
            writer.open()
            positions = self._recover(stop)
            reader = self._transport.reader()  # only now: a handle that idles before it is assigned reads a second late
            merge = Merge(self.task.inputs, self._input_of(positions))
            reader.assign(positions)
            self.health.state = "running"
            loop = _Loop(self, reader, writer, merge, positions)
            while not stop.is_set():
                loop.turn()
            self.health.state = "stopped"
        finally:
            if reader is not None:
                reader.close()
            writer.close()

    def _input_of(self, positions: dict[Partition, int]) -> dict[Partition, int]:
        index = {part.topic: position for position, part in enumerate(self.task.inputs)}
        return {partition: index[partition.topic] for partition in positions}

    def _recover(self, stop: threading.Event) -> dict[Partition, int]:
        """Rebuild the state from the journal and the log; returns where each partition goes on."""
        self.health.state = "recovering"
        entries = self._whole_journal(stop)
        positions = self._starts(entries)
        if not entries or stop.is_set():
            return positions
        first = self._first_that_matters(entries)
        self.task.recall([switch for entry in entries[:first] for switch in entry.switches])
        self._clocks = journal.clocks_after(entries[:first], self.task.query_lag_us)
        source = replay.TopicSource(self._transport, self._decoders, entries[first:])
        try:
            follow = replay.batches(
                entries[first:], self.task.inputs, positions, source, self._clocks, self.task.fingerprint
            )
            for _, batch in follow:
                self.task.process(batch, self._clocks)
                if stop.is_set():
                    return positions  # nothing was written; the next start recovers again
        finally:
            source.close()
        self._sequence = entries[-1].sequence
        self.health.balances = journal.balance(entries)
        self.health.events = sum(part.read for part in self.health.balances.values())
        self.health.results = sum(entry.emitted for entry in entries)
        log.info("%s: recovered %d of %d batches from the journal", self.task.name, len(entries) - first, len(entries))
        return positions

    def _whole_journal(self, stop: threading.Event) -> list[Entry]:
        """Every committed entry of this processor.

        Another processor's open transaction hides what lies behind it in the same journal partition. Whatever this one
        ever committed lies before the high watermark as it is now, since its identity has been taken over: so once every
        transaction before that is decided, nothing is hidden.
        """
        count = self._transport.topics().get(self._journal_topic, 0)
        partitions = [Partition(self._journal_topic, number) for number in range(count)]
        high = {partition: end.high for partition, end in self._transport.ends(partitions).items()}
        deadline = time.monotonic() + _JOURNAL_PATIENCE_S
        while not stop.is_set():
            ends = self._transport.ends(partitions)
            hidden = [str(partition) for partition in partitions if ends[partition].stable < high[partition]]
            if not hidden:
                break
            if time.monotonic() > deadline:
                raise RecoveryError(
                    "a transaction on the journal stays open, and hides what was committed behind it",
                    where=", ".join(hidden[:3]),
                    found=f"undecided for {_JOURNAL_PATIENCE_S:.0f} s",
                    hint="find the producer that holds it open, or abort it with Kafka's transaction tool.",
                )
            self.health.stalled_by = [self._journal_topic]
            stop.wait(0.2)
        self.health.stalled_by = []
        return journal.read(self._transport, self._journal_topic, self.task.name)

    def _first_that_matters(self, entries: list[Entry]) -> int:
        """The index of the first entry that the state still depends on."""
        if self.task.memory_us is None:
            return 0
        since = entries[-1].greatest_us - self.task.memory_us
        reaching = (index for index, entry in enumerate(entries) if self.task.memory_us and entry.greatest_us >= since)
        return next(reaching, len(entries))

    def _starts(self, entries: list[Entry]) -> dict[Partition, int]:
        topics = self._transport.topics()
        missing = [part.topic for part in self.task.inputs if part.topic not in topics]
        if missing:
            raise TransportError(
                "topics are missing",
                where=self.task.name,
                found=", ".join(missing),
                hint="create them with `samestream apply MODULE`.",
            )
        every = [Partition(part.topic, number) for part in self.task.inputs for number in range(topics[part.topic])]
        done = journal.ends(entries)
        self._partitions = tuple(sorted((part.topic, topics[part.topic]) for part in self.task.inputs))
        self._side_partitions = {part.topic: topics.get(f"{part.topic}.dead", 1) for part in self.task.inputs}
        before = dict(entries[-1].partitions) if entries else {}
        changed = [
            f"{topic} had {count}, has {topics[topic]}"
            for topic, count in before.items()
            if topics.get(topic, count) != count
        ]
        if changed and not self._accept_partitions:
            raise TransportError(
                "the number of partitions has changed since the journal's last entry, and with it which key lies where",
                where=self.task.name,
                found="; ".join(changed),
                hint="if that was intended, start once with `samestream run --accept-partitions`; the journal will say so.",
            )
        starts = self._transport.starts([part for part in every if part not in done])
        return {partition: done.get(partition, starts.get(partition, 0)) for partition in every}


class _Loop:
    """One turn: read, choose what is safe to take, order, process, commit."""

    def __init__(
        self,
        processor: Processor,
        reader: Reader,
        writer: TransactionalWriter,
        merge: Merge,
        positions: dict[Partition, int],
    ) -> None:
        self._p, self._reader, self._writer, self._merge = processor, reader, writer, merge
        self._positions = dict(positions)
        self._known = {part: processor._clocks.known_us.get(part, UNKNOWN_KNOWN_US) for part in positions}
        self._received_s = 0.0
        self._full: set[Partition] = set()
        self._moved_s = time.monotonic()

    def turn(self) -> None:
        held = any(pending.count for pending in self._merge.pending.values())
        self._read(0.0 if held else 0.2)
        if not any(pending.count for pending in self._merge.pending.values()):
            self._p.health.stalled_by = []
            if time.monotonic() - self._moved_s > _HEARTBEAT_S:
                self._show_life()
            return
        at_end = self._at_end() if self._merge.drained() else set()
        counts = self._merge.choose(at_end, self._p._batch_records)
        if counts:
            self._commit(self._merge.take(counts))
            self._moved_s = time.monotonic()
            self._p.health.stalled_by = []
        elif time.monotonic() - self._moved_s > _STALL_S:
            self._report_stall(self._merge.drained() - self._reader.at_end())

    def _show_life(self) -> None:
        """Commit the positions again: an idle processor, too, must learn when another one has taken over."""
        self._writer.begin()
        self._writer.commit(self._positions, self._p._identity)
        self._moved_s = time.monotonic()

    def _hold(self) -> None:
        """Bound what is held in memory: a partition far ahead of the others is not read until they have caught up."""
        most, pending = _HELD_BATCHES * self._p._batch_records, self._merge.pending
        full = {part for part, held in pending.items() if held.count > (most // 2 if part in self._full else most)}
        if full != self._full:
            self._reader.hold(full)
            self._full = full

    def _read(self, timeout_s: float) -> None:
        self._hold()
        for fetched in self._reader.fetch(self._p._batch_records, timeout_s):
            decoded = self._p._decoders[fetched.partition.topic].decode(fetched, self._known[fetched.partition])
            if len(decoded):
                self._known[fetched.partition] = int(decoded.known_us[-1])
                self._received_s = time.monotonic()
            self._merge.add(decoded)

    def _at_end(self) -> set[Partition]:
        """Partitions with nothing more in the broker, asked after a short wait for what may come before the events held.

        What is read during the wait is not waited for again, or a busy stream would never go on.
        """
        rest_s = self._received_s + self._p._wait_s - time.monotonic()
        if rest_s > 0:
            self._read(rest_s)
        at_end = self._reader.at_end()
        if self._merge.drained() - at_end:
            # something is on its way (or a transaction is open): read it, then ask again, since it may come first
            self._read(0.05)
            return set()
        return at_end

    def _report_stall(self, blocking: set[Partition]) -> None:
        names = sorted(map(str, blocking))
        if names != self._p.health.stalled_by:
            log.warning(
                "%s: waiting for %s: unavailable, or a producer left a transaction open; others cannot pass it",
                self._p.task.name,
                ", ".join(names),
            )
        self._p.health.stalled_by = names

    def _commit(self, batch: Batch) -> None:
        p = self._p
        p._clocks.judge(batch)
        emitted = p.task.process(batch, p._clocks)
        ranges = journal.ranges_of(batch, self._positions, p._clocks)
        p._sequence += 1
        entry = Entry(
            p.task.name,
            p._sequence,
            p.task.fingerprint,
            p._clocks.greatest_us,
            ranges,
            emitted.switches,
            emitted.results,
            p._partitions,
        )
        moved = {part.partition: part.end for part in ranges}
        parcels = [p._store.framed_parcel(parcel) for parcel in emitted.parcels]  # first: it may ask a registry
        written = p._store.framed(emitted.records)
        self._writer.begin()
        for parcel in parcels:
            self._writer.send(parcel)
        self._writer.send(written)
        self._writer.send(rejects(batch, p.task.owned, p._side_partitions))
        self._writer.send([entry.record(p._journal_topic)])
        self._writer.commit(moved, p._identity)
        self._positions.update(moved)
        self._note(entry)

    def _note(self, entry: Entry) -> None:
        health = self._p.health
        health.batches += 1
        health.results += entry.emitted
        for topic, part in journal.balance([entry]).items():
            health.balances[topic] = health.balances.get(topic, Balance()).plus(part)
            health.events += part.read
        health.known_us = max((part.known_us for part in entry.ranges), default=health.known_us)
        health.lag = sum(pending.count for pending in self._merge.pending.values())


def rejects(batch: Batch, owned: frozenset[str], side_partitions: Mapping[str, int]) -> Iterator[Outgoing]:
    """The late and dead events of the owned inputs, as records of their `.late` and `.dead` topics.

    side_partitions : how many partitions the `.late` and `.dead` topics of a topic have.
    """
    chunks: dict[Partition, list[Decoded]] = {}
    for chunk in batch.taken:
        chunks.setdefault(chunk.partition, []).append(chunk)
    for place in np.flatnonzero(batch.decision != APPLIED).tolist():
        if batch.inputs[int(batch.input[place])].name not in owned:
            continue
        partition, offset = batch.partitions[int(batch.partition[place])], int(batch.offset[place])
        chunk = next(part for part in chunks[partition] if part.offsets[0] <= offset <= part.offsets[-1])
        row, decision = int(np.searchsorted(chunk.offsets, offset)), int(batch.decision[place])
        is_dead = decision == DEAD
        reason, detail = chunk.deaths[offset] if is_dead else (LATE_REASONS[decision], "older than the clocks allow")
        key, value, cut = chunk.keys[row], chunk.values[row], ""
        if len(key or b"") > _KEPT_KEY_BYTES or len(value or b"") > _KEPT_VALUE_BYTES:
            cut = f"; {len(key or b'')} bytes of key and {len(value or b'')} of value, of which the first are kept"
            key, value = key and key[:_KEPT_KEY_BYTES], value and value[:_KEPT_VALUE_BYTES]
        rejected = {
            "reason": reason,
            "detail": detail + cut,
            "topic": partition.topic,
            "partition": partition.partition,
            "offset": offset,
            "known_time": int(chunk.stamps_us[row]),
            "event_time": None if is_dead and not batch.time_us[place] else int(batch.time_us[place]),
            "key": key,
            "value": value,
        }
        topic = f"{partition.topic}.{'dead' if is_dead else 'late'}"
        number = partition.partition % max(side_partitions.get(partition.topic, 1), 1)
        yield Outgoing(topic, key, _REJECTED.encode(rejected), max(int(chunk.stamps_us[row]), 1000), number)
