"""Being a member of a consumer group and nothing else: what a process lives by, and which of several comes first."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from confluent_kafka import Consumer, KafkaException

from samestream.streams.kafka.errors import LOG, translated

SESSION_MS = 6_000
"""After so long without a heartbeat a member is gone; brokers by default allow no less."""


class KafkaMembership:
    """A consumer handle that subscribes and reads nothing. librdkafka's own threads send the heartbeats."""

    def __init__(self, properties: Mapping[str, Any], group: str, topic: str) -> None:
        defaults = {
            "session.timeout.ms": SESSION_MS,
            "heartbeat.interval.ms": SESSION_MS // 4,
            "max.poll.interval.ms": 3_600_000,
        }
        enforced = {
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "latest",
            # whoever has the partition keeps it when others join, so that who came first stays first
            "partition.assignment.strategy": "cooperative-sticky",
            "fetch.wait.max.ms": 500,
            "queued.max.messages.kbytes": 1024,
        }
        self._parts: set[tuple[str, int]] = set()
        self._where = f"group {group}"
        try:
            self._consumer: Any = Consumer({**defaults, **properties, **enforced}, logger=LOG)
            self._consumer.subscribe([topic], on_assign=self._assign, on_revoke=self._revoke, on_lost=self._revoke)
        except KafkaException as refused:
            raise translated(refused, "joining the group", self._where) from refused

    def _assign(self, consumer: Any, given: list[Any]) -> None:
        consumer.incremental_assign(given)
        consumer.pause(given)
        self._parts |= {(at.topic, at.partition) for at in given}

    def _revoke(self, consumer: Any, taken: list[Any]) -> None:
        with suppress(KafkaException):
            consumer.incremental_unassign(taken)
        self._parts -= {(at.topic, at.partition) for at in taken}

    def poll(self, timeout_s: float) -> None:
        """Take part. Errors pass by: a member that is lost joins again by itself."""
        message = self._consumer.poll(timeout_s)
        if message is not None and message.error() is not None:
            LOG.info("%s: %s", self._where, message.error().str())

    @property
    def is_first(self) -> bool:
        """Whether the partition is its own."""
        return any(partition == 0 for _, partition in self._parts)

    def close(self) -> None:
        """Leave the group."""
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            with suppress(KafkaException, RuntimeError):
                consumer.close()
