"""The events behind one served value: what lay in its windows, as the feature log holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from samestream.monitors.diagnosis import instant
from samestream.monitors.lateness_skew import Events, contributes, key_codes, parts_of, window_starts
from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.plan import Input, ModelPlan, Plan

NEWEST = 5


def events_behind(
    plan: Plan, model: ModelPlan, feature: str, trigger: tuple[str, int, int], log: FeatureLog
) -> dict[str, Any] | None:
    """How many events, by topic, lie in the windows of a feature at a trigger, and the newest five of each.

    Those known after the trigger are left out: they can be in no vector, and how many there are depends on when one asks. Where
    keys are what a reference table says, there is nothing to tell. None where the log does not hold the trigger.
    trigger : topic, partition, offset
    """
    asked = _row(plan.inputs[model.trigger], trigger, log)
    if asked is None:
        return None
    found: dict[str, Any] = {}
    for part in parts_of(plan, model, model.outputs[feature]):
        table = plan.tables[part.lookup.table]
        source = plan.inputs[table.event]
        if not (set(table.by) <= set(source.columns) and set(part.lookup.keys) <= set(asked.table.column_names)):
            continue
        at_us = int(asked.time_us[0])
        window = table.windows[table.aggregates[part.aggregate].window].window
        start_us = int(window_starts(window, asked.time_us)[0])
        ahead_us = source.gate.ahead_us if source.gate else 0
        # an event is known at the earliest `ahead` before it happens
        from_us = start_us - ahead_us if not source.is_table and start_us > 0 else None
        events = _events(source, log.read(source.topic, known_from_us=from_us))
        kinds = [cols.ARROW[kind] for kind in table.key_kinds]
        asking, having = key_codes(asked.table, part.lookup.keys, events.table, table.by, kinds)
        inside = (having == asking[0]) & (asking[0] >= 0) & (events.time_us < at_us) & (events.time_us >= start_us)
        inside &= events.known_us <= asked.known_us[0]
        rows = np.flatnonzero(inside & contributes(table, part.aggregate, events))
        told = found.setdefault(source.topic, {"events": 0, "newest": []})
        if len(rows) <= told["events"]:
            continue  # several aggregates read the same events: the widest is told
        newest = rows[np.argsort(events.time_us[rows], kind="stable")][-NEWEST:]
        told["events"] = len(rows)
        told["newest"] = [_shown(events, row) for row in newest.tolist()]
    return found


def _row(source: Input, trigger: tuple[str, int, int], log: FeatureLog) -> Events | None:
    table = log.read(source.topic)
    mine = np.flatnonzero((table["_partition"].to_numpy() == trigger[1]) & (table["_offset"].to_numpy() == trigger[2]))
    return _events(source, table.take(mine)) if len(mine) else None


def _events(source: Input, table: pa.Table) -> Events:
    known_us = cols.from_arrow(table["_known"], Kind.TIME).values
    time_us = cols.from_arrow(table[source.time], Kind.TIME).values if source.time else known_us
    return Events(source, table, time_us, known_us, np.arange(len(table)))


def _shown(events: Events, row: int) -> Mapping[str, Any]:
    fields = {name: events.table[name][row].as_py() for name in events.input.columns}
    said = {
        name: value if isinstance(value, int | float | str | None) else str(value) for name, value in fields.items()
    }
    return {"place": events.place(row), "at": instant(int(events.time_us[row])), **said}
