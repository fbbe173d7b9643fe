"""The latest events of a source, kept so that an incident can name those that show it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

KEPT = 256
"""Events from before the tick that is looked at."""
MOST = 8192
"""Events of the tick itself that are looked into, the latest."""

Columns = tuple[npt.NDArray[Any], ...]


class LatestRows:
    """All events of the tick that is looked at, and the last `KEPT` before it: a function of known time and data.

    Until `let_go` they are views of the arrays they came in, so that a tick costs no copy.
    """

    def __init__(self) -> None:
        self._before: list[Columns] = []
        self._held = 0
        self._now: Columns | None = None
        self._borrows = False

    def turn(self, rows: Columns | None) -> None:
        """Begin a tick. rows : its events as columns, shape (n,) each; None without any."""
        self._pass()
        if rows is not None:
            self._now, self._borrows = rows, True

    def let_go(self) -> None:
        """Copy what is kept, after the last tick of a batch, so that the batch's arrays need not be."""
        if self._borrows:
            self._pass()
            self._before = [tuple(column.copy() for column in self._last())]
            self._held, self._borrows = len(self._before[0][0]), False

    def columns(self) -> Columns:
        """What is kept, in the order in which it became known; no columns before the first event."""
        kept = [self._last()] if self._before else []
        if self._now is not None:
            kept.append(tuple(column[-MOST:] for column in self._now))
        return tuple(np.concatenate(parts) for parts in zip(*kept, strict=True))

    def _pass(self) -> None:
        """The tick is over."""
        if self._now is not None:
            self._before.append(self._now)
            self._held += len(self._now[0])
            self._now = None
            while self._held - len(self._before[0][0]) >= KEPT:
                self._held -= len(self._before.pop(0)[0])

    def _last(self) -> Columns:
        return tuple(np.concatenate(parts)[-KEPT:] for parts in zip(*self._before, strict=True))
