"""Reading from Kafka: partitions assigned by hand, committed records only, a batch at a time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Set
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from samestream.schemas.errors import TransportError
from samestream.streams.kafka.errors import LOG, PASSING, SLICE_S, patiently, translated
from samestream.streams.transport import EARLIEST, Ends, Fetched, Int64Array, Partition, Transport, ends_reached

# Read from a class once: `map` over these makes no Python frame per record.
_ERROR, _TOPIC, _NUMBER, _OFFSET = Message.error, Message.topic, Message.partition, Message.offset
_STAMP, _KEY, _VALUE = Message.timestamp, Message.key, Message.value
_SECOND = itemgetter(1)


class KafkaReader:
    """A consumer handle with partitions assigned by hand: no group, no rebalancing, committed records only."""

    def __init__(self, transport: Transport, properties: Mapping[str, Any], where: str) -> None:
        defaults = {
            "queued.min.messages": 200_000,
            "queued.max.messages.kbytes": 32
            * 1024,  # what a fetch can bring at once, when records become large of a sudden
            "fetch.message.max.bytes": 4 * 1024 * 1024,  # of one partition; a larger batch still comes through
            "fetch.max.bytes": 32 * 1024 * 1024,
            "fetch.wait.max.ms": 10,  # an end of partition is told only after this wait
            "fetch.queue.backoff.ms": 2,  # 1000 by default: the consumer would starve after each full queue
            "fetch.error.backoff.ms": 50,
            "check.crcs": True,
        }
        enforced = {
            "group.id": "samestream-reader",  # required by librdkafka, never joined
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",  # to go on somewhere else would be a silent hole
        }
        self._transport = transport
        self._where = where
        self._next: dict[Partition, int] = {}
        self._held: set[Partition] = set()
        self._failure: TransportError | None = None
        self._consumer: Any = self._opened({**defaults, **properties, **enforced})

    def _opened(self, settings: dict[str, Any]) -> Any:
        return Consumer({**settings, "error_cb": self._note_failure}, logger=LOG)

    def assign(self, positions: Mapping[Partition, int]) -> None:
        """Replace the assignment; what was fetched ahead for an older one is dropped."""
        positions = {Partition(*part): offset for part, offset in positions.items()}
        starts = self._transport.starts(part for part, offset in positions.items() if offset == EARLIEST)
        self._next = {part: starts.get(part, offset) for part, offset in positions.items()}
        self._failure = None
        self._held = set()
        patiently(
            lambda _: self._consumer.assign([TopicPartition(*part, offset) for part, offset in self._next.items()]),
            "assigning partitions",
            self._where,
            0.0,
        )

    def fetch(self, max_records: int, timeout_s: float) -> list[Fetched]:
        """Wait for the first record only: librdkafka would else use up the time to fill the batch."""
        self._raise_failure()
        deadline_s = time.monotonic() + timeout_s
        messages = self._consumer.consume(1, min(SLICE_S, timeout_s))
        while not messages and (left_s := deadline_s - time.monotonic()) > 0:
            self._raise_failure()
            messages = self._consumer.consume(1, min(SLICE_S, left_s))
        if messages and max_records > 1:
            messages += self._consumer.consume(min(max_records - 1, 1_000_000), 0)
        if any(map(_ERROR, messages)):  # not by comparing: KafkaError == None leaves an exception behind
            messages = self._without_events(messages)
        if not messages:
            self._raise_failure()
            return []
        return [self._fetched(part, chosen) for part, chosen in self._by_partition(messages).items()]

    def _by_partition(self, messages: list[Any]) -> dict[Partition, list[Any]]:
        """Group by runs: librdkafka hands partitions over a whole response at a time."""
        parts = list(self._next)
        if len(parts) == 1:
            return {parts[0]: messages}
        codes = np.fromiter(map(_NUMBER, messages), np.int64, len(messages))
        first = parts[0].topic
        if any(part.topic != first for part in parts):
            topics = {part.topic: part.topic for part in parts}
            names = {name: code for code, name in enumerate(topics)}
            codes += np.fromiter(map(names.__getitem__, map(_TOPIC, messages)), np.int64, len(messages)) << 32  # pyright: ignore[reportArgumentType]
        edges = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(messages)]
        groups: dict[Partition, list[Any]] = {}
        for begin, end in pairwise(edges):
            head = messages[begin]
            groups.setdefault(Partition(head.topic(), head.partition()), []).extend(messages[begin:end])
        return groups

    def _fetched(self, part: Partition, messages: list[Any]) -> Fetched:
        count = len(messages)
        offsets: Int64Array = np.fromiter(map(_OFFSET, messages), np.int64, count)
        stamps: Int64Array = np.fromiter(map(_SECOND, map(_STAMP, messages)), np.int64, count)
        self._next[part] = max(self._next[part], int(offsets[-1]) + 1)
        known_us = np.where(stamps < 0, -1, stamps * 1000)
        return Fetched(part, offsets, known_us, list(map(_KEY, messages)), list(map(_VALUE, messages)))

    def _without_events(self, messages: list[Any]) -> list[Any]:
        """The records alone; ends of partitions move `_next`, errors are kept for when the records are delivered."""
        records = []
        for message in messages:
            error = message.error()
            if error is None:
                records.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                part = Partition(message.topic(), message.partition())
                self._next[part] = max(self._next[part], message.offset())
            else:
                self._note_failure(error, f"reading {message.topic()}[{message.partition()}]")
        return records

    def _note_failure(self, error: Any, doing: str = "reading") -> None:
        if error.code() in PASSING:
            LOG.info("%s: %s", doing, error.str())
        elif self._failure is None:
            self._failure = translated(KafkaException(error), doing, self._where)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def hold(self, partitions: Set[Partition]) -> None:
        """Pause and resume; what was fetched ahead of a paused partition is fetched again."""
        wanted = partitions & self._next.keys()
        if fewer := self._held - wanted:
            self._consumer.resume([TopicPartition(*part) for part in fewer])
        if more := wanted - self._held:
            self._consumer.pause([TopicPartition(*part) for part in more])
        self._held = set(wanted)

    def next_offsets(self) -> dict[Partition, int]:
        """A copy; it counts what `fetch` has returned, not what librdkafka fetched ahead."""
        return dict(self._next)

    def ends(self) -> dict[Partition, Ends]:
        """Two ListOffsets calls for all partitions together."""
        return self._transport.ends(self._next)

    def at_end(self) -> set[Partition]:
        """True only once `fetch` has met the end-of-partition event, so go on fetching until it does."""
        return ends_reached(self._next, self.ends())

    def close(self) -> None:
        """Close the consumer."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
