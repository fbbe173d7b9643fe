"""What a processor runs: a task, whose state is a function of the batches alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from samestream.streams.engine.clock import Clocks
from samestream.streams.engine.order import Batch
from samestream.streams.plan import Input
from samestream.streams.transport import Outgoing
from samestream.streams.wire.parcel import Parcel


@dataclass(frozen=True)
class Emitted:
    """What a batch caused: records to write, how many results among them, and switches for the journal.

    parcels : more records, in buffers
    """

    records: Sequence[Outgoing] = ()
    results: int = 0
    switches: tuple[str, ...] = ()
    parcels: Sequence[Parcel] = ()


class Task(Protocol):
    """What a processor does with batches. Its state must be a function of the batches alone."""

    @property
    def name(self) -> str:
        """Names the journal entries; with the app it is the transactional identity."""

    @property
    def inputs(self) -> Sequence[Input]:
        """The topics it reads, and how."""

    @property
    def owned(self) -> frozenset[str]:
        """The inputs, by name, whose late and dead events this task's processor writes out."""

    @property
    def fingerprint(self) -> str:
        """Of the definition it runs."""

    @property
    def memory_us(self) -> int | None:
        """How far back in event time its state reaches: older batches are not replayed on recovery. None: all are."""

    @property
    def query_lag_us(self) -> int:
        """How far behind the greatest event time applied it still answers instants."""

    @property
    def layout(self) -> str:
        """How its state is kept in arrays: a snapshot of another layout cannot be read, and is made again from the log."""

    def process(self, batch: Batch, clocks: Clocks) -> Emitted:
        """Apply a judged batch."""

    def absorb(self, batch: Batch, clocks: Clocks) -> None:
        """Apply a judged batch whose results were committed before: to the same state, but without making them."""

    def recall(self, switches: Sequence[str]) -> None:
        """Take up the switches of entries that recovery passed over."""

    def state(self) -> Mapping[str, NDArray[Any]]:
        """All that it remembers, as arrays, which the next batch may change.

        Raises StateNotKeptError where it holds something that no array can: it is then made again from the log.
        """

    def state_bytes(self) -> int:
        """About how many bytes that is; state that Python has to walk through counts for more than its size."""

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take up what `state` gave, all of it or nothing. Raises RecoveryError where it does not fit."""
