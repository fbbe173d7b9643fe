"""How a processor is doing: what it tells health endpoints, metrics and displays while it runs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import NamedTuple

from samestream.streams.engine.journal import Balance
from samestream.streams.transport import Partition

UNAVAILABLE = "unavailable"
OPEN_TRANSACTION = "open transaction"
NOT_DELIVERED = "not delivered"


class Stall(NamedTuple):
    """A partition that holds the others back, and why: one of the words above."""

    partition: str
    why: str


@dataclass
class Health:
    """How a processor is doing.

    state : starting, recovering, standby, running, stopped or failed
    stalled_by : what is waited for: partitions, or the journal during recovery; ``stalls`` says why, ``stalled_since`` since
        when on the monotonic clock
    watermarks_us : by partition, the greatest event time applied; known_us : the greatest known time judged
    held_bytes : of events that are read and not yet taken, ``most_held_bytes`` so far
    batch_s : seconds of work of all batches, from choosing to committed; ``last_batch_s`` of the latest
    snapshot_* : of the newest snapshot, by this process
    """

    name: str
    state: str = "starting"
    batches: int = 0
    events: int = 0
    results: int = 0
    lag: int = 0
    known_us: int = 0
    stalled_by: list[str] = field(default_factory=list)
    stalls: list[Stall] = field(default_factory=list)
    stalled_since: float | None = None
    balances: dict[str, Balance] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    watermarks_us: dict[Partition, int] = field(default_factory=dict)
    held_bytes: int = 0
    most_held_bytes: int = 0
    batch_s: float = 0.0
    last_batch_s: float = 0.0
    recovered_s: float = 0.0
    replayed: int = 0
    snapshots: int = 0
    snapshots_failed: int = 0
    snapshot_us: int = 0
    snapshot_bytes: int = 0
    snapshot_pause_s: float = 0.0

    def flows(self) -> None:
        """Nothing holds the stream back."""
        self.stalled_by, self.stalls, self.stalled_since = [], [], None

    def waits(self, stalls: list[Stall]) -> None:
        """Some partitions hold it back."""
        self.stalled_by, self.stalls = [stall.partition for stall in stalls], stalls
        if self.stalled_since is None:
            self.stalled_since = time.monotonic()
