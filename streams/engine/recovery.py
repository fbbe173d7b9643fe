"""Recovery: a task is brought to where its processor stood, from the newest snapshot, or from nothing, along the journal.

A processor recovers before it runs; a standby does so all the time, to be warm when it takes over; `samestream rebuild` does it
without snapshots.
"""

from __future__ import annotations

import logging
import platform
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from samestream.schemas.errors import RecoveryError, TransportError
from samestream.streams.engine import journal, replay
from samestream.streams.engine.clock import NEVER_US, Clocks
from samestream.streams.engine.health import OPEN_TRANSACTION, Health, Stall
from samestream.streams.engine.journal import Balance, Entry, Placed
from samestream.streams.engine.snapshot_file import Manifest
from samestream.streams.engine.snapshots import Snapshots
from samestream.streams.engine.task import Task
from samestream.streams.plan import KERNEL_VERSION
from samestream.streams.transport import Partition, Transport
from samestream.streams.wire.decode import UNKNOWN_KNOWN_US, Decoder

log = logging.getLogger("samestream")
_JOURNAL_PATIENCE_S = 75.0  # a broker aborts an abandoned transaction after 60 s

OnReplayed = Callable[[int, int], None]
"""Told the batches replayed and those to replay in all."""


class Recovery:
    """How far a processor has come: along the journal while it recovers, then by what it commits.

    positions : the next offset of every partition of its inputs
    clocks : as they stand after the last batch
    sequence : of that batch, 0 before the first
    partitions : how many each topic has
    accept_partitions : go on even if a topic has another number of partitions than the journal says
    """

    def __init__(
        self,
        transport: Transport,
        journal_topic: str,
        task: Task,
        decoders: Mapping[str, Decoder],
        health: Health,
        snapshots: Snapshots | None = None,
        *,
        accept_partitions: bool = False,
    ) -> None:
        self._transport, self._topic, self._task, self._decoders = transport, journal_topic, task, decoders
        self._health, self._snapshots, self._accept_partitions = health, snapshots, accept_partitions
        self.positions: dict[Partition, int] = {}
        self.clocks = Clocks(task.query_lag_us)
        self.sequence = 0
        self.partitions: tuple[tuple[str, int], ...] = ()
        self._read_from: dict[int, int] = {}  # by partition of the journal: everything before is followed
        self._marks: dict[int, int] = {}  # likewise, but the last entry counted lies there or behind
        self._entry: tuple[bytes, Entry] | None = None
        self._source: replay.TopicSource | None = None
        self._is_placed = False  # whether the state is that after some batch, rather than nothing yet

    # -- along the journal ------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Take up the newest snapshot that there is. Raises RecoveryError where all are of another definition."""
        self._health.state = "recovering"
        self._find_partitions()
        found = self._snapshots.restore(self._task, self._belongs) if self._snapshots is not None else None
        if found is None:
            return
        self._is_placed = True
        self._take_up(found)
        log.info("%s: restored the state after batch %d from a snapshot", self._task.name, self.sequence)

    def follow(self, stop: threading.Event, on_replayed: OnReplayed | None = None) -> int:
        """Replay what the journal has gained; how many batches.

        Raises RecoveryError where the log no longer holds what the journal says.
        """
        began_s = time.monotonic()
        found = self.news()
        if not found or stop.is_set():
            return 0
        self._check_partitions(found[-1].entry)
        if not self._is_placed:
            found = self._without_the_forgotten(found)
            self._is_placed = True
        source = self._opened()
        entries = [one.entry for one in found]
        follow = replay.batches(entries, self._task.inputs, self.positions, source, self.clocks, self._task.fingerprint)
        for number, (one, (_, batch)) in enumerate(zip(found, follow, strict=True), 1):
            self._task.absorb(batch, self.clocks)
            self._pass(one)
            self.keep()
            if on_replayed:
                on_replayed(number, len(found))
            if stop.is_set():
                return number  # nothing was written; the next start recovers again
        self._health.replayed += len(found)
        self._health.recovered_s += time.monotonic() - began_s
        return len(found)

    def news(self) -> list[Placed]:
        """What the journal has gained since it was last asked."""
        ends = self._transport.ends(self._journal_partitions())
        found = [
            one
            for one in journal.placed(self._transport, self._topic, self._task.name, self._read_from)
            if one.entry.sequence > self.sequence
        ]
        self._read_from = {part.partition: end.stable for part, end in ends.items()}
        return found

    def await_decided(self, stop: threading.Event) -> None:
        """Wait until nothing of the journal is hidden.

        Another processor's open transaction hides what lies behind it in the same journal partition. Whatever this one
        ever committed lies before the high watermark as it is now, since its identity has been taken over: so once every
        transaction before that is decided, nothing is hidden.
        """
        partitions = self._journal_partitions()
        high = {partition: end.high for partition, end in self._transport.ends(partitions).items()}
        deadline = time.monotonic() + _JOURNAL_PATIENCE_S
        while not stop.is_set():
            ends = self._transport.ends(partitions)
            hidden = [partition for partition in partitions if ends[partition].stable < high[partition]]
            if not hidden:
                break
            if time.monotonic() > deadline:
                raise self._stays_open(hidden)
            self._health.waits([Stall(self._topic, OPEN_TRANSACTION)])
            stop.wait(0.2)
        self._health.flows()

    def _stays_open(self, hidden: list[Partition]) -> RecoveryError:
        who = ", ".join(self._transport.holders(hidden))
        return RecoveryError(
            "a transaction on the journal stays open, and hides what was committed behind it",
            where=", ".join(map(str, hidden[:3])),
            found=f"undecided for {_JOURNAL_PATIENCE_S:.0f} s" + (f", of {who}" if who else ""),
            hint="start the role again whose it is: it ends what it left. `kafka-transactions.sh find-hanging --broker-id N` "
            "tells whose, too.",
        )

    def close(self) -> None:
        """Release the reader."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def _opened(self) -> replay.TopicSource:
        if self._source is None:
            self._source = replay.TopicSource(self._transport, self._decoders, self.positions)
        return self._source

    def _journal_partitions(self) -> list[Partition]:
        count = self._transport.topics().get(self._topic, 0)
        return [Partition(self._topic, number) for number in range(count)]

    def _find_partitions(self) -> None:
        topics = self._transport.topics()
        wanted = [part.topic for part in self._task.inputs]
        missing = [topic for topic in wanted if topic not in topics]
        if missing:
            raise TransportError(
                "topics are missing",
                where=self._task.name,
                expected=", ".join(missing),
                hint="create them with `samestream apply MODULE`.",
            )
        self.partitions = tuple(sorted((topic, topics[topic]) for topic in wanted))
        every = [Partition(topic, number) for topic in wanted for number in range(topics[topic])]
        self.positions = self._transport.starts(every)

    def _check_partitions(self, last: Entry) -> None:
        now = dict(self.partitions)
        changed = [
            f"{topic} had {count}, has {now[topic]}"
            for topic, count in last.partitions
            if now.get(topic, count) != count
        ]
        if changed and not self._accept_partitions:
            raise TransportError(
                "the number of partitions has changed since the journal's last entry, and with it which key lies where",
                where=self._task.name,
                found="; ".join(changed),
                hint="if that was intended, start once with `samestream run --accept-partitions`; the journal will say so.",
            )

    def _without_the_forgotten(self, found: list[Placed]) -> list[Placed]:
        """Pass over the entries of which no window can reach anything any more."""
        entries = [one.entry for one in found]
        first = self._first_that_matters(entries)
        self._task.recall([switch for entry in entries[:first] for switch in entry.switches])
        self.clocks = journal.clocks_after(entries[:first], self._task.query_lag_us)
        for one in found[:first]:
            self._pass(one)
        # where nothing of a partition was taken yet, the first entry that does so says where it began
        self.positions |= replay.first_offsets(entries[first:], dict(self.partitions))
        log.info("%s: recovering %d of %d batches from the journal", self._task.name, len(found) - first, len(found))
        return found[first:]

    def _first_that_matters(self, entries: Sequence[Entry]) -> int:
        """The index of the first entry that the state still depends on."""
        memory_us = self._task.memory_us
        if memory_us is None:
            return 0
        since = entries[-1].greatest_us - memory_us
        reaching = (index for index, entry in enumerate(entries) if memory_us and entry.greatest_us >= since)
        return next(reaching, len(entries))

    def _pass(self, one: Placed) -> None:
        """Count an entry that lies in the journal."""
        self._marks = {**self._read_from, one.partition: one.offset}
        self._count(one.entry, one.value)

    # -- with the stream --------------------------------------------------------------------------------------------

    def mark(self) -> None:
        """Note where the journal ends, before a batch is committed that a snapshot will be taken after."""
        partitions = self._journal_partitions()
        self._marks = {part.partition: end.high for part, end in self._transport.ends(partitions).items()}

    def commit(self, entry: Entry, value: bytes) -> None:
        """Count a batch that has been committed, with its journal record."""
        self._is_placed = True
        self._count(entry, value)

    def _count(self, entry: Entry, value: bytes) -> None:
        self.sequence, self._entry = entry.sequence, (value, entry)
        self.positions.update(journal.ends([entry]))
        health = self._health
        health.results += entry.emitted
        for topic, became in journal.balance([entry]).items():
            health.balances[topic] = health.balances.get(topic, Balance()).plus(became)
            health.events += became.read
        health.known_us = max([health.known_us, *(part.known_us for part in entry.ranges)])
        for part in entry.ranges:
            if part.event_time_us > NEVER_US:
                health.watermarks_us[part.partition] = part.event_time_us

    # -- snapshots --------------------------------------------------------------------------------------------------

    @property
    def is_due(self) -> bool:
        """Whether a snapshot is to be taken after the next batch."""
        return self._snapshots is not None and self._snapshots.is_due

    def keep(self) -> None:
        """Take a snapshot, if it is time to; to be called between two batches, of which the first is committed."""
        if self._snapshots is None:
            return
        self._snapshots.poll(self._task)
        if self._snapshots.is_due and self.sequence > self._snapshots.last_sequence:
            self._snapshots.take(self._task, self._manifest())
        self._tell()

    def finish(self) -> None:
        """Leave a snapshot behind, so that the next start is quick."""
        if self._snapshots is None:
            return
        is_newer = self._is_placed and self.sequence > self._snapshots.last_sequence
        self._snapshots.finish(self._task, self._manifest() if is_newer else None)
        self._tell()

    def _tell(self) -> None:
        assert self._snapshots is not None
        health, found = self._health, self._snapshots
        health.snapshots, health.snapshots_failed = found.taken, found.failed
        health.snapshot_us, health.snapshot_bytes = found.last_us, found.last_bytes
        health.snapshot_pause_s = found.longest_pause_s

    def _manifest(self) -> Manifest:
        assert self._entry is not None
        clocks = self.clocks
        known = sorted(clocks.known_us.keys() | clocks.watermark_us.keys())
        return Manifest(
            self._task.name,
            self._task.fingerprint,
            self._task.layout,
            platform.machine(),
            KERNEL_VERSION,
            self.sequence,
            self._entry[0].hex(),
            {str(number): offset for number, offset in self._marks.items()},
            [[*part, offset] for part, offset in sorted(self.positions.items())],
            {
                "greatest": clocks.greatest_us,
                "partitions": [
                    [*part, clocks.watermark_us.get(part, NEVER_US), clocks.known_us.get(part, UNKNOWN_KNOWN_US)]
                    for part in known
                ],
            },
            {
                "results": self._health.results,
                "topics": {
                    topic: [part.applied, part.late, part.dead] for topic, part in self._health.balances.items()
                },
            },
        )

    def _belongs(self, manifest: Manifest) -> bool:
        """Whether the journal that there is says of that batch what it said when the snapshot was taken."""
        start = {int(number): offset for number, offset in manifest.journal.items()}
        for one in journal.placed(self._transport, self._topic, self._task.name, start):
            if one.entry.sequence == manifest.sequence:
                return one.value.hex() == manifest.entry
        return False

    def _take_up(self, manifest: Manifest) -> None:
        value = bytes.fromhex(manifest.entry)
        entry = journal.parse(value)
        assert entry is not None
        self._check_partitions(entry)
        self._marks = {int(number): offset for number, offset in manifest.journal.items()}
        self._read_from = dict(self._marks)
        self.sequence, self._entry = manifest.sequence, (value, entry)
        mine = self.positions.keys()
        taken = {Partition(topic, number): offset for topic, number, offset in manifest.positions}
        self.positions |= {part: offset for part, offset in taken.items() if part in mine}
        self.clocks.greatest_us = manifest.clocks["greatest"]
        for topic, number, watermark_us, known_us in manifest.clocks["partitions"]:
            part = Partition(topic, number)
            if watermark_us > NEVER_US:
                self._health.watermarks_us[part] = watermark_us
            self.clocks.watermark_us[part] = watermark_us
            if known_us > UNKNOWN_KNOWN_US:
                self.clocks.known_us[part] = known_us
                self._health.known_us = max(self._health.known_us, known_us)
        health = self._health
        health.results = manifest.totals["results"]
        health.balances = {topic: Balance(*counts) for topic, counts in manifest.totals["topics"].items()}
        health.events = sum(part.read for part in health.balances.values())
