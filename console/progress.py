"""What `samestream run` shows: a live table on a terminal, else a plain line for each role every few seconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table

from samestream.console import tables
from samestream.console.crew import Crew, Lags
from samestream.console.reading import instant
from samestream.console.roles import Role

LINE_S = 5.0
SAME_LINE_S = 60.0
"""How often a line is repeated that says nothing new."""
LIVE_S = 0.5


class Progress:
    """Events a second, lag, results, late and dead events, and the known time reached, per role."""

    def __init__(self, roles: Sequence[Role]) -> None:
        self.console: Console = tables.console()
        self._roles = roles
        self._rates: dict[str, float] = {}
        self._counted: dict[str, int] = {}
        self._printed: dict[str, tuple[str, float]] = {}
        self._shown_s = time.monotonic()
        self._live: Live | None = None
        if self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()

    def show(self, crew: Crew, lags: Lags) -> None:
        """Show how things stand, if it is time to."""
        passed_s = time.monotonic() - self._shown_s
        if passed_s < (LIVE_S if self._live else LINE_S):
            return
        self._shown_s = time.monotonic()
        for role in self._roles:
            name, events = role.health.name, role.health.events
            rate = (events - self._counted.get(name, events)) / passed_s
            # half the old rate: a figure that jumps cannot be read
            self._rates[name] = (rate + self._rates.get(name, rate)) / 2 if self._live else rate
            self._counted[name] = events
        if self._live:
            self._live.update(self._table(crew, lags), refresh=True)
            return
        for role in self._roles:
            line, name = self._line(role, lags), role.health.name
            before, printed_s = self._printed.get(name, ("", 0.0))
            if line != before or self._shown_s - printed_s >= SAME_LINE_S:
                print(line, flush=True)
                self._printed[name] = line, self._shown_s

    def close(self) -> None:
        """Give the terminal back."""
        if self._live:
            self._live.stop()

    def finish(self, lags: Lags) -> None:
        """Give the terminal back and say where every role ended."""
        self.close()
        for role in self._roles:
            print(self._line(role, lags, final=True), flush=True)

    def _line(self, role: Role, lags: Lags, final: bool = False) -> str:
        health = role.health
        late, dead = rejected(role)
        pace = f"{health.events:,} events" if final else f"{self._rates.get(health.name, 0.0):,.0f} events/s"
        rest = f", waiting for {', '.join(health.stalled_by)}" if health.stalled_by else ""
        if silent_us := lags.silent_since_us:
            rest += f", disconnected: no broker has answered since {instant(silent_us)}"
        return (
            f"{health.name} {health.state}: {pace}, lag {lags.of(role):,}{self._left(role, lags)}, "
            f"results {health.results:,}, late {late:,}, dead {dead:,}{rest}"
        )

    def _left(self, role: Role, lags: Lags) -> str:
        rate = self._rates.get(role.health.name, 0.0)
        return f" ({lags.of(role) / rate:,.0f} s left)" if rate >= 1 and lags.of(role) > rate else ""

    def _table(self, crew: Crew, lags: Lags) -> Table:
        rows = []
        for role in self._roles:
            health = role.health
            state = f"waits for {', '.join(health.stalled_by)}" if health.stalled_by else health.state
            lag = f"{lags.of(role):,}{self._left(role, lags)}"
            known = instant(health.known_us or None)
            rate = round(self._rates.get(health.name, 0.0))
            rows.append((health.name, state, rate, lag, health.results, *rejected(role), known))
        numbers = ("events/s", "lag", "results", "late", "dead")
        silent_us = lags.silent_since_us
        state = f"no broker has answered since {instant(silent_us)}" if silent_us else crew.state
        return tables.table(("role", "state", *numbers, "known"), rows, numbers, title=f"{state}; Ctrl-C ends")


def rejected(role: Role) -> tuple[int, int]:
    """How many late and dead events a role has judged."""
    balances = list(role.health.balances.values())
    return sum(part.late for part in balances), sum(part.dead for part in balances)


_RAISED = ("ADDPARTS", "TXNERR", "FATAL")
"""What librdkafka logs of a transaction that fails; it is raised as well, and told once."""


class _Lines(logging.Handler):
    """Log records as lines that a live table does not garble."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "samestream.kafka" and record.getMessage().startswith(_RAISED):
            return
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        self._console.print(prefix + record.getMessage(), markup=False, soft_wrap=True)


@contextmanager
def log_to(console: Console) -> Iterator[None]:
    """Show what samestream logs while this lasts."""
    logger, handler = logging.getLogger("samestream"), _Lines(console)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
