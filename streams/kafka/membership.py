"""Being a member of a consumer group and nothing else, and how many members one has: what a process is seen to live by."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException

from samestream.streams.kafka.errors import LOG, translated

SESSION_MS = 6_000
"""After so long without a heartbeat a member is gone; brokers by default allow no less."""
_SETTLED_S = 10.0


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


class GroupCensus:
    """How many members groups have, by the handle of an admin client.

    Brokers are asked which groups they hold. Only of a group that none holds is the coordinator asked whether there is one:
    librdkafka 2.16 aborts the process when the coordinator goes or comes while that is asked (its issues 3663 and 4605), so
    after trouble with the brokers it is not asked until they have answered for a while. As long as one of several brokers is
    away librdkafka cannot tell what all of them hold, and the coordinator is asked all the same.
    """

    def __init__(self, admin: Any) -> None:
        self._admin, self._trouble_s = admin, -_SETTLED_S

    def members(self, group: str, timeout_s: float) -> int:
        """Members of a group: 0 where there is no such group. Raises KafkaException while it cannot be known."""
        try:
            for found in self._admin.list_groups(group, timeout=timeout_s):
                if found.error is None:
                    return len(found.members)
        except KafkaException:
            if len(self._admin.list_topics(timeout=timeout_s).brokers) < 2:
                self._trouble_s = time.monotonic()
                raise
        if time.monotonic() - self._trouble_s < _SETTLED_S:
            raise KafkaException(KafkaError(KafkaError._WAIT_COORD, "its coordinator may not be back yet"))
        (future,) = self._admin.describe_consumer_groups([group], request_timeout=timeout_s).values()
        try:
            return len(future.result(2 * timeout_s).members)
        except KafkaException as refused:
            if refused.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return 0
            raise
