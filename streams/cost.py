"""What the state of a table costs: memory by key, time by event. Estimates, by what was measured on one core (DESIGN section 7)."""

from __future__ import annotations

from dataclasses import dataclass

from samestream.schemas.windows import LIFETIME_US, Window
from samestream.streams.plan import Table

_KERNEL_US = (0.2, 0.9)  # of one table of a few windows: at a thousand keys, at a hundred thousand
_GENERAL_US = 5.0  # of one aggregate in Python


@dataclass(frozen=True)
class Cost:
    """What one table costs.

    most_bytes : of a key, about: every tile of every window filled, and room to spare; raw events of open heads come on top
    is_bounded : whether `most_bytes` is all: neither lifetime windows nor the general path hold more
    compiled, general : how many aggregates run in the kernel, and how many in Python
    event_us : least and most microseconds of one core for an event, with few keys and with very many
    """

    most_bytes: int
    is_bounded: bool
    compiled: int
    general: int
    event_us: tuple[float, float]

    @property
    def path(self) -> str:
        """Where its aggregates run: ``kernel``, ``general path``, or both."""
        return (
            "kernel and general path"
            if self.compiled and self.general
            else "kernel"
            if self.compiled
            else "general path"
        )


def cost_of(table: Table) -> Cost:
    """The cost of a table."""
    from samestream.streams.engine import table_state, tiles

    most_bytes = tiles.key_bytes(
        table_state.cells_of(table),
        [
            (tiles.Window((tiles_of(part.window) or 1) * part.window.tile_us, part.window.tile_us), part.cells)
            for part in table.windows
            if part.cells
        ],
    )
    compiled = sum(part.is_compiled for part in table.aggregates)
    general = len(table.aggregates) - compiled
    bounded = not general and all(tiles_of(part.window) for part in table.windows if part.cells)
    low, high = _KERNEL_US if compiled else (0.0, 0.0)
    return Cost(most_bytes, bounded, compiled, general, (low + general * _GENERAL_US, high + general * _GENERAL_US))


def tiles_of(window: Window) -> int:
    """How many tiles a window has at most; 0 where time sets no bound."""
    return 0 if window.longest_us >= LIFETIME_US else -(-window.longest_us // window.tile_us)
