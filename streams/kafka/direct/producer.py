"""A transactional producer of our own: record batches to the partitions' leaders, questions to the coordinators.

It keeps what Kafka's idempotence asks for: batches of a partition are numbered and arrive in order, at most five of them are under
way, and what is sent again is the very same bytes. Errors come as confluent-kafka's `KafkaException`, so that one table says
what they mean. It belongs to one thread and has none of its own.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from confluent_kafka import KafkaError, KafkaException

from samestream.schemas.errors import SettingsError
from samestream.streams.kafka.direct import batches, hanging, messages, transaction_messages
from samestream.streams.kafka.direct import rows as packing
from samestream.streams.kafka.direct.cluster import Cluster, Connection, readable
from samestream.streams.kafka.direct.hanging import Hanging
from samestream.streams.kafka.direct.hanging_messages import Open
from samestream.streams.kafka.direct.messages import Broker
from samestream.streams.kafka.direct.rows import Built, Rows, later
from samestream.streams.kafka.direct.transaction import AGAIN, ANSWER_S, CONCURRENT, PATIENCE_S, Transaction
from samestream.streams.kafka.errors import FENCED, LOG
from samestream.streams.transport import Partition

_SOON_S, _LATER_S = 0.001, 0.02  # how soon something refused is sent again: at first, and at last
_LINGER_S = 1.0  # how long sending waits for a partition that has not answered yet
_UNDER_WAY = 5  # batches of a partition: of so many Kafka remembers the numbers
_PRODUCE_MS = 30_000
_REQUEST_BYTES = 32 * 1024 * 1024  # brokers take no more than 100 MB
# The leader stays who it is. So a broker refuses, too, what comes before it has marked the end of the last transaction.
_UNMARKED = {KafkaError.NOT_ENOUGH_REPLICAS, KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND, CONCURRENT}
_DUPLICATE = 46  # DUPLICATE_SEQUENCE_NUMBER: it had arrived


@dataclass(eq=False)
class _Batch:
    """A batch that the broker has not acknowledged. sent : the connection on which it is under way."""

    built: Built
    given_s: float
    sent: Connection | None = None
    not_before_s: float = 0.0
    pause_s: float = _SOON_S

    def wait(self) -> None:
        """Leave it alone for a moment, each time for twice as long."""
        self.sent, self.not_before_s = None, time.monotonic() + self.pause_s
        self.pause_s = min(2 * self.pause_s, _LATER_S)


class _Request(NamedTuple):
    """What was sent at once to one broker, and when."""

    sent_s: float
    batches: dict[Partition, _Batch]


class DirectProducer:
    """What `Sender` and `KafkaTransactionalWriter` ask of a producer handle.

    failures : how many records were refused for good since somebody looked; `first` : the first error, and where
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._timeout_ms = int(settings.get("transaction.timeout.ms", 60_000))
        self._limit = int(settings.get("batch.size", 1_000_000))
        self._largest = int(settings["message.max.bytes"])
        codec = str(settings["compression.type"])
        if codec not in packing.CODECS:
            known = ", ".join(sorted(packing.CODECS))
            raise SettingsError("no such compression", where="compression.type", found=codec, expected=known)
        self._codec = packing.CODECS[codec]
        name = str(settings["transactional.id"])
        self._cluster = Cluster.of(settings)
        self._transaction = Transaction(self._cluster, name, self._timeout_ms)
        self._hanging = Hanging(self._cluster, name, hanging.reading(settings))
        self._clean: set[Partition] = set()  # of these it is known that nothing of ours hangs in them
        self._renewed = 0
        self._taken: set[Partition] = set()  # these have taken something in this transaction
        self._sequences: dict[Partition, int] = {}
        self._proven: set[Partition] = set()  # by having taken something from us where it is led now
        self._waiting: dict[Partition, deque[_Batch]] = {}
        self._asked: dict[Connection, deque[_Request]] = {}
        self.failures = 0
        self.first: tuple[KafkaError, str] | None = None
        self.is_spoiled = False
        self._is_unknown = False  # whether a batch was given up without an answer
        packing.compile_now()
        batches.compile_now()

    def init_transactions(self, timeout_s: float) -> None:
        """Take the identity over; what an older producer left open is decided first, and ended where it hangs."""
        identity = self._transaction.take_over(timeout_s)
        self._sequences.clear()
        self._proven.clear()
        self._clean = self._hanging.end_all(identity)

    def begin_transaction(self) -> None:
        """Start a transaction."""
        self._transaction.begin()
        self._taken.clear()
        self._cluster.grow_old()

    def join_ahead(self) -> None:
        """Let the partitions and the group of the last transaction join already; the answers are taken in later."""
        self._transaction.join_ahead()

    def offer_offsets(self, offsets: Mapping[Partition, int], group: str) -> None:
        """Send offsets ahead of `send_offsets_to_transaction`, which is to be called with the same."""
        self._transaction.offer_offsets(offsets, group)

    def send_offsets_to_transaction(self, offsets: Mapping[Partition, int], group: str, timeout_s: float) -> None:
        """Add the offsets of a group whose members assign by hand; who writes nothing else looks here what hangs."""
        self._transaction.add_offsets(offsets, group, timeout_s)
        if self._cluster.renewed != self._renewed:
            self._renewed = self._cluster.renewed
            self._clean.clear()
        if not self._waiting:
            self._look()

    def commit_transaction(self, timeout_s: float) -> None:
        """Commit; everything sent must have been flushed."""
        self._transaction.end(True, timeout_s)

    def abort_transaction(self, timeout_s: float) -> None:
        """Drop what is on its way, and abort.

        Where nobody knows what became of something, the transaction is left to whoever takes the identity over: a request that
        is still in a broker's queue would come after the mark of the end, and be taken for the next transaction's.
        """
        if self._waiting or self._asked or self._is_unknown or self._transaction.is_unknown():
            self.is_spoiled = True
            self.purge(blocking=False)
            self._transaction.leave()
        else:
            self._transaction.end(False, timeout_s)

    def send(self, rows: Rows) -> None:
        """Number records, and send them as far as can be without waiting. Raises KafkaException where one is refused."""
        identity = self._transaction.writing()
        if not len(rows.stamps_ms):
            return
        self._transaction.settle()
        if rows.largest() > self._largest:
            found = f"a record of {rows.largest()} bytes, where message.max.bytes is {self._largest}"
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, found))
        partitions = self._transaction.until(PATIENCE_S, lambda: self._partitions(rows.topic))
        numbers = rows.decided(partitions, int(time.monotonic() * 1000) % partitions)
        if not 0 <= numbers.min() <= numbers.max() < partitions:
            raise KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION, f"{rows.topic} has {partitions} partitions"))
        order = np.argsort(numbers, kind="stable")
        edges = np.searchsorted(numbers[order], np.arange(partitions + 1)).tolist()
        written = {
            Partition(rows.topic, n): order[edges[n] : edges[n + 1]]
            for n in range(partitions)
            if edges[n] < edges[n + 1]
        }
        if new := [part for part in written if part not in self._transaction.joined]:
            self._transaction.join(new, PATIENCE_S)
        self._transaction.written |= written.keys()
        now_s = time.monotonic()
        for part, chosen in written.items():
            sequence = self._sequences.get(part, 0)
            for batch in packing.built(rows, chosen, self._codec, self._limit, identity, sequence):
                # first: whatever interrupts this, a number is never given twice
                self._sequences[part] = sequence = later(sequence, batch.records)
                self._waiting.setdefault(part, deque()).append(_Batch(batch, now_s))
        self.poll(0.0)
        # nobody sends again in the background: what a leader may refuse, since it hardly is one, would wait for the commit
        while self._waiting.keys() & written.keys() - self._proven and time.monotonic() - now_s < _LINGER_S:
            self.poll(_LATER_S)

    def _partitions(self, topic: str) -> int:
        """How many partitions a topic has."""
        if topic not in self._cluster.counts:
            errors = self._cluster.refresh([topic])
            if not self._cluster.counts.get(topic):
                self._cluster.counts.pop(topic, None)
                raise KafkaException(
                    KafkaError(errors.get(Partition(topic, -1), KafkaError.LEADER_NOT_AVAILABLE), topic)
                )
        return self._cluster.counts[topic]

    def poll(self, timeout_s: float) -> None:
        """Send what can be sent, take answers in. Raises KafkaException once another producer has taken over."""
        self._push()
        timeout_s = max(min(timeout_s, self._due_s() - time.monotonic()), 0.0)
        if self._asked and readable(self._asked, timeout_s):
            for connection in list(self._asked):
                self._receive(connection)
            self._push()
        elif not self._asked and self._waiting:
            time.sleep(min(timeout_s, _LATER_S))
        self._transaction.check_alive()

    def _due_s(self) -> float:
        """When something that was refused is to be sent again."""
        first = (waiting[0] for waiting in self._waiting.values())
        return min((batch.not_before_s for batch in first if batch.sent is None), default=float("inf"))

    def flush(self, timeout_s: float) -> bool:
        """Wait for all acknowledgements; whether some are missing still."""
        deadline_s = time.monotonic() + timeout_s
        while self._waiting or self._asked:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                break
            self.poll(min(left_s, 0.2))
            self._give_up_old()
        return bool(self._waiting or self._asked)

    def _give_up_old(self) -> None:
        now_s = time.monotonic()
        for part, waiting in list(self._waiting.items()):
            if now_s - waiting[0].given_s > self._timeout_ms / 1000:
                self._is_unknown = True
                self._refused(part, KafkaError(KafkaError._MSG_TIMED_OUT))
        for connection, requests in list(self._asked.items()):
            if now_s - requests[0].sent_s > ANSWER_S:
                self._lost(connection, "no answer")

    def _push(self) -> None:
        """Give every leader what is next of each of its partitions."""
        now_s = time.monotonic()
        if any(part not in self._clean and waiting[0].not_before_s <= now_s for part, waiting in self._waiting.items()):
            self._look()
        while True:
            ready: dict[Broker, dict[Partition, _Batch]] = {}
            sizes: dict[Broker, int] = {}
            for part, batch, before in self._next(now_s):
                leader = self._leader(part, batch)
                if leader is None or (before is not None and before.broker != leader):
                    continue  # what is under way to the last leader is answered first
                sizes[leader] = sizes.get(leader, 0) + len(batch.built.data)
                if sizes[leader] <= _REQUEST_BYTES or leader not in ready:
                    ready.setdefault(leader, {})[part] = batch
            sent = [self._send_one(leader, request) for leader, request in ready.items()]
            if not any(sent):
                return

    def _next(self, now_s: float) -> Iterator[tuple[Partition, _Batch, Connection | None]]:
        """Of each partition the first batch that is not under way, if it may be, and where the one before it is.

        One at a time until a partition has taken one: were the first refused for a moment and the second not, Kafka would
        take the second for the first that it has ever seen of us, and the first for one out of order.
        """
        for part, waiting in self._waiting.items():
            if part not in self._clean:
                continue
            before = None
            for batch in list(waiting)[: _UNDER_WAY if part in self._proven else 1]:
                if batch.sent is None:
                    if batch.not_before_s <= now_s:
                        yield part, batch, before
                    break
                before = batch.sent

    def _look(self) -> None:
        """End what hangs of ours in partitions that were lost sight of; those that cannot be asked get nothing meanwhile.

        Nothing may come behind a hanging transaction: the end of the next one would decide it, too, whatever was decided of it.
        """
        unsure = self._sequences.keys() - self._clean
        unsure -= {part for part, waiting in self._waiting.items() if waiting[0].sent is not None}
        if not unsure:
            return
        identity, lasts = self._transaction.writing(), dict[Partition, int]()
        for part in unsure:
            given = sum(batch.built.records for batch in self._waiting.get(part, ()))
            lasts[part] = later(self._sequences[part], -1 - given)

        def is_under_way(found: Open) -> bool:
            return found.partition in self._taken or found.last_sequence != lasts[found.partition]

        try:
            self._clean |= self._hanging.end_all(identity, is_under_way, unsure)
        except KafkaException as refused:
            LOG.info("looking for what hangs: %s", refused.args[0].str())
        for part in unsure & self._waiting.keys() - self._clean:
            self._waiting[part][0].wait()

    def _leader(self, part: Partition, batch: _Batch) -> Broker | None:
        """Who leads a partition; None where that cannot be said now, and nothing is asked for a moment."""
        if part not in self._cluster.leaders:
            try:
                self._cluster.refresh({part.topic for part in self._waiting})
            except KafkaException as refused:
                LOG.info("asking who leads %s: %s", part, refused.args[0].str())
        leader = self._cluster.leaders.get(part)
        if leader is None:
            batch.wait()
        return leader

    def _send_one(self, leader: Broker, request: dict[Partition, _Batch]) -> bool:
        try:
            connection = self._cluster.connection(leader)
            if connection is None:
                for batch in request.values():
                    batch.wait()
                return False
            written = {part: batch.built.data for part, batch in request.items()}
            connection.send(
                messages.PRODUCE, transaction_messages.produce_body(self._transaction.id, _PRODUCE_MS, written)
            )
        except KafkaException as refused:
            LOG.info("writing to %s: %s", leader, refused.args[0].str())
            self._lost_broker(leader)
            for batch in request.values():
                batch.wait()
            return False
        for batch in request.values():
            batch.sent = connection
        self._asked.setdefault(connection, deque()).append(_Request(time.monotonic(), request))
        return True

    def _receive(self, connection: Connection) -> None:
        while connection in self._asked:
            try:
                answer = connection.receive(0.0)
                if answer is None:
                    return
                errors = transaction_messages.produce_errors(answer)
            except KafkaException as refused:
                self._lost(connection, refused.args[0].str())
                return
            except ValueError as broken:
                self._lost(connection, str(broken))
                return
            request = self._asked[connection].popleft()
            if not self._asked[connection]:
                del self._asked[connection]
            for part, batch in request.batches.items():
                self._acknowledged(connection, part, batch, errors.get(part, KafkaError._BAD_MSG))

    def _acknowledged(self, connection: Connection, part: Partition, batch: _Batch, error: int) -> None:
        waiting = self._waiting.get(part)
        if not waiting or batch.sent is not connection:
            return  # given up, or sent again since
        if waiting[0] is not batch:
            batch.sent = None  # it overtook one that another broker has: sent again, it is at worst a duplicate
            return
        if error in (0, _DUPLICATE):
            waiting.popleft()
            self._proven.add(part)
            self._taken.add(part)
            if not waiting:
                del self._waiting[part]
        elif error in FENCED:
            self._transaction.fatal = KafkaError(error, fatal=True)
        elif error in AGAIN:
            LOG.info("writing to %s: %s", part, KafkaError(error).str())
            if error not in _UNMARKED:
                self._cluster.leaders.pop(part, None)
                self._clean.discard(part)
            self._proven.discard(part)
            for behind in waiting:
                behind.sent = None
            batch.wait()
        else:
            self._refused(part, KafkaError(error))

    def _refused(self, part: Partition, error: KafkaError) -> None:
        """Nothing more of this transaction can reach the partition: the numbers behind would be out of order."""
        self.is_spoiled = True
        self.failures += sum(batch.built.records for batch in self._waiting.pop(part))
        if self.first is None:
            self.first = error, f"delivering a record to {part}"

    def _lost(self, connection: Connection, why: str) -> None:
        LOG.info("%s: %s", connection.broker, why)
        self._lost_broker(connection.broker)

    def _lost_broker(self, broker: Broker) -> None:
        """What was under way there is sent again, wherever its partitions are led then."""
        self._clean.clear()
        for connection in [asked for asked in self._asked if asked.broker == broker]:
            del self._asked[connection]
            for part, waiting in self._waiting.items():
                for batch in waiting:
                    if batch.sent is connection:
                        batch.sent = None
                        self._proven.discard(part)
        self._cluster.failed(broker)

    def purge(self, blocking: bool) -> None:
        """Drop what is on its way."""
        self._waiting.clear()
        for connection in list(self._asked):
            self._cluster.disconnect(connection.broker)
        self._asked.clear()

    def close(self) -> None:
        """Close all connections."""
        self._cluster.close()
