"""Connections to Kafka's brokers, and who leads what; for one thread, without a thread of its own."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from samestream.streams.kafka.direct import messages
from samestream.streams.kafka.direct.messages import Answer, Broker
from samestream.streams.kafka.errors import LOG
from samestream.streams.transport import Partition

_CONNECT_S = 2.0
_ANSWER_S = 3.0  # for a question; the answer to a fetch is waited for elsewhere
_SEND_S = 30.0  # Kafka does not read on while it works on what came before
_AGAIN_S = 0.1  # how long a broker that refused is left alone
_OLD_S = 300.0  # how long the number of a topic's partitions is believed


class Connection:
    """One connection, on which requests are answered in the order they were sent.

    tells_of_hanging : whether the broker understands the requests about hanging transactions
    Raises KafkaException for what the network does; the connection is of no use after that.
    """

    def __init__(self, broker: Broker, client_id: str, most_bytes: int) -> None:
        self.broker, self._client_id, self._most_bytes = broker, client_id, most_bytes
        self._correlation = 0
        self._waiting: list[int] = []
        self._head = bytearray(4)
        self._body: bytearray | None = None
        self._filled = 0
        try:
            self._socket = socket.create_connection(broker, _CONNECT_S)
        except OSError as refused:
            raise _network(broker, refused) from refused
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        error, ranges = messages.understood(self.ask(messages.API_VERSIONS, b""))
        missing = [f"error {error}"] if error else messages.unsupported(ranges, messages.VERSIONS)
        self.tells_of_hanging = not messages.unsupported(ranges, messages.SELDOM)
        if missing:
            self.close()
            raise KafkaException(KafkaError(KafkaError._UNSUPPORTED_FEATURE, f"{broker} does not know {missing[0]}"))

    def fileno(self) -> int:
        """For `select`."""
        return self._socket.fileno()

    @property
    def is_closed(self) -> bool:
        """Whether it is of no use any more."""
        return self._socket.fileno() < 0

    def send(self, kind: int, body: bytes) -> None:
        """Send a request; the answers come by `receive`."""
        self._correlation = (self._correlation + 1) & 0x7FFFFFFF
        self._socket.settimeout(_SEND_S)
        try:
            self._socket.sendall(messages.request(kind, self._correlation, self._client_id, body))
        except OSError as broken:
            raise _network(self.broker, broken) from broken
        self._waiting.append(self._correlation)

    def receive(self, timeout_s: float) -> Answer | None:
        """The next answer, if all of it comes in time; what has come of it is kept."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            body = self._body
            room: Any = self._head if body is None else body
            if self._filled < len(room):
                if not readable([self], max(deadline_s - time.monotonic(), 0.0)):
                    return None
                self._read(memoryview(room)[self._filled :])
            if self._filled < len(room):
                continue
            self._filled = 0
            if body is None:
                size = int.from_bytes(self._head, "big")
                if not 4 <= size <= self._most_bytes:
                    raise _network(
                        self.broker, ValueError(f"an answer of {size} bytes, where {self._most_bytes} are the most")
                    )
                self._body = bytearray(size)
                continue
            self._body = None
            expected = self._waiting.pop(0)
            if int.from_bytes(body[:4], "big") != expected:
                raise _network(self.broker, ValueError("an answer to another question"))
            answer = Answer(memoryview(body))
            answer.at = 4
            return answer

    def _read(self, room: memoryview) -> None:
        try:
            got = self._socket.recv_into(room)
        except OSError as broken:
            raise _network(self.broker, broken) from broken
        if not got:
            raise _network(self.broker, ConnectionResetError("it has closed the connection"))
        self._filled += got

    def ask(self, kind: int, body: bytes, timeout_s: float = _ANSWER_S) -> Answer:
        """One question, answered at once; see `ask_all`."""
        return self.ask_all(kind, [body], timeout_s)[0]

    def ask_all(self, kind: int, bodies: Sequence[bytes], timeout_s: float = _ANSWER_S) -> list[Answer]:
        """Some questions in one exchange; nothing else may be under way. Raises KafkaException, and is closed then."""
        try:
            for body in bodies:
                self.send(kind, body)
            answers = [self.receive(timeout_s) for _ in bodies]
            found = [answer for answer in answers if answer is not None]
            if len(found) < len(bodies):
                raise _network(self.broker, TimeoutError("no answer"))
        except BaseException:  # Ctrl-C, too: the answer that comes later would be taken for that to the next question
            self.close()
            raise
        return found

    def close(self) -> None:
        """Close; twice does no harm."""
        with suppress(OSError):
            self._socket.close()


def readable(connections: Iterable[Connection], timeout_s: float) -> bool:
    """Wait until something comes on any of them; whether it did."""
    poll = select.poll()
    for connection in connections:
        poll.register(connection, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


def _network(broker: Broker, cause: Exception) -> KafkaException:
    return KafkaException(KafkaError(KafkaError._TRANSPORT, f"{broker}: {cause}"))


class Cluster:
    """The brokers, reached when they are needed, and which of them leads each partition.

    renewed : how many connections for questions had to be made again
    """

    def __init__(self, bootstrap: str, client_id: str, most_bytes: int) -> None:
        self._bootstrap = [_broker(part) for part in bootstrap.split(",") if part.strip()]
        self._client_id, self._most_bytes = client_id, most_bytes
        self._connections: dict[Broker, Connection] = {}
        self._asking: dict[tuple[Broker, str], Connection] = {}
        self._not_before_s: dict[Broker, float] = {}
        self.leaders: dict[Partition, Broker] = {}
        self.counts: dict[str, int] = {}
        self._refreshed_s = time.monotonic()
        self.renewed = 0

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Cluster:
        """The cluster that librdkafka's properties name."""
        where, client_id = str(settings["bootstrap.servers"]), str(settings["client.id"])
        return cls(where, client_id, int(settings["receive.message.max.bytes"]))

    def connection(self, broker: Broker) -> Connection | None:
        """The connection to a broker, made where there is none; None for a moment after it failed. Raises KafkaException."""
        if broker not in self._connections:
            if time.monotonic() < self._not_before_s.get(broker, 0.0):
                return None
            self._connections[broker] = Connection(broker, self._client_id, self._most_bytes)
        return self._connections[broker]

    def disconnect(self, broker: Broker) -> None:
        """Close the connection to a broker; the next one may be made at once."""
        if (connection := self._connections.pop(broker, None)) is not None:
            connection.close()

    def failed(self, broker: Broker) -> None:
        """Close the connection to a broker, leave it alone for a moment, and forget what it led."""
        self.disconnect(broker)
        self._not_before_s[broker] = time.monotonic() + _AGAIN_S
        self.leaders = {part: leader for part, leader in self.leaders.items() if leader != broker}

    def refresh(self, topics: Iterable[str]) -> Mapping[Partition, int]:
        """Ask who leads the partitions of topics; returns the errors of those that nobody leads.

        Raises KafkaException where no broker answers.
        """
        answer = self.ask_any(messages.METADATA, messages.metadata_body(sorted(set(topics))))
        try:
            found = messages.leaders_of(answer)
        except ValueError as broken:
            raise KafkaException(KafkaError(KafkaError._BAD_MSG, str(broken))) from broken
        self.leaders.update(found.leaders)
        self.counts.update(found.counts)
        return found.errors

    def ask_any(self, kind: int, body: bytes, timeout_s: float = _ANSWER_S) -> Answer:
        """Ask whichever broker answers first of those known. Raises KafkaException where none does."""
        failure = None
        for broker in dict.fromkeys([*self._bootstrap, *self.leaders.values()]):
            try:
                return self.asking(broker).ask(kind, body, timeout_s)
            except KafkaException as refused:
                LOG.info("asking %s: %s", broker, refused.args[0].str())
                failure = refused
        raise failure or KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN, "no address is given"))

    def asking(self, broker: Broker, apart: str = "") -> Connection:
        """A connection for questions that are answered at once; on that for records, much may be under way.

        apart : another one for each such name
        """
        known = self._asking.get((broker, apart))
        if known is None or known.is_closed:
            self.renewed += known is not None
            known = self._asking[broker, apart] = Connection(broker, self._client_id, self._most_bytes)
        return known

    def grow_old(self) -> None:
        """Forget what is known of topics once it is old: one may have got more partitions."""
        if time.monotonic() - self._refreshed_s > _OLD_S:
            self._refreshed_s = time.monotonic()
            self.counts.clear()

    def close(self) -> None:
        """Close all connections."""
        for connection in (*self._connections.values(), *self._asking.values()):
            connection.close()
        self._connections.clear()
        self._asking.clear()


def _broker(address: str) -> Broker:
    """A bootstrap address; an IPv6 one has its host in brackets.

    >>> _broker(" [::1]:9092"), _broker("kafka")
    (Broker(host='::1', port=9092), Broker(host='kafka', port=9092))
    """
    host, colon, port = address.strip().rpartition(":")
    if not colon or not port.isdigit():
        host, port = address.strip(), "9092"
    return Broker(host.strip("[]"), int(port))
