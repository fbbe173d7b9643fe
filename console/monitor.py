"""`samestream monitor`: the incidents on the drift topic."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from samestream.console.options import CONNECTION, Module, configured

if TYPE_CHECKING:
    from samestream.console.settings import Settings
    from samestream.schemas.app import App
    from samestream.streams.transport import Transport


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(monitor)


@configured(*CONNECTION, "log")
def monitor(
    settings: Settings,
    module: Module,
    incident: Annotated[
        str, typer.Argument(metavar="INCIDENT", help="Show all of this incident; the start of its id will do.")
    ] = "",
    only_open: Annotated[bool, typer.Option("--open", help="Only incidents that are not closed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    watchers: Annotated[
        bool,
        typer.Option(
            "--watchers", help="How monitors and the roles they rely on are doing: behind, silent, budget spent."
        ),
    ] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Go on and print every change, until Ctrl-C.")] = False,
) -> None:
    """Print the incidents of MODULE: what is wrong, with which feature, since when, and why.

    The monitors write them to the drift topic while `samestream run` is on;
    this only reads. First come open ones, and of these those that touch most of the model and are most severe;
    with an INCIDENT, all that is known of it: sizes, histograms, where it sits, rows. Below the list stands what became of the
    alarm budget, and which parts of it have not history enough to speak.

    \b
    samestream monitor examples/flights.py --open
    samestream monitor examples/flights.py 3fa2b1
    samestream monitor examples/flights.py --watchers
    """
    from contextlib import closing

    from samestream.console.apply import require
    from samestream.console.incident_view import rank
    from samestream.console.settings import connect
    from samestream.schemas.app import load

    app = load(module, settings.namespace)
    with closing(connect(settings)) as transport:
        require(transport, app, app.drift)
        if watchers:
            _tell_watchers(transport, app, settings.log_uri, as_json)
            return
        if not incident:
            _tell_mismatches(transport, app, as_json)
        found, positions = _read(transport, app.drift)
        every = sorted(found.values(), key=rank)
        shown = [one for one in every if one["event"] != "close" or not only_open]
        if incident:
            shown = [one for one in every if one["incident"].startswith(incident)]
        for one in shown:
            _tell(one, as_json, whole=bool(incident))
        if not shown and not as_json and not follow:
            if incident:
                from samestream.schemas.errors import SettingsError

                raise SettingsError(
                    "there is no such incident", where=incident, hint="list them with `samestream monitor MODULE`."
                )
            print("no open incidents" if only_open else "no incidents")
        if not incident and not as_json:
            _tell_budgets(transport, app)
        if follow:
            _follow(transport, found, positions, as_json)


def _tell_watchers(transport: Transport, app: App, log_uri: str, as_json: bool) -> None:
    from dataclasses import asdict

    from samestream.console.watchers import Watchers, lines
    from samestream.streams.lowering import compile_app

    _tell_mismatches(transport, app, as_json)
    seen = Watchers(transport, app, compile_app(app), log_uri)
    if as_json:
        for one in seen.standings():
            print(json.dumps(asdict(one)))
        for spent in seen.spendings():
            achieved = asdict(spent.rate) if spent.rate is not None else None
            print(json.dumps({**asdict(spent), "achieved": achieved}))
        return
    for line in lines(seen.standings()):
        print(line)
    for spent in seen.spendings():
        for line in spent.lines():
            print(line)


def _tell_budgets(transport: Transport, app: App) -> None:
    """What became of the alarm budgets. The incidents are told without it where the journal cannot be read."""
    from samestream.console.watchers import Watchers
    from samestream.schemas.errors import TransportError
    from samestream.streams.lowering import compile_app

    try:
        for spent in Watchers(transport, app, compile_app(app)).spendings():
            for line in spent.lines():
                print(line)
    except TransportError as error:
        print(f"what became of the alarm budget is unknown: {error.line}", file=sys.stderr)


def _tell_mismatches(transport: Transport, app: App, as_json: bool) -> None:
    """Whether the newest vectors are what models and monitors were made for; beside JSON, on stderr."""
    from samestream.console.served_definition import mismatches
    from samestream.schemas.errors import TransportError
    from samestream.streams.lowering import compile_app

    try:
        for one in mismatches(transport, compile_app(app)):
            print(f"warning: {one.line}", file=sys.stderr if as_json else sys.stdout)
    except TransportError as error:
        print(f"of which definition the newest vectors are is unknown: {error.line}", file=sys.stderr)


def _read(transport: Transport, drift: str) -> tuple[dict[str, dict[str, Any]], dict[Any, int]]:
    """Every incident as it last stood, by its id; and where reading goes on."""
    from samestream.console.reading import every
    from samestream.streams.transport import Partition

    partitions = [Partition(drift, number) for number in range(transport.topics()[drift])]
    positions = transport.starts(partitions)
    found: dict[str, dict[str, Any]] = {}
    for seen in every(transport, drift):
        positions[seen.partition] = seen.offset + 1
        _note(found, seen.value)
    return found, positions


def _note(found: dict[str, dict[str, Any]], value: bytes | None) -> dict[str, Any] | None:
    """Take up a record: its incident as it stands now, with the evidence of all its records, the newest first to speak.

    An update or a close says only what is new; None for what is no record of ours.
    """
    from samestream.console.incident_view import joined

    one = _incident(value)
    if one is None:
        return None
    if (before := found.get(one["incident"])) is not None:
        one["evidence"] = joined(before["evidence"], one["evidence"])
    found[one["incident"]] = one
    return one


def _incident(value: bytes | None) -> dict[str, Any] | None:
    from samestream.schemas import records
    from samestream.schemas.avro import Codec

    codec = Codec(records.INCIDENT)
    if value is None or not value.startswith(codec.header):
        return None
    from samestream.console.reading import instant

    found = codec.decode(value)
    try:
        evidence = json.loads(found["evidence"])
    except ValueError:
        evidence = found["evidence"]
    return {**found, "opened_at": instant(found["opened_at"]), "at": instant(found["at"]), "evidence": evidence}


def _tell(one: dict[str, Any], as_json: bool, whole: bool = False) -> None:
    from samestream.console.incident_view import lines

    if as_json:
        print(json.dumps(one, ensure_ascii=False))
        return
    for line in lines(one, whole):
        print(line)


def _follow(transport: Transport, found: dict[str, dict[str, Any]], positions: dict[Any, int], as_json: bool) -> None:
    reader = transport.reader()
    try:
        reader.assign(positions)
        while True:
            for fetched in reader.fetch(1000, 0.2):
                for value in fetched.values:
                    if (one := _note(found, value)) is not None:
                        _tell(one, as_json)
    except KeyboardInterrupt:
        pass
    finally:
        reader.close()
