"""`samestream backfill`: a new feature over old history, beside what was served."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from samestream.console.options import CONNECTION, Module, configured
from samestream.schemas.errors import SettingsError

if TYPE_CHECKING:
    from samestream.console.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("backfill")(backfill)


@configured(*CONNECTION, "log")
def backfill(
    settings: Settings,
    module: Module,
    out: Annotated[Path, typer.Option(help="The Parquet file to write.", dir_okay=False)],
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="Which model; needed when the app declares several.")
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="First trigger event time, ISO 8601 (UTC).")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Trigger event times before this, ISO 8601 (UTC).")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Let --out replace a file that exists.")] = False,
    features: Annotated[
        str | None, typer.Option(metavar="A,B", help="Compute these inputs; take all others as they were served.")
    ] = None,
) -> None:
    """Compute a new feature over old history, joined with the logged ones.

    \b
    The journal of all history is followed by the present definition, as if it had
    served from the first event on. What was served and means the same today is taken
    from the feature log, as it was; what was declared since is computed. Which inputs
    are the same is read from the declarations that `samestream apply` recorded.
    Interrupted, the same command goes on where it stood.

    \b
    Example: samestream backfill examples/flights.py --out history.parquet
    """
    from samestream.console.apply import require
    from samestream.console.offline import (
        check_folder,
        goes_on,
        inputs_of,
        one_model,
        progress_end,
        range_of,
        show_progress,
    )
    from samestream.console.settings import connect
    from samestream.schemas.app import load
    from samestream.streams.deploy import declaration
    from samestream.streams.log import hypothetical, logged_features
    from samestream.streams.log.feature_log import FeatureLog
    from samestream.streams.log.vector_file import VectorFile, refuse_existing
    from samestream.streams.log.vector_replay import covered, span
    from samestream.streams.lowering import compile_app

    app = load(module, settings.namespace)
    plan = compile_app(app)
    chosen = plan.models[one_model(list(plan.models), model, where="MODEL")]
    from_us, to_us = range_of(from_, to)
    named = set(inputs_of(features, chosen.outputs)) if features is not None else None
    check_folder(out, "--out")
    refuse_existing(out, overwrite)
    with closing(connect(settings)) as transport:
        require(transport, app)
        log = FeatureLog(settings.log_uri)
        recorded = declaration.recorded(transport, plan.schemas)
        kept = logged_features.unchanged(declaration.declare(app, plan), recorded, chosen)
        if named is not None:
            others = frozenset(set(chosen.outputs) - named)
            kept = dict.fromkeys(kept, others)
        entries = covered(plan, transport, log)
        asked = {"log": settings.log_uri, "kept": {mark: sorted(names) for mark, names in kept.items()}}
        file = VectorFile(out, plan, [chosen.name], from_us, to_us, None, asked, overwrite=overwrite)
        done = file.done_sequence
        part = span(plan, entries, from_us, to_us, done)
        nothing = SettingsError(
            "there is no history in this range",
            where=plan.app,
            found=f"{len(entries)} batches in the journal",
            hint="widen --from and --to, or run `samestream run MODULE features log` first.",
        )
        if part.first >= part.end and done < 0:
            raise nothing
        over = logged_features.LoggedFeatures(chosen, log, kept, from_us, to_us)
        with goes_on():
            for entry, every in hypothetical.vectors_of(plan, transport, log, entries, part, show_progress):
                mine = [vectors for vectors in every if vectors.model.name == chosen.name]
                file.take(entry.sequence, [over.over(vectors) for vectors in mine])
            if done < 0 and not file.taken:
                raise nothing
            rows = file.finish(entries[part.end - 1].sequence)
    progress_end()
    for name in chosen.outputs:
        typer.echo(f"{name:<28}{over.taken[name]:>12,} as served{over.computed[name]:>12,} computed")
    typer.echo(f"wrote {rows:,} vectors to {out}")
