"""A parity that does not hold is an incident: it is told on the drift topic like any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from samestream.monitors.task import make_watch, record_of
from samestream.monitors.vector_parity import ModelParity
from samestream.streams.plan import Plan
from samestream.streams.transport import Transport


def publish(transport: Transport, plan: Plan, monitors: Sequence[Any], found: Mapping[str, ModelParity]) -> int:
    """Write an incident for every watched model whose vectors differ; returns how many records were written."""
    out = []
    for watched in monitors:
        declared = watched.__monitors__
        name = declared.of.__name__
        part = found.get(name)
        if part is None or not part.broken:
            continue
        watch = make_watch(plan, plan.models[name], declared)
        watch.on_parity(part.compared, part.broken, part.by_feature, part.newest_known_us)
        out += [record_of(plan.drift, record) for record in watch.records()]
    if out:
        writer = transport.writer()
        try:
            writer.send(out)
            writer.flush()
        finally:
            writer.close()
    return len(out)
