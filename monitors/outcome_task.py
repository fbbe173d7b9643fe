"""The task that watches outcomes: is a model still as good as it was? Its verdicts go to the drift topic.

It reads that topic, too: while another incident of its model is open, worse predictions are explained by that. So it sees its own
records once more, and passes them over; no processor of features, scores or outcomes reads the topic.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from samestream.monitors.budget import shortest_days
from samestream.monitors.budget_state import BudgetState, FamilyState
from samestream.monitors.declared import Calibration, Declared, Performance
from samestream.monitors.incidents import DAY_US, Lineage
from samestream.monitors.kept_watch import KeptWatch
from samestream.monitors.outcome_watch import OutcomeWatch
from samestream.monitors.task import record_of
from samestream.schemas import records
from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.engine.clock import Clocks
from samestream.streams.engine.measures import Measure
from samestream.streams.engine.order import Batch
from samestream.streams.engine.task import Emitted
from samestream.streams.plan import Input, Plan
from samestream.streams.wire.decode import vector_input

_INCIDENT_COLUMNS = {
    "incident": Kind.STRING, "event": Kind.STRING, "subject": Kind.STRING, "verdict": Kind.STRING, "opened_at": Kind.TIME,
    "at": Kind.TIME,
}  # fmt: skip


def is_asked_for(watched: type[Any]) -> bool:
    """Whether a monitor declares `performance()` or `calibration()`."""
    declared: Declared = watched.__monitors__
    return any(isinstance(check, Performance | Calibration) for check in declared.scores)


class OutcomeMonitorTask(KeptWatch[OutcomeWatch]):
    """Watches the outcomes of one model. See `processor.Task`."""

    walked_bytes = 16 * 1024 * 1024

    def __init__(self, plan: Plan, watched: type[Any]) -> None:
        declared: Declared = watched.__monitors__
        model = plan.models[declared.name]
        self.name = f"monitor.{model.name}.outcomes"
        self.fingerprint = plan.fingerprint
        self._drift, self._model = plan.drift, model
        self.inputs: tuple[Input, ...] = (
            vector_input("outcomes", model.topics["outcomes"], records.OUTCOME),
            Input("incidents", plan.drift, records.INCIDENT, _INCIDENT_COLUMNS, frozenset(), "", ""),
        )
        labels = plan.events[model.label.event].gate
        settle_us = min(labels.lateness_us if labels is not None else 0, DAY_US)
        self._watch = OutcomeWatch(Lineage(model.name, tuple(model.outputs), {}), model.output, declared, settle_us)
        self._opened = 0
        self._known_us = self._told_day = 0

    def process(self, batch: Batch, clocks: Clocks) -> Emitted:
        """Apply a judged batch."""
        found: list[tuple[int, str, dict[str, Any]]] = []
        for name in ("outcomes", "incidents"):
            places, columns = batch.applied(name)
            rows = zip(*(cols.to_python(column) for column in columns.values()), strict=True)
            found += [
                (place, name, dict(zip(columns, row, strict=True)))
                for place, row in zip(places.tolist(), rows, strict=True)
            ]
        for place, name, row in sorted(found, key=lambda one: one[0]):
            self._known_us = max(self._known_us, int(batch.known_us[place]))
            if name == "outcomes":
                self._watch.on_outcome(int(batch.known_us[place]), row)
            else:
                self._watch.on_incident(*(row[column] for column in _INCIDENT_COLUMNS))
        told = self._watch.records()
        self._opened += sum(record.event == "open" for record in told)
        out = [record_of(self._drift, record) for record in told]
        return Emitted(out, len(out), self._budget_told())

    def _budget_told(self) -> tuple[str, ...]:
        """What its part of the budget rests on, for the journal, once a day of known time."""
        day = self._known_us // DAY_US
        if day == self._told_day:
            return ()
        self._told_day = day
        watch = self._watch
        state = FamilyState("outcomes", watch.per_week, watch.learned_days, shortest_days(watch.per_week))
        return (BudgetState(self._known_us, None, (state,)).to_json(),)

    def measures(self) -> Iterable[Measure]:
        """How good the model was on the newest complete window of labels, and whether there is history enough to alarm."""
        model = {"model": self._model.name}
        for name, value in list(self._watch.newest.items()):
            if value is not None and name != "label_time_us":
                says = "Of the newest complete window of label time, by figure."
                yield Measure("model_performance", says, {**model, "figure": name}, float(value))
        monitor = {"monitor": self.name}
        yield Measure("monitor_learned_days", "Good days of history that it has.", monitor, self._watch.learned_days)
        yield Measure(
            "monitor_needed_days",
            "Good days of history below which it does not alarm.",
            monitor,
            shortest_days(self._watch.per_week),
        )
