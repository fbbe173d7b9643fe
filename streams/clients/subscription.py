"""Consuming a topic that samestream writes, record by record, typed: what `Predictions` and `Drift` have in common."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Generic, Literal, NamedTuple, Self, TypeVar

from samestream.schemas import avro
from samestream.schemas.errors import SchemaError, SettingsError, TransportError
from samestream.schemas.expressions import EPOCH
from samestream.streams.kafka.connection import Connection
from samestream.streams.transport import EARLIEST, LATEST, Fetched, GroupReader, Partition, Reader
from samestream.streams.wire.avro_wire import Wire
from samestream.streams.wire.schema_store import REGISTERED, SchemaStore, framing, told

log = logging.getLogger("samestream")
R = TypeVar("R")
Start = Literal["earliest", "latest"] | datetime

_SLICE_S = 0.2
_NAP_S = 0.01  # how often an event loop looks whether something has come
_AT_ONCE = 500
_TURN = 64  # values that a task may take before others have a turn
_COMMIT_S = 5.0
_SHOW_LIFE_S = 0.5


class Position(NamedTuple):
    """Where a record lies in the log."""

    topic: str
    partition: int
    offset: int


class Source(NamedTuple):
    """A topic and how its records become values.

    build : makes a value of a record, its known time and its position. Raises ValueError, KeyError, TypeError or
        OverflowError for one that cannot be.
    """

    topic: str
    schemas: str
    schema: avro.Schema
    build: Callable[[Mapping[str, Any], datetime, Position], Any]


class Subscription(Generic[R]):
    """An iterator over a topic's committed records, for one thread or one event loop.

    Without a group it reads every partition and commits nothing. In a group, partitions are shared among its members and
    reading goes on where the group left off. A record counts as dealt with when the next one is asked for, and when the
    ``with`` block ends without an error; that is committed every few seconds, when partitions move to another member, and on
    closing. So after a crash the last few come again, and none is passed over. With ``commit="manual"`` only `commit` commits.

    Records that cannot be read are passed over, counted in `skipped` by reason, and told in the log.
    """

    def __init__(
        self,
        connection: Connection,
        source: Source,
        *,
        start: Start,
        group: str,
        commit: Literal["auto", "manual"],
        idle_s: float | None,
        who: str,
    ) -> None:
        if commit == "manual" and not group:
            hint = 'group="dispatch", or leave commit= out.'
            raise SettingsError("only a group commits", where=who, found='commit="manual" without a group', hint=hint)
        self._connection, self._source, self._who = connection, source, who
        self._start_us = _start_us(start, who)
        self._group, self._manual, self._idle_s = group, commit == "manual", idle_s
        self.skipped: Counter[str] = Counter()
        self._readers: dict[bytes, Callable[[bytes], dict[str, Any]]] = {}
        self._store = SchemaStore(connection.transport, source.schemas, [source.schema])
        self._buffer: deque[tuple[Partition, int, R | None]] = deque()
        self._last: tuple[Partition, int] | None = None
        self._handed_out: dict[Partition, int] = {}  # to be committed by hand
        self._turns = 0
        self._generation, self._fetched_s = 0, time.monotonic()
        self._member: GroupReader | None = None
        self._reader: Reader | None = None
        self._stop = threading.Event()
        self._committed_s = time.monotonic()
        self._closed = False

    def _open(self) -> None:
        """Start reading; done by the first iteration, as it asks the broker."""
        if self._closed:
            raise TransportError("it is closed", where=self._who, hint="iterate inside the `with` block.")
        if self._member is not None or self._reader is not None:
            return
        transport, topic = self._connection.transport, self._source.topic
        count = transport.topics().get(topic, 0)
        if not count:
            hint = "create it with `samestream apply MODULE`."
            raise TransportError("there is no such topic", where=f"{self._who}, {topic}", hint=hint)
        if self._group:
            self._member = transport.group_reader(self._group, topic, self._start_us)
        else:
            positions = transport.offsets_at(self._start_us, [Partition(topic, number) for number in range(count)])
            self._reader = transport.reader()
            self._reader.assign(positions)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> R:
        self._open()
        waited_s = time.monotonic()
        while True:
            if (found := self._pop()) is not None:
                return found
            if self._is_over(waited_s):
                raise StopIteration
            self._fill(_SLICE_S if self._idle_s is None else min(_SLICE_S, self._idle_s))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R:
        if self._member is None and self._reader is None:
            await asyncio.to_thread(self._open)
        self._turns += 1
        if self._turns % _TURN == 0:
            await asyncio.sleep(0)  # a backlog must not keep other tasks from running
        waited_s = time.monotonic()
        while True:
            if (found := self._pop()) is not None:
                return found
            if self._is_over(waited_s):
                raise StopAsyncIteration
            if not self._fill(0.0):
                await asyncio.sleep(_NAP_S)

    def _is_over(self, waited_s: float) -> bool:
        return self._stop.is_set() or (self._idle_s is not None and time.monotonic() - waited_s >= self._idle_s)

    def _pop(self) -> R | None:
        """The next value that is here; what was handed out before is dealt with."""
        if not self._manual:
            self._finish_last()
        if self._member is not None and self._buffer and time.monotonic() - self._fetched_s > _SHOW_LIFE_S:
            self._fill(0.0, 1)  # a member that works off a backlog must still notice who comes and goes
        while self._buffer and not self._stop.is_set():
            part, offset, value = self._buffer.popleft()
            self._finish_last()
            self._last = (part, offset)
            if value is not None:
                return value
        return None

    def _finish_last(self) -> None:
        if self._last is not None and self._member is not None:
            part, offset = self._last
            if self._manual:
                self._handed_out[part] = offset + 1
            else:
                self._member.done(part, offset + 1)
                if time.monotonic() - self._committed_s > _COMMIT_S:
                    self._commit_gently()
        self._last = None

    def _commit_gently(self) -> None:
        """Commit now and then; where that fails, the records are read again, which is no reason to stop."""
        self._committed_s = time.monotonic()
        assert self._member is not None
        try:
            self._member.commit()
        except TransportError as error:
            log.warning("%s: %s", self._who, error.line)

    def commit(self) -> None:
        """Commit everything handed out so far, the last one included. Raises TransportError where that fails."""
        if self._member is None:
            raise SettingsError("only a group commits", where=self._who, hint='pass group="...", and iterate first.')
        self._finish_last()
        for part, offset in self._handed_out.items():
            self._member.done(part, offset)
        self._handed_out.clear()
        self._member.commit()

    def _fill(self, timeout_s: float, at_once: int = _AT_ONCE) -> bool:
        """Read some records; whether there were any."""
        reader = self._member or self._reader
        assert reader is not None
        every = reader.fetch(at_once, timeout_s)
        self._fetched_s = time.monotonic()
        if self._member is not None and self._member.generation != self._generation:
            self._generation = self._member.generation
            self._buffer.clear()
            self._handed_out.clear()
        for fetched in every:
            self._take(fetched)
        return bool(every)

    def _take(self, fetched: Fetched) -> None:
        part = fetched.partition
        rows = zip(fetched.offsets.tolist(), fetched.known_us.tolist(), fetched.values, strict=True)
        for offset, known_us, value in rows:
            position = Position(part.topic, part.partition, offset)
            self._buffer.append((part, offset, self._value(value, known_us, position)))

    def _value(self, value: bytes | None, known_us: int, position: Position) -> R | None:
        frame = framing(value or b"")
        if value is None or frame is None or (frame.startswith(REGISTERED) and not self._store.is_registered):
            self._skip("undecodable", position, "it is not in Avro single-object encoding")
            return None
        read = self._readers.get(frame)
        if read is None:
            writer = self._store.schema_of(frame)
            if writer is None or writer.get("name") != self._source.schema["name"]:
                self._skip("wrong_schema", position, f"{told(frame)} is unknown, or of something else")
                return None
            read = self._readers[frame] = _reading(writer, self._source.schema, len(frame))
        try:
            built: R = self._source.build(read(value), instant(known_us), position)
        except (SchemaError, ValueError, KeyError, TypeError, OverflowError) as error:
            said = str(error.found) if isinstance(error, SchemaError) else f"{type(error).__name__}: {error}"
            self._skip("undecodable", position, said[:200])
            return None
        return built

    def _skip(self, reason: str, position: Position, detail: str) -> None:
        self.skipped[reason] += 1
        count = self.skipped[reason]
        if count & (count - 1) == 0:  # the 1st, 2nd, 4th, 8th, ...
            where = f"{position.topic}[{position.partition}] offset {position.offset}"
            log.warning("%s: passed over %s: %s (%s; %d so far)", self._who, where, detail, reason, count)

    def stop(self) -> None:
        """End the iteration soon, from any thread or signal handler; what was not handed out is read the next time."""
        self._stop.set()

    def close(self) -> None:
        """Commit what is dealt with (unless commits are manual), and leave; twice does no harm."""
        if self._closed:
            return
        self._closed = True
        self._buffer.clear()
        try:
            if self._member is not None:
                self._member.close()
            if self._reader is not None:
                self._reader.close()
        finally:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(error)
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(error)
        await asyncio.to_thread(self.close)

    def _leave(self, error: BaseException | None) -> None:
        if error is None and not self._manual:
            self._finish_last()


def instant(us: int) -> datetime:
    """Microseconds since 1970 as a datetime in UTC. Raises OverflowError for what no calendar reaches."""
    return EPOCH + timedelta(microseconds=us)


def _start_us(start: Start, who: str) -> int:
    if isinstance(start, datetime):
        if start.utcoffset() is None:
            hint = "add tzinfo=UTC, or the zone it is meant in."
            raise SettingsError("a start needs a time zone", where=who, found=repr(start), hint=hint)
        return max((start - EPOCH) // timedelta(microseconds=1), 0)
    if start not in ("earliest", "latest"):
        raise SettingsError(
            "no such start",
            where=who,
            found=repr(start),
            expected="earliest, latest or a datetime",
            hint="see its help.",
        )
    return EARLIEST if start == "earliest" else LATEST


def _reading(writer: avro.Schema, reader: avro.Schema, start: int) -> Callable[[bytes], dict[str, Any]]:
    """How bytes of a writer schema are read; they are checked first, as fastavro follows nested data wherever it leads."""
    wire, general = Wire(writer), avro.Reader(writer, reader)

    def read(value: bytes) -> dict[str, Any]:
        wire.check(value, start)
        return general.read(value, start)

    return read
