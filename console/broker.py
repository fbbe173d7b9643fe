"""`samestream up`, `down` and `status`: the local Kafka, and how far an app has come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from samestream.console.options import CONNECTION, configured

if TYPE_CHECKING:
    from samestream.console.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(up)
    app.command()(status)
    app.command()(down)


@configured("folder")
def up(
    settings: Settings,
    port: Annotated[int | None, typer.Option(help="Port on loopback; otherwise the last one, or a free one.")] = None,
) -> None:
    """Start a genuine Apache Kafka on this machine; nothing happens where it runs already.

    Kafka is fetched once and cached. Its data is kept in FOLDER/kafka and
    survives any way of stopping. Commands run in the same working folder
    find it by themselves.

    \b
    samestream up
    samestream up --folder /data/shop --port 9092
    """
    from samestream.streams.kafka.local_kafka import LocalKafka

    found = LocalKafka(settings.kafka_folder, port).up(print)
    print(f"Kafka {found.version} answers at {found.bootstrap} (process {found.pid}, data in {found.folder})")


@configured("folder")
def down(settings: Settings) -> None:
    """Stop the local Kafka that `up` started; its data stays.

    No other Kafka is ever touched. The next `up` finds everything again.

    \b
    samestream down
    """
    from samestream.streams.kafka.local_kafka import LocalKafka

    kafka = LocalKafka(settings.kafka_folder)
    was_running = kafka.status().running
    kafka.down()
    print(f"Stopped; its data stays in {kafka.folder}" if was_running else f"No Kafka of {kafka.folder} was running")


@configured(*CONNECTION, "log", "state")
def status(
    settings: Settings,
    module: Annotated[str, typer.Argument(metavar="MODULE", help="The module that declares your app.")] = "",
) -> None:
    """Show the broker and, for a MODULE, how far each of its processors has come.

    From the journal, per processor: its batches and results, and per topic
    what became of the events. Lag is what is in the topics and not yet
    judged; known is the known time that it has reached. The watermark of a
    partition is the greatest event time applied, its delay how far that is
    behind known. A partition that holds the others back is named, and why.

    Processes that run on this machine (with the same --state folder) add
    what only they know: events a second, the time of a batch, memory held.
    Of others /metrics tells it.

    \b
    samestream status
    samestream status examples/flights.py
    """
    from contextlib import closing

    from samestream.console import settings as connections
    from samestream.streams.kafka.local_kafka import LocalKafka

    if settings.bootstrap is None:
        found = LocalKafka(settings.kafka_folder).status()
        if not found.running:
            print(f"No local Kafka runs: {found.detail} ({found.folder})")
            if module:
                raise typer.Exit(1)
            return
        print(f"Kafka {found.version} answers at {found.bootstrap} (process {found.pid}, data in {found.folder})")
    with closing(connections.connect(settings)) as transport:
        print(f"Connected: {transport.version()}")
        if not module:
            return
        from samestream.console import health_files, tables
        from samestream.console.standing import not_yet_run, standings
        from samestream.schemas.app import load
        from samestream.streams.lowering import compile_app

        app = load(module, settings.namespace)
        plan = compile_app(app)
        come = standings(transport, plan, settings.log_uri)
        tables.show_standings(come)
        tables.show_running(health_files.read(settings.state_folder, app.prefix))
        if waiting := not_yet_run(transport, app, plan, come):
            print(f"\nnot yet run: {', '.join(waiting)}")
