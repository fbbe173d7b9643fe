"""A parity that does not hold is an incident on the drift topic: opened once, updated, closed when it holds again.

Both comparisons (replay, SQL as known) stand in its evidence side by side, each under its name; what one of them says anew
replaces what it said before, and nothing of the other. Figures are those since it began: a rate over all that was ever served
would hide a fault that spoils every vector of today.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from samestream.monitors.diagnosis import PARITY_BROKEN, command, instant
from samestream.monitors.incidents import CALM_US, DAY_US, HOUR_US
from samestream.monitors.parity_figures import PathFigures, Spell, with_examples
from samestream.monitors.task import make_watch, parse, record_of
from samestream.monitors.vector_parity import ModelParity
from samestream.monitors.watch import IncidentRecord
from samestream.schemas.errors import ArtifactError
from samestream.streams.models import artifact, model_registry
from samestream.streams.plan import Plan
from samestream.streams.transport import Outgoing, Transport, send_all

REPLAY, AS_KNOWN, SKEW = "replay", "as_known", "point_in_time"
"""The paths by which vectors are compared; the last is a figure and opens no incident."""
EXAMPLES_TRACED = 2
"""Of so many examples of each path the events behind them are told."""
Trace = Callable[[Mapping[str, Any]], Any]
"""The events behind an example; None while they cannot be told."""


def publish(transport: Transport, plan: Plan, monitors: Sequence[Any], found: Mapping[str, ModelParity]) -> int:
    """Write what a comparison means for the incidents of the watched models; returns how many records were written."""
    out: list[Outgoing] = []
    for watched in monitors:
        name = watched.__monitors__.of.__name__
        part = found.get(name)
        if part is None or not part.compared:
            continue
        told = told_of(transport, plan.drift, name)
        before = {record.subject: record for record in told.values() if record.event != "close"}
        if not part.broken:
            out += [_closed(plan.drift, incident, part) for incident in before.values()]
            continue
        spells = {path: spell for path, spell in part.spells.items() if spell is not None}
        if not spells:
            continue  # what differs was told, and its incident is over
        incidents = ParityIncidents(transport, plan, watched, before)
        records = []
        for path, spell in spells.items():
            counts = {REPLAY: (part.compared, part.mismatched)}.get(
                path, (part.as_known_compared, part.as_known_mismatched)
            )
            figures = PathFigures(*counts, broken_known_us=part.newest_known_us, spell=spell)
            records += incidents.broken(path, figures, at_once=True)
        # of both comparisons in one: the last record holds what those before it say
        out += [record_of(plan.drift, replace(record, event=records[0].event)) for record in records[-1:]]
    if out:
        send_all(transport, out)
    return len(out)


class ParityIncidents:
    """The parity incident of one model while the system runs: at most one is open, whichever paths and features differ.

    It closes once six hours of known time have been compared without a difference, on every path.
    """

    def __init__(
        self, transport: Transport, plan: Plan, watched: type[Any], before: Mapping[str, IncidentRecord]
    ) -> None:
        self._transport, self._plan, self._watched = transport, plan, watched
        earliest = sorted(before.values(), key=lambda record: (record.opened_at_us, record.incident))
        self.open: IncidentRecord | None = earliest[0] if earliest else None

    def broken(self, path: str, figures: PathFigures, *, at_once: bool = False) -> list[IncidentRecord]:
        """Tell of vectors that differ: open the incident, or say what is new; at most hourly where nothing is, or at once."""
        spell = figures.spell
        if spell is None:
            return []
        at_us = max(figures.broken_known_us, 1000)
        before: Mapping[str, Any] = self.open.evidence.get(path, {}) if self.open is not None else {}
        if self.open is not None:
            is_new = not set(spell.features) <= set(before.get("features", {}))
            if not is_new and not at_once and at_us - self.open.at_us < HOUR_US:
                return []
            at_us = max(at_us, self.open.at_us)
        said = spell.evidence()
        said["examples"] = with_examples(before.get("examples", []), said["examples"])
        said["since_the_definition_changed"] = {
            "compared": figures.compared,
            "mismatched": figures.mismatched,
            "rate": round(figures.mismatched / max(figures.compared, 1), 6),
        }
        self.open = self._record(path, said, spell, at_us)
        return [self.open] if self.open is not None else []

    def trace(self, events_behind: Trace) -> list[IncidentRecord]:
        """Tell the events behind the first examples, of those for which they were not told and can be told now."""
        if self.open is None:
            return []
        more: dict[str, Any] = {}
        for path in (REPLAY, AS_KNOWN):
            said = self.open.evidence.get(path, {})
            examples = [self._traced(one, events_behind) for one in said.get("examples", [])[:EXAMPLES_TRACED]]
            if examples != said.get("examples", [])[:EXAMPLES_TRACED]:
                more[path] = {**said, "examples": [*examples, *said["examples"][EXAMPLES_TRACED:]]}
        if not more:
            return []
        self.open = replace(self.open, event="update", evidence={**self.open.evidence, **more})
        return [self.open]

    @staticmethod
    def _traced(example: dict[str, Any], events_behind: Trace) -> dict[str, Any]:
        events = None if "events" in example else events_behind(example)
        return example if events is None else {**example, "events": events}

    def calm(self, paths: Mapping[str, PathFigures]) -> list[IncidentRecord]:
        """Close the incident where everything has been equal for long enough."""
        if self.open is None:
            return []
        newest_us = min((part.newest_known_us for part in paths.values()), default=0)  # what every path has seen
        broken_us = max((part.broken_known_us for part in paths.values()), default=0)
        if newest_us - max(broken_us, self.open.opened_at_us) < CALM_US:
            return []
        at_us = max(newest_us, self.open.at_us)
        open_hours = round((at_us - self.open.opened_at_us) / HOUR_US, 2)
        evidence = {**self.open.evidence, "at": instant(at_us), "open_hours": open_hours}
        closed = replace(self.open, event="close", at_us=at_us, evidence=evidence)
        self.open = None
        for part in paths.values():
            part.spell = None
        return [closed]

    def _record(self, path: str, said: Mapping[str, Any], spell: Spell, at_us: int) -> IncidentRecord | None:
        """The record that says so: the incident opened, or the open one with what is known of it by now."""
        known, plan, declared = self.open, self._plan, self._watched.__monitors__
        model = plan.models[declared.of.__name__]
        opened_us = known.opened_at_us if known is not None else max(spell.began_us, 1000)
        watch = make_watch(plan, model, declared)
        for version, since_us, reference in _reference(self._transport, plan, model.name, opened_us):
            watch.on_model(version, since_us, reference)
        affected = known.evidence.get("affected", []) if known is not None else []
        counts = {name: part.mismatched for name, part in spell.features.items()} | dict.fromkeys(affected, 1)
        watch.on_parity(max(spell.compared, spell.mismatched), spell.mismatched, counts, opened_us)
        for record in watch.records():
            evidence = {key: value for key, value in record.evidence.items() if key not in _OF_ONE_PATH}
            evidence |= {"at": instant(at_us), "path": path, path: said}
            if known is None:
                told = told_of(self._transport, plan.drift, model.name).values()
                lately = sum(opened_us - 28 * DAY_US < one.opened_at_us <= opened_us for one in told)
                evidence["incidents_of_28_days"] = lately + 1
                return replace(record, at_us=at_us, evidence=evidence)
            same: dict[str, Any] = {"opened_at": instant(known.opened_at_us), "command": command(known.incident)}
            severity = max(known.severity, record.severity)
            same["incidents_of_28_days"] = known.evidence.get("incidents_of_28_days", 1)
            merged = {**known.evidence, **evidence, **same}
            return replace(known, event="update", severity=severity, at_us=at_us, evidence=merged)
        return None


_OF_ONE_PATH = ("compared", "mismatched", "by_feature")


def _reference(
    transport: Transport, plan: Plan, model: str, at_us: int
) -> Sequence[tuple[str, int, Mapping[str, Any]]]:
    """What the artifact says of the version that applied just before an instant, where there is one and it can be had."""
    applying = [
        one
        for one in model_registry.versions(transport, plan.registry)
        if one.model == model and one.slot == model_registry.CHAMPION and one.applies_from_us < at_us
    ]
    if not applying:
        return []
    served = max(applying, key=lambda one: one.applies_from_us)
    try:
        loaded = artifact.load(served.artifact, served.digest)
    except ArtifactError:
        return []
    return [(loaded.version, served.applies_from_us, loaded.reference)]


def told_of(transport: Transport, topic: str, model: str) -> dict[str, IncidentRecord]:
    """The parity incidents of a model as they were last told, by their ids."""
    latest: dict[str, IncidentRecord] = {}
    for fetched in transport.read_all(topic):
        for record in map(parse, fetched.values):
            if record is not None and record.verdict == PARITY_BROKEN and record.subject.startswith(f"{model}."):
                latest[record.incident] = record
    return latest


def open_incidents(transport: Transport, topic: str, model: str) -> dict[str, IncidentRecord]:
    """The parity incidents of a model that are open, by subject."""
    return {record.subject: record for record in told_of(transport, topic, model).values() if record.event != "close"}


def closed_us(transport: Transport, topic: str, model: str) -> int:
    """When the last parity incident of a model was closed, in known time; 0 where none was."""
    told = told_of(transport, topic, model).values()
    return max((record.at_us for record in told if record.event == "close"), default=0)


def _closed(topic: str, incident: IncidentRecord, part: ModelParity) -> Outgoing:
    at_us = max(part.newest_known_us, incident.at_us)
    open_hours = round((at_us - incident.opened_at_us) / HOUR_US, 2)
    evidence = {**incident.evidence, "at": instant(at_us), "open_hours": open_hours}
    return record_of(topic, replace(incident, event="close", at_us=at_us, evidence=evidence))
