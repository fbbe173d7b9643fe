"""The processor: reads its inputs in order, hands batches to a task, commits everything a batch caused in one transaction.

The feature engine, the scorer, the outcome join and the monitors are all tasks of this one loop, so each has the same order,
journal, exactly-once output and recovery (DESIGN section 2).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping

import numpy as np

from samestream.schemas import records
from samestream.schemas.avro import Codec
from samestream.schemas.errors import FencedError, TransportError
from samestream.streams.engine import journal
from samestream.streams.engine.clock import LATE_REASONS
from samestream.streams.engine.health import NOT_DELIVERED, OPEN_TRANSACTION, UNAVAILABLE, Stall
from samestream.streams.engine.health import Health as Health
from samestream.streams.engine.journal import Entry
from samestream.streams.engine.order import APPLIED, DEAD, Batch, Merge
from samestream.streams.engine.recovery import Recovery
from samestream.streams.engine.snapshots import Snapshots
from samestream.streams.engine.standby import Presence, Standby
from samestream.streams.engine.task import Emitted as Emitted
from samestream.streams.engine.task import Task as Task
from samestream.streams.transport import Outgoing, Partition, Reader, TransactionalWriter, Transport
from samestream.streams.wire.decode import UNKNOWN_KNOWN_US, Decoded, Decoder
from samestream.streams.wire.schema_store import SchemaStore

log = logging.getLogger("samestream")
_REJECTED = Codec(records.REJECTED)
_STALL_S = 10.0
_HEARTBEAT_S = 5.0
_KEPT_KEY_BYTES, _KEPT_VALUE_BYTES = 1024 * 1024, 8 * 1024 * 1024  # of a reject: it must fit a record itself
_HELD_BATCHES = 4  # how many batches of one partition are read ahead at most
_HELD_BYTES, _LEAST_HELD_BYTES = 256 * 1024 * 1024, 4 * 1024 * 1024  # of all partitions, and of one at least
_FETCH_BYTES = 32 * 1024 * 1024  # of the records that are asked for at once, about
_FIRST_RECORDS = 10  # are asked for when it is not known how large they are
_QUICK_S = 5.0  # what took no longer will hardly take a minute the next time
_BATCH_BYTES = 64 * 1024 * 1024  # of the records that make a batch, about


class Processor:
    """Runs one task on one transport until told to stop.

    batch_records : the most records in one transaction
    held_bytes : of events that are read ahead, about; what one fetch brings comes on top
    wait_s : how long an event at the live tail waits for earlier ones of other partitions
    accept_partitions : go on even if a topic has another number of partitions than the journal says
    snapshots : of its state; without any, it recovers by replaying the journal
    presence_topic : a topic of one partition, by which other processes see that this one lives; by default they do not
    stands_by : wait until no other process of the identity is active, warm, instead of taking over from it
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
        held_bytes: int = _HELD_BYTES,
        wait_s: float = 0.005,
        accept_partitions: bool = False,
        snapshots: Snapshots | None = None,
        presence_topic: str = "",
        stands_by: bool = False,
    ) -> None:
        self.task, self.health = task, Health(task.name)
        self._transport, self._journal_topic, self._store = transport, journal_topic, store
        self._identity = f"{app}.{task.name}"
        self._batch_records, self._held_bytes, self._wait_s = batch_records, held_bytes, wait_s
        self._decoders = {part.topic: Decoder(part, store) for part in task.inputs}
        self._side_partitions: dict[str, int] = {}
        self._presence_topic, self._stands_by = presence_topic, stands_by
        self._recovery = Recovery(
            transport,
            journal_topic,
            task,
            self._decoders,
            self.health,
            snapshots,
            accept_partitions=accept_partitions,
        )

    def run(self, stop: threading.Event) -> None:
        """Recover, then process until ``stop`` is set; the batch under way is finished first.

        Raises FencedError when another process with the same identity takes over.
        """
        writer = self._transport.transactional_writer(self._identity)
        recovery = self._recovery
        reader: Reader | None = None
        presence = Presence(self._transport, self._identity, self._presence_topic)
        standby = Standby(self._transport, self._identity, self._presence_topic)
        try:
            recovery.begin()
            if self._stands_by and not self._await_turn(standby, stop):
                self.health.state = "stopped"
                return
            if self._presence_topic:
                presence.start(standby)
            writer.open()
            recovery.await_decided(stop)
            recovery.follow(stop)
            recovery.close()
            topics = self._transport.topics()
            self._side_partitions = {part.topic: topics.get(f"{part.topic}.dead", 1) for part in self.task.inputs}
            reader = self._transport.reader()  # only now: a handle that idles before it is assigned reads a second late
            merge = Merge(self.task.inputs, self._input_of(recovery.positions))
            reader.assign(recovery.positions)
            self.health.state = "running"
            loop = _Loop(self, reader, writer, merge, recovery)
            while not stop.is_set():
                loop.turn()
            presence.close()  # nothing more is written: whoever stands by may begin
            recovery.finish()
            self.health.state = "stopped"
        finally:
            presence.close()
            standby.close()
            recovery.close()
            if reader is not None:
                reader.close()
            writer.close()

    def _await_turn(self, standby: Standby, stop: threading.Event) -> bool:
        """Stand by, at the journal's end all the time; whether it is this process's turn."""

        def follow() -> None:
            self._recovery.follow(stop)
            self._recovery.keep()
            self.health.state = "standby"

        return standby.await_turn(stop, follow)

    def _input_of(self, positions: dict[Partition, int]) -> dict[Partition, int]:
        index = {part.topic: position for position, part in enumerate(self.task.inputs)}
        return {partition: index[partition.topic] for partition in positions}


class _Loop:
    """One turn: read, choose what is safe to take, order, process, commit."""

    def __init__(
        self,
        processor: Processor,
        reader: Reader,
        writer: TransactionalWriter,
        merge: Merge,
        recovery: Recovery,
    ) -> None:
        self._p, self._reader, self._writer, self._merge, self._course = processor, reader, writer, merge, recovery
        self._known = {part: recovery.clocks.known_us.get(part, UNKNOWN_KNOWN_US) for part in recovery.positions}
        self._unasked_s: float | None = None  # when the first record came since it was last asked where partitions end
        self._failure: Exception | None = None  # of reading ahead, which must not keep a batch from being committed
        self._full: set[Partition] = set()
        self._sizes: dict[Partition, float] = {}  # of a record, about, as they last came
        self._refused: TransportError | None = None
        self._moved_s = time.monotonic()
        self._has_read = False  # for the next turn, while the last batch was on its way

    def turn(self) -> None:
        pending = self._merge.pending.values()
        if not self._has_read:
            self._read(0.0 if any(held.count for held in pending) else 0.2)
        self._has_read = False
        if not any(held.count for held in pending):
            self._p.health.flows()
            self._course.keep()
            if time.monotonic() - self._moved_s > _HEARTBEAT_S:
                self._show_life()
            return
        at_end = self._at_end() if self._merge.drained() else set()
        counts = self._merge.choose(at_end, self._most_records())
        if counts:
            self._commit(self._merge.take(counts))
            self._moved_s = time.monotonic()
            self._p.health.flows()
        elif time.monotonic() - self._moved_s > _STALL_S:
            self._report_stall()
        self._course.keep()

    def _show_life(self) -> None:
        """Commit the positions again: an idle processor, too, must learn when another one has taken over."""
        self._writer.begin()
        self._writer.commit(self._course.positions, self._p._identity)
        self._moved_s = time.monotonic()

    def _most_records(self) -> int:
        """How many records a batch may have, by their number and by their size."""
        pending = self._merge.pending.values()
        count, size = sum(held.count for held in pending), sum(held.held_bytes for held in pending)
        return min(self._p._batch_records, max(1, _BATCH_BYTES * count // max(size, 1)))

    def _hold(self) -> None:
        """Bound what is held in memory: a partition far ahead of the others is not read until they have caught up.

        One of which nothing is held is always read, so whatever the others wait for comes.
        """
        pending = self._merge.pending
        most_records = _HELD_BATCHES * self._p._batch_records
        most_bytes = max(self._p._held_bytes // max(len(pending), 1), _LEAST_HELD_BYTES)
        full = set()
        for part, held in pending.items():
            most = 0.5 if part in self._full else 1.0
            if held.count > most * most_records or held.held_bytes > most * most_bytes:
                full.add(part)
        if full != self._full:
            self._reader.hold(full)
            self._full = full

    def _most_fetched(self) -> int:
        """How many records to ask for: as many as would be held without harm, were all of them of the largest kind."""
        if not self._sizes:
            return _FIRST_RECORDS
        unseen = max(self._sizes.values())
        largest = max((self._sizes.get(part, unseen) for part in self._known if part not in self._full), default=unseen)
        return max(1, min(self._p._batch_records, int(_FETCH_BYTES / largest)))

    def _read(self, timeout_s: float) -> None:
        self._hold()
        for fetched in self._reader.fetch(self._most_fetched(), timeout_s):
            decoded = self._p._decoders[fetched.partition.topic].decode(fetched, self._known[fetched.partition])
            if len(decoded):
                self._known[fetched.partition] = int(decoded.known_us[-1])
                self._unasked_s = time.monotonic() if self._unasked_s is None else self._unasked_s
                self._sizes[fetched.partition] = max(1.0, decoded.held_bytes / len(decoded))
            self._merge.add(decoded)
        health = self._p.health
        health.held_bytes = sum(held.held_bytes for held in self._merge.pending.values())
        health.most_held_bytes = max(health.most_held_bytes, health.held_bytes)

    def _at_end(self) -> set[Partition]:
        """Partitions with nothing more in the broker, asked after a short wait for what may come before the first event held.

        The wait is as long, whatever comes meanwhile; what comes is not waited for again, or a busy stream would never go on.
        """
        while self._unasked_s is not None and (rest_s := self._unasked_s + self._p._wait_s - time.monotonic()) > 0:
            self._read(rest_s)
            if not self._merge.drained():
                return set()  # of each something is held: nobody has to be asked
        self._unasked_s = None
        try:
            at_end, self._refused = self._reader.at_end(), None
        except FencedError:
            raise
        except TransportError as error:  # a partition without a leader, or a broker that is away: both may come back
            self._refused = error
            return set()
        if self._merge.drained() - at_end:
            # something is on its way (or a transaction is open): read it, then ask again, since it may come first
            self._read(0.05)
            return set()
        return at_end

    def _report_stall(self) -> None:
        """Say which partitions hold the others back, and why."""
        try:
            stalls = sorted(self._stalls())
        except FencedError:
            raise
        except TransportError as error:
            self._refused = error
            stalls = sorted(self._stalls())
        if stalls and stalls != self._p.health.stalls:
            named = ", ".join(f"{stall.partition} ({stall.why})" for stall in stalls)
            told = f": {self._refused.line}" if self._refused is not None else ""
            log.warning("%s: waiting for %s; others cannot pass it%s", self._p.task.name, named, told)
        self._p.health.waits(stalls)

    def _stalls(self) -> Iterator[Stall]:
        drained = self._merge.drained()
        if self._refused is not None:
            yield from (Stall(str(part), UNAVAILABLE) for part in drained)
            return
        ends, reached = self._reader.ends(), self._reader.next_offsets()
        for part in drained - self._reader.at_end():
            is_open = ends[part].stable < ends[part].high and reached[part] >= ends[part].stable
            yield Stall(str(part), OPEN_TRANSACTION if is_open else NOT_DELIVERED)

    def _commit(self, batch: Batch) -> None:
        p, course, began_s = self._p, self._course, time.perf_counter()
        if course.is_due:
            course.mark()
        # joining starts Kafka's clock: it gives up a transaction that is open for a minute
        is_quick = p.health.last_batch_s < _QUICK_S
        if is_quick:
            self._writer.begin(like_last=True)
        course.clocks.judge(batch)
        emitted = p.task.process(batch, course.clocks)
        ranges = journal.ranges_of(batch, course.positions, course.clocks)
        entry = Entry(
            p.task.name,
            course.sequence + 1,
            p.task.fingerprint,
            course.clocks.greatest_us,
            ranges,
            emitted.switches,
            emitted.results,
            course.partitions,
        )
        moved = {part.partition: part.end for part in ranges}
        parcels = [p._store.framed_parcel(parcel) for parcel in emitted.parcels]  # first: it may ask a registry
        written = p._store.framed(emitted.records)
        record = entry.record(p._journal_topic)
        if not is_quick:
            self._writer.begin()
        for parcel in parcels:
            self._writer.send(parcel)
        self._writer.send(written)
        self._writer.send(rejects(batch, p.task.owned, p._side_partitions))
        self._writer.send([record])
        self._writer.commit(moved, p._identity, self._read_ahead)
        self._has_read = 2 * len(batch) > p._batch_records  # there is likely more: a turn need not begin by reading
        course.commit(entry, record.value or b"")
        health = p.health
        health.batches += 1
        health.last_batch_s = time.perf_counter() - began_s
        health.batch_s += health.last_batch_s
        health.lag = sum(pending.count for pending in self._merge.pending.values())
        if self._failure is not None:
            raise self._failure

    def _read_ahead(self) -> None:
        """While the broker writes."""
        try:
            self._read(0.0)
        except Exception as failure:
            self._failure = failure


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
