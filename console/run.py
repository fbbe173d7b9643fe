"""`samestream run`: the roles of an app, in this process, until a signal, a failure or idleness ends them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from samestream.console.options import CONNECTION, Module, configured

if TYPE_CHECKING:
    from samestream.console.crew import Crew, Lags
    from samestream.console.health_files import HealthFile
    from samestream.console.progress import Progress
    from samestream.console.roles import Role
    from samestream.console.settings import Settings
    from samestream.schemas.app import App
    from samestream.streams.engine.measures import Measured
    from samestream.streams.transport import Transport

DRAIN_S = 60.0
"""How long the others get to finish their batch after one has failed."""
GRACE_S = 10.0
"""How long roles get to end while no broker answers: then they hang in calls that wait for it."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(run)


@configured(*CONNECTION, "log", "state", "snapshot_every")
def run(
    settings: Settings,
    module: Module,
    roles: Annotated[
        list[str] | None,
        typer.Argument(metavar="ROLE", help="features, scorer, outcomes, log, monitor, profiles, parity; or all."),
    ] = None,
    health_port: Annotated[
        int | None, typer.Option(help="Serve /health and /metrics on this port; 0 takes any.")
    ] = None,
    health_host: Annotated[str, typer.Option(help="Address to serve them on; 0.0.0.0 in a container.")] = "127.0.0.1",
    until_idle: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="End once everything is read and nothing has moved so long.")
    ] = None,
    accept_partitions: Annotated[
        bool, typer.Option("--accept-partitions", help="Go on though a topic's number of partitions has changed.")
    ] = False,
    standby: Annotated[
        bool, typer.Option("--standby", help="Wait, warm, until no other process of a role is active; then take over.")
    ] = False,
    sample: Annotated[
        float,
        typer.Option(
            metavar="SHARE", help="Of the log role: log the vectors of this share of keys only; 0.1 is a tenth."
        ),
    ] = 1.0,
) -> None:
    """Run the ROLEs of MODULE in this process, all of them if none is named.

    Ctrl-C and SIGTERM finish the batch under way and leave with 0. The second
    one leaves at once and loses nothing either: the next start recovers.
    In production run each role in a process of its own. A second process of
    a role takes over from the first, which then leaves with 3; with
    --standby it waits instead, follows what the first one does, and takes
    over within seconds after that has died. Give it to both, and they
    settle who is active.

    \b
    samestream run examples/flights.py
    samestream run examples/flights.py features --health-port 8080
    samestream run examples/flights.py features --standby
    """
    from contextlib import closing

    from samestream.console.apply import require
    from samestream.console.crew import Crew, Lags
    from samestream.console.health_files import HealthFile
    from samestream.console.progress import Progress, log_to
    from samestream.console.pulses import Pulses
    from samestream.console.settings import connect
    from samestream.schemas.app import load
    from samestream.streams.log.key_sample import checked
    from samestream.streams.lowering import compile_app

    app = load(module, settings.namespace)
    checked(sample, "--sample")
    with closing(connect(settings)) as transport:
        require(transport, app)
        built = _build(app, transport, settings, roles or [], accept_partitions, sample, standby)
        asked_every_s = 1.0 if until_idle is None else min(1.0, max(0.1, until_idle))
        crew, lags = Crew(built), Lags(transport, app.prefix, built, asked_every_s)
        # what ends once nothing comes does not watch for that, and a pulse would keep it from ending
        pulses = Pulses(transport, compile_app(app), built if until_idle is None else [])
        progress = Progress(built)
        crew.others += _watchers(app, transport, built, settings.log_uri)
        with log_to(progress.console), _serving(crew, lags, health_host, health_port), _signals(crew, progress):
            told = HealthFile(settings.state_folder, app.prefix, crew, lags)
            crew.start()
            lags.start()
            pulses.start()
            try:
                _watch(crew, lags, progress, told, until_idle)
            finally:
                pulses.close()
                lags.close()
                told.close()
        progress.finish(lags)
        if crew.alive or lags.silent_since_us:
            _leave(crew, lags)
    if crew.failure is not None:
        raise crew.failure


def _build(
    app: App,
    transport: Transport,
    settings: Settings,
    names: list[str],
    accept_partitions: bool,
    sample: float,
    stands_by: bool,
) -> list[Role]:
    """The workers of the named roles, or of all. Raises SettingsError where a named role has nothing to do."""
    from samestream.console import roles
    from samestream.schemas.errors import SettingsError

    built: list[Role] = []
    for name in dict.fromkeys(names or roles.ROLES):
        if name == "monitor" and not app.monitors:
            if names:
                raise SettingsError(
                    "the app declares no monitors",
                    where="samestream run",
                    found=name,
                    hint="declare a class that derives from Monitors, or leave the role out.",
                )
            continue
        workers = roles.build(
            name,
            app,
            transport,
            settings.log_uri,
            accept_partitions=accept_partitions,
            sample=sample,
            snapshots=roles.keeping(settings.state_folder, settings.snapshot_every),
            stands_by=stands_by,
        )
        if not workers and names:
            raise SettingsError(
                "the app declares nothing for this role",
                where="samestream run",
                found=name,
                hint="parity needs a monitor with features = parity(), profiles one with profiles() or drift(window=...).",
            )
        built += workers
    return built


def _watchers(app: App, transport: Transport, built: list[Role], log_uri: str) -> list[Measured]:
    """What watches the monitors, in a process that runs any of them."""
    from samestream.console.watchers import Watchers
    from samestream.streams.lowering import compile_app

    watching = any(role.health.name.startswith(("monitor.", "parity", "profiles")) for role in built)
    return [Watchers(transport, app, compile_app(app), log_uri)] if watching else []


def _watch(crew: Crew, lags: Lags, progress: Progress, told: HealthFile, until_idle_s: float | None) -> None:
    """Wait in short steps, so that signals are noticed, until every thread has ended."""
    moved, moved_s = crew.moved(), time.monotonic()
    stopped_s: float | None = None
    while crew.alive:
        time.sleep(0.05)
        progress.show(crew, lags)
        told.refresh()
        now, now_s = crew.moved(), time.monotonic()
        if now != moved or crew.state == "starting":
            moved, moved_s = now, now_s
        if crew.stop.is_set():
            stopped_s = now_s if stopped_s is None else stopped_s
            if (crew.failure and now_s - stopped_s > DRAIN_S) or (lags.silent_since_us and now_s - stopped_s > GRACE_S):
                return
        # A role may be at its first batch for long, so lag counts; one that waits for an absent partition is idle.
        rests = all(role.health.stalled_by or not lags.of(role) for role in crew.roles)
        if until_idle_s is not None and rests and now_s - moved_s >= until_idle_s and lags.asked_s > moved_s:
            crew.stop.set()


def _leave(crew: Crew, lags: Lags) -> None:
    """End the process where closing what is open would wait for a broker that is gone, or for roles that hang."""
    from samestream.console.main import told
    from samestream.console.reading import instant

    code = told(crew.failure, debug=False) if crew.failure is not None else 0
    if crew.alive:
        away = (
            f"no broker has answered since {instant(lags.silent_since_us)}"
            if lags.silent_since_us
            else f"more than {DRAIN_S:g} s"
        )
        print(f"error: {', '.join(crew.alive)} did not end: {away}; the next start recovers", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or (1 if crew.alive else 0))


@contextmanager
def _signals(crew: Crew, progress: Progress) -> Iterator[None]:
    """The first signal drains, the second ends the process."""
    asked = False

    def drain(number: int, _frame: object) -> None:
        nonlocal asked
        if asked or (crew.stop.is_set() and number == signal.SIGINT):
            progress.close()
            sys.stdout.flush()
            os._exit(128 + number)
        asked = True
        crew.stop.set()

    before = {number: signal.signal(number, drain) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _serving(crew: Crew, lags: Lags, host: str, port: int | None) -> Iterator[None]:
    if port is None:
        yield
        return
    from samestream.console.health import HealthServer

    server = HealthServer(crew, lags, host, port)
    print(f"health at http://{host}:{server.port}/health, metrics at /metrics", flush=True)
    try:
        yield
    finally:
        server.close()
