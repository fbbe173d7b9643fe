"""An application's records on their way to Kafka: an idempotent producer whose every failed delivery is kept."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaException, Producer

from samestream.schemas.errors import TransportError
from samestream.streams.kafka.errors import LOG, SLICE_S, translated
from samestream.streams.transport import NOW, Outgoing, Undelivered, stamp_ms

_CLOSE_S = 5.0


class KafkaOutbox:
    """A producer handle of its own. Its queue is bounded by librdkafka's ``queue.buffering.max.*`` properties."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        defaults = {
            "linger.ms": 5,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 100_000,
            "queue.buffering.max.kbytes": 64 * 1024,
        }
        enforced = {
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",  # as Java's default for keyed records, and as `partition_of`
            "delivery.report.only.error": True,
            "on_delivery": self._failed_one,
            "error_cb": lambda error: LOG.info("producer: %s", error.str()),
        }
        self._lock = threading.Lock()
        self._undelivered: list[Undelivered] = []
        try:
            self._handle: Any = Producer({**defaults, **properties, **enforced}, logger=LOG)
        except KafkaException as refused:
            raise translated(refused, "opening a producer", str(properties["bootstrap.servers"])) from refused

    def _failed_one(self, error: Any, message: Any) -> None:
        """Keep the record, which librdkafka hands back with the report."""
        stamp = message.timestamp()[1]
        known_us = stamp * 1000 if stamp > 0 else NOW
        record = Outgoing(message.topic(), message.key(), message.value(), known_us)
        cause = translated(KafkaException(error), "delivering a record", message.topic())
        with self._lock:
            self._undelivered.append(Undelivered(record, cause))

    def offer(self, record: Outgoing) -> bool:
        """Enqueue; librdkafka's own threads send."""
        topic, key, value, _, partition, headers = record
        number = -1 if partition is None else partition
        try:
            self._handle.produce(
                topic, value, key, number, None, None, stamp_ms(record), list(headers) if headers else None
            )
            self._handle.poll(0)
        except BufferError:
            return False
        except (KafkaException, SystemError) as refused:
            raise translated(refused, "sending", topic, self._handle) from refused
        return True

    def poll(self, timeout_s: float) -> int:
        """Serve reports of deliveries, in slices that Ctrl-C can interrupt."""
        try:
            if timeout_s <= 0:
                self._handle.poll(0)
                return len(self._handle)
            return int(self._handle.flush(min(timeout_s, SLICE_S)))
        except (KafkaException, SystemError) as refused:
            raise translated(refused, "delivering", "producer", self._handle) from refused

    def failed(self) -> list[Undelivered]:
        """Each record is told once."""
        with self._lock:
            found, self._undelivered = self._undelivered, []
        return found

    def give_up(self) -> None:
        """Purge queue and flight; the purged records report themselves as failed."""
        with suppress(KafkaException, SystemError):
            self._handle.purge()
            self._handle.flush(SLICE_S)

    def close(self) -> None:
        """Purge and close; a broker that does not answer costs five seconds at most."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            closing = threading.Thread(target=_close, args=(handle,), daemon=True)
            closing.start()
            closing.join(_CLOSE_S)


def _close(handle: Any) -> None:
    with suppress(KafkaException, SystemError, RuntimeError, TransportError):
        handle.purge(blocking=False)
        handle.close()
