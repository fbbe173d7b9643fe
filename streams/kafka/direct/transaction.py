"""A transaction of ours, as its coordinators know it: who writes, what has joined, and how it ends.

Errors come as confluent-kafka's `KafkaException`. Whatever passes is asked again for as long as is given, and then raised as what
may be tried again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from confluent_kafka import KafkaError, KafkaException

from samestream.streams.kafka.direct import messages, transaction_messages
from samestream.streams.kafka.direct.cluster import Cluster, Connection
from samestream.streams.kafka.direct.messages import Answer, Broker
from samestream.streams.kafka.direct.transaction_messages import GROUP, TRANSACTION, Identity
from samestream.streams.kafka.errors import ABSENT, FENCED, LOG, PASSING
from samestream.streams.transport import Partition

ANSWER_S = 30.0
"""How long an answer is waited for: what is asked again while the first may still be worked on would fence ourselves."""

PATIENCE_S = 60.0
"""How long what passes is waited for; Kafka itself gives a transaction up after that."""

CONCURRENT = 51
"""CONCURRENT_TRANSACTIONS: the last one is being written out."""

AGAIN = PASSING | {
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    CONCURRENT,
}
"""The errors that pass."""

_SOON_S, _LATER_S = 0.001, 0.02  # how soon after a refusal a coordinator is asked again

Answered = TypeVar("Answered")


class _Ahead(NamedTuple):
    """What was asked to join before anything is there to be written, and is not answered yet."""

    connection: Connection
    partitions: tuple[Partition, ...]
    group: str


class Transaction:
    """One transaction after another, under one transactional id.

    joined : the partitions that belong to the present one. written : those to which something is written, as its owner says
    fatal : the error after which nothing more can be done under this identity
    """

    def __init__(self, cluster: Cluster, transactional_id: str, timeout_ms: int) -> None:
        self.id = transactional_id
        self._cluster, self._timeout_ms = cluster, timeout_ms
        self._coordinators: dict[tuple[int, str], Broker] = {}
        self._identity: Identity | None = None
        self._active = False
        self._begun = False  # whether the coordinator may have heard of it
        self._group = ""  # whose offsets have joined
        self._last: tuple[tuple[Partition, ...], str] = (), ""  # what the one before wrote, and whose offsets
        self._is_unanswered = False  # something that was asked ahead, which may still be done
        self._ahead: _Ahead | None = None
        self._offered: tuple[Connection, tuple[Mapping[Partition, int], str]] | None = None
        self.is_deciding = False
        self.joined: set[Partition] = set()
        self.written: set[Partition] = set()
        self.fatal: KafkaError | None = None

    def take_over(self, timeout_s: float) -> Identity:
        """Become who writes under the id; what an older writer left open is decided first."""
        self._last = (), ""
        body = transaction_messages.identity_body(self.id, self._timeout_ms)

        def ask() -> Identity:
            answer = self._coordinator(TRANSACTION, self.id).ask(messages.INIT_PRODUCER, body, ANSWER_S)
            error, identity = transaction_messages.identity_of(answer)
            self._check(error, TRANSACTION, self.id)
            return identity

        self._identity = identity = self.until(timeout_s, ask)
        return identity

    def begin(self) -> None:
        """Start one; Kafka hears of it with the first partition."""
        self.check_alive()
        if self._identity is None or self._active:
            raise KafkaException(KafkaError(KafkaError._STATE, "there is no identity, or a transaction is open"))
        self._active = True

    def join_ahead(self) -> None:
        """Ask that what belonged to the last transaction joins this one, and do not wait for the answers.

        Whatever goes wrong here is asked again by `join` and `add_offsets`, and told there.
        """
        identity, (partitions, group) = self.writing(), self._last
        broker = self._coordinators.get((TRANSACTION, self.id))
        if broker is None or not partitions or not group:
            return
        requests = [
            (messages.ADD_PARTITIONS, transaction_messages.partitions_body(self.id, identity, partitions)),
            (messages.ADD_OFFSETS, transaction_messages.offsets_joined_body(self.id, identity, group)),
        ]
        if (connection := self._sent(broker, "ahead", requests)) is not None:
            self._begun = True
            self._ahead = _Ahead(connection, partitions, group)

    def settle(self) -> None:
        """Take in what was asked ahead: nothing else may be asked of the coordinator before."""
        if self._ahead is None:
            return
        (connection, partitions, group), self._ahead = self._ahead, None
        errors = self._answers(connection, [transaction_messages.first_error, transaction_messages.error_of])
        if not errors[0]:
            self.joined.update(partitions)
        if not errors[1]:
            self._group = group
        self._begun = self._is_unanswered or not all(errors)

    def _sent(self, broker: Broker, apart: str, requests: Sequence[tuple[int, bytes]]) -> Connection | None:
        """The connection on which these are under way; None where the network would not have it."""
        try:
            connection = self._cluster.asking(broker, apart)
            with self._whole(connection):
                for kind, body in requests:
                    connection.send(kind, body)
        except (KafkaException, ValueError) as refused:
            LOG.info("asking ahead: %s", refused)
            return None
        return connection

    @contextmanager
    def _whole(self, connection: Connection) -> Iterator[None]:
        """All of it or nothing more on this connection: after an error, or Ctrl-C, an answer would be taken for another's."""
        try:
            yield
        except BaseException:
            self._is_unanswered = True
            connection.close()
            raise

    def _answers(self, connection: Connection, readings: Sequence[Callable[[Answer], int]]) -> list[int]:
        """The errors in the answers to what was asked ahead; that there was no answer is one, too.

        Raises KafkaException for those that are fatal alone: the others are found again by who asks again.
        """
        found = []
        try:
            with self._whole(connection):
                for reading in readings:
                    answer = connection.receive(ANSWER_S)
                    if answer is None:
                        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer"))
                    found.append(reading(answer))
        except (KafkaException, ValueError) as refused:
            LOG.info("what was asked ahead: %s", refused)
            return [KafkaError._TIMED_OUT] * len(readings)
        for error in found:
            if error in FENCED:
                self._check(error, TRANSACTION, self.id)
        return found

    def check_alive(self) -> None:
        """Raise what was fatal."""
        if self.fatal is not None:
            raise KafkaException(self.fatal)

    def writing(self) -> Identity:
        """Who writes. Raises KafkaException outside of a transaction."""
        self.check_alive()
        if self._identity is None or not self._active:
            raise KafkaException(KafkaError(KafkaError._STATE, "there is no transaction"))
        return self._identity

    def join(self, partitions: Sequence[Partition], timeout_s: float) -> None:
        """Let partitions belong to it; records may be sent to them after that."""
        self.settle()
        if not (partitions := [part for part in partitions if part not in self.joined]):
            return
        body = transaction_messages.partitions_body(self.id, self.writing(), partitions)
        self._begun = True

        def ask() -> None:
            answer = self._coordinator(TRANSACTION, self.id).ask(messages.ADD_PARTITIONS, body, ANSWER_S)
            self._check(transaction_messages.first_error(answer), TRANSACTION, self.id)

        self.until(timeout_s, ask)
        self.joined.update(partitions)

    def offer_offsets(self, offsets: Mapping[Partition, int], group: str) -> None:
        """Send the offsets of a group that has joined, and do not wait for the answer; `add_offsets` does."""
        identity = self.writing()
        self.settle()
        broker = self._coordinators.get((GROUP, group))
        if broker is None or self._group != group:
            return
        body = transaction_messages.offsets_body(self.id, identity, group, offsets)
        if (connection := self._sent(broker, "offsets", [(messages.COMMIT_OFFSETS, body)])) is not None:
            self._offered = connection, (dict(offsets), group)

    def _taken(self) -> tuple[Mapping[Partition, int], str] | None:
        """The offsets that were offered and taken, and of which group."""
        if self._offered is None:
            return None
        (connection, what), self._offered = self._offered, None
        errors = self._answers(connection, [transaction_messages.first_error])
        return None if any(errors) else what

    def add_offsets(self, offsets: Mapping[Partition, int], group: str, timeout_s: float) -> None:
        """Let the offsets of a group belong to it."""
        identity = self.writing()
        self.settle()
        if self._taken() == (offsets, group):
            return
        if self._group != group:
            self._begun = True
            joining = transaction_messages.offsets_joined_body(self.id, identity, group)
            self.until(timeout_s, lambda: self._ask(messages.ADD_OFFSETS, joining))
            self._group = group
        body = transaction_messages.offsets_body(self.id, identity, group, offsets)

        def ask() -> None:
            answer = self._coordinator(GROUP, group).ask(messages.COMMIT_OFFSETS, body, ANSWER_S)
            self._check(transaction_messages.first_error(answer), GROUP, group)

        self.until(timeout_s, ask)

    def end(self, commit: bool, timeout_s: float) -> None:
        """Commit or abort it. While a commit is not answered, ``is_deciding`` is true: nobody knows what became of it."""
        identity = self.writing()
        self.settle()
        self._taken()
        self.is_deciding |= commit
        if self._begun:
            body = transaction_messages.end_body(self.id, identity, commit)
            try:
                self.until(timeout_s, lambda: self._ask(messages.END_TRANSACTION, body))
            except KafkaException as refused:
                # the coordinator never heard of it, so there is nothing to abort
                if self.is_deciding or refused.args[0].code() != KafkaError.INVALID_TXN_STATE:
                    raise
        if commit:
            self._last = tuple(self.written), self._group
        self.leave()

    def leave(self) -> None:
        """Leave it to whoever takes the identity over, or to Kafka after its time."""
        if self._ahead is not None:
            self._ahead.connection.close()
        if self._offered is not None:
            self._offered[0].close()
        self._ahead = self._offered = None
        self._active = self._begun = self._is_unanswered = self.is_deciding = False
        self._group = ""
        self.joined.clear()
        self.written.clear()

    def is_unknown(self) -> bool:
        """Whether nobody knows what the coordinators have done, or will do yet, of what was asked."""
        try:
            self.settle()
            self._taken()
        except KafkaException:  # taken over
            return True
        return self.is_deciding or self._is_unanswered

    def _ask(self, kind: int, body: bytes) -> None:
        answer = self._coordinator(TRANSACTION, self.id).ask(kind, body, ANSWER_S)
        self._check(transaction_messages.error_of(answer), TRANSACTION, self.id)

    def until(self, timeout_s: float, call: Callable[[], Answered]) -> Answered:
        """Call again and again while what is raised passes, for so long."""
        deadline_s, pause_s = time.monotonic() + timeout_s, _SOON_S
        while True:
            try:
                return call()
            except ValueError as broken:  # an answer that is none
                raise KafkaException(KafkaError(KafkaError._BAD_MSG, str(broken))) from broken
            except KafkaException as caught:
                error: KafkaError = caught.args[0]
                if error.fatal() or error.code() not in AGAIN or self.fatal is not None:
                    raise
                if error.code() in ABSENT:
                    self._coordinators.clear()  # somebody else may coordinate by now
                if time.monotonic() + pause_s > deadline_s:
                    raise KafkaException(KafkaError(error.code(), error.str(), retriable=True)) from caught
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LATER_S)

    def _coordinator(self, kind: int, name: str) -> Connection:
        """The connection to who coordinates something."""
        broker = self._coordinators.get((kind, name))
        if broker is None:
            body = transaction_messages.coordinator_body(name, kind)
            error, broker = transaction_messages.coordinator_of(
                self._cluster.ask_any(messages.FIND_COORDINATOR, body, ANSWER_S)
            )
            self._check(error, kind, name)
            self._coordinators[kind, name] = broker
        return self._cluster.asking(broker)

    def _check(self, error: int, kind: int, name: str) -> None:
        """Raise KafkaException for an error of a coordinator, after noting what follows from it."""
        if not error:
            return
        if error in (KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE):
            self._coordinators.pop((kind, name), None)
        if error in FENCED:
            self.fatal = KafkaError(error, fatal=True)
            self.check_alive()
        raise KafkaException(KafkaError(error))
