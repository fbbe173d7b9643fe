"""Tables on the terminal, and the same as plain wide text where there is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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
    marks = [
        (one.name, part, instant(time_us), _span((one.known_us - time_us) / 1e6), one.holding.get(part, ""))
        for one in standings
        if one.known_us is not None
        for part, time_us in sorted(one.watermarks_us.items())
    ]
    if marks:
        out.print()
        out.print(table(("processor", "partition", "watermark", "delay", "holds the others back"), marks, ("delay",)))
    for one in standings:
        for part, why in sorted(one.holding.items()):
            out.print(f"\n{one.name} waits for {part}: {why}; nothing known later can pass it", markup=False)
        for part, time_us in sorted(one.watermarks_us.items()):
            if one.known_us is not None and time_us > one.known_us:
                span = _span((time_us - one.known_us) / 1e6)
                out.print(
                    f"\n{one.name}: an event time of {part} lies {span} ahead of its record; until others reach it, what lies"
                    " behind it by more than the lateness is late. Hint: is a producer's clock ahead? A shorter `ahead=`"
                    " of the event has such events dead instead",
                    markup=False,
                    soft_wrap=True,
                )


def show_running(found: Iterable[Mapping[str, Any]]) -> None:
    """Print what the processes of this machine say of themselves; see `health.report`."""
    rows = []
    for process in found:
        for name, role in process["roles"].items():
            waits = ", ".join(f"{stall['partition']} ({stall['why']})" for stall in role["stalls"])
            state = role["state"] + (f", waits for {waits} since {_span(role['stalled_seconds'])}" if waits else "")
            rate, batch = role["events_per_s"], f"{1e3 * role['batch_seconds']:,.0f}"
            delay = max(role["watermark_delay_seconds"].values(), default=None)
            held = f"{role['held_bytes'] / 1e6:,.1f}"
            rows.append(
                (
                    name,
                    str(process["pid"]),
                    state,
                    f"{rate:,.0f}",
                    batch,
                    role["lag"],
                    held,
                    _span(delay),
                    role["snapshot_at"] or "-",
                )
            )
    if rows:
        numbers = ("events/s", "batch ms", "lag", "held MB", "watermark delay")
        out = console()
        out.print()
        out.print(table(("running here", "pid", "state", *numbers, "snapshot"), rows, numbers))


def _span(seconds: float | None) -> str:
    """A stretch of time for people.

    >>> _span(90.4), _span(7_300), _span(200_000), _span(-1), _span(None)
    ('1m 30s', '2h 1m', '2d 7h', '-1s', '-')
    """
    if seconds is None:
        return "-"
    sign, whole = ("-" if seconds < 0 else ""), round(abs(seconds))
    parts = [(whole // 86_400, "d"), (whole // 3_600 % 24, "h"), (whole // 60 % 60, "m"), (whole % 60, "s")]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return sign + " ".join(f"{number}{unit}" for number, unit in parts[:2])
