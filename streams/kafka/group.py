"""A member of a consumer group: partitions come and go, and what is done is committed before they go."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from samestream.schemas.errors import TransportError
from samestream.streams.kafka.errors import LOG, PASSING, SLICE_S, patiently, translated
from samestream.streams.transport import Fetched, Partition, Transport

_PATIENCE_S = 15.0
_MOVED_ON = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError._NO_OFFSET,
    KafkaError._STATE,
}
_REJOINS = {KafkaError._MAX_POLL_EXCEEDED, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION}


class KafkaGroupReader:
    """A consumer handle that subscribes to one topic. librdkafka's own threads keep the membership alive.

    A record may take as long as ``max.poll.interval.ms`` to be dealt with: here an hour, instead of Kafka's five minutes.
    """

    def __init__(self, transport: Transport, properties: Mapping[str, Any], group: str, topic: str, start: int) -> None:
        defaults = {
            "max.poll.interval.ms": 3_600_000,
            "session.timeout.ms": 10_000,  # one that was killed is missed for no longer
            "fetch.wait.max.ms": 50,
            "fetch.queue.backoff.ms": 2,
            "queued.max.messages.kbytes": 16 * 1024,
            "check.crcs": True,
        }
        enforced = {
            "group.id": group,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",  # to go on somewhere else would be a silent hole
            "error_cb": self._note_failure,
        }
        self._transport, self._start, self._where = transport, start, f"group {group}"
        self._parts: set[Partition] = set()
        self._generation = 0
        self._done: dict[Partition, int] = {}
        self._failure: TransportError | None = None
        try:
            self._consumer: Any = Consumer({**defaults, **properties, **enforced}, logger=LOG)
            self._consumer.subscribe([topic], on_assign=self._assign, on_revoke=self._revoke, on_lost=self._lose)
        except KafkaException as refused:
            raise translated(refused, "joining the group", self._where) from refused

    def _assign(self, consumer: Any, given: list[Any]) -> None:
        """Start each partition where the group left off, or else where the application wants to start."""
        committed = patiently(
            lambda slice_s: consumer.committed(given, timeout=max(slice_s, 1.0)),
            "asking where the group left off",
            self._where,
            _PATIENCE_S,
        )
        positions = {Partition(at.topic, at.partition): at.offset for at in committed}
        fresh = [part for part, offset in positions.items() if offset < 0]
        positions |= self._transport.offsets_at(self._start, fresh) if fresh else {}
        consumer.assign([TopicPartition(*part, offset) for part, offset in positions.items()])
        self._parts = set(positions)
        self._generation += 1
        LOG.info("%s: reads %s", self._where, ", ".join(map(str, sorted(self._parts))) or "nothing for now")

    def _revoke(self, consumer: Any, taken: list[Any]) -> None:
        try:
            self.commit()
        except TransportError as error:
            LOG.warning("%s: what was done last is not committed, and will be read again: %s", self._where, error.line)
        self._lose(consumer, taken)

    def _lose(self, consumer: Any, taken: list[Any]) -> None:
        self._generation += 1
        self._parts -= {Partition(at.topic, at.partition) for at in taken}
        self._done = {part: offset for part, offset in self._done.items() if part in self._parts}

    def fetch(self, max_records: int, timeout_s: float) -> list[Fetched]:
        """Wait for the first record only, in slices that Ctrl-C can interrupt.

        One by one, since a change of assignment between two records of a batch could not be told.
        """
        deadline_s = time.monotonic() + timeout_s
        messages: list[Any] = []
        generation = self._generation
        while len(messages) < max_records:
            left_s = 0.0 if messages else max(deadline_s - time.monotonic(), 0.0)
            message = self._consumer.poll(min(SLICE_S, left_s))
            if generation != self._generation:
                generation, messages = self._generation, []  # they are fetched again, here or elsewhere
            if message is not None and message.error() is not None:
                self._note_failure(message.error())
            elif message is not None:
                messages.append(message)
            elif messages or left_s <= 0:
                break
            self._raise_failure()
        return self._by_partition(messages)

    def _by_partition(self, messages: list[Any]) -> list[Fetched]:
        groups: dict[Partition, list[Any]] = {}
        for message in messages:
            groups.setdefault(Partition(message.topic(), message.partition()), []).append(message)
        return [
            Fetched(
                part,
                np.array([message.offset() for message in some], np.int64),
                np.array([message.timestamp()[1] * 1000 for message in some], np.int64),
                [message.key() for message in some],
                [message.value() for message in some],
            )
            for part, some in groups.items()
        ]

    def _note_failure(self, error: Any) -> None:
        if error.code() in PASSING or error.code() in _REJOINS:
            LOG.info("%s: %s", self._where, error.str())
        elif self._failure is None:
            self._failure = translated(KafkaException(error), "reading", self._where)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    @property
    def generation(self) -> int:
        """Counts what came and went."""
        return self._generation

    def done(self, part: Partition, next_offset: int) -> None:
        """Remember, unless the partition is another member's by now."""
        if part in self._parts:
            self._done[part] = next_offset

    def commit(self) -> None:
        """Commit and wait for the answer."""
        if not self._done:
            return
        at = [TopicPartition(*part, offset) for part, offset in self._done.items()]
        self._done = {}

        def send(_: float) -> None:
            for answer in self._consumer.commit(offsets=at, asynchronous=False):
                if answer.error is not None:
                    raise KafkaException(answer.error)

        try:
            patiently(send, "committing what was read", self._where, _PATIENCE_S)
        except TransportError as refused:
            cause = refused.__cause__
            if isinstance(cause, KafkaException) and cause.args[0].code() in _MOVED_ON:
                raise TransportError(
                    "the group has gone on without this member, so what was read is not committed",
                    where=self._where,
                    found=refused.found,
                    hint="another member reads it again: deal with records faster, or raise max.poll.interval.ms",
                ) from refused
            raise

    def close(self) -> None:
        """Leave the group, so that others take over at once."""
        if self._consumer is not None:
            try:
                self.commit()
            finally:
                consumer, self._consumer = self._consumer, None
                # partitions that come while it leaves are not for it any more, whatever asking for them meets
                with suppress(KafkaException, RuntimeError, TransportError):
                    consumer.close()
