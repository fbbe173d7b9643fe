"""`samestream redrive`: rejected events, repaired, go to their topic again."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from samestream.console.options import CONNECTION, Module, configured
from samestream.schemas.errors import SettingsError

if TYPE_CHECKING:
    from samestream.console.settings import Settings


class Known(StrEnum):
    """Which record timestamp an event gets when it is sent again."""

    NOW = "now"
    ORIGINAL = "original"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(redrive)


@configured(*CONNECTION)
def redrive(
    settings: Settings,
    module: Module,
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="TOPIC.dead or TOPIC.late.")],
    reason: Annotated[str, typer.Option(help="Only events rejected for this reason.")] = "",
    offset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="P:O",
            help="Only the event of this origin: its partition and offset in the topic that it was rejected from; repeatable.",
        ),
    ] = None,
    repair: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Repair a field; repeatable.")
    ] = None,
    export: Annotated[Path | None, typer.Option(help="Write the events to this file, for editing; send none.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Let --export replace a file that exists.")] = False,
    source: Annotated[Path | None, typer.Option("--from", help="Send the repaired events of this file.")] = None,
    known: Annotated[Known, typer.Option(help="Record timestamp: that of sending, or the rejected one's.")] = Known.NOW,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and be dead again.")] = False,
) -> None:
    """Send rejected events to their topic again: as they were, repaired by --set, or edited.

    As they were helps once the cause is gone, say a schema was published.
    Every run sends all it selects: select what was not sent before. Late
    events stay late unless the declared lateness has grown.

    \b
    samestream redrive app.py shop.orders.dead --reason undecodable --export bad.jsonl
    samestream redrive app.py shop.orders.dead --from bad.jsonl
    samestream redrive app.py shop.orders.dead --offset 0:1234 --set currency=EUR
    """
    from contextlib import closing

    from samestream.console import resend
    from samestream.console.settings import connect
    from samestream.schemas.app import load
    from samestream.streams.lowering import compile_app

    picks = bool(reason or offset)
    if (source and (export or repair or picks)) or (export and repair) or (overwrite and not export):
        raise SettingsError(
            "these options exclude each other",
            where="samestream redrive",
            found="--from sends a file as it is, --export writes events as they are",
            hint="export a selection, edit the file, then send it with --from alone.",
        )
    plan = compile_app(load(module, settings.namespace))
    input = resend.origin(plan, topic)
    selection = resend.Selection(topic, reason, resend.places(offset or []))
    with closing(connect(settings)) as transport:
        if export:
            print(resend.export(transport, plan, input, selection, export, overwrite))
        elif source:
            resend.from_file(transport, plan, input, source, known, dry_run)
        else:
            resend.again(transport, plan, input, selection, repair or [], known, dry_run)
