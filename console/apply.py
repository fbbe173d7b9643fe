"""`samestream apply`: the topics and schemas of an app."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from samestream.console.options import CONNECTION, Module, configured

if TYPE_CHECKING:
    from samestream.console.settings import Settings
    from samestream.schemas.app import App
    from samestream.streams.plan import Plan
    from samestream.streams.transport import TopicSpec, Transport


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(apply)


@configured(*CONNECTION)
def apply(
    settings: Settings,
    module: Module,
    replication: Annotated[
        int, typer.Option(min=1, help="Copies of every partition, where the declaration says nothing; 3 on a cluster.")
    ] = 1,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Overrule how topics are made: partitions=6, Boarding.retention=30d, min_insync=2; repeatable.",
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", metavar="CODE", help="Go on in spite of a refusal with this code; repeatable."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check all, and show what would be made; make nothing.")
    ] = False,
    acls: Annotated[
        bool, typer.Option("--acls", help="Print the kafka-acls commands that each process needs; make nothing.")
    ] = False,
    principals: Annotated[
        list[str] | None,
        typer.Option("--principal", metavar="PROCESS=NAME", help="Who a process is, for --acls; repeatable."),
    ] = None,
    groups: Annotated[
        list[str] | None,
        typer.Option("--group", metavar="NAME", help="A group of Predictions or Drift, for --acls; repeatable."),
    ] = None,
) -> None:
    """Create the topics of MODULE, publish its schemas, record its declaration.

    \b
    Use it before the first `run`, and whenever the module declares something new. All
    is checked before anything is made: a change that would break what is in the log,
    or what runs, is refused with the remedy. Where there is a way to live with it,
    --allow CODE goes on. What exists is never changed; it may be run again at any time.

    \b
    samestream apply examples/flights.py --dry-run
    samestream apply examples/flights.py --replication 3 --set min_insync=2
    samestream apply examples/flights.py --acls --principal features=User:flights

    \b
    Refused, unless allowed by code:   required, removed-field, topic, retention
    Refused always:                    key, kind, name, partitions
    """
    from contextlib import closing

    from samestream.console.settings import connect
    from samestream.schemas.app import load
    from samestream.streams.deploy import provision
    from samestream.streams.lowering import compile_app

    declared = load(module, settings.namespace)
    plan = compile_app(declared)
    if acls:
        from samestream.console.acls import commands

        address = settings.bootstrap or "HOST:PORT"
        print("\n".join(commands(declared, plan, address, principals or [], groups or [])))
        return
    chosen = _chosen(options or [], declared)
    with closing(connect(settings)) as transport:
        specs = provision.topics(declared, plan, replication, chosen)
        _check(transport, declared, plan, specs, allow or [])
        if dry_run:
            _show(transport, declared, plan, specs)
            return
        made = provision.provision(transport, declared, plan, replication, chosen)
    for topic in made.topics:
        print(f"made topic   {topic}")
    for subject in made.schemas:
        print(f"made schema  {subject}")
    if made.version is not None:
        print(f"recorded     version {made.version} of the declaration, {plan.fingerprint}")
    if not made.topics and not made.schemas and made.version is None:
        print("nothing to do")


def require(transport: Transport, app: App, *names: str) -> None:
    """Raises TransportError where topics of the app do not exist: those named, or any if none is."""
    from samestream.schemas.errors import TransportError
    from samestream.streams.deploy import provision
    from samestream.streams.lowering import compile_app

    existing = transport.topics()
    wanted = names or [spec.name for spec in provision.topics(app, compile_app(app))]
    if missing := [name for name in wanted if name not in existing]:
        raise TransportError(
            "topics are missing",
            where=app.prefix,
            expected=", ".join(missing),
            hint="create them with `samestream apply MODULE`.",
        )


def _chosen(given: list[str], app: App) -> dict[str, dict[str, Any]]:
    """``[EVENT.]OPTION=VALUE`` pairs, by event. Raises SettingsError for what names no event or option."""
    from samestream.schemas.errors import SettingsError
    from samestream.schemas.topics import OPTIONS

    found: dict[str, dict[str, Any]] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        event, _, option = name.rpartition(".")
        if not equals or option not in OPTIONS or (event and event not in app.events):
            raise SettingsError(
                "this sets no option of a topic",
                where="--set",
                found=pair,
                expected=f"[EVENT.]OPTION=VALUE; options {', '.join(OPTIONS)}; events {', '.join(app.events)}",
                hint="--set Boarding.partitions=6, or --set retention=30d for all events.",
            )
        read: Any = int(value) if value.isdecimal() else {"true": True, "false": False}.get(value.lower(), value)
        found.setdefault(event, {})[option] = read
    return found


def _check(transport: Transport, app: App, plan: Plan, specs: Sequence[TopicSpec], allow: list[str]) -> None:
    """Print what follows from applying. Raises ChangeRefusedError where something of it is refused and not allowed."""
    from samestream.console.diff import consequence
    from samestream.schemas.errors import ChangeRefusedError, SettingsError
    from samestream.streams.deploy.changes import ALLOWABLE
    from samestream.streams.deploy.deployment import differing, examine

    if unknown := [code for code in allow if code not in ALLOWABLE]:
        raise SettingsError(
            "this cannot be allowed",
            where="--allow",
            found=", ".join(unknown),
            expected=", ".join(ALLOWABLE),
            hint="see the remedy that `samestream apply` prints.",
        )
    found = examine(transport, app, plan, specs)
    for one in found:
        print("\n".join(consequence(one, allowed=one.code in allow)), file=sys.stderr)
    for topic, properties in differing(transport, specs).items():
        for name, actual, wanted in properties:
            print(
                f"note       {topic} has {name}={actual}, declared is {wanted}; what exists is not changed",
                file=sys.stderr,
            )
    refused = [one for one in found if one.is_refused and one.code not in allow]
    if refused:
        codes = list(dict.fromkeys(one.code for one in refused))
        overruled = [code for code in codes if code in ALLOWABLE]
        raise ChangeRefusedError(
            "the declaration does not fit what is deployed, and nothing was made",
            where=app.prefix,
            found="; ".join(f"{one.where}: {one.what}" for one in refused),
            hint=refused[0].remedy
            + (f" To go on all the same: --allow {' --allow '.join(overruled)}." if overruled == codes else ""),
        )


def _show(transport: Transport, app: App, plan: Plan, specs: Sequence[TopicSpec]) -> None:
    """What `provision` would make, as a table."""
    from samestream.console import tables
    from samestream.schemas import durations
    from samestream.streams.deploy import provision
    from samestream.streams.wire.schema_store import SchemaStore

    existing = transport.topics()
    rows = []
    for spec in specs:
        retention_ms = int(spec.config.get("retention.ms", "-1"))
        rows.append(
            [
                spec.name,
                "exists" if spec.name in existing else "make",
                spec.partitions,
                spec.replication,
                spec.config.get("min.insync.replicas", "-"),
                "for ever" if retention_ms < 0 else durations.text(retention_ms * 1000),
                spec.config.get("cleanup.policy", "delete"),
            ]
        )
    columns = ("topic", "", "partitions", "replication", "min insync", "retention", "cleanup")
    tables.console().print(tables.table(columns, rows, ("partitions", "replication", "min insync")))
    known = SchemaStore(transport, plan.schemas)
    if plan.schemas in existing:
        known.refresh()
    wanted = known.unpublished(provision.schemas(plan))
    now = provision.unrecorded(transport, app, plan)
    print()
    if wanted:
        print(f"would make {len(wanted)} schemas: {', '.join(subject for subject, _ in wanted)}")
    if now is not None:
        print(f"would record version {now.version} of the declaration, {plan.fingerprint}")
    if not wanted and now is None and all(spec.name in existing for spec in specs):
        print("nothing to do")
