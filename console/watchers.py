"""How the roles are doing that somebody relies on: who has spoken, who is behind, by how many windows, what of the budget is spent.

Told by the journal, the drift topic and the feature log, without asking the roles: one that is dead cannot answer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from samestream.console import roles
from samestream.console.reading import instant
from samestream.console.spending import WEEK_US, Spending, spending
from samestream.console.unread import Span, Unread
from samestream.monitors import budget_state
from samestream.monitors.budget_state import BudgetState
from samestream.monitors.continuous_parity import watched_models
from samestream.monitors.declared import Calibration, Drift, Performance
from samestream.monitors.profile_writer import subjects
from samestream.monitors.task import parse
from samestream.schemas.app import App
from samestream.schemas.errors import SamestreamError, TransportError
from samestream.streams.engine import journal
from samestream.streams.engine.measures import Measure
from samestream.streams.engine.task import Task
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.log_writer import logged_topics
from samestream.streams.plan import Plan
from samestream.streams.transport import Partition, Transport

log = logging.getLogger("samestream")
_AGAIN_S = 5.0
_LOG_AGAIN_S = 60.0
"""The log's manifests may lie on another continent."""
_Windowed = type[Drift] | type[Performance] | type[Calibration]


@dataclass(frozen=True)
class Watcher:
    """One role. All times are known time in microseconds UTC.

    model : whose, empty for a role of all. known_us : up to which it has spoken, None if it never has.
    behind_us : how much further what it reads has come; of one that never spoke, over how long what lies there stretches.
    is_waiting : it has never spoken, and there is nothing that it could have spoken of. missed : whole windows that it is
    behind, None where it has none. opened : incidents of its model opened in the last week, not counting those of other
    monitors, None where it opens none; budget : how many a week were declared for all of them together
    """

    name: str
    model: str
    known_us: int | None
    behind_us: int
    is_waiting: bool
    missed: int | None = None
    opened: int | None = None
    budget: float | None = None


@dataclass(frozen=True)
class _Kind:
    """What a role reads, and for how long windows of it are."""

    name: str
    topics: tuple[str, ...]
    model: str = ""
    lengths_us: tuple[int, ...] = ()
    budget: float | None = None


@dataclass
class _Stand:
    """What a role's journal entries, or its files, say of it."""

    known_us: int | None = None
    ends: dict[Partition, int] = field(default_factory=dict)


class Watchers:
    """Reads on where it has stopped each time it is asked, at most every few seconds. Any thread may ask.

    log_uri : of the feature log; without, nothing is told of the role that writes it
    """

    def __init__(self, transport: Transport, app: App, plan: Plan, log_uri: str = "") -> None:
        self._transport, self._app, self._plan = transport, app, plan
        # versions of models are stamped with when they apply from, and pulses with now, wherever a role stands
        self._timeless = frozenset({plan.registry, plan.pulse})
        self._log = FeatureLog(log_uri) if log_uri else None
        self._unread = Unread(transport)
        self._next: dict[str, dict[int, int]] = {plan.journal: {}, plan.drift: {}}
        self._stands: dict[str, _Stand] = {}
        self._budgets: dict[str, BudgetState] = {}
        self._opened: dict[str, tuple[str, str, int]] = {}  # incident: model, verdict, when
        self._asked_s = self._looked_s = self._logged_s = float("-inf")
        self._spans: dict[str, Span | None] = {}
        self._asking = threading.Lock()
        self._kinds = tuple(self._declared())

    def standings(self) -> list[Watcher]:
        """One for every role that somebody relies on: those of the stream, then those that watch."""
        with self._asking:
            self._read()
            self._look_at_unread()
            return [self._standing(kind, self._spans.get(kind.name)) for kind in self._kinds]

    def spendings(self) -> list[Spending]:
        """One for every class of monitors."""
        with self._asking:
            self._read()
            return [
                spending(name, one.__monitors__, self._opened_of(one.__monitors__.name), self._budgets, self._now_us)
                for name, one in self._app.monitors.items()
            ]

    def measures(self) -> Iterator[Measure]:
        """The same for Prometheus; nothing while no broker answers."""
        try:
            found, spent = self.standings(), self.spendings()
        except TransportError as error:
            log.debug("how the roles are doing is unknown: %s", error.line)
            return
        for one in found:
            labels = {"monitor": one.name, "model": one.model}
            has_spoken = one.known_us is not None or one.is_waiting
            says = "Whether it ever spoke, or there is nothing yet that it could speak of."
            yield Measure("monitor_spoken", says, labels, has_spoken)
            says = "Known time by which it is behind what it reads."
            yield Measure("monitor_behind_seconds", says, labels, one.behind_us / 1e6)
            if one.missed is not None:
                yield Measure("monitor_missed_windows", "Whole windows in that.", labels, one.missed)
            if one.opened is not None and one.budget is not None:
                says = "Incidents it opened in the last week of known time."
                yield Measure("monitor_incidents_week", says, labels, one.opened)
                says = "Incidents a week that were declared, of the model."
                yield Measure("monitor_budget_week", says, labels, one.budget)
        for spent_one in spent:
            yield from spent_one.measures()

    @property
    def _now_us(self) -> int:
        return max((stand.known_us or 0 for stand in self._stands.values()), default=0)

    def _opened_of(self, model: str, owner: str | None = None) -> list[int]:
        return [
            at_us
            for of, verdict, at_us in self._opened.values()
            if of == model and (owner is None or _owner(verdict, model) == owner)
        ]

    def _standing(self, kind: _Kind, unread: Span | None) -> Watcher:
        known_us = self._stands.get(kind.name, _Stand()).known_us
        behind_us = 0
        if unread is not None:
            # what is unread may be of before it last spoke: it came by a way that was held up
            from_us = unread.oldest_us if known_us is None else min(known_us, unread.oldest_us)
            behind_us = max(unread.newest_us - from_us, 0)
        missed = behind_us // min(kind.lengths_us) if kind.lengths_us and known_us is not None else None
        opened = None
        if kind.budget is not None:
            opened = sum(at_us > self._now_us - WEEK_US for at_us in self._opened_of(kind.model, kind.name))
        is_waiting = known_us is None and unread is None
        return Watcher(kind.name, kind.model, known_us, behind_us, is_waiting, missed, opened, kind.budget)

    def _declared(self) -> Iterator[_Kind]:
        plan, monitors = self._plan, list(self._app.monitors.values())
        yield _Kind("features", tuple(dict.fromkeys(part.topic for part in plan.inputs.values())))
        for role in ("scorer", "outcomes"):
            for task in roles.tasks(role, self._app, plan):
                yield _Kind(task.name, self._topics(task), task.name.partition(".")[2])
        if self._log is not None:
            yield _Kind("log", tuple(logged_topics(plan)))
        if asked := subjects(plan, monitors):
            yield _Kind("profiles", tuple(asked))
        declared = {one.__monitors__.name: one.__monitors__ for one in monitors}
        for task in roles.tasks("monitor", self._app, plan):
            model = task.name.split(".")[1]
            checks = (*declared[model].features, *declared[model].scores)
            windowed = (Performance, Calibration) if task.name.endswith(".outcomes") else (Drift,)
            lengths = tuple(check.window_us for check in checks if isinstance(check, windowed))
            yield _Kind(task.name, self._topics(task), model, lengths, declared[model].alarms_per_week)
        for model in watched_models(monitors)[0]:
            yield _Kind("parity", (plan.models[model].topics["features"],), model, (), declared[model].alarms_per_week)

    def _topics(self, task: Task) -> tuple[str, ...]:
        return tuple(dict.fromkeys(part.topic for part in task.inputs if part.topic not in self._timeless))

    def _read(self) -> None:
        if time.monotonic() - self._asked_s < _AGAIN_S:
            return
        self._asked_s = time.monotonic()
        for topic, positions in self._next.items():
            for fetched in self._transport.read_all(topic, positions or None):
                positions[fetched.partition.partition] = int(fetched.offsets[-1]) + 1
                for value in fetched.values:
                    self._note(topic, value)

    def _look_at_unread(self) -> None:
        if time.monotonic() - self._looked_s < _AGAIN_S:
            return
        self._looked_s = time.monotonic()
        self._look_at_log()
        counts = self._transport.topics()
        positions_of: dict[str, dict[Partition, int]] = {}
        for kind in self._kinds:
            ends = self._stands.get(kind.name, _Stand()).ends
            every = [Partition(topic, number) for topic in kind.topics for number in range(counts.get(topic, 0))]
            positions_of.setdefault(kind.name, {}).update({part: ends.get(part, 0) for part in every})
        self._spans = self._unread.spans(positions_of)

    def _note(self, topic: str, value: bytes | None) -> None:
        if topic == self._plan.drift:
            record = parse(value)
            if record is not None and record.event == "open":
                self._opened[record.incident] = record.subject.split(".")[0], record.verdict, record.opened_at_us
            return
        entry = journal.parse(value)
        if entry is None:
            return
        stand = self._stands.setdefault(entry.processor, _Stand())
        known_us = [part.known_us for part in entry.ranges if part.partition.topic not in self._timeless]
        if known_us:
            stand.known_us = max(stand.known_us or 0, *known_us)
        stand.ends.update(journal.ends([entry]))
        for switch in entry.switches:
            if (state := budget_state.parse(switch)) is not None:
                self._budgets[entry.processor] = state

    def _look_at_log(self) -> None:
        if self._log is None or time.monotonic() - self._logged_s < _LOG_AGAIN_S:
            return
        self._logged_s = time.monotonic()
        try:
            newest_of = {topic: self._log.newest(topic) for topic in logged_topics(self._plan)}
        except (
            SamestreamError,
            OSError,
        ) as error:  # where it stood before is told meanwhile, and so the longer the more behind
            log.warning("how far the feature log has come is unknown: %s", error)
            return
        stand = self._stands["log"] = _Stand()
        for topic, newest in newest_of.items():
            if newest is None:
                continue
            stand.ends.update({Partition(topic, number): end for number, end in newest.next_offsets.items()})
            for file in newest.files:
                stand.known_us = max(stand.known_us or 0, file.known_us[1])


def _owner(verdict: str, model: str) -> str:
    """Which monitor gives a verdict."""
    if verdict == "definition_or_code":
        return "parity"
    return f"monitor.{model}.outcomes" if verdict == "model_aged" else f"monitor.{model}"


def lines(found: Sequence[Watcher]) -> Iterator[str]:
    """How each role is doing, for people."""
    for one in found:
        missed = "" if not one.missed else f", {one.missed} windows missed"
        if one.is_waiting:
            yield f"{one.name}: nothing to read yet"
        elif one.known_us is None:
            yield f"{one.name}: has never spoken, {one.behind_us / 1e6:,.0f} s of what it reads lie there"
        elif one.behind_us:
            yield f"{one.name}: spoke up to {instant(one.known_us)}, {one.behind_us / 1e6:,.0f} s behind what it reads{missed}"
        else:
            yield f"{one.name}: spoke up to {instant(one.known_us)}"
