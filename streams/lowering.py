"""From declarations to the plan that engines run: tables shared between models, lookups, and what fingerprints cover."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from samestream.schemas import avro_schemas
from samestream.schemas.aggregates import Windowed
from samestream.schemas.app import App
from samestream.schemas.arithmetic import Add
from samestream.schemas.conditional import when
from samestream.schemas.events import Event, Field
from samestream.schemas.expressions import EPOCH, Column, Expr, Kind
from samestream.schemas.features import FeatureRef, Key
from samestream.schemas.fields import EARLIEST, LATEST
from samestream.schemas.models import Model, lookup_keys
from samestream.schemas.references import lookups_of, views_of
from samestream.schemas.tables import AsOf
from samestream.schemas.windows import Session, Window
from samestream.streams.plan import (
    KERNEL_VERSION,
    AggregatePlan,
    CellPlan,
    Enrichment,
    Gate,
    Input,
    LabelPlan,
    Lookup,
    ModelPlan,
    Plan,
    Table,
    TableInput,
    WindowPlan,
    digest,
    judged,
)

# what stands, never read, where a record of a table has no value
NOTHING: Mapping[Kind, Any] = {Kind.INT: 0, Kind.FLOAT: 0.0, Kind.BOOL: False, Kind.STRING: "", Kind.TIME: EPOCH}
ANY_TIME_S = (EARLIEST - EPOCH).total_seconds(), (LATEST - EPOCH).total_seconds()


def compile_app(app: App) -> Plan:
    """Lower an app's declarations to a plan."""
    events = {name: _input(event, app) for name, event in app.events.items()}
    builder = _Builder()
    builder.enrich(app)
    models = {name: builder.model(app, model) for name, model in app.models.items()}
    tables = tuple(part.build() for part in builder.tables.values())
    read = {table.event for table in tables} | {model.trigger for model in models.values()}
    inputs = {name: events[name] for name in sorted(read)}
    models = {
        name: replace(model, fingerprint=_fingerprint(app.models[name], read, app)) for name, model in models.items()
    }
    return Plan(
        app.prefix,
        inputs,
        tables,
        builder.enrichments(),
        models,
        events,
        app.journal,
        app.schemas,
        app.registry,
        app.drift,
        app.namespace,
    )


class TableBuilder:
    """Collects the aggregates asked of one (event, key) and shares their inputs and cells."""

    def __init__(self, index: int, event: str, by: tuple[Key, ...]) -> None:
        self.index, self.event, self.by = index, event, by
        self.inputs: dict[str, tuple[int, TableInput]] = {}
        self.cells: dict[CellPlan, int] = {}
        self.windows: dict[Window, tuple[int, dict[int, None]]] = {}
        self.aggregates: dict[str, tuple[int, AggregatePlan]] = {}

    def add(self, asked: Windowed) -> int:
        """The index of an aggregate in the table; the same one for the same meaning."""
        name = json.dumps(asked.meaning())
        if name not in self.aggregates:
            value = asked.aggregate.input
            if asked.aggregate.as_floats and value is not None and value.kind is Kind.INT:
                value = Add(value, 0.0)
            fed = TableInput(_columns(value), _columns(asked.where))
            column, _ = self.inputs.setdefault(json.dumps(fed.meaning()), (len(self.inputs), fed))
            wanted = asked.aggregate.cells() if _is_compiled(asked.window) else ()
            cells = tuple(self.cells.setdefault(CellPlan(op, column, param), len(self.cells)) for op, param in wanted)
            window, used = self.windows.setdefault(asked.window, (len(self.windows), {}))
            used.update(dict.fromkeys(cells))
            self.aggregates[name] = (
                len(self.aggregates),
                AggregatePlan(asked.aggregate, column, window, cells),
            )
        return self.aggregates[name][0]

    def build(self) -> Table:
        """The finished table."""
        return Table(
            self.event,
            tuple(key.name for key in self.by),
            tuple(key.kind for key in self.by),
            tuple(fed for _, fed in self.inputs.values()),
            tuple(self.cells),
            tuple(WindowPlan(window, tuple(used)) for window, (_, used) in self.windows.items()),
            tuple(part for _, part in self.aggregates.values()),
        )


class _Builder:
    """Lowers models one after the other, sharing tables between them."""

    def __init__(self) -> None:
        self.tables: dict[tuple[str, tuple[str, ...], int], TableBuilder] = {}
        self._enrichments: dict[tuple[str, str, int], tuple[dict[int, str], dict[str, Expr[Any]]]] = {}

    def enrich(self, app: App) -> None:
        """Look up reference tables for all models: first those that need no other, so that tables stand in order."""
        views = dict.fromkeys(view for model in app.models.values() for view in views_of(model))
        for found in sorted(lookups_of(app.models.values(), views), key=lambda found: found.depth):
            table = self._table(found.table.__name__, (found.table.key_field,), found.depth)
            columns, outputs = self._enrichments.setdefault(
                (found.event.__name__, found.by.name, table.index), ({}, {})
            )

            # a null is a value too: what counts is the latest record, not the latest that has a value
            field = found.field
            both: list[Expr[Any]] = [
                field.is_null().last(over="lifetime"),
                field.fill(NOTHING[found.kind]).last(over="lifetime"),
            ]
            latest: list[Expr[Any]] = []
            for part in both:
                assert isinstance(part, Windowed)
                index = table.add(part)
                latest.append(Column(columns.setdefault(index, f"{table.index}/{found.by.name}/{index}"), part.kind))
            missing, value = latest
            outputs[found.name] = when(~missing).then(value)

    def enrichments(self) -> tuple[Enrichment, ...]:
        """Those asked for, in order."""
        return tuple(
            Enrichment(event, _lookup(table, (key,), columns), outputs)
            for (event, key, table), (columns, outputs) in self._enrichments.items()
        )

    def _table(self, event: str, by: tuple[Key, ...], depth: int = 0) -> TableBuilder:
        name = event, tuple(key.name for key in by), depth
        return self.tables.setdefault(name, TableBuilder(len(self.tables), event, by))

    def model(self, app: App, model: type[Model]) -> ModelPlan:
        lookups: dict[tuple[int, tuple[str, ...]], dict[int, str]] = {}
        lineage: dict[str, tuple[tuple[str, str], ...]] = {}

        def lower_feature(feature: FeatureRef) -> Expr[Any]:
            table = self._table(feature.view.event.__name__, feature.view.by)
            keys = tuple(key.name for key in lookup_keys(model, feature) if key is not None)

            def lower_leaf(leaf: Expr[Any]) -> Expr[Any]:
                if not isinstance(leaf, Windowed):
                    return leaf
                index = table.add(leaf)
                column = lookups.setdefault((table.index, keys), {}).setdefault(
                    index, f"{table.index}/{'+'.join(keys)}/{index}"
                )
                return Column(column, leaf.kind, leaf.item)

            return feature.expression.replace_leaves(lower_leaf)

        def lower(leaf: Expr[Any]) -> Expr[Any]:
            if isinstance(leaf, FeatureRef):
                return lower_feature(leaf)
            return _column(leaf)

        outputs = {}
        for name, value in model.inputs.items():
            outputs[name] = value.replace_leaves(lower)
            lineage[name] = _lineage(value)
        label = model.outcome
        name = model.__name__
        return ModelPlan(
            name=name,
            trigger=model.on.__name__,
            lookups=tuple(_lookup(table, keys, columns) for (table, keys), columns in lookups.items()),
            outputs=outputs,
            label=LabelPlan(
                model.outcome_name,
                label.event.__name__,
                label.by.name,
                label.value.replace_leaves(lower),
                label.within_us,
            ),
            trainer=model.trainer,
            vector_schema=avro_schemas.vector_schema(
                app.name, name, model.on.key_field.kind, model.inputs, model.about
            ),
            topics={
                "features": app.features_topic(name),
                "predictions": app.predictions_topic(name),
                "outcomes": app.outcomes_topic(name),
            },
            lineage=lineage,
            fingerprint="",
        )


def _fingerprint(model: type[Model], read: set[str], app: App) -> str:
    """Of one model's vectors: the meaning of its inputs, and how all events that the app's features read are judged."""
    # the clocks are the app's: what one event type does to them decides which events of another come too late
    return digest(
        [
            [KERNEL_VERSION, platform.machine()],
            model.on.__name__,
            {name: value.meaning() for name, value in model.inputs.items()},
            {event: judged(_input(app.events[event], app), app.namespace) for event in sorted(read)},
        ]
    )


def _is_compiled(window: Window) -> bool:
    """Whether the kernel knows the window's start: that of a session depends on the events."""
    return not isinstance(window, Session)


def _columns(value: Expr[Any] | None) -> Expr[Any] | None:
    return value.replace_leaves(_column) if value is not None else None


def _column(leaf: Expr[Any]) -> Expr[Any]:
    """What a leaf is on an event's columns: its fields by their names, a table's as an enrichment names them."""
    return Column(leaf.name, leaf.kind, leaf.item) if isinstance(leaf, Field | AsOf) else leaf


def _lookup(table: int, keys: tuple[str, ...], columns: Mapping[int, str]) -> Lookup:
    return Lookup(table, keys, tuple(columns.get(index, "") for index in range(max(columns) + 1)))


def _lineage(value: Expr[Any]) -> tuple[tuple[str, str], ...]:
    """The (event, field) pairs a feature is computed from; a count of events gives (event, "")."""
    return tuple(dict.fromkeys(_sources(value)))


def _sources(value: Expr[Any]) -> Iterator[tuple[str, str]]:
    for leaf in value.leaves():
        if isinstance(leaf, Field):
            yield leaf.event.__name__, leaf.name
        elif isinstance(leaf, AsOf):
            yield leaf.table.__name__, leaf.field.name
            yield from _sources(leaf.by)
        elif isinstance(leaf, FeatureRef):
            for key in leaf.view.by:  # a table that says wrongly whose event it is spoils a feature, too
                yield from _sources(key) if isinstance(key, AsOf) else ()
            yield from _sources(leaf.expression)
        elif isinstance(leaf, Windowed):
            read = [part for part in (leaf.aggregate.input, leaf.where) if part is not None]
            yield from [pair for part in read for pair in _sources(part)] or [(leaf.event.__name__, "")]


def _input(event: type[Event], app: App) -> Input:
    time = event.time_field
    earliest, latest = (time.low, time.high) if time is not None else ANY_TIME_S
    return Input(
        name=event.__name__,
        topic=app.topic(event),
        schema=avro_schemas.event_schema(event),
        columns={name: part.kind for name, part in event.columns.items()},
        nullable=frozenset(name for name, part in event.columns.items() if part.nullable),
        key=event.key_field.name,
        time=time.name if time is not None else "",
        is_table=not event.timed,
        gate=Gate(
            event.lateness_us,
            event.alignment_us,
            event.ahead_us,
            round((earliest or 0) * 1_000_000),
            round((latest or 0) * 1_000_000),
        ),
        items={name: part.item for name, part in event.fields.items() if part.item is not None},
    )
