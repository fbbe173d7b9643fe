"""`samestream plan`: what will run, drawn for people, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from samestream.console.options import Module, configured

if TYPE_CHECKING:
    from samestream.console.settings import Settings
    from samestream.schemas.app import App
    from samestream.schemas.windows import Window
    from samestream.streams.plan import Input, ModelPlan, Plan, Table


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan)


@configured("namespace")
def plan(settings: Settings, module: Module) -> None:
    """Draw what MODULE will run, and what it costs: sources, state by key, models, topics.

    \b
    Nothing is started and no Kafka is needed. Of every table it says where its aggregates
    run (compiled, or in Python on the general path), about what a key takes with full windows,
    and how long an event takes on one core; of every source whether its events are decoded,
    and of every model whether its vectors are encoded, by compiled code; of monitors what they watch, what not, and
    how their alarm budget is divided. `samestream check` proves what this only shows.

    \b
    Example: samestream plan examples/flights.py
    """
    from samestream.schemas.app import load
    from samestream.streams.lowering import compile_app

    app = load(module, settings.namespace)
    plan = compile_app(app)
    typer.echo("\n".join((*drawn(plan), *_monitors(app, plan))))


def _monitors(app: App, plan: Plan) -> Iterator[str]:
    from samestream.console.declared_monitors import lines

    yield from ("", "Monitors")
    yield from (f"  {line}" for line in lines(app, plan))


def drawn(plan: Plan) -> Iterator[str]:
    """The plan as lines of text."""
    from samestream.console.drawing import drawing
    from samestream.schemas.durations import text
    from samestream.streams.cost import tiles_of

    yield f"{plan.app}   definition {plan.fingerprint}"
    for model in plan.models.values():
        yield ""
        yield from drawing(plan, model)
    yield ""
    yield "Sources"
    for name, source in plan.events.items():
        gate = source.gate
        assert gate is not None
        late = f"lateness {text(gate.lateness_us)}, alignment {text(gate.alignment_us)}, ahead {text(gate.ahead_us)}"
        if source.is_table:
            late = "a table, looked up as of the instant"
        yield f"  {name:<16} {source.topic:<24} {late}; judged by {plan.gatekeeper(name) or 'nobody'}"
        yield f"  {'':<16} decoded {_decoded(source)}"
    yield ""
    yield "State, by key"
    for table in plan.tables:
        yield f"  {table.event} by {' and '.join(table.by)}: {_cost(table)}"
        for part in table.aggregates:
            window, fed = table.windows[part.window].window, table.inputs[part.input]
            inside = ", ".join(filter(None, ["" if fed.value is None else repr(fed.value), part.aggregate.arguments()]))
            where = f" where {fed.where!r}" if fed.where is not None else ""
            tiles = f"{tiles_of(window)} tiles" if tiles_of(window) else "tiles"
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
    yield f"  vectors encoded {_encoded(model)}"


def _said(window: Window) -> str:
    """The window in words: ``over 3h``, ``every 1d, zone America/New_York``."""
    return window.written().replace("=", " ").replace("'", "")


def _cost(table: Table) -> str:
    """Memory and time; raw events of the open heads come on top of the former."""
    from samestream.streams.cost import cost_of
    from samestream.streams.deploy.preflight import size

    cost = cost_of(table)
    low, high = cost.event_us
    more = "" if cost.is_bounded else ", and what lifetimes and the general path hold"
    return f"{cost.path}, up to about {size(cost.most_bytes)} a key{more}, about {low:.1f} to {high:.1f} us an event"


def _decoded(source: Input) -> str:
    """How the events of a source are decoded, and why not by compiled code."""
    from samestream.streams.wire.avro_program import NotCovered, Program

    try:
        Program.compile(source.schema, source.schema, source.columns, source.key)
    except NotCovered as reason:
        return f"record by record: {reason}"
    return "by compiled code"


def _encoded(model: ModelPlan) -> str:
    """How the vectors of a model are encoded."""
    from samestream.streams.wire.encode import RecordEncoder

    rest = ", ".join(RecordEncoder(model.vector_schema).in_python)
    return "by compiled code" + (f"; the lists and maps in Python: {rest}" if rest else "")
