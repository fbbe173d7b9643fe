"""What the tasks of monitors have in common: a watch that is all their state, and is kept in snapshots whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from samestream import monitors
from samestream.schemas.errors import RecoveryError
from samestream.streams import models
from samestream.streams.engine import value_arrays
from samestream.streams.engine.clock import Clocks
from samestream.streams.engine.order import Batch
from samestream.streams.engine.snapshots import code_of
from samestream.streams.engine.task import Emitted
from samestream.streams.engine.value_arrays import Arrays

Kept = TypeVar("Kept")


class KeptWatch(ABC, Generic[Kept]):
    """The part of a `processor.Task` that is the same for every watch."""

    owned: frozenset[str] = frozenset()
    memory_us = None
    query_lag_us = 0
    name: str
    walked_bytes: int
    """What a snapshot is taken to cost: a watch holds many small things, which Python has to walk through."""
    _watch: Kept

    @abstractmethod
    def process(self, batch: Batch, clocks: Clocks) -> Emitted:
        """Apply a judged batch."""

    def absorb(self, batch: Batch, clocks: Clocks) -> None:
        """Apply a judged batch whose incidents were written before."""
        self.process(batch, clocks)

    def recall(self, switches: Sequence[str]) -> None:
        """The watch is rebuilt from a snapshot or the whole journal, so there is nothing to recall."""

    @property
    def layout(self) -> str:
        """By the code of all that a watch may hold."""
        return code_of(value_arrays, monitors, models)

    def state(self) -> Arrays:
        """The whole watch. Raises StateNotKeptError where something of another library is part of it."""
        return value_arrays.pack(self._watch)

    def state_bytes(self) -> int:
        """See `walked_bytes`."""
        return self.walked_bytes

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take up a watch."""
        watch = value_arrays.unpack(arrays)
        if not isinstance(watch, type(self._watch)):
            raise RecoveryError("a state is no watch", where=self.name, found=type(watch).__name__)
        self._watch = watch
