"""Pulses: while a monitor runs in this process, it is said now and then how late it is, for the case that nothing else comes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from samestream.console.roles import Role
from samestream.schemas.errors import TransportError
from samestream.streams.engine.processor import Processor
from samestream.streams.engine.pulse import pulse
from samestream.streams.plan import Plan
from samestream.streams.transport import Outbox, Transport

log = logging.getLogger("samestream")
EVERY_S = 60.0
"""Monitors look at sources in ticks of five minutes, so more often would tell little sooner."""
_STEP_S = 1.0
_CLOSE_S = 6.0


class Pulses:
    """Writes a pulse every `EVERY_S` seconds while one of the roles that read them runs here; standbys write none.

    A thread of its own with a producer of its own: monitors wait for nothing of it. While no broker answers, at most one
    pulse is on its way, and it tells of the time when it arrives.
    """

    def __init__(self, transport: Transport, plan: Plan, roles: Sequence[Role], every_s: float = EVERY_S) -> None:
        self._transport, self._topic, self._every_s = transport, plan.pulse, every_s
        self._roles = [role for role in roles if _reads(role, plan.pulse)]
        self._outbox: Outbox | None = None
        self._written_s = float("-inf")
        self._told: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulses", daemon=True)

    def start(self) -> None:
        """Start writing, where a role reads pulses at all."""
        if self._roles:
            self._thread.start()

    def close(self) -> None:
        """Stop, and wait a little for the producer to be closed."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_S)

    def beat(self) -> None:
        """Write a pulse if it is time to, a monitor runs, and the last one has arrived."""
        if time.monotonic() - self._written_s < self._every_s or not any(
            role.health.state == "running" for role in self._roles
        ):
            return
        if self._outbox is None:
            self._outbox = self._transport.outbox()
        if self._outbox.poll(0.0):
            return
        for undelivered in self._outbox.failed():
            self._tell(undelivered.cause)
        self._written_s = time.monotonic()
        self._outbox.offer(pulse(self._topic))

    def _run(self) -> None:
        try:
            while not self._stop.wait(min(_STEP_S, self._every_s)):
                try:
                    self.beat()
                except TransportError as error:
                    self._tell(error)
        finally:
            if self._outbox is not None:
                self._outbox.close()

    def _tell(self, error: TransportError) -> None:
        """Say why it cannot be done, each reason once; the monitors go on."""
        if error.line not in self._told:
            log.warning("no pulse: %s; a silence of all sources is told only once it is over", error.line)
        self._told.add(error.line)


def _reads(role: Role, topic: str) -> bool:
    return isinstance(role, Processor) and any(part.topic == topic for part in role.task.inputs)
