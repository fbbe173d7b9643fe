"""A consumer group's only member, on the log in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samestream.streams.transport import Fetched, Partition, Transport

if TYPE_CHECKING:
    from samestream.streams.memory.transport import MemoryBroker


class MemoryGroupReader:
    """Has every partition of the topic, from the group's offsets on."""

    def __init__(self, transport: Transport, broker: MemoryBroker, group: str, topic: str, start: int) -> None:
        self._broker, self._group = broker, group
        self._reader = transport.reader()
        self._parts = {Partition(topic, number) for number in range(transport.topics().get(topic, 1))}
        committed = transport.committed(group, self._parts)
        starts = transport.offsets_at(start, self._parts - committed.keys())
        self._reader.assign({**starts, **committed})
        self._done: dict[Partition, int] = {}

    def fetch(self, max_records: int, timeout_s: float) -> list[Fetched]:
        """As any reader does."""
        return self._reader.fetch(max_records, timeout_s)

    @property
    def generation(self) -> int:
        """Nobody else ever joins."""
        return 0

    def done(self, part: Partition, next_offset: int) -> None:
        """Remember."""
        self._done[part] = next_offset

    def commit(self) -> None:
        """Store the offsets with the broker."""
        with self._broker.changed:
            self._broker.groups.setdefault(self._group, {}).update(self._done)
        self._done.clear()

    def close(self) -> None:
        """Commit and stop reading."""
        self.commit()
        self._reader.close()
