"""The plan: what the engines run, lowered from the declarations. Engines read plans, never declarations.

::

    events --Input--> [Table: tiles per key] --Lookup--> aggregates --Output expressions--> vector

A plan is a value: fingerprints are equal for equal meaning, and cover kernel version and CPU architecture, within which
bit-equality is promised (DESIGN section 2).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from samestream.schemas import avro
from samestream.schemas.aggregates import Aggregate
from samestream.schemas.expressions import Column, Expr, Kind
from samestream.schemas.models import Trainer
from samestream.schemas.outputs import OUTPUTS, Output
from samestream.schemas.windows import Window

KERNEL_VERSION = "2"


@dataclass(frozen=True)
class Gate:
    """What an event must satisfy to be applied; all in microseconds (DESIGN section 2, Lateness)."""

    lateness_us: int
    alignment_us: int
    ahead_us: int
    earliest_us: int
    latest_us: int


@dataclass(frozen=True)
class Input:
    """A topic and how its records are read: ``columns`` are projected from any writer schema onto ``schema``.

    ``gate`` is None for topics that samestream itself writes: their records were judged when they were made.
    ``key`` names the column that must equal the Kafka key; empty where the key is something else. ``time`` names the column
    of event times; empty where the known time is the event's. A table's records are never late, move no clock, and may be
    tombstones.
    ``items`` holds, for columns of lists and maps, the kind of their elements.
    """

    name: str
    topic: str
    schema: avro.Schema
    columns: Mapping[str, Kind]
    nullable: frozenset[str]
    key: str
    time: str
    gate: Gate | None = None
    is_table: bool = False
    items: Mapping[str, Kind] = field(default_factory=dict)


@dataclass(frozen=True)
class TableInput:
    """One column of numbers that cells accumulate: an expression of the event, where a condition holds."""

    value: Expr[Any] | None
    where: Expr[Any] | None

    def meaning(self) -> list[Any]:
        """See `Expr.meaning`."""
        return [part.meaning() if part is not None else None for part in (self.value, self.where)]


class CellPlan(NamedTuple):
    """A cell of the kernel (`streams.engine.tiles.CellOp`, by name), the input column it accumulates, and its parameter."""

    op: str
    input: int
    param: int = 0


@dataclass(frozen=True)
class WindowPlan:
    """A window of a table, and which of the table's cells it answers: none if only the general path asks for it."""

    window: Window
    cells: tuple[int, ...]


@dataclass(frozen=True)
class AggregatePlan:
    """An aggregate of a table, of one of its input columns over one of its windows.

    ``cells`` of that window hold its state; without any it runs on the general path (`streams.engine.algebra_table`).
    """

    aggregate: Aggregate
    input: int
    window: int
    cells: tuple[int, ...]

    @property
    def is_compiled(self) -> bool:
        """Whether the kernel computes it."""
        return bool(self.cells)


@dataclass(frozen=True)
class Table:
    """The state of one event's stream grouped by one key: cells in tiles (`streams.engine.tiles.TileTable`), and algebras."""

    event: str
    by: tuple[str, ...]
    key_kinds: tuple[Kind, ...]
    inputs: tuple[TableInput, ...]
    cells: tuple[CellPlan, ...]
    windows: tuple[WindowPlan, ...]
    aggregates: tuple[AggregatePlan, ...]


@dataclass(frozen=True)
class Lookup:
    """A table read at a trigger's instant by the trigger's key columns; aggregate i becomes the column ``columns[i]``."""

    table: int
    keys: tuple[str, ...]
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Enrichment:
    """Columns that an event gets before anything else reads it: a reference table, looked up at its instant by its key."""

    event: str
    lookup: Lookup
    outputs: Mapping[str, Expr[Any]]


@dataclass(frozen=True)
class LabelPlan:
    """What then happened: ``value`` of the first event of ``event`` whose ``by`` is the trigger's key, within the horizon."""

    name: str
    event: str
    by: str
    value: Expr[Any]
    within_us: int


@dataclass(frozen=True)
class ModelPlan:
    """One vector per applied trigger: lookups, then one expression per output over trigger columns and looked-up columns."""

    name: str
    trigger: str
    lookups: tuple[Lookup, ...]
    outputs: Mapping[str, Expr[Any]]
    label: LabelPlan
    trainer: Trainer
    vector_schema: avro.Schema
    topics: Mapping[str, str]
    lineage: Mapping[str, tuple[tuple[str, str], ...]]
    fingerprint: str

    @property
    def output(self) -> Output:
        """What the model says of a vector: a probability, a number or a class, as the label's kind asks."""
        return OUTPUTS[self.label.value.kind]


@dataclass(frozen=True)
class Plan:
    """All that one app runs: ``inputs`` are the topics of the feature processor, by event name.

    ``app`` is the app's name in its namespace: what topics, groups and identities begin with. The namespace changes no
    fingerprint: what is trained in one deployment fits the vectors of another.
    A table may be read by an enrichment only of events that none before it in ``tables`` aggregates; enrichments stand in order.
    """

    app: str
    inputs: Mapping[str, Input]
    tables: tuple[Table, ...]
    enrichments: tuple[Enrichment, ...]
    models: Mapping[str, ModelPlan]
    events: Mapping[str, Input]
    journal: str
    schemas: str
    registry: str
    drift: str
    namespace: str = ""

    @property
    def fingerprint(self) -> str:
        """16 hex digits of everything that decides a value: every model's, and how its label is judged."""
        labels = {
            name: [
                model.label.value.meaning(),
                model.label.by,
                model.label.within_us,
                judged(self.events[model.label.event], self.namespace),
            ]
            for name, model in self.models.items()
        }
        return digest([{name: model.fingerprint for name, model in self.models.items()}, labels])

    @property
    def profiles(self) -> str:
        """The topic of the profiles of features and scores."""
        return f"{self.app}.profiles"

    @property
    def pulse(self) -> str:
        """The topic that says how late it is, where monitors run and nothing comes."""
        return f"{self.app}.pulse"

    def gatekeeper(self, event: str) -> str:
        """The processor that judges an event topic and writes out what is late or dead: one for each topic."""
        if event in self.inputs:
            return "features"
        return next(
            (f"outcomes.{name}" for name, model in sorted(self.models.items()) if model.label.event == event), ""
        )

    def read_columns(self, event: str) -> list[str]:
        """The fields of an input that vectors and tables are computed from, its key and event time among them."""
        input, found = self.inputs[event], set[str]()
        for table in self.tables:
            if table.event == event:
                found |= {*table.by}.union(*(_names(fed.value) | _names(fed.where) for fed in table.inputs))
        for part in self.enrichments:
            if part.event == event:
                found |= {*part.lookup.keys}.union(*map(_names, part.outputs.values()))
        for model in self.models.values():
            if model.trigger == event:
                found |= {name for lookup in model.lookups for name in lookup.keys}
                found = found.union(*map(_names, model.outputs.values()))
        return [name for name in input.columns if name in found or name in (input.key, input.time)]

    @property
    def longest_window_us(self) -> int:
        """How far back a lookup can see, tile included, in microseconds."""
        return max((part.window.reach_us for table in self.tables for part in table.windows), default=0)

    @property
    def query_lag_us(self) -> int:
        """How far an instant that is still answered may lie behind the greatest event time applied (DESIGN section 2, H)."""
        asking = {model.trigger for model in self.models.values()} | {part.event for part in self.enrichments}
        gates = [self.inputs[event].gate for event in asking]
        return max((gate.lateness_us + gate.alignment_us for gate in gates if gate), default=0)


def _names(value: Expr[Any] | None) -> set[str]:
    return {leaf.name for leaf in value.leaves() if isinstance(leaf, Column)} if value is not None else set()


def judged(input: Input, namespace: str) -> list[Any]:
    """How the events of an input are judged: what decides which of them count, whatever the namespace."""
    topic = input.topic.removeprefix(f"{namespace}.") if namespace else input.topic
    return [topic, input.key, input.time, vars(input.gate) if input.gate else None]


def digest(meaning: Any) -> str:
    """16 hex digits of a meaning."""
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:16]
