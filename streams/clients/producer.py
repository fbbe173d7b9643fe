"""Producing events from applications: checked, keyed, batched, without duplicates, and never lost in silence.

::

    with Producer(flights, bootstrap="localhost:9092") as producer:
        producer.produce(Boarding(flight_id="f1", ..., at=datetime.now(UTC)))

`AsyncProducer` is the same for asyncio.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import ModuleType, TracebackType
from typing import Any, Self

from samestream.schemas.app import App, app_of
from samestream.schemas.errors import DeliveryError, SchemaError, TransportError
from samestream.schemas.events import Event
from samestream.schemas.tables import Table
from samestream.streams.kafka.connection import Connection
from samestream.streams.transport import Outbox, Outgoing, Transport, Undelivered
from samestream.streams.wire.event_records import EventRecords
from samestream.streams.wire.schema_store import SchemaStore

log = logging.getLogger("samestream")
_SLICE_S = 0.2
_NAP_S = 0.005  # how often an event loop looks whether there is room, or whether all is delivered
_TURN = 64  # events that a task may hand over before others have a turn
_AT_EXIT_S = 30.0

Declared = App | ModuleType | str | Iterable[type[Event]]


@dataclass(frozen=True)
class LostEvent:
    """An event that could not be delivered.

    key : its Kafka key, as text
    known_us : the record timestamp, microseconds since 1970; -1 where the clock had not yet stamped it
    cause : what Kafka said
    """

    event: str
    key: str
    topic: str
    value: bytes
    known_us: int
    cause: TransportError

    def __str__(self) -> str:
        return f"{self.event} {self.key!r}: {self.cause.line}"


class _Desk:
    """What both producers share: it checks events, keeps the outbox, and turns failed deliveries into errors."""

    def __init__(
        self, app: App, connection: Connection, on_lost: Callable[[LostEvent], None] | None, who: str, wait_s: float
    ) -> None:
        self.app, self.who, self.on_lost, self.wait_s = app, who, on_lost, wait_s
        self._connection = connection
        self._records: dict[type[Event], EventRecords] = {}
        self._names = {app.topic(event): event.__name__ for event in app.events.values()}
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self.outbox: Outbox = connection.transport.outbox()
        self.closed = False

    def knows(self, kind: type[Event]) -> bool:
        """Whether events of this type were admitted before, so that nothing has to be asked of the broker."""
        return kind in self._records

    def admit(self, kind: type[Event]) -> EventRecords:
        """How events of this type become records; at first, see that its topic is there and its schema published."""
        with self._lock:
            found = self._records.get(kind)
            if found is None:
                found = self._records[kind] = self._admitted(kind)
        return found

    def _admitted(self, kind: type[Event]) -> EventRecords:
        if self.app.events.get(kind.__name__) is not kind:
            raise SchemaError(
                f"{kind.__name__} is no event of the app {self.app.name}",
                where=self.who,
                expected=", ".join(self.app.events),
                hint="pass the module or the classes that declare it; a module loaded by path declares classes of its own.",
            )
        records = EventRecords(kind, self.app.topic(kind))
        transport = self._connection.transport
        topics = transport.topics()
        missing = [topic for topic in (records.topic, self.app.schemas) if topic not in topics]
        if missing:
            raise TransportError(
                "topics are missing, so nothing can be produced",
                where=f"{self.who}, {kind.__name__}",
                found=f"no {' and no '.join(missing)}",
                hint="create them with `samestream apply MODULE`.",
            )
        store = SchemaStore(transport, self.app.schemas)
        store.publish([(f"{records.topic}-value", records.schema)])
        headers = store.frame(records.topic)
        return records if headers is None else EventRecords(kind, records.topic, headers[1])

    def check(self) -> None:
        """Raise if nothing can be taken, or for what failed since the last look."""
        if self.closed:
            raise TransportError("the producer is closed", where=self.who, hint="produce inside the `with` block.")
        if os.getpid() != self._pid:
            raise TransportError(
                "a producer does not survive a fork", where=self.who, hint="make one in each process, after the fork."
            )
        self.settle()

    def settle(self) -> None:
        """Hand the failures to the callback, or raise DeliveryError for them. Each is told once."""
        failed = [self._lost(one) for one in self.outbox.failed()]
        if not failed:
            return
        if self.on_lost is not None:
            for one in failed:
                self.on_lost(one)
            return
        raise delivery_error(failed, self.who)

    def _lost(self, failed: Undelivered) -> LostEvent:
        record = failed.record
        name = self._names.get(record.topic, record.topic)
        key = (record.key or b"").decode(errors="replace")
        return LostEvent(name, key, record.topic, record.value or b"", record.known_us, failed.cause)

    def overdue(self, started_s: float, timeout_s: float | None) -> bool:
        return timeout_s is not None and time.monotonic() - started_s >= timeout_s

    def full(self) -> TransportError:
        return TransportError(
            "the queue of events on their way stays full, so this one was not sent",
            where=self.who,
            found=f"no room for {self.wait_s:g} s",
            hint="is the broker slow or gone? The bound is queue.buffering.max.messages (and .kbytes) in `properties`.",
        )

    def close(self) -> None:
        """Release everything; what is lost by it, because waiting was cut short, is told in the log."""
        if self.closed:
            return
        self.closed = True
        if self.outbox.poll(0.0):
            self.outbox.give_up()
        if lost := [self._lost(one) for one in self.outbox.failed()]:
            log.error("%s", delivery_error(lost, self.who).line)
        self.outbox.close()
        self._connection.close()


class Producer:
    """Produces the events of an app. Thread-safe; make one per process and keep it.

    declared : an app, the module that declares it (or its name or path), or event classes with the app's `name`
    namespace : the deployment it produces for; none is production
    bootstrap : Kafka's address; `properties` are librdkafka's (SASL, TLS, ``delivery.timeout.ms``, queue bounds)
    transport : instead of an address, such as a `MemoryTransport` in tests
    on_lost : called with each event that could not be delivered, instead of raising DeliveryError
    wait_s : how long `produce` waits for room in a full queue

    An event that could not be delivered (by default Kafka is asked for 5 minutes) raises DeliveryError at the next call,
    and at the latest when the producer is closed. What is still queued when the process ends without `close` is waited
    for, and told in the log if it cannot be delivered.
    """

    def __init__(
        self,
        declared: Declared,
        *,
        name: str = "",
        namespace: str = "",
        bootstrap: str = "",
        properties: Mapping[str, str] = {},
        transport: Transport | None = None,
        on_lost: Callable[[LostEvent], None] | None = None,
        wait_s: float = 60.0,
    ) -> None:
        app = app_of(declared, name, namespace)
        self._desk = _Desk(app, Connection("Producer", bootstrap, properties, transport), on_lost, "Producer", wait_s)
        self._at_exit = weakref.finalize(self, _finish, self._desk)

    def produce(self, event: Event, known: datetime | None = None) -> None:
        """Check an event and hand it over; it is delivered while you go on. Waits while the queue is full.

        known : when the log learned of it; only for history, as the clock says it otherwise
        Raises SchemaError for an event that does not fit its declaration, and DeliveryError for earlier events that were
        lost; this one was not taken then.
        """
        self._desk.check()
        self._send(self._desk.admit(type(event)).record(event, known))

    def delete(self, table: type[Table], key: Any, known: datetime | None = None) -> None:
        """Delete the row of a reference table, by a tombstone. Raises as `produce` does."""
        self._desk.check()
        self._send(self._desk.admit(table).tombstone(key, known))

    def _send(self, record: Outgoing) -> None:
        desk, started_s = self._desk, time.monotonic()
        while not desk.outbox.offer(record):
            desk.outbox.poll(_SLICE_S)
            desk.settle()
            if desk.overdue(started_s, desk.wait_s):
                raise desk.full()

    def flush(self, timeout_s: float | None = None) -> int:
        """Wait until everything is delivered, or for `timeout_s`; how many events are still on their way.

        Raises DeliveryError for those that were lost.
        """
        return _flush(self._desk, timeout_s)

    def close(self, timeout_s: float | None = None) -> None:
        """Deliver what is queued, then release everything; twice does no harm.

        timeout_s : give up what is still on its way then, which raises DeliveryError; by default Kafka's own patience
        """
        if self._at_exit.detach() is None:
            return
        try:
            if _flush(self._desk, timeout_s):
                self._desk.outbox.give_up()
                self._desk.settle()
        finally:
            self._desk.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except DeliveryError as lost:
            _beside(error, lost)


class AsyncProducer:
    """`Producer` for asyncio, in one event loop. It starts no threads that outlive a call, and never blocks the loop.

    Parameters are those of `Producer`.
    """

    def __init__(
        self,
        declared: Declared,
        *,
        name: str = "",
        namespace: str = "",
        bootstrap: str = "",
        properties: Mapping[str, str] = {},
        transport: Transport | None = None,
        on_lost: Callable[[LostEvent], None] | None = None,
        wait_s: float = 60.0,
    ) -> None:
        app, who = app_of(declared, name, namespace), "AsyncProducer"
        self._desk = _Desk(app, Connection(who, bootstrap, properties, transport), on_lost, who, wait_s)
        self._taken = 0
        self._at_exit = weakref.finalize(self, _finish, self._desk)

    async def produce(self, event: Event, known: datetime | None = None) -> None:
        """As `Producer.produce`; while the queue is full other tasks run."""
        await self._send((await self._admit(type(event))).record(event, known))

    async def delete(self, table: type[Table], key: Any, known: datetime | None = None) -> None:
        """As `Producer.delete`."""
        await self._send((await self._admit(table)).tombstone(key, known))

    async def _admit(self, kind: type[Event]) -> EventRecords:
        self._desk.check()
        if self._desk.knows(kind):
            return self._desk.admit(kind)
        return await asyncio.to_thread(self._desk.admit, kind)  # only the first of a type asks something of the broker

    async def _send(self, record: Outgoing) -> None:
        desk, started_s = self._desk, time.monotonic()
        self._taken += 1
        if self._taken % _TURN == 0:
            await asyncio.sleep(0)  # a loop that only produces must not keep other tasks from running
        while not desk.outbox.offer(record):
            desk.outbox.poll(0.0)
            await asyncio.sleep(_NAP_S)
            desk.settle()
            if desk.overdue(started_s, desk.wait_s):
                raise desk.full()

    async def flush(self, timeout_s: float | None = None) -> int:
        """As `Producer.flush`."""
        desk, started_s = self._desk, time.monotonic()
        while (left := desk.outbox.poll(0.0)) and not desk.overdue(started_s, timeout_s):
            await asyncio.sleep(_NAP_S)
        desk.settle()
        return left

    async def close(self, timeout_s: float | None = None) -> None:
        """As `Producer.close`."""
        if self._at_exit.detach() is None:
            return
        try:
            if await self.flush(timeout_s):
                self._desk.outbox.give_up()
                self._desk.settle()
        finally:
            await asyncio.to_thread(self._desk.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.close()
        except DeliveryError as lost:
            _beside(error, lost)


def delivery_error(lost: list[LostEvent], who: str) -> DeliveryError:
    """The error that names events which could not be delivered, the first five in words."""
    first = lost[0].cause
    count = "an event" if len(lost) == 1 else f"{len(lost)} events"
    more = f"; and {len(lost) - 5} more" if len(lost) > 5 else ""
    found = "; ".join(f"{one.event} {one.key!r} ({one.cause.found})" for one in lost[:5]) + more
    hint = first.hint or "look at the broker's log for the same moment."
    error = DeliveryError(f"{count} could not be delivered", where=who, found=found, hint=hint)
    error.undelivered = tuple(lost)
    error.__cause__ = first
    return error


def _flush(desk: _Desk, timeout_s: float | None) -> int:
    started_s = time.monotonic()
    while True:
        left_s = _SLICE_S if timeout_s is None else min(_SLICE_S, timeout_s - (time.monotonic() - started_s))
        left = desk.outbox.poll(max(left_s, 0.0))
        if not left or desk.overdue(started_s, timeout_s):
            desk.settle()
            return left


def _beside(error: BaseException | None, lost: DeliveryError) -> None:
    """Raise what was lost; but where the block itself failed, that goes on, with what was lost as a note."""
    if error is None:
        raise lost
    error.add_note(lost.line)


def _finish(desk: _Desk) -> None:
    """What happens to a producer that nobody closed, when it is forgotten or the process ends."""
    if desk.closed or os.getpid() != desk._pid:
        return
    warnings.warn(f"a {desk.who} was not closed: use it in a `with` block", ResourceWarning, stacklevel=2)
    try:
        if _flush(desk, _AT_EXIT_S):
            desk.outbox.give_up()
            desk.settle()
    except TransportError as error:
        log.error("%s", error.line)
    finally:
        desk.close()
