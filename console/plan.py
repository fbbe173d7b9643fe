"""`samestream plan`: what will run, drawn for people, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from samestream.console.options import Module

if TYPE_CHECKING:
    from samestream.streams.plan import ModelPlan, Plan, Table

_WORD_BYTES = 8


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan)


def plan(module: Module) -> None:
    """Show what MODULE will run: sources, state with its cost per key, vectors, labels.

    \b
    Nothing is started and no Kafka is needed. A declaration that is wrong is refused
    here as anywhere, naming class and field.

    \b
    Example: samestream plan examples/flights.py
    """
    from samestream.schemas.app import load
    from samestream.streams.plan import compile_app

    typer.echo("\n".join(drawn(compile_app(load(module)))))


def drawn(plan: Plan) -> Iterator[str]:
    """The plan as lines of text."""
    from samestream.schemas.durations import text

    yield f"{plan.app}   definition {plan.fingerprint}"
    yield ""
    yield "Sources"
    for name, source in plan.events.items():
        gate = source.gate
        assert gate is not None
        late = f"lateness {text(gate.lateness_us)}, alignment {text(gate.alignment_us)}, ahead {text(gate.ahead_us)}"
        yield f"  {name:<16} {source.topic:<24} {late}; judged by {plan.gatekeeper(name) or 'nobody'}"
    yield ""
    yield "State, by key"
    for table in plan.tables:
        yield f"  {table.event} by {' and '.join(table.by)}: at most {_bytes(_most_bytes(table))} a key"
        for part in table.aggregates:
            length_us, tile_us, _ = table.windows[part.window]
            fed = table.inputs[table.cells[part.cells[0]][1]]
            inside = "" if fed.value is None else repr(fed.value)
            where = f" where {fed.where!r}" if fed.where is not None else ""
            tiles = -(-length_us // tile_us)
            yield f"    {part.aggregate.name}({inside}){where} over {text(length_us)}, {tiles} tiles of {text(tile_us)}"
    for model in plan.models.values():
        yield ""
        yield from _model(plan, model)


def _model(plan: Plan, model: ModelPlan) -> Iterator[str]:
    from samestream.schemas.durations import text

    trigger = plan.inputs[model.trigger]
    yield f"{model.name}   one vector per {model.trigger}, keyed by {trigger.key}   definition {model.fingerprint}"
    for name in model.outputs:
        sources = ", ".join(f"{event}.{field}" if field else event for event, field in model.lineage[name])
        kind = model.outputs[name].kind.value
        yield f"  {name:<24} {kind:<7} from {sources}"
    label = model.label
    yield f"  label {label.name}: {label.value!r} of {label.event} by {label.by}, within {text(label.within_us)}"
    yield "  " + " -> ".join([trigger.topic, *model.topics.values()])


def _most_bytes(table: Table) -> int:
    """The most a key can take: every tile of every window filled; raw events of the open heads come on top."""
    from samestream.streams.tiles import CellOp

    tiers: dict[int, tuple[int, set[int]]] = {}
    for length_us, tile_us, used in table.windows:
        most, cells = tiers.get(tile_us, (0, set()))
        tiers[tile_us] = (max(most, -(-length_us // tile_us)), cells | set(used))
    return sum(
        tiles * _WORD_BYTES * (1 + sum(CellOp[table.cells[cell][0]].slots for cell in cells))
        for tiles, cells in tiers.values()
    )


def _bytes(count: int) -> str:
    return f"{count / 1024:,.1f} KiB" if count >= 1024 else f"{count} bytes"
