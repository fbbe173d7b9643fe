"""A processor in a thread, as one of several of an identity: active, or in line behind the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from samestream.streams.deploy import provision
from samestream.streams.engine.processor import Processor
from samestream.streams.engine.task import Task
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.plan import Plan


class Running:
    """Runs until it is ended; ``failure`` is what it ended with by itself."""

    def __init__(self, plan: Plan, transport: MemoryTransport, task: Task, stands_by: bool, **options: Any) -> None:
        self.stop, self.failure = threading.Event(), None
        self.processor = Processor(
            transport,
            plan.app,
            plan.journal,
            task,
            provision.store(transport, plan),
            wait_s=0.0,
            presence_topic=plan.registry,
            stands_by=stands_by,
            **options,
        )
        self.health = self.processor.health
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.processor.run(self.stop)
        except Exception as error:
            self.failure = error

    def end(self) -> None:
        """Stop it, and wait until it has."""
        self.stop.set()
        self.processor._transport._broker.wake()  # type: ignore[attr-defined]
        self.thread.join(30)
        assert not self.thread.is_alive()


def until(done: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Wait for something to come true."""
    deadline_s = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
