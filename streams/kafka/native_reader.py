"""Reading from Kafka by our own handle: as `KafkaReader`, but records come packed, without a Python object for each."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, TopicPartition

from samestream.streams.kafka import librdkafka_kernel as kernel
from samestream.streams.kafka.errors import SLICE_S
from samestream.streams.kafka.librdkafka import CONSUMER, Handle, Partitions, check, string_at
from samestream.streams.kafka.reader import KafkaReader
from samestream.streams.transport import Fetched, Int64Array, Partition
from samestream.streams.wire.packed import Packed

_MOST = 1_000_000  # records in one fetch


class NativeConsumer:
    """A consumer handle: what `KafkaReader` asks of confluent-kafka's, and messages by their addresses."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.handle = Handle(CONSUMER, settings)
        known = self.handle.library
        self._consume = known.address("consume_batch_queue")
        self._destroy = known.address("message_destroy")
        self._stamp_of = known.address("message_timestamp")
        self.held: Int64Array = np.zeros(1, np.int64)
        self._messages: Int64Array = np.empty(1, np.int64)
        self.take(0.0)  # compiles now, for nobody waits yet
        self.give_back()

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Replace the assignment."""
        with Partitions(partitions) as listed:
            check(self.handle.library.assign(self.handle.pointer, listed))

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Deliver nothing of these."""
        with Partitions(partitions) as listed:
            check(self.handle.library.pause_partitions(self.handle.pointer, listed))

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Deliver these again."""
        with Partitions(partitions) as listed:
            check(self.handle.library.resume_partitions(self.handle.pointer, listed))

    def make_room(self, records: int) -> None:
        """How many messages can be held at once."""
        if len(self._messages) < records:
            self._messages = np.empty(records, np.int64)

    def take(self, timeout_s: float, most: int = 1) -> bool:
        """Hold up to so many more messages, after waiting for all of them; whether any are held."""
        free = self._messages[self.held[0] : self.held[0] + most]
        kernel.consume(self.handle.queue, self._consume, math.ceil(timeout_s * 1000), free, self.held)
        return bool(self.held[0])

    def looked(self) -> Int64Array:
        """What the messages held say, shape (kernel.LOOKED, messages)."""
        found = np.empty((kernel.LOOKED, int(self.held[0])), np.int64)
        kernel.look(self._messages, found.shape[1], self._stamp_of, found)
        return found

    def give_back(self) -> None:
        """Destroy what is held: its bytes are gone."""
        kernel.destroy(self._messages, self.held, self._destroy)

    def close(self) -> None:
        """Close the handle."""
        self.handle.destroy()


class NativeReader(KafkaReader):
    """A consumer handle of our own with partitions assigned by hand."""

    def _opened(self, settings: dict[str, Any]) -> Any:
        return NativeConsumer(settings)

    def fetch(self, max_records: int, timeout_s: float) -> list[Fetched]:
        """Wait for the first record only, then take what is there without waiting."""
        self._raise_failure()
        most = min(max_records, _MOST)
        consumer: NativeConsumer = self._consumer
        consumer.make_room(most)
        deadline_s = time.monotonic() + timeout_s
        try:
            there = consumer.take(min(SLICE_S, timeout_s))
            while not there and (left_s := deadline_s - time.monotonic()) > 0:
                self._note_told()
                self._raise_failure()
                there = consumer.take(min(SLICE_S, left_s))
            if there and most > 1:
                consumer.take(0.0, most - 1)
            found = self._found(consumer.looked()) if there else []
        finally:
            consumer.give_back()
        self._note_told()
        if not found:
            self._raise_failure()
        return found

    def _note_told(self) -> None:
        errors = self._consumer.handle.errors
        while errors:
            self._note_failure(errors.pop(0))

    def _found(self, looked: Int64Array) -> list[Fetched]:
        """Group by runs, as librdkafka hands partitions over a whole response at a time."""
        topics, numbers = looked[kernel.TOPIC], looked[kernel.NUMBER]
        records = looked[kernel.ERROR] == 0
        if not records.all():
            for row in np.flatnonzero(~records).tolist():
                self._note_event(looked[:, row].tolist())
        edges = np.flatnonzero((np.diff(topics) != 0) | (np.diff(numbers) != 0) | (np.diff(records) != 0)) + 1
        runs: dict[Partition, list[Int64Array]] = {}
        begin = 0
        for end in [*edges.tolist(), looked.shape[1]]:
            if records[begin]:
                part = self._partition(int(topics[begin]), int(numbers[begin]))
                runs.setdefault(part, []).append(np.arange(begin, end))
            begin = end
        return [
            self._packed(part, looked, rows[0] if len(rows) == 1 else np.concatenate(rows))
            for part, rows in runs.items()
        ]

    def _partition(self, topic: int, number: int) -> Partition:
        return Partition(self._consumer.handle.library.topic_name(topic).decode(), number)

    def _note_event(self, told: list[int]) -> None:
        """Ends of partitions move `_next`; errors are kept for when the records are delivered."""
        part = self._partition(told[kernel.TOPIC], told[kernel.NUMBER]) if told[kernel.TOPIC] else None
        if told[kernel.ERROR] == KafkaError._PARTITION_EOF and part is not None:
            self._next[part] = max(self._next[part], told[kernel.OFFSET])
        else:
            text = string_at(told[kernel.VALUE], told[kernel.VALUE_LENGTH])
            self._note_failure(KafkaError(told[kernel.ERROR], text), f"reading {part}" if part else "reading")

    def _packed(self, part: Partition, looked: Int64Array, rows: Int64Array) -> Fetched:
        offsets, stamps = looked[kernel.OFFSET][rows], looked[kernel.STAMP_MS][rows]
        self._next[part] = max(self._next[part], int(offsets[-1]) + 1)
        keys = _gathered(looked[kernel.KEY], looked[kernel.KEY_LENGTH], rows)
        values = _gathered(looked[kernel.VALUE], looked[kernel.VALUE_LENGTH], rows)
        return Fetched(part, offsets, np.where(stamps < 0, -1, stamps * 1000), keys, values)


def _gathered(starts: Int64Array, lengths: Int64Array, rows: Int64Array) -> Packed:
    """Strings at addresses, side by side."""
    bounds, there = np.zeros(len(rows) + 1, np.int64), np.zeros(len(rows), np.uint8)
    data = np.empty(max(int(lengths[rows].sum()), 1), np.uint8)
    kernel.pack(starts, lengths, rows, data, bounds, there)
    return Packed(data, bounds, there)
