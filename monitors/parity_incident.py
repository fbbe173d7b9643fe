"""A parity that does not hold is an incident on the drift topic: opened once, updated, closed when it holds again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from samestream.monitors.diagnosis import PARITY_BROKEN
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
        before = _open(transport, plan.drift, name)
        if not part.broken:
            out += [_closed(plan.drift, incident, part) for incident in before.values()]
            continue
        watch = make_watch(plan, plan.models[name], declared)
        watch.on_parity(part.compared, part.broken, part.by_feature, part.newest_known_us)
        for record in watch.records():
            known = before.get(record.subject)
            if known is not None:
                record = replace(record, incident=known.incident, event="update", opened_at_us=known.opened_at_us)
            out.append(record_of(plan.drift, record))
    if out:
        send_all(transport, out)
    return len(out)


def _open(transport: Transport, topic: str, model: str) -> dict[str, IncidentRecord]:
    """The parity incidents of a model that are open, by subject."""
    latest: dict[str, IncidentRecord] = {}
    for fetched in transport.read_all(topic):
        for record in map(parse, fetched.values):
            if record is not None and record.verdict == PARITY_BROKEN and record.subject.startswith(f"{model}."):
                latest[record.incident] = record
    return {record.subject: record for record in latest.values() if record.event != "close"}


def _closed(topic: str, incident: IncidentRecord, part: ModelParity) -> Outgoing:
    evidence = {**incident.evidence, "compared": part.compared, "mismatched": part.broken}
    at_us = max(part.newest_known_us, incident.at_us)
    return record_of(topic, replace(incident, event="close", at_us=at_us, evidence=evidence))
