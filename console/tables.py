"""Tables on the terminal, and the same as plain wide text where there is none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from samestream.console.reading import instant
from samestream.console.standing import Standing

WIDE = 200
"""Columns where the output is a file or a pipe: nothing is cut to fit a screen."""


def console() -> Console:
    """A console on standard output as it is now."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=WIDE)


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], numbers: Iterable[str] = (), title: str = ""
) -> Table:
    """A table; the columns named in `numbers` are set right and get thousands separators."""
    right = set(numbers)
    made = Table(*(), title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left", overflow="fold", no_wrap=name in right)
    for row in rows:
        made.add_row(*(_text(cell) for cell in row))
    return made


def _text(cell: object) -> str:
    text = f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else str(cell)
    return text.replace("[", "\\[")  # rich reads brackets as markup


def show_standings(found: Iterable[Standing]) -> None:
    """Print how far processors have come: a line each, then one per topic."""
    out = console()
    standings = list(found)
    out.print()
    out.print(
        table(
            ("processor", "batches", "results", "lag", "known"),
            [(one.name, one.batches, one.results, one.lag, instant(one.known_us)) for one in standings],
            ("batches", "results", "lag"),
        )
    )
    rows: list[tuple[object, ...]] = []
    for one in standings:
        for topic, partitions in one.partitions.items():
            balance = one.balances.get(topic)
            counts = (balance.applied, balance.late, balance.dead) if balance else ("-", "-", "-")
            rows.append((one.name, topic, partitions, *counts))
    out.print()
    numbers = ("partitions", "applied", "late", "dead")
    out.print(table(("processor", "topic", *numbers), rows, numbers))
