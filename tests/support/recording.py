"""A log that remembers who did what to it: which topics were read, written and described, which groups and identities used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from samestream.streams.memory.transport import MemoryBroker, MemoryTransport
from samestream.streams.transport import Outgoing, Partition, nothing

Access = tuple[Literal["topic", "group", "transactional-id"], str, Literal["read", "write", "describe"]]


class RecordingTransport(MemoryTransport):
    """A memory transport; ``accesses`` are what a Kafka with authorization would have been asked to allow."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker)
        self.accesses: set[Access] = set()

    def touched(self) -> set[str]:
        """The names of all topics, groups and identities."""
        return {name for _, name, _ in self.accesses}

    def note(self, topics: Iterable[str], operation: Literal["read", "write", "describe"]) -> None:
        """Remember an operation on topics."""
        self.accesses |= {("topic", name, operation) for name in topics}

    def reader(self) -> Any:
        """A reader whose assignments are remembered."""
        return _Recorded(super().reader(), self)

    def writer(self) -> Any:
        """A writer whose topics are remembered."""
        return _Recorded(super().writer(), self)

    def transactional_writer(self, identity: str) -> Any:
        """A writer whose identity, topics and groups are remembered."""
        self.accesses.add(("transactional-id", identity, "write"))
        return _Recorded(super().transactional_writer(identity), self)

    def outbox(self) -> Any:
        """An outbox whose topics are remembered."""
        return _Recorded(super().outbox(), self)

    def ends(self, partitions: Iterable[Partition]) -> Any:
        """See `Transport.ends`."""
        partitions = list(partitions)
        self.note((part.topic for part in partitions), "describe")
        return super().ends(partitions)

    def starts(self, partitions: Iterable[Partition]) -> Any:
        """See `Transport.starts`."""
        partitions = list(partitions)
        self.note((part.topic for part in partitions), "describe")
        return super().starts(partitions)

    def committed(self, group: str, partitions: Iterable[Partition]) -> Any:
        """See `Transport.committed`."""
        self.accesses.add(("group", group, "describe"))
        return super().committed(group, partitions)

    def membership(self, group: str, topic: str) -> Any:
        """A membership whose group and topic are remembered."""
        self.accesses |= {("group", group, "read"), ("topic", topic, "read")}
        return super().membership(group, topic)

    def members(self, group: str) -> int:
        """See `Transport.members`."""
        self.accesses.add(("group", group, "describe"))
        return super().members(group)


class _Recorded:
    """A reader or writer; notes what passes, then lets it pass."""

    def __init__(self, inner: Any, transport: RecordingTransport) -> None:
        self._inner, self._transport = inner, transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def assign(self, positions: Mapping[Partition, int]) -> None:
        self._transport.note((part.topic for part in positions), "read")
        self._inner.assign(positions)

    def send(self, records: Iterable[Outgoing]) -> None:
        sent = list(records)
        self._transport.note((record.topic for record in sent), "write")
        self._inner.send(sent)

    def offer(self, record: Outgoing) -> bool:
        self._transport.note([record.topic], "write")
        return bool(self._inner.offer(record))

    def commit(
        self,
        offsets: Mapping[Partition, int] | None = None,
        group: str | None = None,
        meanwhile: Callable[[], None] = nothing,
    ) -> None:
        if group is not None:
            self._transport.accesses.add(("group", group, "read"))
        self._inner.commit(offsets, group, meanwhile)
