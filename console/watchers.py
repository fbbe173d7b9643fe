"""How the monitors themselves are doing: who has spoken, who is behind, by how many windows, and what of the budget is spent.

Told by the journal and the drift topic, without asking the monitors: one that is dead cannot answer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from samestream.monitors.declared import Calibration, Drift, Parity, Performance
from samestream.monitors.outcome_task import is_asked_for
from samestream.monitors.task import parse
from samestream.schemas.app import App
from samestream.schemas.errors import TransportError
from samestream.streams.engine import journal
from samestream.streams.engine.measures import Measure
from samestream.streams.plan import Plan
from samestream.streams.transport import Transport

log = logging.getLogger("samestream")
WEEK_US = 7 * 86_400_000_000
_AGAIN_S = 5.0
_Windowed = type[Drift] | type[Performance] | type[Calibration]


@dataclass(frozen=True)
class Watcher:
    """One monitor. All times are known time in microseconds UTC.

    known_us : up to which it has spoken, None if it never has. behind_us : how much further what it watches has come.
    missed : whole windows in that, None where it has none. opened : incidents of its model opened in the last week, not
    counting those of other monitors; budget : how many a week were declared
    """

    name: str
    model: str
    known_us: int | None
    behind_us: int
    missed: int | None
    opened: int
    budget: float


class Watchers:
    """Reads on where it has stopped each time it is asked, at most every few seconds. Any thread may ask."""

    def __init__(self, transport: Transport, app: App, plan: Plan) -> None:
        self._transport, self._app, self._plan = transport, app, plan
        self._next: dict[str, dict[int, int]] = {plan.journal: {}, plan.drift: {}}
        self._known_us: dict[str, int] = {}
        self._opened: dict[str, tuple[str, str, int]] = {}  # incident: model, verdict, when
        self._asked_s = float("-inf")
        self._asking = threading.Lock()

    def standings(self) -> list[Watcher]:
        """One for every monitor that is declared."""
        with self._asking:
            self._read()
        watched_us = {
            "vectors": self._known_us.get("features", 0),
            "outcomes": max((us for name, us in self._known_us.items() if name.startswith("outcomes.")), default=0),
        }
        newest_us = max(self._known_us.values(), default=0)
        found = []
        for one in self._app.monitors.values():
            declared = one.__monitors__
            checks = (*declared.features, *declared.scores)
            kinds: list[tuple[str, str, tuple[_Windowed, ...]]] = [(f"monitor.{declared.name}", "vectors", (Drift,))]
            if is_asked_for(one):
                kinds.append((f"monitor.{declared.name}.outcomes", "outcomes", (Performance, Calibration)))
            if any(isinstance(check, Parity) for check in checks):
                kinds.append(("parity", "vectors", ()))
            for name, what, windowed in kinds:
                known_us = self._known_us.get(name)
                behind_us = max(watched_us[what] - (known_us or 0), 0) if watched_us[what] else 0
                lengths = [check.window_us for check in checks if isinstance(check, windowed)]
                mine = [
                    at_us
                    for model, verdict, at_us in self._opened.values()
                    if model == declared.name and at_us > newest_us - WEEK_US and _owner(verdict, declared.name) == name
                ]
                missed = behind_us // min(lengths) if lengths and known_us is not None else None
                found.append(
                    Watcher(name, declared.name, known_us, behind_us, missed, len(mine), declared.alarms_per_week)
                )
        return found

    def measures(self) -> Iterator[Measure]:
        """The same for Prometheus; nothing while no broker answers."""
        try:
            found = self.standings()
        except TransportError as error:
            log.debug("how the monitors are doing is unknown: %s", error.line)
            return
        for one in found:
            labels = {"monitor": one.name, "model": one.model}
            yield Measure("monitor_spoken", "Whether it ever spoke.", labels, one.known_us is not None)
            yield Measure(
                "monitor_behind_seconds",
                "Known time by which it is behind what it watches.",
                labels,
                one.behind_us / 1e6,
            )
            if one.missed is not None:
                yield Measure("monitor_missed_windows", "Whole windows in that.", labels, one.missed)
            yield Measure(
                "monitor_incidents_week", "Incidents it opened in the last week of known time.", labels, one.opened
            )
            yield Measure(
                "monitor_budget_week", "Incidents a week that were declared, of the model.", labels, one.budget
            )

    def _read(self) -> None:
        if time.monotonic() - self._asked_s < _AGAIN_S:
            return
        self._asked_s = time.monotonic()
        for topic, positions in self._next.items():
            for fetched in self._transport.read_all(topic, positions or None):
                positions[fetched.partition.partition] = int(fetched.offsets[-1]) + 1
                for value in fetched.values:
                    self._note(topic, value)

    def _note(self, topic: str, value: bytes | None) -> None:
        if topic == self._plan.drift:
            record = parse(value)
            if record is not None and record.event == "open":
                self._opened[record.incident] = record.subject.split(".")[0], record.verdict, record.opened_at_us
            return
        entry = journal.parse(value)
        if entry is not None:
            known_us = max((part.known_us for part in entry.ranges), default=0)
            self._known_us[entry.processor] = max(known_us, self._known_us.get(entry.processor, 0))


def _owner(verdict: str, model: str) -> str:
    """Which monitor gives a verdict."""
    if verdict == "definition_or_code":
        return "parity"
    return f"monitor.{model}.outcomes" if verdict == "model_aged" else f"monitor.{model}"
