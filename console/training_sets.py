"""`samestream training-set`: vectors joined with labels, as Parquet with a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from samestream.console.options import CONNECTION, Module, configured
from samestream.schemas.errors import SettingsError

if TYPE_CHECKING:
    from samestream.console.settings import Settings
    from samestream.trainers.request import Mode, Request

MODES = ("served", "as_known", "point_in_time")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("training-set")(training_set)


@configured(*CONNECTION, "log")
def training_set(
    settings: Settings,
    module: Module,
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="Which model; needed when the app declares several.")
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="First trigger event time, ISO 8601 (UTC).")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Trigger event times before this, ISO 8601 (UTC).")
    ] = None,
    mode: Annotated[
        str, typer.Option(metavar="MODE", help="served: as logged; as_known, point_in_time: computed in SQL.")
    ] = "served",
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="TIME", help="Use only what the log knew before this.")
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(metavar="TIME", help="Where test begins; twice: where validation begins, then test."),
    ] = None,
    rows: Annotated[
        Path | None, typer.Option(help="Keys and instants of your own (.parquet, .csv); not served.", dir_okay=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="New folder to write. (FOLDER/training-sets/MODEL-DIGEST)", file_okay=False)
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="Make the set of this manifest again, and compare the digest.")
    ] = None,
) -> None:
    """Write a training set: vectors joined with what then happened.

    \b
    A row is a vector whose horizon is over and that got a label; every other vector is
    counted, and none is a negative for want of news. A manifest says from which
    offsets, journal entries and definition it was made; from it the same bytes can be
    made again at any time, whatever was logged since: --manifest FOLDER.
    Where a split divides the rows, those whose horizon was not yet over are left out of
    the earlier part, and counted.

    \b
    With --rows, the file has the trigger's key, its event time, and the fields that
    inputs are looked up by, named as declared; every row comes back, labelled or not.

    \b
    samestream training-set examples/flights.py --to 2013-02-01 --split 2013-01-25
    samestream training-set examples/flights.py --mode point_in_time --rows asked.csv
    samestream training-set examples/flights.py --manifest .samestream/training-sets/...
    """
    from samestream.console.offline import instant_of, one_model, range_of
    from samestream.console.settings import connect
    from samestream.schemas.app import load
    from samestream.streams.log.feature_log import FeatureLog
    from samestream.streams.lowering import compile_app
    from samestream.trainers import dataset, dataset_files
    from samestream.trainers.request import Request as Asked

    plan = compile_app(load(module, settings.namespace))
    pinned: dict[str, Any] | None = None
    request: Request
    if manifest is not None:
        if any(given is not None for given in (model, from_, to, as_of)) or split or mode != "served":
            raise SettingsError(
                "a manifest says all of it",
                where="--manifest",
                hint="give only MODULE, --manifest and --out; and --rows, if its file lies elsewhere now.",
            )
        request, pinned = dataset_files.read_manifest(manifest, rows)
        one_model(list(plan.models), request.model)
    else:
        if mode not in MODES:
            raise SettingsError(
                "no such mode", where="--mode", found=mode, expected=", ".join(MODES), hint="served is what was logged."
            )
        request = Asked(
            one_model(list(plan.models), model, where="MODEL"),
            cast("Mode", mode),
            *range_of(from_, to),
            instant_of(as_of, "--as-of"),
            tuple(cast("int", instant_of(text, "--split")) for text in split or ()),
            str(rows.absolute()) if rows is not None else None,
        )
    if out is not None:
        dataset_files.refuse_existing(out)
    made = dataset.build(plan, request, FeatureLog(settings.log_uri), lambda: connect(settings), pinned)
    if pinned is not None:
        dataset_files.compare(made, pinned)
    for name, count in made.counts.items():
        typer.echo(f"{name.replace('_', ' '):<36}{count:>12,}")
    for name, part in made.manifest["parts"].items():
        typer.echo(f"{f'rows in {name}.parquet':<36}{part['rows']:>12,}")
    if pinned is not None:
        typer.echo(f"the same as in the manifest: {made.digest}")
    elif out is None:
        out = settings.folder / "training-sets" / f"{request.model}-{made.digest[:12]}"
        if (out / dataset_files.MANIFEST).exists():
            typer.echo(f"there already: {out}")
            return
    if out is not None:
        dataset_files.write(made, out)
        typer.echo(f"wrote {out}, digest {made.digest}")
