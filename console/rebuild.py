"""`samestream rebuild`: the state of processors made anew from the journal and the log, in place of their snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from samestream.console.options import CONNECTION, Module, configured

if TYPE_CHECKING:
    from samestream.console.settings import Settings
    from samestream.streams.engine.task import Task
    from samestream.streams.plan import Plan
    from samestream.streams.transport import Transport
    from samestream.streams.wire.schema_store import SchemaStore


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(rebuild)


@configured(*CONNECTION, "state")
def rebuild(
    settings: Settings,
    module: Module,
    roles: Annotated[
        list[str] | None,
        typer.Argument(metavar="ROLE", help="features, scorer, outcomes, monitor; all of them if none is named."),
    ] = None,
) -> None:
    """Make the state of MODULE's processors anew from the journal and the log.

    A processor starts from the newest snapshot of its state. Snapshots of
    another definition, or of another kernel or CPU, mean something else, so
    it does not start from them and says so. This command discards them and
    computes the state by the present definition, as far as the journal has
    come; the next `run` goes on from there. Nothing is written to Kafka.

    It can run while the old definition still serves: stop that afterwards,
    or let the new process take over. Interrupted, the next `run` or
    `rebuild` goes on or begins again; no event is lost or counted twice.

    \b
    samestream rebuild examples/flights.py
    samestream rebuild examples/flights.py features
    """
    from contextlib import closing

    from samestream.console import roles as known
    from samestream.console.apply import require
    from samestream.console.settings import connect
    from samestream.schemas.app import load
    from samestream.streams.deploy import provision
    from samestream.streams.lowering import compile_app

    app = load(module, settings.namespace)
    with closing(connect(settings)) as transport:
        require(transport, app)
        plan = compile_app(app)
        store = provision.store(transport, plan)
        names = roles or [name for name in known.ROLES if name in known.PROCESSORS]
        for task in [task for name in dict.fromkeys(names) for task in known.tasks(name, app, plan)]:
            _rebuild(settings, plan, transport, store, task)


def _rebuild(settings: Settings, plan: Plan, transport: Transport, store: SchemaStore, task: Task) -> None:
    import threading
    import time

    from samestream.console.offline import progress_end, show_progress
    from samestream.schemas.errors import RecoveryError
    from samestream.streams.engine.health import Health
    from samestream.streams.engine.recovery import Recovery
    from samestream.streams.engine.snapshots import Snapshots
    from samestream.streams.wire.decode import Decoder

    began_s = time.monotonic()
    snapshots = Snapshots(settings.state_folder, f"{plan.app}.{task.name}")
    discarded = snapshots.discard()
    decoders = {part.topic: Decoder(part, store) for part in task.inputs}
    health = Health(task.name)
    recovery = Recovery(transport, plan.journal, task, decoders, health, snapshots, accept_partitions=True)
    try:
        recovery.begin()
        recovery.follow(
            threading.Event(), lambda done, total: show_progress(f"{task.name}: batches replayed", done, total)
        )
        recovery.finish()
    finally:
        recovery.close()
    progress_end()
    if health.snapshots_failed and not health.snapshots:
        raise RecoveryError(
            "the state was computed, but could not be kept",
            where=str(snapshots.folder),
            found=f"{health.replayed:,} batches replayed",
            hint="free space on the disk, or name another folder with --state; the next run computes it again.",
        )
    kept = f"{health.snapshot_bytes:,} bytes in {snapshots.folder}" if health.snapshots else "nothing is to be kept"
    typer.echo(
        f"{task.name}: {discarded} snapshots discarded, {health.replayed:,} batches of the journal replayed in "
        f"{time.monotonic() - began_s:.1f} s; {kept}"
    )
