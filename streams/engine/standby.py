"""Who serves, and who stands by: an active process is seen to live, and one that waits takes its place when it is not.

The active process is a member of the consumer group ``<identity>.active``, kept by heartbeats: for as long as it lives, however
long a batch takes, and no longer than the session's six seconds after it was killed, stopped or cut off. Those that stand by are
members of ``<identity>.standby``, where the one that came first is first in line; it takes over once the other group is seen
empty twice. A broker that does not answer says nothing: nobody takes over from a process of which it is not known that it is
gone. And whatever is mistaken here, no event counts twice, for the new one fences the old one as any second process does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from samestream.schemas.errors import FencedError, TransportError
from samestream.streams.transport import Membership, Transport

log = logging.getLogger("samestream")
ASK_S = 0.5


class Presence:
    """The membership of an active process, kept by a thread of its own from `start` to `close`."""

    def __init__(self, transport: Transport, identity: str, topic: str) -> None:
        self._transport, self.group, self._topic = transport, f"{identity}.active", topic
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, standby: Standby) -> None:
        """Be seen from now on; a place in line is left as soon as one is, so that the next does not take over from this one."""
        self._thread = threading.Thread(target=self._keep, args=(standby,), name=self.group, daemon=True)
        self._thread.start()

    def _keep(self, standby: Standby) -> None:
        membership: Membership | None = None
        try:
            while not self._stop.is_set():
                try:
                    membership = membership or self._transport.membership(self.group, self._topic)
                    membership.poll(0.2)
                    if standby.is_in_line and self._transport.members(self.group):
                        standby.close()
                except TransportError as error:  # such as a group that it may not read: it serves all the same
                    log.warning("%s: a standby cannot see that this process lives. %s", self.group, error.line)
                    self._stop.wait(60)
        finally:
            if membership is not None:
                membership.close()

    def close(self) -> None:
        """Leave, so that a standby takes over at once."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5.0)


class Standby:
    """A place in line behind the active process of an identity."""

    def __init__(self, transport: Transport, identity: str, topic: str) -> None:
        self._transport, self._identity, self._topic = transport, identity, topic
        self._membership: Membership | None = None
        self._told = ""

    def await_turn(self, stop: threading.Event, meanwhile: Callable[[], object] = lambda: None) -> bool:
        """Wait until the active process is gone and nobody is before this one; whether it is so, or ``stop`` was set.

        meanwhile : done again and again, to keep warm
        """
        empty, asked_s = 0, 0.0
        while not stop.is_set():
            try:
                self._membership = self._membership or self._transport.membership(
                    f"{self._identity}.standby", self._topic
                )
                self._membership.poll(0.1)
                meanwhile()
                if time.monotonic() - asked_s < ASK_S:
                    continue  # the poll above waits
                asked_s = time.monotonic()
                gone = self._membership.is_first and not self._transport.members(f"{self._identity}.active")
                empty = empty + 1 if gone else 0
                self._told = ""
                if empty >= 2:
                    log.warning("%s: nobody is active: this process takes over", self._identity)
                    return True
            except FencedError:
                raise
            except TransportError as error:
                empty = 0
                if error.what != self._told:
                    log.warning("%s: standing by, but %s", self._identity, error.line)
                    self._told = error.what
        return False

    @property
    def is_in_line(self) -> bool:
        """Whether it has a place."""
        return self._membership is not None

    def close(self) -> None:
        """Leave the line: once others can see that this process is active, or when it ends."""
        if self._membership is not None:
            self._membership.close()
            self._membership = None
