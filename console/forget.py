"""`samestream forget`: what the feature log says of a person, erased."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from samestream.console.options import Module, configured
from samestream.schemas.errors import FeatureLogError, SettingsError

if TYPE_CHECKING:
    from samestream.console.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("forget")(forget)


@configured("folder", "namespace", "log")
def forget(
    settings: Settings,
    module: Module,
    key: Annotated[
        str, typer.Option("--key", metavar="FIELD=VALUE", help="A field declared pii=True, and whose it is.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: it cannot be undone.")] = False,
) -> None:
    """Erase what the feature log says of a person. It cannot be undone.

    \b
    In every event that declares FIELD with pii=True, VALUE becomes a token that nobody
    can trace, and the other personal fields become null: the rows still count for the
    features of others. Vectors, predictions and outcomes of such triggers lose all but
    their place. Replay then names the token, parity counts such vectors as erased, and
    training sets leave them out and say how many.

    \b
    Kafka's topics, published models and training sets that were written are not
    touched: what remains to be done is told.

    Example: samestream forget app.py --key user=u4711
    """
    from samestream.schemas.app import load
    from samestream.streams.log.erasure import declaring
    from samestream.streams.log.erasure import forget as erase
    from samestream.streams.log.feature_log import FeatureLog
    from samestream.streams.lowering import compile_app

    field, equals, value = key.partition("=")
    if not equals or not field or not value:
        raise SettingsError("a person is named FIELD=VALUE", where="--key", found=field, hint="--key user=u4711.")
    plan, log = compile_app(load(module, settings.namespace)), FeatureLog(settings.log_uri)
    if not log.topics():
        raise FeatureLogError("the log is empty", where=log.storage.root, hint="is --log the one that is meant?")
    declaring(plan, field)  # before anybody is asked
    if not yes:
        typer.confirm(f"Erase what {log.storage.root} says of this {field}? It cannot be undone.", abort=True)
    done = erase(plan, log, field, value)
    for part in done:
        typer.echo(f"{part.topic:<44}{part.rows:>12,} rows erased, {part.files:,} files removed")
    if not any(part.rows for part in done):
        typer.echo(f"the log says nothing of this {field}, or no more")
    touched = {part.topic for part in done}
    typer.echo(f"Kafka keeps its records of {', '.join(sorted(touched))} for as long as the topics' retention says.")
    for path in sorted((settings.folder / "training-sets").glob("*/manifest.json")):
        try:
            concerned = touched & set(json.loads(path.read_text())["offsets"])
        except (OSError, ValueError, KeyError, TypeError):
            concerned = {"an unreadable manifest"}
        if concerned:
            typer.echo(f"May hold rows of this {field}: {path.parent}")
