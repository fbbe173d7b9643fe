"""`samestream diff`: what changed between two declarations, what it breaks, whom it touches."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from samestream.console.options import CONNECTION, configured

if TYPE_CHECKING:
    from samestream.console.settings import Settings
    from samestream.streams.deploy.changes import Consequence, Difference
    from samestream.streams.deploy.declaration import Declaration

_SHOWN = 6
"""How many of the parts that a change touches are named."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("diff")(diff)


@configured(*CONNECTION)
def diff(
    settings: Settings,
    modules: Annotated[
        list[str],
        typer.Argument(metavar="OLD NEW", help="Two modules, files or names; with --deployed only the new one."),
    ],
    deployed: Annotated[
        bool, typer.Option("--deployed", help="Compare with what `apply` last recorded in this deployment.")
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Leave with 1 if they differ, as git diff does.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for other programs.")] = False,
) -> None:
    """Show what changed from OLD to NEW: in words, part by part, with what follows and the remedy.

    \b
    Parts are compared by meaning: a renamed variable, another spacing or `a + b` for
    `b + a` is no change. Then what follows: schemas that cannot read each other, state
    that is rebuilt, models that must be trained again. What `samestream apply` would
    refuse is marked so.

    \b
    samestream diff yesterday/app.py app.py
    samestream diff --deployed app.py --exit-code
    Exit codes: 0, or with --exit-code 1 if anything differs; 2 wrong usage.
    """
    from samestream.schemas.errors import SettingsError
    from samestream.streams.deploy.changes import compare

    if len(modules) != (1 if deployed else 2):
        raise SettingsError(
            "diff compares two declarations",
            where="samestream diff",
            found=", ".join(modules),
            expected="OLD NEW, or --deployed MODULE",
            hint="samestream diff old.py new.py.",
        )
    before = _deployed(settings, modules[0]) if deployed else _declared(modules[0])
    after = _declared(modules[-1])
    found = compare(before, after)
    if as_json:
        print(json.dumps(_as_json(before, after, found), indent=2))
    else:
        print("\n".join(told(before, after, found)))
    if exit_code and not found.is_same:
        raise typer.Exit(1)


def told(before: Declaration, after: Declaration, found: Difference) -> Iterator[str]:
    """A difference as lines of text."""
    if found.is_same:
        yield f"{after.app}: the same declaration"
        return
    meant = [change for change in found.changes if change.how not in ("described", "renamed")]
    yield f"{after.app}: {_count(len(meant), 'change')} in meaning, {len(found.changes) - len(meant)} in name or description"
    for change in found.changes:
        yield ""
        yield f"{change.how:<10} {change.kind:<8} {change.part}{': ' if change.words else ''}{change.words}"
        if change.touches and change.how != "described":
            rest = f" and {len(change.touches) - _SHOWN} more" if len(change.touches) > _SHOWN else ""
            yield f"           touches  {', '.join(change.touches[:_SHOWN])}{rest}"
    if found.outputs:
        yield ""
        for model, topics in found.outputs.items():
            yield f"concerns   {model}: its training data, and whoever reads {', '.join(topics)}"
    if found.schemas:
        yield ""
        for topic, level in found.schemas.items():
            yield f"schema     {topic}: {_LEVELS[level]}"
    for one in found.consequences:
        yield ""
        yield from consequence(one)


def consequence(one: Consequence, *, allowed: bool = False) -> Iterator[str]:
    """A consequence and its remedy as lines of text; ``allowed`` says that the operator overruled its refusal."""
    verdict = "note" if not one.is_refused else "allowed" if allowed else "REFUSED"
    yield f"{verdict:<10} {one.code:<8} {one.where}: {one.what}"
    yield f"           remedy   {one.remedy}"


_LEVELS = {
    "full": "fully compatible: old and new read each other",
    "backward": "backward compatible: the new reads the old, the old does not read the new",
    "forward": "forward compatible: the old reads the new, the new does not read the old",
    "none": "not compatible: neither reads the other",
}


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _as_json(before: Declaration, after: Declaration, found: Difference) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "app": after.app,
        "same": found.is_same,
        "fingerprints": {"before": before.fingerprint, "after": after.fingerprint},
        "changes": [asdict(change) for change in found.changes],
        "outputs": {model: list(topics) for model, topics in found.outputs.items()},
        "schemas": dict(found.schemas),
        "consequences": [asdict(one) | {"refused": one.is_refused} for one in found.consequences],
    }


def _declared(reference: str) -> Declaration:
    """The declaration in a module. What it imports from beside it is forgotten: the other one may have files of these names."""
    from samestream.schemas.app import load
    from samestream.streams.deploy.declaration import declare
    from samestream.streams.lowering import compile_app

    modules, path = set(sys.modules), list(sys.path)
    try:
        app = load(reference)
        return declare(app, compile_app(app))
    finally:
        own = [name for name in sys.modules if name not in modules and not name.startswith("samestream.")]
        folders = {folder for folder in sys.path if folder not in path}
        for name in own:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if any(file.startswith(f"{folder}/") for folder in folders):
                del sys.modules[name]
        sys.path[:] = path


def _deployed(settings: Settings, reference: str) -> Declaration:
    """What `apply` last recorded for an app. Raises SettingsError where it has recorded nothing."""
    from contextlib import closing

    from samestream.console.settings import connect
    from samestream.schemas.app import load
    from samestream.schemas.errors import SettingsError
    from samestream.streams.deploy.declaration import recorded

    app = load(reference, settings.namespace)
    with closing(connect(settings)) as transport:
        found = recorded(transport, app.schemas)
    if not found:
        raise SettingsError(
            "nothing was applied here yet",
            where=app.prefix,
            expected=f"a declaration in {app.schemas}",
            hint="`samestream apply MODULE` records one.",
        )
    return found[-1]
