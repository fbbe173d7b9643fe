"""`samestream apply`: the topics and schemas of an app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from samestream.console.options import CONNECTION, Module, configured

if TYPE_CHECKING:
    from samestream.console.settings import Settings
    from samestream.schemas.app import App
    from samestream.streams.plan import Plan
    from samestream.streams.provision import Provisioned
    from samestream.streams.transport import Transport


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(apply)


@configured(*CONNECTION)
def apply(
    settings: Settings,
    module: Module,
    replication: Annotated[int, typer.Option(min=1, help="Copies of every partition; 3 on a cluster.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be made; make nothing.")] = False,
) -> None:
    """Create the topics of MODULE and publish its schemas; what exists is never changed.

    Use it before the first `run`, and whenever the module declares something
    new. It refuses a topic that has another number of partitions.

    \b
    samestream apply examples/flights.py
    samestream apply examples/flights.py --dry-run
    """
    from contextlib import closing

    from samestream.console.settings import connect
    from samestream.schemas.app import load
    from samestream.streams import provision
    from samestream.streams.plan import compile_app

    declared = load(module, settings.namespace)
    plan = compile_app(declared)
    with closing(connect(settings)) as transport:
        if dry_run:
            made = _missing(transport, declared, plan, replication)
        else:
            made = provision.provision(transport, declared, plan, replication)
    verb = "would make" if dry_run else "made"
    for topic in made.topics:
        print(f"{verb} topic   {topic}")
    for subject in made.schemas:
        print(f"{verb} schema  {subject}")
    if not made.topics and not made.schemas:
        print("nothing to do")


def require(transport: Transport, app: App, *names: str) -> None:
    """Raises TransportError where topics of the app do not exist: those named, or any if none is."""
    from samestream.schemas.errors import TransportError
    from samestream.streams import provision
    from samestream.streams.plan import compile_app

    existing = transport.topics()
    wanted = names or [spec.name for spec in provision.topics(app, compile_app(app))]
    if missing := [name for name in wanted if name not in existing]:
        raise TransportError(
            "topics are missing",
            where=app.prefix,
            found=", ".join(missing),
            hint="create them with `samestream apply MODULE`.",
        )


def _missing(transport: Transport, app: App, plan: Plan, replication: int) -> Provisioned:
    """What `provision` would make; it would refuse what this refuses."""
    from samestream.schemas.avro import schema_fingerprint
    from samestream.streams import provision
    from samestream.streams.schema_store import SchemaStore
    from samestream.streams.transport import check_partition_counts

    existing, specs = transport.topics(), provision.topics(app, plan, replication)
    check_partition_counts(specs, existing)
    known = SchemaStore(transport, plan.schemas)
    wanted = provision.schemas(plan)
    if plan.schemas in existing:
        wanted = [part for part in wanted if known.find(schema_fingerprint(part[1])) is None]
    return provision.Provisioned(
        [spec.name for spec in specs if spec.name not in existing], [subject for subject, _ in wanted]
    )
