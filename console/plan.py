"""`samestream plan`: what will run, drawn for people, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from samestream.console.options import Module
from samestream.schemas.windows import LIFETIME_US

if TYPE_CHECKING:
    from samestream.schemas.windows import Window
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
        yield f"  {table.event} by {' and '.join(table.by)}: {_cost(table)}"
        for part in table.aggregates:
            window, fed = table.windows[part.window].window, table.inputs[part.input]
            inside = ", ".join(filter(None, ["" if fed.value is None else repr(fed.value), part.aggregate.arguments()]))
            where = f" where {fed.where!r}" if fed.where is not None else ""
            tiles = f"{_tiles(window)} tiles" if _tiles(window) else "tiles"
            path = "" if part.is_compiled else ", general path"
            yield f"    {part.aggregate.name}({inside}){where} {_said(window)}, {tiles} of {text(window.tile_us)}{path}"
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
    yield f"  predicts a {model.output}, trained by {model.trainer.name}"
    yield "  " + " -> ".join([trigger.topic, *model.topics.values()])


def _said(window: Window) -> str:
    """The window in words: ``over 3h``, ``every 1d, zone America/New_York``."""
    return window.written().replace("=", " ").replace("'", "")


def _tiles(window: Window) -> int:
    """How many tiles a window has at most; 0 where time sets no bound."""
    return 0 if window.longest_us >= LIFETIME_US else -(-window.longest_us // window.tile_us)


def _cost(table: Table) -> str:
    """What a key can take at most, every tile of every window filled; raw events of the open heads come on top."""
    from samestream.streams.tiles import CellOp

    tiers: dict[int, tuple[int, set[int]]] = {}
    for part in table.windows:
        if part.cells:
            most, cells = tiers.get(part.window.tile_us, (0, set()))
            tiers[part.window.tile_us] = (max(most, _tiles(part.window) or 1), cells | set(part.cells))
    most_bytes = _bytes(
        sum(
            tiles * _WORD_BYTES * (1 + sum(CellOp[table.cells[cell].op].slots for cell in cells))
            for tiles, cells in tiers.values()
        )
    )
    more = [] if all(_tiles(part.window) for part in table.windows if part.cells) else ["a lifetime's tiles"]
    more += [] if all(part.is_compiled for part in table.aggregates) else ["the general path"]
    return f"at most {most_bytes} a key" + (f", and {' and '.join(more)}" if more else "")


def _bytes(count: int) -> str:
    return f"{count / 1024:,.1f} KiB" if count >= 1024 else f"{count} bytes"
