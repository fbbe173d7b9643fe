"""Members of groups on the log in memory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samestream.streams.memory.transport import MemoryBroker

SESSION_S = 0.5
"""After so long without a sign of life a member is gone."""


class MemoryMembership:
    """A place in the line of a group."""

    def __init__(self, broker: MemoryBroker, group: str) -> None:
        self._broker, self._group = broker, group
        self._seen_s = time.monotonic()
        with broker.changed:
            broker.members.setdefault(group, []).append(self)

    @property
    def is_alive(self) -> bool:
        """Whether it has been heard of lately."""
        return time.monotonic() - self._seen_s < SESSION_S

    def poll(self, timeout_s: float) -> None:
        """Show that it lives."""
        time.sleep(timeout_s)
        with self._broker.changed:
            self._seen_s = time.monotonic()
            line = self._broker.members.setdefault(self._group, [])
            if self not in line:
                line.append(self)

    @property
    def is_first(self) -> bool:
        """Whether nobody who lives came before."""
        with self._broker.changed:
            line = [one for one in self._broker.members.get(self._group, []) if one.is_alive]
            return bool(line) and line[0] is self

    def close(self) -> None:
        """Leave."""
        with self._broker.changed:
            line = self._broker.members.get(self._group, [])
            if self in line:
                line.remove(self)
