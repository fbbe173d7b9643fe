"""`samestream train` and `parity`: what is done from the log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from samestream.console.options import CONNECTION, Module, configured
from samestream.schemas.errors import SamestreamError, SettingsError

if TYPE_CHECKING:
    from samestream.console.settings import Settings

From = Annotated[str | None, typer.Option("--from", metavar="TIME", help="First trigger event time, ISO 8601 (UTC).")]
To = Annotated[
    str | None, typer.Option("--to", metavar="TIME", help="Trigger event times before this, ISO 8601 (UTC).")
]
OneModel = Annotated[str | None, typer.Option("--model", help="Which model; needed when the app declares several.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("train")(train)
    app.command("parity")(parity)


@configured(*CONNECTION, "log", "artifacts")
def train(
    settings: Settings,
    module: Module,
    model: OneModel = None,
    from_: From = None,
    to: To = None,
    force: Annotated[bool, typer.Option("--force", help="Publish even if it does not beat the baseline.")] = False,
) -> None:
    """Train a model from the feature log and publish it.

    \b
    Labelled vectors of the declared history become a training set; the latest fifth
    of it judges the model, which is published to the models topic if it beats what
    one would say without a model: the base rate, the mean, or the shares of the
    classes. A running scorer takes it up without a restart.

    \b
    Example: samestream train examples/flights.py --to 2013-02-01
    """
    from samestream.console.apply import require
    from samestream.console.settings import connect
    from samestream.schemas.app import load
    from samestream.streams.log.feature_log import FeatureLog
    from samestream.streams.lowering import compile_app
    from samestream.streams.models.model_registry import CHAMPION, versions
    from samestream.trainers.train import train as run

    app = load(module, settings.namespace)
    plan = compile_app(app)
    chosen = one_model(list(plan.models), model)
    from_us, to_us = range_of(from_, to)
    transport = connect(settings)
    require(transport, app)
    before = [one.version for one in versions(transport, plan.registry) if (one.model, one.slot) == (chosen, CHAMPION)]
    done = run(
        plan,
        plan.models[chosen],
        FeatureLog(settings.log_uri),
        transport,
        settings.artifacts_uri,
        from_us=from_us,
        to_us=to_us,
        force=force,
    )
    typer.echo(f"{chosen} {done.version.version}: trained on {done.rows:,} labelled vectors, published as champion")
    typer.echo(f"  replaces                {before[-1] if before else 'none: it is the first'}")
    for name, value in sorted(done.metrics.items()):
        typer.echo(f"  {name:<24}{value:,.{0 if float(value).is_integer() else 4}f}")
    typer.echo(f"  artifact                {done.version.artifact}")


@configured(*CONNECTION, "log")
def parity(
    settings: Settings,
    module: Module,
    sql: Annotated[bool, typer.Option(help="Also compare with SQL: as known, and point in time.")] = True,
    target: Annotated[Path | None, typer.Option("--json", help="Write the figures there.", dir_okay=False)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Let --json replace a file that exists.")] = False,
) -> None:
    """Compare what was served online with what the log says offline.

    \b
    Every vector is computed again from the feature log by the journal, in this process
    with empty state, and must equal the served record byte for byte; and once more in
    SQL, by code that shares nothing with the engine. A difference opens an incident on
    the drift topic and ends this command with exit code 1.

    \b
    Example: samestream parity examples/flights.py
    """
    from samestream.console.apply import require
    from samestream.console.replay import told_unlogged
    from samestream.console.served_definition import mismatches
    from samestream.console.settings import connect
    from samestream.monitors.parity_incident import closed_us, publish
    from samestream.monitors.vector_parity import verify
    from samestream.schemas.app import load
    from samestream.streams.log.feature_log import FeatureLog
    from samestream.streams.log.vector_file import refuse_existing
    from samestream.streams.lowering import compile_app

    app = load(module, settings.namespace)
    plan = compile_app(app)
    check_folder(target, "--json")
    refuse_existing(target, overwrite, "--json")
    transport = connect(settings)
    require(transport, app)
    over_us = {name: closed_us(transport, plan.drift, name) for name in plan.models}
    found = verify(
        plan, transport, FeatureLog(settings.log_uri), with_sql=sql, on_progress=show_progress, after_us=over_us
    )
    progress_end()
    publish(transport, plan, list(app.monitors.values()), found)
    if target is not None:
        target.write_text(json.dumps({name: part.to_json() for name, part in found.items()}, indent=2) + "\n")
    if behind := max((part.unlogged_batches for part in found.values()), default=0):
        typer.echo(told_unlogged(behind), err=True)
    for name, part in found.items():
        typer.echo(
            f"{name}: {part.compared:,} vectors compared, {part.mismatched:,} differ from the replay of their journal"
        )
        if part.other_definition:
            typer.echo(f"  {part.other_definition:,} vectors of another definition were passed over")
        if part.erased:
            typer.echo(f"  {part.erased:,} were erased, and cannot be compared")
        if part.mismatched:
            typer.echo(f"  missing {part.missing:,}, served twice {part.doubled:,}, by feature {part.by_feature}")
        if sql:
            by = f", by feature {part.as_known_by_feature}" if part.as_known_mismatched else ""
            typer.echo(
                f"  {part.as_known_compared:,} compared with SQL as known, {part.as_known_mismatched:,} differ{by}"
            )
            told = f"; `samestream skew {module}` tells by which events" if part.lateness_skewed else ""
            typer.echo(f"  {part.lateness_skewed:,} would differ had nothing come late{told}")
            for feature, skew in part.skew.items():
                figures = ", ".join(f"{key} {value:,.6g}" for key, value in skew.items())
                typer.echo(f"    {feature:<24}{figures}")
    if not any(part.compared + part.mismatched for part in found.values()):
        other = sum(part.other_definition for part in found.values())
        raise SamestreamError(
            "nothing was compared",
            where=plan.app,
            found=f"no vector of the present definition, {other:,} of another one",
            hint="run it with the module that served them; `samestream counterfactual OLD NEW` compares two definitions."
            if other
            else "let `samestream run MODULE features log` serve some first.",
        )
    unlike = [one for one in mismatches(transport, plan) if one.served != one.ours]
    for one in unlike:
        typer.echo(f"warning: {one.line}", err=True)
    if any(part.broken for part in found.values()):
        raise SamestreamError(
            "online and offline differ", where=plan.app, hint=f"see `samestream monitor {module}` for the incident."
        )
    if unlike:
        raise SamestreamError(
            "the newest vectors were not compared",
            where=", ".join(one.model for one in unlike),
            found="vectors of another definition than this module's",
            hint="run it with the module that serves now; `samestream counterfactual OLD NEW` compares two definitions.",
        )


def one_model(models: list[str], asked: str | None, where: str = "--model") -> str:
    """The model that is asked for, or the only one. Raises SettingsError where that says nothing."""
    if asked is None and len(models) == 1:
        return models[0]
    if asked not in models:
        raise SettingsError(
            "which model?", where=where, found=asked or "none", expected=", ".join(models), hint="name one."
        )
    return asked


def check_folder(path: Path | None, where: str) -> None:
    """Raises SettingsError, before any work is done, where the file could not be written in the end."""
    if path is not None and not path.absolute().parent.is_dir():
        raise SettingsError("no such folder", where=where, found=path.absolute().parent, hint="create it first.")


def instant_of(text: str | None, where: str) -> int | None:
    """An ISO 8601 time as microseconds; UTC where it names no zone."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(
            "a time is not understood", where=where, found=text, hint="write 2013-02-01 or 2013-02-01T12:00Z."
        ) from error
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return round(found.timestamp() * 1_000_000)


def range_of(from_: str | None, to: str | None) -> tuple[int | None, int | None]:
    """`--from` and `--to` as microseconds. Raises SettingsError where there can be nothing between them."""
    from_us, to_us = instant_of(from_, "--from"), instant_of(to, "--to")
    if from_us is not None and to_us is not None and from_us >= to_us:
        raise SettingsError(
            "the range is empty", where="--to", found=to, expected=f"later than {from_}", hint="--to is exclusive."
        )
    return from_us, to_us


def inputs_of(text: str, known: Iterable[str]) -> list[str]:
    """What `--features` names. Raises SettingsError where it names none, or one that there is not."""
    known = sorted(known)
    chosen = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        raise SettingsError(
            "no such input" if unknown else "no input is named",
            where="--features",
            found=", ".join(unknown) or repr(text),
            expected=", ".join(known),
            hint="names as the model declares them, with commas between.",
        )
    return chosen


_LINE_S = 10.0
_shown: dict[str, Any] = {}


def show_progress(what: str, done: int, total: int) -> None:
    """One line that rewrites itself on a terminal; elsewhere a line every ten seconds."""
    import sys
    import time

    now, is_terminal = time.monotonic(), sys.stderr.isatty()
    if _shown.get("what") != what:
        _shown.update(what=what, since=now, told=0.0 if is_terminal else now)
    if now - _shown["told"] > (0.2 if is_terminal else _LINE_S):
        _shown["told"] = now
        rate = done / max(now - _shown["since"], 1e-9)
        left = f", {(total - done) / rate:,.0f} s left" if rate else ""
        line = f"{what}: {done:,} of {total:,}{left}"
        print(f"\r{line}   " if is_terminal else line, end="" if is_terminal else "\n", file=sys.stderr, flush=True)


@contextmanager
def goes_on() -> Iterator[None]:
    """Say of an interruption that the same command goes on."""
    try:
        yield
    except KeyboardInterrupt:
        progress_end()
        typer.echo("interrupted; the same command goes on where it stood", err=True)
        raise typer.Exit(130) from None


def progress_end() -> None:
    """Clear that line."""
    import sys

    if sys.stderr.isatty():
        print("\r" + " " * 70 + "\r", end="", file=sys.stderr, flush=True)
