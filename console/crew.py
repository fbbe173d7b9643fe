"""The roles that run in this process: started as threads, watched, drained together, and their failure told."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence

from samestream.console.backlog import backlog, gaps
from samestream.console.roles import Role
from samestream.schemas.errors import SamestreamError, TransportError
from samestream.streams.engine.measures import Measured
from samestream.streams.engine.processor import Processor
from samestream.streams.transport import Partition, Transport

log = logging.getLogger("samestream")
SILENT_S = 10.0
"""How long nothing may be heard of the broker before it counts as gone."""


class Crew:
    """Runs roles until told to stop; the first that fails stops the others.

    Threads are daemons, so that a process can always end. `stop` is set by signals, `join` waits in short steps.
    """

    def __init__(self, roles: Sequence[Role]) -> None:
        self.roles, self.stop = roles, threading.Event()
        self.others: list[Measured] = []
        """What has figures besides the roles."""
        self.failure: Exception | None = None
        self._failing = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(role,), name=role.health.name, daemon=True) for role in roles
        ]

    def start(self) -> None:
        """Start every role."""
        for thread in self._threads:
            thread.start()

    def _run(self, role: Role) -> None:
        try:
            role.run(self.stop)
        except Exception as error:
            role.health.state = "failed"
            with self._failing:
                if self.failure is None:
                    self.failure = error
                else:  # the others often fail of the same; the first one tells why
                    told = error.line if isinstance(error, SamestreamError) else " ".join(str(error).split())
                    log.warning("%s failed, too: %s", role.health.name, told)
            self.stop.set()
        else:
            role.health.state = "stopped"

    @property
    def state(self) -> str:
        """``failed``, ``stopping``, ``standby`` when every role stands by, ``running`` when the others run, else ``starting``."""
        states = {role.health.state for role in self.roles}
        if "failed" in states:
            return "failed"
        if self.stop.is_set() or "stopped" in states:
            return "stopping"
        if states == {"standby"}:
            return "standby"
        return "running" if states <= {"running", "standby"} else "starting"

    @property
    def alive(self) -> list[str]:
        """The names of the roles that have not ended."""
        return [thread.name for thread in self._threads if thread.is_alive()]

    def moved(self) -> tuple[object, ...]:
        """A value that changes whenever any role gets on."""
        return tuple((one.state, one.batches, one.events, one.results) for one in (role.health for role in self.roles))


class Lags:
    """How far each role is behind the end of what it reads, asked of the broker now and then by a thread of its own.

    What a health record calls lag is only what the role already holds. The answers also tell that the broker is there: a
    role cannot, since a client that has lost the broker only waits. Where no lag is asked for, or its answer takes long
    for another reason, a second thread asks for the topics.
    """

    def __init__(self, transport: Transport, app: str, roles: Sequence[Role], every_s: float = 1.0) -> None:
        self._transport, self._app, self._roles, self._every_s = transport, app, roles, every_s
        self._gaps: dict[str, dict[Partition, int]] = {}
        self._found: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._stop = threading.Event()
        self.asked_s = float("-inf")  # on the monotonic clock, when the latest answer's question was put
        self._answered: tuple[float, float] | None = None  # when the broker last answered: monotonic, since 1970
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for name, target in (("lags", self._ask), ("pulse", self._feel))
        ]

    def of(self, role: Role) -> int:
        """The newest answer, in records; what the role holds where there is none."""
        return self._found.get(role.health.name, role.health.lag)

    def start(self) -> None:
        """Start asking."""
        self._hear()
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop asking, and wait for the questions under way, unless nobody answers."""
        self._stop.set()
        for thread in self._threads:
            thread.join(0.0 if self.silent_since_us else 5.0)

    @property
    def silent_since_us(self) -> int | None:
        """Since when no broker has answered, in microseconds UTC; None as long as one did within `SILENT_S`."""
        answered = self._answered
        if answered is None or time.monotonic() - answered[0] <= SILENT_S:
            return None
        return int(answered[1] * 1e6)

    def _hear(self) -> None:
        self._answered = time.monotonic(), time.time()

    def _feel(self) -> None:
        while not self._stop.wait(self._every_s):
            if self._answered is None or time.monotonic() - self._answered[0] > 2 * self._every_s:
                try:
                    self._transport.topics()
                    self._hear()
                except TransportError as error:
                    log.debug("no broker answers: %s", error.line)

    def _ask(self) -> None:
        while not self._stop.is_set():
            asked_s = time.monotonic()
            try:
                for role in self._roles:
                    if isinstance(role, Processor) and role.health.state == "running":
                        self._found[role.health.name] = self._measure(role)
                        self._hear()
                self.asked_s = asked_s
            except TransportError as error:  # the roles will say what is wrong; a lag is not worth a failure
                log.debug("the lag is unknown: %s", error.line)
            self._stop.wait(self._every_s)

    def _measure(self, role: Processor) -> int:
        positions = self._positions(role)
        name, found = role.health.name, gaps(self._transport, positions)
        if any(found.values()) and found == self._gaps.get(name):
            # it rests: are these records, or only the control records that end transactions?
            if self._found.get(name) == 0:
                return 0
            return backlog(self._transport, positions)
        self._gaps[name] = found
        return sum(found.values())

    def _positions(self, role: Processor) -> Mapping[Partition, int]:
        topics = [part.topic for part in role.task.inputs]
        if not all(topic in self._counts for topic in topics):
            self._counts = self._transport.topics()
        every = [Partition(topic, number) for topic in topics for number in range(self._counts.get(topic, 0))]
        done = self._transport.committed(f"{self._app}.{role.task.name}", every)
        starts = self._transport.starts([part for part in every if part not in done])
        return {part: done.get(part, starts.get(part, 0)) for part in every}
