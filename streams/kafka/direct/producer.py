"""A transactional producer of our own: record batches to the partitions' leaders, questions to the coordinators.

It keeps what Kafka's idempotence asks for: batches of a partition are numbered and arrive in order, at most five of them are under
way, and what is sent again is the very same bytes. Errors come as confluent-kafka's `KafkaException`, so that one table says
what they mean. It belongs to one thread and has none of its own.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from confluent_kafka import KafkaError, KafkaException

from samestream.schemas.errors import SettingsError
from samestream.streams.kafka.direct import batches, messages, transaction_messages
from samestream.streams.kafka.direct import rows as packing
from samestream.streams.kafka.direct.cluster import Cluster, Connection, readable
from samestream.streams.kafka.direct.messages import Broker
from samestream.streams.kafka.direct.rows import Built, Rows, later
from samestream.streams.kafka.direct.transaction_messages import GROUP, TRANSACTION, Identity
from samestream.streams.kafka.errors import FENCED, LOG, PASSING
from samestream.streams.transport import Partition

_ANSWER_S = 30.0  # one question; what is asked again while the first may still be worked on would fence ourselves
_PATIENCE_S = 60.0  # Kafka itself gives a transaction up after 60 s
_SOON_S, _LATER_S = 0.001, 0.02  # how soon after a refusal a coordinator is asked again
_LINGER_S = 1.0  # how long sending waits for a partition that has not answered yet
_UNDER_WAY = 5  # batches of a partition: of so many Kafka remembers the numbers
_PRODUCE_MS = 30_000
_DUPLICATE = 46  # DUPLICATE_SEQUENCE_NUMBER: it had arrived
_CONCURRENT = 51  # CONCURRENT_TRANSACTIONS: the last one is being written out
_AGAIN = PASSING | {
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    _CONCURRENT,
}

Answered = TypeVar("Answered")


@dataclass(eq=False)
class _Batch:
    """A batch that the broker has not acknowledged. sent : the connection on which it is under way."""

    built: Built
    given_s: float
    sent: Connection | None = None
    not_before_s: float = 0.0


class _Request(NamedTuple):
    """What was sent at once to one broker, and when."""

    sent_s: float
    batches: dict[Partition, _Batch]


class DirectProducer:
    """What `Sender` and `KafkaTransactionalWriter` ask of a producer handle.

    failures : how many records were refused for good since somebody looked; `first` : the first error, and where
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._id = str(settings["transactional.id"])
        self._timeout_ms = int(settings.get("transaction.timeout.ms", 60_000))
        self._limit = int(settings.get("batch.size", 1_000_000))
        self._largest = int(settings["message.max.bytes"])
        codec = str(settings["compression.type"])
        if codec not in packing.CODECS:
            known = ", ".join(sorted(packing.CODECS))
            raise SettingsError("no such compression", where="compression.type", found=codec, expected=known)
        self._codec = packing.CODECS[codec]
        most = int(settings["receive.message.max.bytes"])
        self._cluster = Cluster(str(settings["bootstrap.servers"]), str(settings["client.id"]), most)
        self._coordinators: dict[tuple[int, str], Broker] = {}
        self._identity: Identity | None = None
        self._active = False
        self._fatal: KafkaError | None = None
        self._sequences: dict[Partition, int] = {}
        self._joined: set[Partition] = set()
        self._proven: set[Partition] = set()  # by having taken something from us where it is led now
        self._has_offsets = False
        self._waiting: dict[Partition, deque[_Batch]] = {}
        self._asked: dict[Connection, deque[_Request]] = {}
        self.failures = 0
        self.first: tuple[KafkaError, str] | None = None
        self.is_spoiled = False
        packing.compile_now()
        batches.compile_now()

    # transactions

    def init_transactions(self, timeout_s: float) -> None:
        """Take the identity over; what an older producer left open is decided first."""
        body = transaction_messages.identity_body(self._id, self._timeout_ms)
        self._identity = self._until(timeout_s, lambda: self._identified(body))
        self._sequences.clear()
        self._proven.clear()

    def _identified(self, body: bytes) -> Identity:
        answer = self._coordinator(TRANSACTION, self._id).ask(messages.INIT_PRODUCER, body, _ANSWER_S)
        error, identity = transaction_messages.identity_of(answer)
        self._check(error, TRANSACTION, self._id)
        return identity

    def begin_transaction(self) -> None:
        """Start a transaction; Kafka hears of it with the first record."""
        if self._fatal is not None:
            raise KafkaException(self._fatal)
        if self._identity is None or self._active:
            raise KafkaException(KafkaError(KafkaError._STATE, "there is no identity, or a transaction is open"))
        self._active = True
        self._cluster.grow_old()

    def send_offsets_to_transaction(self, offsets: Mapping[Partition, int], group: str, timeout_s: float) -> None:
        """Add the offsets of a group whose members assign by hand."""
        identity = self._writing()
        if not self._has_offsets:
            joining = transaction_messages.offsets_joined_body(self._id, identity, group)
            self._until(timeout_s, lambda: self._ask_transaction(messages.ADD_OFFSETS, joining))
            self._has_offsets = True
        body = transaction_messages.offsets_body(self._id, identity, group, offsets)

        def commit() -> None:
            answer = self._coordinator(GROUP, group).ask(messages.COMMIT_OFFSETS, body, _ANSWER_S)
            for error in transaction_messages.partition_errors(answer).values():
                self._check(error, GROUP, group)

        self._until(timeout_s, commit)

    def commit_transaction(self, timeout_s: float) -> None:
        """Commit; everything sent must have been flushed."""
        self._end(True, timeout_s)

    def abort_transaction(self, timeout_s: float) -> None:
        """Drop what is on its way, and abort."""
        if self._waiting:
            # whether these arrived is not known, so their numbers are not to be used again: somebody has to begin anew
            self.is_spoiled = True
            self.purge(blocking=False)
        self._end(False, timeout_s)

    def _end(self, commit: bool, timeout_s: float) -> None:
        identity = self._writing()
        if self._joined or self._has_offsets:
            body = transaction_messages.end_body(self._id, identity, commit)
            self._until(timeout_s, lambda: self._ask_transaction(messages.END_TRANSACTION, body))
        self._active, self._has_offsets = False, False
        self._joined.clear()

    def _ask_transaction(self, kind: int, body: bytes) -> None:
        answer = self._coordinator(TRANSACTION, self._id).ask(kind, body, _ANSWER_S)
        self._check(transaction_messages.error_of(answer), TRANSACTION, self._id)

    def _writing(self) -> Identity:
        if self._fatal is not None:
            raise KafkaException(self._fatal)
        if self._identity is None or not self._active:
            raise KafkaException(KafkaError(KafkaError._STATE, "there is no transaction"))
        return self._identity

    # coordinators

    def _until(self, timeout_s: float, call: Callable[[], Answered]) -> Answered:
        """Call again and again while what is raised passes, for so long; it is raised as what may be tried again."""
        deadline_s, pause_s = time.monotonic() + timeout_s, _SOON_S
        while True:
            try:
                return call()
            except KafkaException as caught:
                error: KafkaError = caught.args[0]
                if error.fatal() or error.code() not in _AGAIN or self._fatal is not None:
                    raise
                if time.monotonic() + pause_s > deadline_s:
                    raise KafkaException(KafkaError(error.code(), error.str(), retriable=True)) from caught
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LATER_S)

    def _coordinator(self, kind: int, name: str) -> Connection:
        """The connection to who coordinates something. Raises KafkaException."""
        broker = self._coordinators.get((kind, name))
        if broker is None:
            body = transaction_messages.coordinator_body(name, kind)
            answer = self._cluster.ask_any(messages.FIND_COORDINATOR, body, _ANSWER_S)
            error, broker = transaction_messages.coordinator_of(answer)
            self._check(error, kind, name)
            self._coordinators[kind, name] = broker
        return self._cluster.asking(broker)

    def _check(self, error: int, kind: int, name: str) -> None:
        """Raise KafkaException for an error of a coordinator, after noting what follows from it."""
        if not error:
            return
        if error in (KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE):
            self._coordinators.pop((kind, name), None)
        self._raise(error)

    def _raise(self, code: int) -> None:
        found = KafkaError(code, fatal=code in FENCED)
        if code in FENCED:
            self._fatal = found
        raise KafkaException(found)

    # records

    def send(self, rows: Rows) -> None:
        """Number records, and send them as far as can be without waiting. Raises KafkaException where one is refused."""
        identity = self._writing()
        if not len(rows.stamps_ms):
            return
        if rows.largest() > self._largest:
            found = f"a record of {rows.largest()} bytes, where message.max.bytes is {self._largest}"
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, found))
        partitions = self._until(_PATIENCE_S, lambda: self._partitions(rows.topic))
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
        if new := [part for part in written if part not in self._joined]:
            body = transaction_messages.partitions_body(self._id, identity, new)
            self._until(_PATIENCE_S, lambda: self._join(body))
            self._joined.update(new)
        now_s = time.monotonic()
        for part, chosen in written.items():
            sequence = self._sequences.get(part, 0)
            for batch in packing.built(rows, chosen, self._codec, self._limit, identity, sequence):
                self._waiting.setdefault(part, deque()).append(_Batch(batch, now_s))
                sequence = later(sequence, batch.records)
            self._sequences[part] = sequence
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

    def _join(self, body: bytes) -> None:
        answer = self._coordinator(TRANSACTION, self._id).ask(messages.ADD_PARTITIONS, body, _ANSWER_S)
        for error in transaction_messages.partition_errors(answer).values():
            self._check(error, TRANSACTION, self._id)

    def poll(self, timeout_s: float) -> None:
        """Send what can be sent, take answers in. Raises KafkaException once another producer has taken over."""
        self._push()
        if self._asked and readable(self._asked, timeout_s):
            for connection in list(self._asked):
                self._receive(connection)
            self._push()
        elif not self._asked and self._waiting:
            time.sleep(min(timeout_s, _LATER_S))
        if self._fatal is not None:
            raise KafkaException(self._fatal)

    def flush(self, timeout_s: float) -> bool:
        """Wait for all acknowledgements; whether some are missing still."""
        deadline_s = time.monotonic() + timeout_s
        while self._waiting:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                break
            self.poll(min(left_s, 0.2))
            self._give_up_old()
        return bool(self._waiting)

    def _give_up_old(self) -> None:
        now_s = time.monotonic()
        for part, waiting in list(self._waiting.items()):
            if now_s - waiting[0].given_s > self._timeout_ms / 1000:
                self._refused(part, KafkaError(KafkaError._MSG_TIMED_OUT))
        for connection, requests in list(self._asked.items()):
            if now_s - requests[0].sent_s > _ANSWER_S:
                self._lost(connection, "no answer")

    def _push(self) -> None:
        """Give every leader what is next of each of its partitions."""
        now_s = time.monotonic()
        while True:
            ready: dict[Broker, dict[Partition, _Batch]] = {}
            for part, batch in self._next(now_s):
                if (leader := self._leader(part, now_s)) is not None:
                    ready.setdefault(leader, {})[part] = batch
            sent = [self._send_one(leader, request) for leader, request in ready.items()]
            if not any(sent):
                return

    def _next(self, now_s: float) -> Iterator[tuple[Partition, _Batch]]:
        """Of each partition the first batch that is not under way, if it may be.

        One at a time until a partition has taken one: were the first refused for a moment and the second not, Kafka would
        take the second for the first that it has ever seen of us, and the first for one out of order.
        """
        for part, waiting in self._waiting.items():
            for batch in list(waiting)[: _UNDER_WAY if part in self._proven else 1]:
                if batch.sent is None:
                    if batch.not_before_s <= now_s:
                        yield part, batch
                    break

    def _leader(self, part: Partition, now_s: float) -> Broker | None:
        """Who leads a partition; None where that cannot be said now, and nothing is asked for a moment."""
        if part not in self._cluster.leaders:
            try:
                self._cluster.refresh({part.topic for part in self._waiting})
            except KafkaException as refused:
                LOG.info("asking who leads %s: %s", part, refused.args[0].str())
        leader = self._cluster.leaders.get(part)
        if leader is None:
            self._waiting[part][0].not_before_s = now_s + _LATER_S
        return leader

    def _send_one(self, leader: Broker, request: dict[Partition, _Batch]) -> bool:
        try:
            connection = self._cluster.connection(leader)
            if connection is None:
                return False
            written = {part: batch.built.data for part, batch in request.items()}
            connection.send(messages.PRODUCE, transaction_messages.produce_body(self._id, _PRODUCE_MS, written))
        except KafkaException as refused:
            LOG.info("writing to %s: %s", leader, refused.args[0].str())
            self._lost_broker(leader)
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
                self._acknowledged(part, batch, errors.get(part, KafkaError._BAD_MSG))

    def _acknowledged(self, part: Partition, batch: _Batch, error: int) -> None:
        waiting = self._waiting.get(part)
        if not waiting or waiting[0] is not batch:
            return  # given up, or behind one that is sent again: so will this be
        if error in (0, _DUPLICATE):
            waiting.popleft()
            self._proven.add(part)
            if not waiting:
                del self._waiting[part]
        elif error in FENCED:
            self._fatal = KafkaError(error, fatal=True)
        elif error in _AGAIN:
            LOG.info("writing to %s: %s", part, KafkaError(error).str())
            self._cluster.leaders.pop(part, None)
            self._proven.discard(part)
            for behind in waiting:
                behind.sent = None
            batch.not_before_s = time.monotonic() + _LATER_S
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
        for connection in [asked for asked in self._asked if asked.broker == broker]:
            del self._asked[connection]
            for waiting in self._waiting.values():
                for batch in waiting:
                    if batch.sent is connection:
                        batch.sent = None
        self._cluster.failed(broker)

    def purge(self, blocking: bool) -> None:
        """Drop what is on its way."""
        self._waiting.clear()
        for connection in list(self._asked):
            self._cluster.disconnect(connection.broker)
        self._asked.clear()

    def close(self) -> None:
        """Abort what is open, as far as that takes no time, and close all connections."""
        self._cluster.close()
