"""The monitors' task: feeds a watch with what flows, and writes its verdicts to the drift topic.

It reads topics that processors write and never writes to one that a processor reads.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samestream.monitors.budget_state import BudgetState, FamilyState
from samestream.monitors.declared import Declared, Silence
from samestream.monitors.families import families
from samestream.monitors.incidents import DAY_US
from samestream.monitors.kept_watch import KeptWatch
from samestream.monitors.watch import IncidentRecord, Lineage, SourceSpec, Watch
from samestream.schemas import records
from samestream.schemas.avro import Codec
from samestream.schemas.errors import ArtifactError
from samestream.schemas.expressions import Kind
from samestream.streams.columns import ColumnData, Columns, Int64Array
from samestream.streams.engine.clock import Clocks
from samestream.streams.engine.measures import Measure, foreign_vectors
from samestream.streams.engine.order import DEAD, Batch
from samestream.streams.engine.pulse import PULSES, pulse_input
from samestream.streams.engine.task import Emitted
from samestream.streams.models import artifact
from samestream.streams.models.model_registry import CHAMPION, registry_input
from samestream.streams.plan import Input, ModelPlan, Plan
from samestream.streams.transport import Outgoing, position
from samestream.streams.wire.avro_values import UNITS, described
from samestream.streams.wire.decode import vector_input

log = logging.getLogger("samestream")
_CODEC = Codec(records.INCIDENT)
_NUMERIC = (Kind.INT, Kind.FLOAT, Kind.BOOL)
_ARTIFACTS_KEPT = 4


class MonitorTask(KeptWatch[Watch]):
    """Watches one model: its sources, its vectors, its scores. See `processor.Task`."""

    walked_bytes = 64 * 1024 * 1024

    def __init__(self, plan: Plan, watched: type[Any]) -> None:
        declared: Declared = watched.__monitors__
        model = plan.models[declared.of.__name__]
        self.name = f"monitor.{model.name}"
        self.fingerprint = plan.fingerprint
        self._drift, self._model = plan.drift, model
        self._sources = _source_inputs(plan, model)
        self.inputs: tuple[Input, ...] = (
            *self._sources.values(),
            vector_input("vectors", model.topics["features"], model.vector_schema),
            vector_input("predictions", model.topics["predictions"], records.PREDICTION),
            registry_input(plan.registry),
            # only what falls silent has to know how late it is
            *([pulse_input(plan.pulse)] if any(isinstance(check, Silence) for check in declared.features) else []),
        )
        self._watch = make_watch(plan, model, declared)
        self._artifacts: dict[tuple[str, str], artifact.Artifact | None] = {}
        self._families = [one.name for one in families(declared) if one.name != "outcomes"]
        self._told_days: tuple[int, ...] = ()
        self._foreign = 0

    def process(self, batch: Batch, clocks: Clocks) -> Emitted:
        """Apply a judged batch."""
        self._take_models(batch)
        for name, input in self._sources.items():
            # late events too: that they come late is for the monitors to see
            places, columns = batch.readable(name)
            fields: dict[str, Any] = {
                column: _numbers(columns[column]) for column, kind in input.columns.items() if kind in _NUMERIC
            }
            fields |= {
                column: (columns[column].values, columns[column].valid)
                for column, kind in input.columns.items()
                if kind in (Kind.STRING, Kind.TIME)
            }
            partitions = _partitions(batch)[batch.partition[places]]
            keys = columns[input.key].values.tolist() if input.key else None
            self._watch.on_events(
                name, batch.known_us[places], batch.time_us[places], fields, keys, partitions, batch.offset[places]
            )
            self._watch.on_rejected(name, batch.known_us[self._dead(batch, name)])
        self._read_sources(batch)
        places, vectors = batch.applied("vectors")
        self._foreign += int(np.count_nonzero(vectors["fingerprint"].values != self._model.fingerprint))
        watched = {name: _watched(vectors[name]) for name in self._model.outputs}
        self._watch.on_vectors(batch.known_us[places], watched, vectors["entity"].values.tolist())
        parity = self._watch.score_parity
        if parity is not None:
            parity.on_vectors(batch.known_us[places], *_identity(vectors), {name: vectors[name] for name in watched})
        # a model applies from a known time after everything seen so far, so the two clocks go together
        self._move_clock(batch, "vectors", self._watch.vector_clock)
        self._move_clock(batch, "vectors", self._watch.model_clock)
        places, predictions = batch.applied("predictions")
        said = predictions["value" if self._model.output == "class" else "score"]
        self._watch.on_scores(batch.known_us[places], said.values, said.valid, predictions["entity"].values.tolist())
        if parity is not None:
            parity.on_predictions(batch.known_us[places], *_identity(predictions), predictions)
            parity.compare(self._artifact)
        self._move_clock(batch, "predictions", self._watch.score_clock)
        out = [record_of(self._drift, found) for found in self._watch.records()]
        return Emitted(out, len(out), self._budget_told(int(batch.known_us.max(initial=0))))

    def _budget_told(self, at_us: int) -> tuple[str, ...]:
        """What the budget rests on, for the journal, whenever a family has come to another day."""
        days = tuple(us // DAY_US for us in self._watch.progress.values())
        if days == self._told_days:
            return ()
        self._told_days = days
        return (self.budget_state(at_us).to_json(),)

    def budget_state(self, at_us: int) -> BudgetState:
        """What the budget rests on now, of each family that is watched."""
        budget = self._watch.budget
        found = []
        for name in self._families:
            told = budget if name == "sources" else budget[name]
            per_week = told["sources_per_week" if name == "sources" else "per_week"]
            days = told["learned_days" if name == "sources" else "days"]
            found.append(FamilyState(name, per_week, days, told["shortest_days"], tuple(told["blind"])))
        return BudgetState(at_us, budget["since_us"], tuple(found))

    def measures(self) -> Iterable[Measure]:
        """What the alarm budget rests on, of each family: history, how much is needed, and who has no say; predictions compared."""
        for one in self.budget_state(0).families:
            labels = {"monitor": self.name, "family": one.name}
            yield Measure("monitor_history_days", "Good days of history so far.", labels, one.days)
            yield Measure("monitor_history_needed_days", "Below so many no limit is promised.", labels, one.needed_days)
            yield Measure("monitor_share_week", "Incidents a week that it may open.", labels, one.per_week)
            yield Measure("monitor_blind", "Detectors that could never alarm, or have no say.", labels, len(one.blind))
        yield foreign_vectors(self.name, self._model.name, self._foreign)
        if (parity := self._watch.score_parity) is not None:
            model = {"model": self._model.name}
            yield Measure("predictions_compared_total", "Predictions scored again.", model, parity.compared, "counter")
            says = "Predictions that are not what the announced artifact says."
            yield Measure("predictions_mismatched_total", says, model, parity.mismatched, "counter")
            says = "Predictions whose artifact could not be had: nothing is known of them."
            yield Measure("predictions_unjudged_total", says, model, parity.unknown, "counter")

    def _take_models(self, batch: Batch) -> None:
        _, models = batch.applied("models")
        for row in range(len(models["model"].values)):
            record = {name: column.values[row] for name, column in models.items()}
            if record["model"] != self._model.name:
                continue
            if self._watch.score_parity is not None:
                self._watch.score_parity.announce(record["version"], record["artifact"], record["digest"])
            if record["slot"] == CHAMPION:
                loaded = self._artifact(record["artifact"], record["digest"])
                if loaded is not None:
                    self._watch.on_model(loaded.version, loaded.applies_from_us, loaded.reference)

    def _artifact(self, uri: str, digest: str) -> artifact.Artifact | None:
        """An artifact, kept for a while; None, and told, where it cannot be had. It is no part of the state."""
        if (uri, digest) not in self._artifacts:
            try:
                found = artifact.load(uri, digest)
            except ArtifactError as error:
                log.error("%s: %s is not compared with: %s", self.name, uri, error.line)
                found = None
            self._artifacts[uri, digest] = found
            for old in list(self._artifacts)[:-_ARTIFACTS_KEPT]:
                del self._artifacts[old]
        return self._artifacts[uri, digest]

    @staticmethod
    def _dead(batch: Batch, name: str) -> Int64Array:
        """Places of the events of an input that could not be read."""
        index = [part.name for part in batch.inputs].index(name)
        return np.flatnonzero((batch.input == index) & (batch.decision == DEAD))

    def _read_sources(self, batch: Batch) -> None:
        """Move the sources' clock, by events and pulses; a dead one stands where the one before it in its partition stood."""
        indices = {part.name: index for index, part in enumerate(batch.inputs)}
        of_source = np.isin(batch.input, [indices[name] for name in self._sources])
        is_pulse = batch.input == indices.get(PULSES, -1)
        places = np.flatnonzero(of_source | is_pulse)
        if len(places):
            self._watch.read_sources(batch.known_us[places], is_pulse[places])

    def _move_clock(self, batch: Batch, name: str, move: Callable[[int], None]) -> None:
        index = [part.name for part in batch.inputs].index(name)
        places = np.flatnonzero(batch.input == index)
        if len(places):
            move(int(batch.known_us[places[-1]]))


def make_watch(plan: Plan, model: ModelPlan, declared: Declared) -> Watch:
    """The watch over a model, told what its features are computed from and what ranges were declared."""
    specs = []
    read = {pair for pairs in model.lineage.values() for pair in pairs}
    for lookup in model.lookups:
        read |= {(model.trigger, key) for key in lookup.keys}
        read |= {(plan.tables[lookup.table].event, key) for key in plan.tables[lookup.table].by}
    for name, input in _source_inputs(plan, model).items():
        assert input.gate is not None
        said = described(input.schema)
        # what the model does not read cannot harm it; a decimal is watched once, and not by its minor units too
        used = {column for column in input.columns if (name, column) in read}
        used |= {column.removesuffix(UNITS) for column in used}
        numeric = tuple(
            column
            for column, kind in input.columns.items()
            if kind in (Kind.INT, Kind.FLOAT) and column in said and column in used
        )
        low = {column: float(said[column]["low"]) for column in numeric if "low" in said[column]}
        high = {column: float(said[column]["high"]) for column in numeric if "high" in said[column]}
        units = {column: str(said[column]["unit"]) for column in numeric if "unit" in said[column]}
        texts, flags, instants = (
            tuple(
                column
                for column, kind in input.columns.items()
                if kind == wanted and column not in (input.key, input.time) and column in used
            )
            for wanted in (Kind.STRING, Kind.BOOL, Kind.TIME)
        )
        silence = next((check for check in declared.features if isinstance(check, Silence)), None)
        groups = silence.fields_of(name) if silence is not None and not input.is_table else ()
        late_us = input.gate.lateness_us
        specs.append(
            SourceSpec(name, numeric, low, high, late_us, input.is_table, texts, units, groups, flags, instants)
        )
    lineage = {
        feature: tuple((event, field.removesuffix(UNITS)) for event, field in sources)
        for feature, sources in model.lineage.items()
    }
    return Watch(Lineage(model.name, tuple(model.outputs), lineage), specs, declared)


def record_of(topic: str, found: IncidentRecord) -> Outgoing:
    """An incident as a record of the drift topic, keyed by the incident."""
    value = {
        "incident": found.incident,
        "event": found.event,
        "subject": found.subject,
        "cause": found.cause,
        "verdict": found.verdict,
        "severity": found.severity,
        "opened_at": found.opened_at_us,
        "at": found.at_us,
        "evidence": json.dumps(found.evidence, sort_keys=True),
    }
    return Outgoing(topic, found.incident.encode(), _CODEC.encode(value), max(found.at_us, 1000))


def parse(value: bytes | None) -> IncidentRecord | None:
    """The incident in a record of the drift topic; None for anything else."""
    if value is None or not value.startswith(_CODEC.header):
        return None
    record = _CODEC.decode(value)
    record["opened_at_us"], record["at_us"] = record.pop("opened_at"), record.pop("at")
    record["evidence"] = json.loads(record["evidence"])
    return IncidentRecord(**record)


def _source_inputs(plan: Plan, model: ModelPlan) -> dict[str, Input]:
    read = {event for pairs in model.lineage.values() for event, _ in pairs} | {model.trigger}
    return {name: plan.events[name] for name in sorted(read)}


def _partitions(batch: Batch) -> Int64Array:
    """The number in its topic of each partition that a batch names."""
    return np.array([partition.partition for partition in batch.partitions], np.int64)


def _identity(columns: Columns) -> tuple[Int64Array, NDArray[Any]]:
    """Where the triggers of vectors or of predictions lie, as one number each, and their entities."""
    partitions, offsets = columns["trigger_partition"].values, columns["trigger_offset"].values
    return position(partitions.astype(np.int64), offsets.astype(np.int64)), columns["entity"].values


def _numbers(column: ColumnData) -> tuple[Any, Any]:
    return column.values.astype(np.float64), column.valid


def _watched(column: ColumnData) -> tuple[Any, Any]:
    """A feature as its monitors take it: texts as they are, all else as numbers."""
    return (column.values, column.valid) if column.is_object else _numbers(column)
