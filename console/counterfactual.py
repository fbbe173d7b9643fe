"""`samestream counterfactual`: what another definition, or another version of a model, would have said."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from samestream.console.options import CONNECTION, configured
from samestream.schemas.errors import RecoveryError

if TYPE_CHECKING:
    from samestream.console.settings import Settings
    from samestream.streams.log.hypothetical import Change, ModelChange


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("counterfactual")(counterfactual)


@configured(*CONNECTION, "log")
def counterfactual(
    settings: Settings,
    old: Annotated[str, typer.Argument(metavar="OLD", help="The module as it served: its journal is followed.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The module as it might have been; or OLD again.")],
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="First trigger event time, ISO 8601 (UTC).")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Trigger event times before this, ISO 8601 (UTC).")
    ] = None,
    old_version: Annotated[
        str | None, typer.Option("--old-version", metavar="V", help="Model version that scores the old vectors.")
    ] = None,
    new_version: Annotated[
        str | None, typer.Option("--new-version", metavar="V", help="Model version that scores the new vectors.")
    ] = None,
    target: Annotated[Path | None, typer.Option("--json", help="Write the figures there.", dir_okay=False)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Let --json replace a file that exists.")] = False,
) -> None:
    """Replay history by another definition, and tell the difference.

    \b
    Both modules follow OLD's journal over the feature log, vector by vector: what
    would have been served, and scored, had NEW run in place of OLD. Per input and per
    score: how many differ, appear or vanish, and by how much. Nothing is written to
    Kafka. Scores are those of the newest model of each definition; where NEW has none,
    of OLD's, if NEW still has its inputs.

    \b
    samestream counterfactual app.py app_with_longer_window.py --from 2013-02-01
    samestream counterfactual app.py app.py --new-version 20130301T000000Z-1f0e...
    """
    from dataclasses import asdict

    from samestream.console.offline import check_folder, progress_end, range_of, show_progress
    from samestream.console.settings import connect
    from samestream.schemas.app import load
    from samestream.streams.log import hypothetical
    from samestream.streams.log.feature_log import FeatureLog
    from samestream.streams.log.vector_file import refuse_existing
    from samestream.streams.log.vector_replay import covered
    from samestream.streams.lowering import compile_app

    before, after = compile_app(load(old, settings.namespace)), compile_app(load(new, settings.namespace))
    from_us, to_us = range_of(from_, to)
    check_folder(target, "--json")
    refuse_existing(target, overwrite, "--json")
    with closing(connect(settings)) as transport:
        log = FeatureLog(settings.log_uri)
        entries = covered(before, transport, log) if before.journal in transport.topics() else []
        if not entries:
            raise RecoveryError(
                "there is no journal to follow",
                where=before.journal,
                found="no batch",
                hint="OLD is the module that served, under the name of its app; let `samestream run OLD features log` run.",
            )
        versions = hypothetical.versions_of(transport, before)
        artifacts = {}
        for name in [name for name in before.models if name in after.models]:
            pair = hypothetical.scorers(before.models[name], after.models[name], versions, old_version, new_version)
            if pair is not None:
                artifacts[name] = pair
        found = hypothetical.compare(
            before,
            after,
            transport,
            log,
            entries,
            artifacts,
            from_us=from_us,
            to_us=to_us,
            on_progress=show_progress,
        )
    progress_end()
    if not found or not any(part.vectors + part.only_old + part.only_new for part in found.values()):
        raise RecoveryError(
            "there is nothing to compare",
            where=f"{old}, {new}",
            found=f"models {', '.join(before.models)} and {', '.join(after.models)}; no vector of both in this range",
            hint="widen --from and --to; a model keeps its name to be compared.",
        )
    if target is not None:
        target.write_text(json.dumps({name: asdict(part) for name, part in found.items()}, indent=2) + "\n")
    for part in found.values():
        _show(part)


def _show(part: ModelChange) -> None:
    typer.echo(
        f"{part.model}: {part.vectors:,} vectors of both; {part.only_old:,} only old, {part.only_new:,} only new"
    )
    typer.echo(f"  {'':<28}{'differ':>10}{'appear':>10}{'vanish':>10}{'mean':>14}{'greatest':>14}")
    for name, change in part.features.items():
        typer.echo(_line(name, change))
    for name in part.added:
        typer.echo(f"  {name:<28}only in the new definition")
    for name in part.removed:
        typer.echo(f"  {name:<28}only in the old definition")
    if part.score is None:
        typer.echo("  no scores: no published model fits both")
    else:
        typer.echo(_line("(score)", part.score) + f"   by {' and '.join(dict.fromkeys(part.versions))}")


def _line(name: str, change: Change) -> str:
    mean = change.total / change.compared if change.compared else 0.0
    counts = f"{change.differ:>10,}{change.appeared:>10,}{change.vanished:>10,}"
    return f"  {name:<28}{counts}{mean:>14.6g}{change.greatest:>14.6g}"
