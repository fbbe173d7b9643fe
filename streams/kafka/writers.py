"""Writing to Kafka: idempotent, with or without a transaction, every delivery checked."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from samestream.schemas.errors import FencedError, TransportError
from samestream.streams.kafka.client import is_plain
from samestream.streams.kafka.errors import LOG, SLICE_S, patiently, translated
from samestream.streams.transport import Outgoing, Partition, nothing, spent_writer, stamp_ms

_PATIENCE_S = 60.0  # Kafka itself gives a transaction up after 60 s
_CLOSE_S = 5.0
_SETTLE_S = 2.0
_APART_S = 0.005
"""How soon after a commit a transaction may begin. Kafka refuses its records until the last one is written out, a few
milliseconds, and librdkafka would offer them again only after 20 more. Correctness does not hang on it.
"""


class Sender:
    """One producer handle: enqueues records and keeps the deliveries that failed."""

    def __init__(self, properties: Mapping[str, Any], who: str, enforced: Mapping[str, Any]) -> None:
        defaults = {
            "linger.ms": 5,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 500_000,
        }
        always = {
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",  # as Java's default for keyed records, and as `partition_of`
        }
        self.who, self._properties = who, properties
        self.failures = 0
        self.first: tuple[Any, str] | None = None
        self.handle: Any = self._opened({**defaults, **properties, **always, **enforced})

    def _opened(self, settings: dict[str, Any]) -> Any:
        called = {
            "delivery.report.only.error": True,
            "on_delivery": self._failed,
            "error_cb": lambda error: LOG.info("%s: %s", self.who, error.str()),
        }
        return Producer({**settings, **called}, logger=LOG)

    def _failed(self, error: Any, message: Any) -> None:
        self.failures += 1
        if self.first is None:
            self.first = (error, f"delivering a record to {message.topic()}[{message.partition()}]")

    def enqueue(self, records: Iterable[Outgoing]) -> None:
        """Hand records over; blocks only while librdkafka's queue is full."""
        produce = self.handle.produce
        try:
            for record in records:
                topic, key, value, known_us, partition, headers = record
                # The checks of stamp_ms, without a call for each record.
                stamp = known_us // 1000 if known_us >= 1000 else stamp_ms(record)
                number = -1 if partition is None else partition
                while True:
                    try:
                        produce(topic, value, key, number, None, None, stamp, list(headers) if headers else None)
                        break
                    except BufferError:  # librdkafka's queue is full: let some be delivered
                        self.handle.poll(0.05)
            self.handle.poll(0)
        except (KafkaException, SystemError) as refused:
            raise translated(refused, "sending", self.who, self.handle) from refused

    def flush(self) -> None:
        """Wait for all deliveries; librdkafka itself gives a record up after delivery.timeout.ms."""
        try:
            while self.handle.flush(SLICE_S):
                pass
        except (KafkaException, SystemError) as refused:
            raise translated(refused, "delivering", self.who, self.handle) from refused

    def settle(self) -> None:
        """Give what is on its way a moment to be delivered, or refused; whatever comes of it is told later."""
        deadline_s = time.monotonic() + _SETTLE_S
        with suppress(KafkaException, SystemError, TransportError):
            while self.handle.flush(SLICE_S) and time.monotonic() < deadline_s:
                pass

    def forget_failures(self) -> None:
        """As if every delivery so far had gone well."""
        self.first, self.failures = None, 0

    def raise_failures(self) -> None:
        """Raise TransportError if any delivery failed since the last call."""
        first, count = self.first, self.failures
        self.forget_failures()
        if first is not None:
            error, doing = first
            raise translated(KafkaException(error), f"{doing} (the first of {count} that failed)", self.who)

    def group(self, name: str) -> Any:
        """What Kafka wants to know of a group whose members assign by hand; taken from a passing consumer handle."""
        consumer = Consumer({**self._properties, "group.id": name}, logger=LOG)
        try:
            return consumer.consumer_group_metadata()
        finally:
            consumer.close()

    def close(self) -> None:
        """Release the handle, dropping what is on its way."""
        if self.handle is not None:
            handle, self.handle = self.handle, None
            # Without a broker librdkafka would wait for ever to abort a transaction that the broker aborts anyway.
            closing = threading.Thread(target=self._close, args=(handle,), daemon=True)
            closing.start()
            closing.join(_CLOSE_S)

    def _close(self, handle: Any) -> None:
        # A fenced or unconnected producer complains here, when there is nothing left to be done about it.
        with suppress(KafkaException, SystemError, RuntimeError), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            handle.purge(blocking=False)
            handle.close()


class KafkaWriter:
    """An idempotent producer handle without transactions."""

    _sending = Sender

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self._sender = self._sending(properties, "writer", {})

    def send(self, records: Iterable[Outgoing]) -> None:
        """Enqueue; blocks only while librdkafka's queue is full."""
        self._sender.enqueue(records)

    def flush(self) -> None:
        """Wait for every delivery, for up to delivery.timeout.ms (5 minutes unless set)."""
        self._sender.flush()
        self._sender.raise_failures()

    def close(self) -> None:
        """Flush, close the handle, then raise for what failed."""
        if self._sender.handle is not None:
            try:
                self.flush()
            finally:
                self._sender.close()


class KafkaTransactionalWriter:
    """One producer handle under a transactional.id."""

    _sending = Sender
    _apart_s = _APART_S

    def __init__(self, properties: Mapping[str, Any], identity: str) -> None:
        self._who = f"writer {identity}"
        self._properties, self._identity = properties, identity
        self._sender = self._sending(properties, self._who, {"transactional.id": identity})
        self._groups: dict[str, Any] = {}
        self._active = False
        self._refused: BaseException | None = None
        self._spent = False
        self._committed_s = 0.0

    def open(self) -> None:
        """Initialise transactions, which ends those of an older writer; takes a moment if it left one open."""
        self._wait(self._sender.handle.init_transactions, "taking the identity over")
        self._end_what_hangs()

    def _end_what_hangs(self) -> None:
        """As decided; librdkafka has no requests for that, and our own client speaks over plain connections only."""
        if is_plain(self._properties):
            from samestream.streams.kafka.direct.hanging import end_left_open

            self._wait(lambda _: end_left_open(self._properties, self._identity), "ending what hangs")

    def begin(self, like_last: bool = False) -> None:
        """Start a transaction; Kafka hears of it with the first record. Waits a moment if the last one is hardly over."""
        del like_last  # librdkafka lets partitions join with their first record
        if self._spent:
            raise spent_writer(self._who)
        time.sleep(max(self._committed_s + self._apart_s - time.monotonic(), 0.0))
        self._wait(lambda _: self._sender.handle.begin_transaction(), "beginning a transaction")
        self._active, self._refused = True, None

    def send(self, records: Iterable[Outgoing]) -> None:
        """Enqueue; blocks only while librdkafka's queue is full."""
        try:
            self._sender.enqueue(records)
        except BaseException as refused:
            self._refused = refused
            raise

    def commit(
        self,
        offsets: Mapping[Partition, int] | None = None,
        group: str | None = None,
        meanwhile: Callable[[], None] = nothing,
    ) -> None:
        """Deliver, add the offsets, commit; abort on whatever goes wrong before that."""
        if offsets and group is None:
            hint = "pass the group the offsets belong to"
            raise TransportError("Offsets are committed for a consumer group", where=self._who, hint=hint)
        try:
            if self._refused is not None:
                what, hint = "A batch was sent only in part, so it is not committed", "see what `send` raised"
                raise TransportError(what, where=self._who, found=self._refused, hint=hint) from self._refused
            self._complete(offsets or {}, group or "", meanwhile)
            self._wait(self._sender.handle.commit_transaction, "committing")
            self._active, self._committed_s = False, time.monotonic()
        except FencedError:
            self._active = False
            raise
        except TransportError:
            with suppress(TransportError):  # the first error says more
                self.abort()
            raise

    def _complete(self, offsets: Mapping[Partition, int], group: str, meanwhile: Callable[[], None]) -> None:
        """See to it that all that belongs to the transaction is in it."""
        meanwhile()
        self._deliver()
        self._add(offsets, group)

    def _deliver(self) -> None:
        self._sender.flush()
        # After a record the broker refused, librdkafka skips a sequence number: the next transaction would fail too,
        # with an error that names neither. Only a new handle gets a new epoch.
        self._spent = self._sender.failures > 0
        self._sender.raise_failures()

    def _add(self, offsets: Mapping[Partition, int], group: str) -> None:
        if offsets:
            send = partial(self._sender.handle.send_offsets_to_transaction, self._offsets(offsets), self._group(group))
            self._wait(send, f"adding the offsets of group {group}")

    def _offsets(self, offsets: Mapping[Partition, int]) -> Any:
        return [TopicPartition(*part, offset) for part, offset in offsets.items()]

    def _group(self, name: str) -> Any:
        if name not in self._groups:
            self._groups[name] = self._sender.group(name)
        return self._groups[name]

    def abort(self) -> None:
        """Drop what is queued and abort; without a transaction this does nothing."""
        if self._active:
            self._active = False
            # Until the transaction before is written out, Kafka lets no partition join this one. librdkafka would end it
            # all the same, which Kafka refuses for good; once a record is delivered, its partition has joined.
            self._sender.settle()
            try:
                self._wait(self._sender.handle.abort_transaction, "aborting")
            finally:
                self._sender.forget_failures()  # purged records report themselves as failed

    def _wait(self, call: Callable[[float], Any], doing: str) -> None:
        patiently(call, doing, self._who, _PATIENCE_S, self._sender.handle)

    def close(self) -> None:
        """Abort what is open, then close the handle."""
        if self._sender.handle is not None:
            with suppress(TransportError):
                self.abort()
            self._sender.close()
