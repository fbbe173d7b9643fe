"""Writing to Kafka by our own handle: as `kafka_writers`, but compiled code enqueues the records and hears of deliveries."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from samestream.streams.kafka import librdkafka_kernel as kernel
from samestream.streams.kafka.errors import LOG, translated
from samestream.streams.kafka.librdkafka import PRODUCER, Handle, Partitions, Report, check, check_error
from samestream.streams.kafka.writers import KafkaTransactionalWriter, KafkaWriter, Sender
from samestream.streams.transport import NOW, Int64Array, Outgoing, stamp_ms
from samestream.streams.wire.packed import Packed
from samestream.streams.wire.parcel import Parcel

_CHUNK = 10_000  # records packed at once
_SOON_MS, _LATER_MS = 20, 5  # how long deliveries are looked for every millisecond; then how often
_PURGED = 1 | 2 | 4  # RD_KAFKA_PURGE_F_QUEUE, _INFLIGHT and _NON_BLOCKING
_TOPIC, _KEY, _VALUE, _KNOWN, _PARTITION, _HEADERS = map(itemgetter, range(6))  # of an Outgoing


class NativeProducer:
    """A producer handle: what `Sender` asks of confluent-kafka's, and records from buffers."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.report: Int64Array = np.zeros(kernel.REPORT_WORDS, np.int64)
        told: Any = kernel.delivered.address  # numba's stubs allow for none
        # told of what failed alone: to be told of every record takes a tenth of the time that sending it does
        settings = {**settings, "delivery.report.only.error": True}
        self._handle = Handle(PRODUCER, settings, Report(told, self.report))
        self._known = self._handle.library
        self.report[kernel.NAME_OF] = self._known.address("topic_name")
        self._produceva = self._known.address("produceva")
        none = np.empty(0, np.int64)
        self.send([], none, none, none, Packed.of([]), Packed.of([]))  # compiles now

    def send(
        self,
        topics: Sequence[str],
        places: Int64Array,
        numbers: Int64Array,
        stamps_ms: Int64Array,
        keys: Packed,
        values: Packed,
    ) -> None:
        """Enqueue records; waits while librdkafka's queue is full. Raises KafkaException where it refuses one.

        places : which of the topics; numbers : partitions, -1 to let the key decide; stamps_ms : 0 for the clock's
        """
        handles = np.array([self._handle.topic(topic) for topic in topics], np.int64)
        refused, at = np.zeros(1, np.int64), 0
        while True:
            at = kernel.send(
                self._handle.pointer,
                self._produceva,
                handles,
                places,
                numbers,
                stamps_ms,
                keys.data,
                keys.bounds,
                keys.there,
                values.data,
                values.bounds,
                values.there,
                at,
                refused,
            )
            if at == len(places):
                return
            self._wait_for_room(int(refused[0]))

    def send_with_headers(self, record: Outgoing) -> None:
        """Enqueue one record that has headers; as `send`."""
        texts = [part for name, value in record.headers for part in (name.encode() + b"\0", value)]
        packed = Packed.of([record.key, record.value, *texts])
        starts = np.where(packed.there, packed.bounds[:-1] + packed.data.ctypes.data, 0).tolist()
        lengths = packed.lengths.tolist()
        rows = [
            (kernel.V_TOPIC, self._handle.topic(record.topic)),
            (kernel.V_PARTITION, -1 if record.partition is None else record.partition),
            (kernel.V_KEY, starts[0], lengths[0]),
            (kernel.V_VALUE, starts[1], lengths[1]),
            (kernel.V_STAMP, stamp_ms(record)),
            (kernel.V_FLAGS, kernel.COPY),
            *((kernel.V_HEADER, starts[at], starts[at + 1], lengths[at + 1]) for at in range(2, len(starts), 2)),
        ]
        parts = np.zeros((len(rows), kernel.WORDS), np.int64)
        for part, row in zip(parts, rows, strict=True):
            part[: len(row)] = row
        while refused := self._known.produceva(self._handle.pointer, parts.ctypes.data, len(rows)):
            self._wait_for_room(refused)

    def _wait_for_room(self, refused: int) -> None:
        try:
            check_error(refused)
        except KafkaException as full:
            if full.args[0].code() != KafkaError._QUEUE_FULL:
                raise
            self.poll(0.05)

    def poll(self, timeout_s: float) -> None:
        """Hear of deliveries."""
        self._known.poll(self._handle.pointer, int(timeout_s * 1000))
        self._tell()

    def flush(self, timeout_s: float) -> bool:
        """Wait for deliveries; whether some are missing still.

        A few milliseconds at a time, the first ones fewer: nothing wakes librdkafka's own flush when the last delivery
        has come, so it looks every ten.
        """
        code, last_s, looks = KafkaError._TIMED_OUT, time.monotonic() + timeout_s, 0
        while code == KafkaError._TIMED_OUT and time.monotonic() < last_s:
            code = self._known.flush(self._handle.pointer, 1 if looks < _SOON_MS else _LATER_MS)
            looks += 1
        self._tell()
        if code not in (0, KafkaError._TIMED_OUT):
            check(code)
        return bool(code)

    def _tell(self) -> None:
        """Log what was told. Raises KafkaException once the handle is lost: failed deliveries do not say why."""
        while self._handle.errors:
            LOG.info("%s", self._handle.errors.pop(0).str())
        if (error := self._handle.fatal()) is not None:
            raise KafkaException(error)

    def init_transactions(self, timeout_s: float) -> None:
        """Take the identity over."""
        check_error(self._known.init_transactions(self._handle.pointer, int(timeout_s * 1000)))

    def begin_transaction(self) -> None:
        """Start a transaction."""
        check_error(self._known.begin_transaction(self._handle.pointer))

    def send_offsets_to_transaction(self, offsets: Sequence[TopicPartition], group: str, timeout_s: float) -> None:
        """Add offsets of a group whose members assign by hand."""
        about = self._known.consumer_group_metadata_new(group.encode())
        try:
            with Partitions(offsets) as listed:
                send = self._known.send_offsets_to_transaction
                check_error(send(self._handle.pointer, listed, about, int(timeout_s * 1000)))
        finally:
            self._known.consumer_group_metadata_destroy(about)

    def commit_transaction(self, timeout_s: float) -> None:
        """Commit."""
        check_error(self._known.commit_transaction(self._handle.pointer, int(timeout_s * 1000)))

    def abort_transaction(self, timeout_s: float) -> None:
        """Drop what is queued, and abort."""
        check_error(self._known.abort_transaction(self._handle.pointer, int(timeout_s * 1000)))

    def purge(self, blocking: bool) -> None:
        """Drop what is on its way."""
        assert not blocking
        check(self._known.purge(self._handle.pointer, _PURGED))

    def close(self) -> None:
        """Close the handle."""
        self._handle.destroy()


class NativeSender(Sender):
    """A producer handle of our own."""

    def _opened(self, settings: dict[str, Any]) -> Any:
        return NativeProducer(settings)

    def enqueue(self, records: Iterable[Outgoing]) -> None:
        """Pack and enqueue, a chunk at a time; records with headers go one by one, as they are few."""
        try:
            if isinstance(records, Parcel):
                self._send_parcel(records)
                records = ()
            for chunk in _chunks(records):
                if any(map(_HEADERS, chunk)):
                    for has_headers, run in groupby(chunk, lambda record: bool(record.headers)):
                        if has_headers:
                            for record in run:
                                self.handle.send_with_headers(record)
                        else:
                            self._send(list(run))
                else:
                    self._send(chunk)
            self.handle.poll(0)
        except KafkaException as refused:
            raise translated(refused, "sending", self.who, self.handle) from refused

    def _send(self, records: list[Outgoing]) -> None:
        # not zip(*records): with thousands of arguments that takes several times as long
        topics, keys, values = (list(map(part, records)) for part in (_TOPIC, _KEY, _VALUE))
        known_us: Int64Array = np.fromiter(map(_KNOWN, records), np.int64, len(records))
        partitions = list(map(_PARTITION, records))
        if None in partitions:
            partitions = [-1 if number is None else number for number in partitions]
        different = {name: place for place, name in enumerate(dict.fromkeys(topics))}
        places = np.zeros(len(records), np.int64)
        if len(different) > 1:
            places[:] = list(map(different.__getitem__, topics))
        stamps_ms = _stamps_ms(known_us, topics)
        numbers = np.array(partitions, np.int64)
        self.handle.send(list(different), places, numbers, stamps_ms, Packed.of(keys), Packed.of(values))

    def _send_parcel(self, parcel: Parcel) -> None:
        stamps_ms = _stamps_ms(parcel.known_us, [parcel.topic] * len(parcel))
        places = np.zeros(len(parcel), np.int64)
        self.handle.send([parcel.topic], places, parcel.partitions, stamps_ms, parcel.keys, parcel.values)

    def flush(self) -> None:
        """Wait for all deliveries, and see what became of them."""
        super().flush()
        words = self.handle.report
        self.failures = int(words[kernel.FAILED])
        if self.failures:
            name = words[kernel.NAME :].tobytes().partition(b"\0")[0].decode()
            where = f"delivering a record to {name}[{words[kernel.FIRST_NUMBER]}]"
            self.first = KafkaError(int(words[kernel.FIRST_ERROR])), where

    def forget_failures(self) -> None:
        """As if every delivery so far had gone well."""
        super().forget_failures()
        self.handle.report[kernel.FAILED] = 0

    def group(self, name: str) -> Any:
        """The name is all that is needed."""
        return name


def _stamps_ms(known_us: Int64Array, topics: Sequence[str]) -> Int64Array:
    """The record timestamps to send. Raises TransportError for the first that cannot be."""
    for row in np.flatnonzero((known_us < 1000) & (known_us != NOW)).tolist():
        stamp_ms(Outgoing(topics[row], None, None, int(known_us[row])))
    return np.where(known_us == NOW, 0, known_us // 1000)


def _chunks(records: Iterable[Outgoing]) -> Iterator[list[Outgoing]]:
    rest = iter(records)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


class NativeWriter(KafkaWriter):
    """An idempotent producer handle of our own, without transactions."""

    _sending = NativeSender


class NativeTransactionalWriter(KafkaTransactionalWriter):
    """One producer handle of our own under a transactional.id."""

    _sending = NativeSender
