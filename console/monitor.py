"""`samestream monitor`: the incidents on the drift topic."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Mapping
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
    context: typer.Context,
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
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Show the fault of INCIDENT again: found anew in the feature log and the journal."
        ),
    ] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Go on and print every change, until Ctrl-C.")] = False,
) -> None:
    """Print the incidents of MODULE: what is wrong, with which feature, since when, and why.

    The monitors write them to the drift topic while `samestream run` is on;
    this only reads. First come open ones, and of these those that touch most of the model and are most severe;
    with an INCIDENT, all that is known of it: sizes, histograms, where it sits, rows. Below the list stands what became of the
    alarm budget, and which parts of it have not history enough to speak.
    With --again its fault is shown from the log instead: vectors replayed, scores
    computed again, what the source said before and after.

    \b
    samestream monitor examples/flights.py --open
    samestream monitor examples/flights.py 3fa2b1
    samestream monitor examples/flights.py 3fa2b1 --again
    samestream monitor examples/flights.py --watchers
    """
    from contextlib import closing

    from samestream.console.apply import require
    from samestream.console.incident_view import rank
    from samestream.console.settings import connect
    from samestream.schemas.app import load

    _refuse(incident, again, as_json)
    app = load(module, settings.namespace)
    with closing(connect(settings)) as transport:
        require(transport, app, app.drift)
        if watchers:
            _tell_watchers(transport, app, settings.log_uri, as_json)
            return
        if not incident:
            _tell_mismatches(transport, app, as_json)
        found, positions = _read(transport, app.drift)
        for one in found.values():
            _fill_in(one, module, context.params)
        every = sorted(found.values(), key=rank)
        shown = [one for one in every if one["event"] != "close" or not only_open]
        if incident:
            shown = [one for one in every if one["incident"].startswith(incident)]
        if again and shown:
            _tell_again(settings, transport, app, shown)
            return
        times = _times(app)
        for one in shown:
            _tell(one, as_json, whole=bool(incident), times=times)
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
            _follow(transport, found, positions, as_json, lambda one: _fill_in(one, module, context.params))


def _times(app: App) -> set[str]:
    """The inputs of models that are instants."""
    from samestream.schemas.expressions import Kind
    from samestream.streams.lowering import compile_app

    models = compile_app(app).models.values()
    return {name for model in models for name, said in model.outputs.items() if said.kind == Kind.TIME}


def _refuse(incident: str, again: bool, as_json: bool) -> None:
    from samestream.schemas.errors import SettingsError

    if again and not incident:
        raise SettingsError("which incident?", where="--again", hint="name it: `samestream monitor MODULE ID --again`.")
    if again and as_json:
        raise SettingsError("what is shown again is text", where="--json", hint="leave out --json, or --again.")


def _fill_in(one: dict[str, Any], module: str, given: Mapping[str, Any]) -> None:
    """Name the module in an incident's command, and how it was reached, as this command line does: it can be pasted."""
    import shlex

    from samestream.monitors.diagnosis import command

    if not isinstance(one["evidence"], dict) or "command" not in one["evidence"]:
        return
    options = [f" --{name} {shlex.quote(str(given[name]))}" for name in _REACHED_BY if given.get(name) is not None]
    one["evidence"]["command"] = command(one["incident"], shlex.quote(module)) + "".join(options)


_REACHED_BY = ("bootstrap", "namespace", "folder", "log")
"""Options of the command line that the next one needs too; properties may hold passwords, and are not repeated."""


def _tell_again(settings: Settings, transport: Transport, app: App, shown: list[dict[str, Any]]) -> None:
    from samestream.console.incident_view import heading
    from samestream.console.shown_again import shown_again
    from samestream.monitors.incidents import IncidentRecord
    from samestream.schemas.errors import SettingsError
    from samestream.streams.log.feature_log import FeatureLog
    from samestream.streams.lowering import compile_app

    if len(shown) > 1:
        raise SettingsError(
            "which incident?",
            where="--again",
            found=", ".join(one["incident"] for one in shown),
            hint="name it by more of its id.",
        )
    (one,) = shown
    evidence = one["evidence"] if isinstance(one["evidence"], dict) else {}
    names = ("incident", "event", "subject", "cause", "verdict", "severity", "opened_at_us", "at_us")
    record = IncidentRecord(**{name: one[name] for name in names}, evidence=evidence)
    for line in heading(one):
        print(line)
    for line in shown_again(transport, app, compile_app(app), FeatureLog(settings.log_uri), record):
        print(f"  {line}")


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
        if before["event"] == "close":  # of one that is over, more may be told by who looks later
            one |= {name: before[name] for name in ("event", "at", "at_us")}
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
    times = {"opened_at_us": found["opened_at"], "at_us": found["at"]}
    return {
        **found,
        **times,
        "opened_at": instant(found["opened_at"]),
        "at": instant(found["at"]),
        "evidence": evidence,
    }


def _tell(one: dict[str, Any], as_json: bool, whole: bool = False, times: Collection[str] = ()) -> None:
    from samestream.console.incident_view import lines

    if as_json:
        print(json.dumps({name: value for name, value in one.items() if not name.endswith("_us")}, ensure_ascii=False))
        return
    for line in lines(one, whole, times):
        print(line)


def _follow(
    transport: Transport,
    found: dict[str, dict[str, Any]],
    positions: dict[Any, int],
    as_json: bool,
    fill_in: Callable[[dict[str, Any]], None],
) -> None:
    reader = transport.reader()
    try:
        reader.assign(positions)
        while True:
            for fetched in reader.fetch(1000, 0.2):
                for value in fetched.values:
                    if (one := _note(found, value)) is not None:
                        fill_in(one)
                        _tell(one, as_json)
    except KeyboardInterrupt:
        pass
    finally:
        reader.close()
