"""`samestream replay`: what was served, computed again."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from samestream.console.options import CONNECTION, Module, configured
from samestream.schemas.errors import SettingsError, TransportError

if TYPE_CHECKING:
    from samestream.console.settings import Settings
    from samestream.schemas.app import App
    from samestream.streams.plan import Plan


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("replay")(replay)


@configured(*CONNECTION, "log")
def replay(
    settings: Settings,
    module: Module,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="First trigger event time, ISO 8601 (UTC).")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Trigger event times before this, ISO 8601 (UTC).")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Of this model only.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the vectors to this Parquet file.", dir_okay=False)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Let --out replace a file that exists.")] = False,
    features: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only these inputs of the models go into the file.")
    ] = None,
    topic: Annotated[str | None, typer.Option("--to-topic", help="Send the records to this topic.")] = None,
    speed: Annotated[
        str, typer.Option(metavar="N|max", help="How many times as fast as the log grew they are sent.")
    ] = "max",
    to_production: Annotated[
        bool, typer.Option("--to-production", help="Let --to-topic be a topic of the app itself.")
    ] = False,
    from_topics: Annotated[
        bool, typer.Option("--from-topics", help="Read the events from Kafka, not from the feature log.")
    ] = False,
) -> None:
    """Compute the served vectors again, by the journal.

    \b
    The same kernel over the same events in the same order: the same bytes. Nothing is
    written unless you say where, and never to a topic of the app itself unless told.
    The events before --from are read only as far back as a window reaches.
    Where no Kafka answers, the feature log is enough: it holds the journal, too.

    \b
    Interrupted, the same command goes on where it stood: the file from the parts
    beside it, the topic from the records that it holds, each of them exactly once.

    \b
    samestream replay examples/flights.py --from 2013-01-05 --out vectors.parquet
    samestream replay examples/flights.py --to-topic rehearsal --speed 60
    """
    from samestream.console import replaying
    from samestream.console.apply import require
    from samestream.console.offline import check_folder, goes_on, one_model, progress_end, range_of, show_progress
    from samestream.console.settings import connect
    from samestream.schemas.app import load
    from samestream.streams.log.feature_log import FeatureLog
    from samestream.streams.log.vector_file import VectorFile, refuse_existing
    from samestream.streams.log.vector_resend import Pace, VectorResend
    from samestream.streams.lowering import compile_app

    app = load(module, settings.namespace)
    plan = compile_app(app)
    models = [one_model(list(plan.models), model)] if model is not None else list(plan.models)
    from_us, to_us = range_of(from_, to)
    check_folder(out, "--out")
    if out is not None:
        refuse_existing(out, overwrite)
    pace = Pace(_speed(speed, topic))
    chosen = _features(plan, models, features, topic)
    if topic is not None and not to_production:
        _refuse_production(app, plan, topic)
    log = None if from_topics else FeatureLog(settings.log_uri)
    with ExitStack() as until_done:
        transport = None
        try:
            transport = until_done.enter_context(closing(connect(settings)))
            require(transport, app)
        except TransportError as error:
            if log is None or topic is not None or log.newest(plan.journal) is None:
                raise
            transport = None  # it may answer, and not have the app
            typer.echo(f"the feature log alone is read: {error.line.partition(' Hint:')[0]}", err=True)
        origin = {"log": "topics" if from_topics else settings.log_uri}
        file = None
        if out is not None:
            file = VectorFile(out, plan, models, from_us, to_us, chosen, origin, overwrite=overwrite)
        resend = None
        if transport is not None and topic is not None:
            resend = VectorResend(transport, plan, topic, models, from_us, to_us, pace, show_progress)
        with goes_on():
            done = replaying.run(
                plan,
                transport,
                log,
                models,
                from_us=from_us,
                to_us=to_us,
                file=file,
                resend=resend,
                on_progress=show_progress,
            )
    progress_end()
    if resend is not None:
        typer.echo(
            f"sent {resend.sent:,} vectors to {topic}" + (f", which held {resend.held:,}" if resend.held else "")
        )
    if done.written is not None:
        typer.echo(f"wrote {done.written:,} vectors to {out}")
    if done.other_definition:
        typer.echo(
            f"{done.other_definition:,} batches were served by another definition: of these, the vectors are not what was "
            f"served, but what the present definition makes; `samestream diff --deployed {module}` tells what changed",
            err=True,
        )
    if done.unlogged:
        typer.echo(told_unlogged(done.unlogged), err=True)
    total = sum(done.vectors.values())
    typer.echo(f"replayed {done.events:,} events into {total:,} vectors in {done.seconds:.1f} s")


def told_unlogged(batches: int) -> str:
    """What is said where the feature log is behind the journal."""
    return (
        f"the feature log is behind: {batches:,} batches of the journal are not in it yet, and were left out; "
        "let `samestream run MODULE log` catch up"
    )


def _speed(text: str, topic: str | None) -> float | None:
    if text == "max":
        return None
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise SettingsError(
            "a speed is a number above 0, or max", where="--speed", found=text, hint="1 is as fast as the log grew."
        )
    if topic is None:
        raise SettingsError(
            "a speed is that of a topic", where="--speed", found=text, hint="name one with --to-topic, or leave it out."
        )
    return found


def _features(plan: Plan, models: list[str], text: str | None, topic: str | None) -> list[str] | None:
    if text is None:
        return None
    from samestream.console.offline import inputs_of

    chosen = inputs_of(text, {name for model in models for name in plan.models[model].outputs})
    if topic is not None:
        raise SettingsError(
            "records of a topic are whole vectors", where="--features", found=text, hint="use it with --out alone."
        )
    return chosen


def _refuse_production(app: App, plan: Plan, topic: str) -> None:
    """Raises SettingsError where a topic is the app's own, in its namespace or in production."""
    from samestream.streams.deploy import provision

    own = {spec.name for spec in provision.topics(app, plan)}
    own |= {name.removeprefix(f"{plan.namespace}.") for name in own if plan.namespace}
    if topic in own:
        raise SettingsError(
            "a replay does not write to a topic of the app itself",
            where="--to-topic",
            found=topic,
            hint="name another topic; what is served would be doubled. If that is what you want: --to-production.",
        )
