"""A parity that does not hold is an incident on the drift topic: opened once, updated, closed when it holds again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from samestream.monitors.diagnosis import PARITY_BROKEN
from samestream.monitors.incidents import CALM_US, HOUR_US
from samestream.monitors.parity_figures import PathFigures, worst_first
from samestream.monitors.task import make_watch, parse, record_of
from samestream.monitors.vector_parity import ModelParity
from samestream.monitors.watch import IncidentRecord
from samestream.streams.plan import Plan
from samestream.streams.transport import Outgoing, Transport, send_all


def publish(transport: Transport, plan: Plan, monitors: Sequence[Any], found: Mapping[str, ModelParity]) -> int:
    """Write what a comparison means for the incidents of the watched models; returns how many records were written."""
    out: list[Outgoing] = []
    for watched in monitors:
        declared = watched.__monitors__
        name = declared.of.__name__
        part = found.get(name)
        if part is None or not part.compared:
            continue
        before = open_incidents(transport, plan.drift, name)
        if not part.broken:
            out += [_closed(plan.drift, incident, part) for incident in before.values()]
            continue
        for record in _opened(plan, watched, part.compared, part.broken, part.by_feature, part.newest_known_us):
            known = before.get(record.subject)
            if known is not None:
                record = replace(record, incident=known.incident, event="update", opened_at_us=known.opened_at_us)
            out.append(record_of(plan.drift, record))
    if out:
        send_all(transport, out)
    return len(out)


class ParityIncidents:
    """The parity incident of one model while the system runs: at most one is open, whichever paths and features differ.

    It closes once six hours of known time have been compared without a difference, on every path.
    """

    def __init__(self, plan: Plan, watched: type[Any], before: Mapping[str, IncidentRecord]) -> None:
        self._plan, self._watched = plan, watched
        earliest = sorted(before.values(), key=lambda record: (record.opened_at_us, record.incident))
        self.open: IncidentRecord | None = earliest[0] if earliest else None
        self._told: set[str] = set()

    def broken(self, path: str, figures: PathFigures, evidence: Mapping[str, Any]) -> list[IncidentRecord]:
        """Tell of vectors that differ: open the incident, or say what is new, at most hourly where nothing is."""
        told = {f"{path}/{name}" for name in figures.by_feature}
        at_us = max(figures.broken_known_us, 1000)
        said = {
            "path": path,
            "features": {name: figures.features[name].to_json() for name in worst_first(figures.features)},
            "worst_keys": [list(pair) for pair in figures.worst_keys()],
            "missing": figures.missing,
            "served_twice": figures.doubled,
            "compared": figures.compared,
            "mismatched": figures.mismatched,
            **evidence,
        }
        if self.open is None:
            opened = _opened(self._plan, self._watched, figures.compared, figures.mismatched, figures.by_feature, at_us)
            records = [replace(record, evidence={**record.evidence, **said}) for record in opened]
        elif told <= self._told and at_us - self.open.at_us < HOUR_US:
            return []
        else:
            at_us = max(at_us, self.open.at_us)
            records = [replace(self.open, event="update", at_us=at_us, evidence={**self.open.evidence, **said})]
        for record in records:
            self.open = record
        self._told |= told
        return records

    def calm(self, paths: Mapping[str, PathFigures]) -> list[IncidentRecord]:
        """Close the incident where everything has been equal for long enough."""
        if self.open is None:
            return []
        newest_us = min((part.newest_known_us for part in paths.values()), default=0)  # what every path has seen
        broken_us = max((part.broken_known_us for part in paths.values()), default=0)
        if newest_us - max(broken_us, self.open.opened_at_us) < CALM_US:
            return []
        evidence = {
            **self.open.evidence,
            "compared": min((part.compared for part in paths.values()), default=0),
            "open_hours": round((newest_us - self.open.opened_at_us) / HOUR_US, 2),
        }
        closed = replace(self.open, event="close", at_us=newest_us, evidence=evidence)
        self.open = None
        self._told.clear()
        return [closed]


def open_incidents(transport: Transport, topic: str, model: str) -> dict[str, IncidentRecord]:
    """The parity incidents of a model that are open, by subject."""
    latest: dict[str, IncidentRecord] = {}
    for fetched in transport.read_all(topic):
        for record in map(parse, fetched.values):
            if record is not None and record.verdict == PARITY_BROKEN and record.subject.startswith(f"{model}."):
                latest[record.incident] = record
    return {record.subject: record for record in latest.values() if record.event != "close"}


def _opened(
    plan: Plan, watched: type[Any], compared: int, broken: int, by_feature: Mapping[str, int], at_us: int
) -> list[IncidentRecord]:
    """What the watch of a model says of one comparison that found differences."""
    declared = watched.__monitors__
    watch = make_watch(plan, plan.models[declared.of.__name__], declared)
    watch.on_parity(compared, broken, by_feature, at_us)
    return watch.records()


def _closed(topic: str, incident: IncidentRecord, part: ModelParity) -> Outgoing:
    evidence = {**incident.evidence, "compared": part.compared, "mismatched": part.broken}
    at_us = max(part.newest_known_us, incident.at_us)
    return record_of(topic, replace(incident, event="close", at_us=at_us, evidence=evidence))
