"""Writing to Kafka in transactions by its own protocol: as `KafkaTransactionalWriter`, but compiled code makes record batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaException

from samestream.streams.kafka.direct import rows
from samestream.streams.kafka.direct.producer import DirectProducer
from samestream.streams.kafka.errors import translated
from samestream.streams.kafka.writers import KafkaTransactionalWriter, Sender
from samestream.streams.transport import Outgoing, Partition
from samestream.streams.wire.parcel import Parcel


class DirectSender(Sender):
    """A producer of our own."""

    def _opened(self, settings: dict[str, Any]) -> Any:
        return DirectProducer(settings)

    def enqueue(self, records: Iterable[Outgoing]) -> None:
        """Send at once, and wait for nothing that need not be waited for."""
        now_ms = time.time_ns() // 1_000_000
        try:
            given = (
                [rows.of_parcel(records, now_ms)] if isinstance(records, Parcel) else rows.of_records(records, now_ms)
            )
            for part in given:
                self.handle.send(part)
        except KafkaException as refused:
            raise translated(refused, "sending", self.who, self.handle) from refused

    def flush(self) -> None:
        """Wait for all acknowledgements, and see what was refused."""
        super().flush()
        self.failures, self.first = self.handle.failures, self.handle.first

    def forget_failures(self) -> None:
        """As if every delivery so far had gone well."""
        super().forget_failures()
        self.handle.failures, self.handle.first = 0, None

    def group(self, name: str) -> Any:
        """The name is all that is needed."""
        return name

    def _close(self, handle: Any) -> None:
        with suppress(KafkaException):
            handle.close()


class DirectTransactionalWriter(KafkaTransactionalWriter):
    """Connections of our own under a transactional.id."""

    _sending = DirectSender
    _apart_s = 0.0  # what comes too soon is offered again after a millisecond

    def _end_what_hangs(self) -> None:
        """Done already: the handle does it, then and later."""

    def begin(self, like_last: bool = False) -> None:
        """Start a transaction; its partitions may join while the caller still computes what goes there."""
        super().begin()
        if like_last:
            self._wait(lambda _: self._sender.handle.join_ahead(), "beginning a transaction")

    def _complete(self, offsets: Mapping[Partition, int], group: str, meanwhile: Callable[[], None]) -> None:
        """The offsets are on their way together with the records."""
        if offsets:
            self._wait(
                lambda _: self._sender.handle.offer_offsets(offsets, group), f"adding the offsets of group {group}"
            )
        meanwhile()
        self._deliver()
        self._add(offsets, group)

    def _offsets(self, offsets: Mapping[Partition, int]) -> Any:
        return offsets

    def abort(self) -> None:
        """Drop what is on its way and abort; where something was, this writer is spent."""
        try:
            super().abort()
        finally:
            self._spent |= self._sender.handle.is_spoiled
