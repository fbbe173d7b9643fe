"""`samestream schemas`: an app's Avro schemas as files, and whether they may replace those that were there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from samestream.console.options import CONNECTION, Module, configured

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from samestream.console.settings import Settings
    from samestream.schemas.avro import Schema
    from samestream.schemas.evolution import Level
    from samestream.streams.plan import Plan

    Versions = Callable[[str], list[Schema]]

BROKER, REGISTRY = "broker", "registry"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="The Avro schemas of an app: as files, and whether they may change.")
    group.command("export")(export)
    group.command("check")(check)
    app.add_typer(group, name="schemas")


@configured("namespace")
def export(
    settings: Settings,
    module: Module,
    out: Annotated[Path, typer.Option(help="The folder to write to; made if it is not there.")] = Path("schemas"),
) -> None:
    """Write every schema of MODULE to a file of its own, <subject>.avsc.

    \b
    For code generators, other languages and reviews: keep the files in version control,
    and let `schemas check --against` them tell what a change breaks. Subjects are named
    by topic, flights.boarding-value; what samestream writes for itself is samestream.*.

    \b
    samestream schemas export examples/flights.py
    samestream schemas export examples/flights.py --out build/avro
    """
    from samestream.streams.deploy import provision

    found = dict(provision.schemas(_plan(module, settings.namespace)))
    out.mkdir(parents=True, exist_ok=True)
    for subject, schema in found.items():
        path = out / f"{subject}.avsc"
        path.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", "utf-8")
        print(path)


@configured(*CONNECTION)
def check(
    settings: Settings,
    module: Module,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|broker|registry",
            help="Where the schemas before are; the registry if one is set, else the broker.",
        ),
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(
            help="backward, forward or full, each also with _transitive; the registry's own level, else backward_transitive."
        ),
    ] = None,
) -> None:
    """Check that the schemas of MODULE may replace those that are there, and name what would break.

    \b
    backward  the new schema reads what was written with the old one: change readers first
    forward   the old schema reads what is written with the new one: change writers first
    full      both; ..._transitive: against every version, not the latest alone

    \b
    Logs are kept for ever here, and read again whenever features are computed anew: so
    without a registry backward_transitive is asked for. Each violation names the field,
    what was found and expected, and what to do.

    \b
    samestream schemas check examples/flights.py
    samestream schemas check examples/flights.py --against schemas --level full
    Exit codes: 0, or 1 if anything is violated.
    """
    from contextlib import ExitStack

    from samestream.schemas.evolution import Level
    from samestream.schemas.evolution import check as violated
    from samestream.streams.deploy import provision

    chosen, plan = _level(level), _plan(module, settings.namespace)
    found = dict(provision.schemas(plan))
    known = broken = 0
    with ExitStack() as stack:
        versions, own_level = _versions(settings, plan, against, stack)
        for subject, schema in found.items():
            old = versions(subject)
            known += bool(old)
            asked = chosen or (own_level(subject) if own_level is not None else Level.BACKWARD_TRANSITIVE)
            for violation in violated(schema, old, asked):
                broken += 1
                print(f"fail  {subject}: {violation.line}")
    print(f"{len(found)} schemas, {known} of them known before, {broken} violations")
    if broken:
        raise typer.Exit(1)


def _plan(module: str, namespace: str) -> Plan:
    from samestream.schemas.app import load
    from samestream.streams.lowering import compile_app

    return compile_app(load(module, namespace))


def _level(said: str | None) -> Level | None:
    from samestream.schemas.errors import SettingsError
    from samestream.schemas.evolution import Level

    if said is None:
        return None
    try:
        return Level(said.lower())
    except ValueError as error:
        raise SettingsError(
            "no such level", where="--level", found=said, expected=", ".join(Level), hint="--level backward."
        ) from error


def _versions(
    settings: Settings, plan: Plan, against: str | None, stack: ExitStack
) -> tuple[Versions, Callable[[str], Level] | None]:
    """Where the versions before come from, by subject, oldest first; and a registry's own level of a subject."""
    from contextlib import closing

    from samestream.console.settings import connect
    from samestream.schemas.errors import SettingsError
    from samestream.streams.wire.registry import Registry
    from samestream.streams.wire.schema_store import published

    chosen = against or (REGISTRY if settings.registry_url else BROKER)
    if chosen == REGISTRY:
        if not settings.registry_url:
            raise SettingsError(
                "no registry is configured",
                where="--against registry",
                hint="set SAMESTREAM_REGISTRY_URL=http://HOST:PORT, or registry_url in samestream.toml.",
            )
        registry = Registry(settings.registry_url, patience_s=5.0)
        return registry.versions, registry.level
    if chosen == BROKER:
        transport = stack.enter_context(closing(connect(settings)))
        there = published(transport, plan.schemas)
        return lambda subject: there.get(subject, []), None
    folder = Path(chosen)
    if not folder.is_dir():
        raise SettingsError(
            "no such folder",
            where="--against",
            found=chosen,
            expected="a folder of .avsc files, broker, or registry",
            hint=f"samestream schemas export MODULE --out {chosen}, before the change.",
        )
    return lambda subject: _from_file(folder / f"{subject}.avsc"), None


def _from_file(path: Path) -> list[Schema]:
    from samestream.schemas.avro import plain_schema
    from samestream.schemas.errors import SchemaError

    if not path.exists():
        return []
    try:
        schema: Schema = json.loads(path.read_text("utf-8"))
        plain_schema(schema)
    except Exception as error:  # whatever the Avro parser makes of what somebody wrote there
        raise SchemaError(
            "a file holds no Avro schema",
            where=str(path),
            found=f"{type(error).__name__}: {error}",
            hint="write it anew with `samestream schemas export`.",
        ) from error
    return [schema]
