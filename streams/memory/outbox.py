"""An application's records on their way to the log in memory, where they arrive at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from samestream.schemas.errors import TransportError
from samestream.streams.transport import Outgoing, Undelivered

if TYPE_CHECKING:
    from samestream.streams.memory.transport import MemoryBroker


class MemoryOutbox:
    """Appends at once; a record that does not fit fails as it would on Kafka."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._lock = threading.Lock()
        self._undelivered: list[Undelivered] = []

    def offer(self, record: Outgoing) -> bool:
        """Never full."""
        try:
            self._broker.append([record], None)
        except TransportError as refused:
            with self._lock:
                self._undelivered.append(Undelivered(record, refused))
        return True

    def poll(self, timeout_s: float) -> int:
        """Nothing is ever on its way."""
        return 0

    def failed(self) -> list[Undelivered]:
        """Each record is told once."""
        with self._lock:
            found, self._undelivered = self._undelivered, []
        return found

    def give_up(self) -> None:
        """There is nothing to give up."""

    def close(self) -> None:
        """The broker belongs to whoever made it."""
