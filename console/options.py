"""Options that many commands share. Importing this loads no settings, so that `--help` stays quick."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec

import typer

if TYPE_CHECKING:
    from samestream.console.settings import Settings

P = ParamSpec("P")

Module = Annotated[
    str,
    typer.Argument(
        metavar="MODULE", help="The module that declares your app: a file (examples/flights.py) or an importable name."
    ),
]

_PANEL = "Settings (also in samestream.toml, or as SAMESTREAM_...)"
_SHARED: dict[str, Any] = {
    "bootstrap": Annotated[
        str | None,
        typer.Option(help="Kafka to use, HOST:PORT; the local broker if left out.", rich_help_panel=_PANEL),
    ],
    "properties": Annotated[
        list[str] | None,
        typer.Option(
            "--property",
            metavar="NAME=VALUE",
            help="Any librdkafka property, such as sasl.username=x; repeatable.",
            rich_help_panel=_PANEL,
        ),
    ],
    "namespace": Annotated[
        str | None,
        typer.Option(
            help="The deployment to use: NAME prefixes every topic, group and identity. None is production.",
            metavar="NAME",
            rich_help_panel=_PANEL,
        ),
    ],
    "folder": Annotated[
        Path | None,
        typer.Option(
            help="Where local data is kept: kafka/, log/, artifacts/, state/. (.samestream)", rich_help_panel=_PANEL
        ),
    ],
    "log": Annotated[
        str | None,
        typer.Option(help="Root of the feature log: a folder or a pyarrow URI. (FOLDER/log)", rich_help_panel=_PANEL),
    ],
    "artifacts": Annotated[
        str | None,
        typer.Option(
            help="Root of trained models: a folder or a pyarrow URI. (FOLDER/artifacts)", rich_help_panel=_PANEL
        ),
    ],
    "state": Annotated[
        str | None,
        typer.Option(
            help="Folder of the snapshots of state, on a local disk. (FOLDER/state)",
            metavar="FOLDER",
            rich_help_panel=_PANEL,
        ),
    ],
    "snapshot_every": Annotated[
        float | None,
        typer.Option(
            help="Seconds from one snapshot of state to the next; 0 takes none. (60)",
            metavar="SECONDS",
            rich_help_panel=_PANEL,
        ),
    ],
}
CONNECTION = ("bootstrap", "properties", "folder", "namespace")
"""The shared options of every command that talks to Kafka."""


def configured(*shared: str) -> Callable[[Callable[Concatenate[Settings, P], None]], Callable[P, None]]:
    """Give a command the named shared options, and pass it the settings they lead to as its first argument."""

    def decorate(command: Callable[Concatenate[Settings, P], None]) -> Callable[P, None]:
        # `Settings` is not imported at run time; the first parameter is ours anyway
        hints = typing.get_type_hints(command, localns={"Settings": object}, include_extras=True)
        own = [part.replace(annotation=hints[part.name]) for part in inspect.signature(command).parameters.values()][1:]
        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_SHARED[name])
            for name in shared
        ]
        keywords = [part.replace(kind=inspect.Parameter.KEYWORD_ONLY) for part in own]

        @functools.wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            from samestream.console import settings

            given: dict[str, Any] = {name: kwargs.pop(name, None) for name in shared}
            if "properties" in given:
                given["properties"] = settings.parse_properties(given["properties"] or [])
            command(settings.load(**given), *args, **kwargs)

        run.__dict__["__signature__"] = inspect.Signature(keywords + added)
        run.__annotations__ = {part.name: part.annotation for part in keywords + added}
        return run

    return decorate
