"""`samestream check`: what can be proved before anything starts, one finding a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from samestream.console.options import CONNECTION, Module, configured

if TYPE_CHECKING:
    from samestream.console.settings import Settings
    from samestream.schemas.app import App
    from samestream.streams.deploy.preflight import Finding
    from samestream.streams.plan import Plan
    from samestream.streams.transport import Transport


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check)


@configured(*CONNECTION)
def check(
    settings: Settings,
    module: Module,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no broker.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Leave with 1 for a warning, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Prove, before anything starts, that MODULE can run: online, offline, and on this broker.

    \b
    Of the declaration: every feature that a model needs exists online and in SQL (both
    are run, on no rows), types and keys fit, labels can come in time, what state costs.
    Of the broker, if one answers: topics, partitions, schemas, retention against the
    windows, whether the champion fits the definition. One line each: ok, warn or fail,
    with what to do.

    \b
    samestream check examples/flights.py --offline
    samestream check examples/flights.py --strict --namespace dev
    Exit codes: 0, or 1 if anything failed (--strict: or is warned of).
    """
    from dataclasses import asdict

    from samestream.schemas.app import load
    from samestream.streams.deploy.preflight import findings
    from samestream.streams.lowering import compile_app

    app = load(module, settings.namespace)
    plan = compile_app(app)
    counts = {"ok": 0, "warn": 0, "fail": 0}
    for one in (*findings(app, plan), *monitored(app, plan), *(() if offline else _of_broker(settings, app, plan))):
        counts[one.verdict] += 1
        if as_json:
            print(json.dumps(asdict(one)))
        else:
            hint = f" Hint: {one.hint}" if one.hint else ""
            print(f"{one.verdict:<5} {one.about:<10} {one.where}: {one.says}{'.' if hint else ''}{hint}")
    if not as_json:
        print(f"\n{counts['ok']} ok, {counts['warn']} to look at, {counts['fail']} failed")
    if counts["fail"] or (strict and counts["warn"]):
        raise typer.Exit(1)


def _of_broker(settings: Settings, app: App, plan: Plan) -> list[Finding]:
    """What a broker says; where none answers, that is a finding itself."""
    from contextlib import closing

    from samestream.console.settings import connect
    from samestream.schemas.errors import SamestreamError
    from samestream.streams.deploy.preflight import Finding

    try:
        with closing(connect(settings)) as transport:
            return list(deployed(transport, app, plan))
    except SamestreamError as error:
        hint = f"{error.hint} Or leave the broker out: --offline." if error.hint else "leave it out: --offline."
        return [
            Finding("warn", "broker", error.where or plan.app, f"{error.what}; topics and schemas are unchecked", hint)
        ]


def monitored(app: App, plan: Plan) -> Iterator[Finding]:
    """What each class of monitors watches and may tell; a model that nobody watches."""
    from samestream.console.declared_monitors import budget, fields
    from samestream.streams.deploy.preflight import Finding

    for name, one in app.monitors.items():
        declared = one.__monitors__
        for line in budget(declared):
            yield Finding("ok", "monitors", name, line)
        for event, watched, unwatched in fields(plan, declared):
            yield Finding(
                "ok", "monitors", f"{name} of {event}", f"watched: {', '.join(watched) or 'its traffic alone'}"
            )
            if unwatched:
                yield Finding("ok", "monitors", f"{name} of {event}", f"not watched: {'; '.join(unwatched)}")
    for model in set(plan.models) - {one.__monitors__.name for one in app.monitors.values()}:
        hint = 'class Health(Monitors, of=...) with features = parity(), quality(), silence(longer_than="2h").'
        yield Finding("ok", "monitors", model, "nobody watches it", hint)


def deployed(transport: Transport, app: App, plan: Plan) -> Iterator[Finding]:
    """How the declaration fits what is deployed."""
    from samestream.streams.deploy import provision
    from samestream.streams.deploy.declaration import recorded
    from samestream.streams.deploy.deployment import differing, examine
    from samestream.streams.deploy.preflight import Finding

    specs = provision.topics(app, plan)
    existing = transport.topics()
    missing = [spec.name for spec in specs if spec.name not in existing]
    apply = "samestream apply MODULE."
    if missing:
        rest = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        yield Finding("warn", "topics", plan.app, f"not there yet: {', '.join(missing[:3])}{rest}", apply)
    else:
        yield Finding("ok", "topics", plan.app, f"all {len(specs)} are there")
    for one in examine(transport, app, plan, specs):
        yield Finding("fail" if one.is_refused else "warn", one.code, one.where, one.what, one.remedy)
    for topic, properties in differing(transport, specs).items():
        for name, actual, wanted in properties:
            hint = f"kafka-configs --alter --topic {topic} --add-config {name}={wanted}, if that is meant."
            yield Finding("warn", "topics", topic, f"{name} is {actual}, declared is {wanted}", hint)
    if plan.schemas not in existing:
        return
    applied = recorded(transport, plan.schemas)
    if not applied:
        yield Finding("warn", "versions", plan.app, "no declaration is recorded here", apply)
    elif (following := provision.unrecorded(transport, app, plan)) is not None:
        hint = f"see `samestream diff --deployed MODULE`, then {apply}"
        yield Finding(
            "warn", "versions", plan.app, f"version {following.version - 1} is applied, and this is another", hint
        )
    else:
        yield Finding("ok", "versions", plan.app, f"version {applied[-1].version} of the declaration is applied")
    yield from _schemas(transport, plan)
    if plan.registry in existing:
        yield from _champions(transport, plan)


def _schemas(transport: Transport, plan: Plan) -> Iterator[Finding]:
    from samestream.schemas.avro import schema_fingerprint
    from samestream.streams.deploy import provision
    from samestream.streams.deploy.preflight import Finding
    from samestream.streams.wire.schema_store import SchemaStore

    store, wanted = SchemaStore(transport, plan.schemas), provision.schemas(plan)
    absent = [subject for subject, schema in wanted if store.find(schema_fingerprint(schema)) is None]
    if absent:
        yield Finding(
            "warn", "schemas", plan.schemas, f"not published: {', '.join(absent)}", "samestream apply MODULE."
        )
    else:
        yield Finding("ok", "schemas", plan.schemas, f"all {len(wanted)} are published")


def _champions(transport: Transport, plan: Plan) -> Iterator[Finding]:
    from samestream.streams.deploy.preflight import Finding
    from samestream.streams.models.model_registry import CHAMPION, versions

    latest = {one.model: one for one in versions(transport, plan.registry) if one.slot == CHAMPION}
    for name, model in plan.models.items():
        train = f"samestream train MODULE --model {name}, once labels have come."
        if name not in latest:
            yield Finding(
                "warn", "champions", name, "no model is published: vectors are served, nothing is scored", train
            )
        elif latest[name].fingerprint != model.fingerprint:
            says = f"{latest[name].version} was trained on another definition, and scores no vector of this one"
            yield Finding("warn", "champions", name, says, train)
        else:
            yield Finding("ok", "champions", name, f"{latest[name].version} fits the definition")
