"""`samestream topics`: what an app's topics hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from samestream.console.options import CONNECTION, Module, configured

if TYPE_CHECKING:
    from samestream.console.reading import Seen, Translator
    from samestream.console.settings import Settings
    from samestream.schemas.app import App
    from samestream.streams.plan import Plan
    from samestream.streams.transport import Transport


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(topics)


@configured(*CONNECTION)
def topics(
    settings: Settings,
    module: Module,
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="Show the newest records of this topic.")] = "",
    reason: Annotated[str, typer.Option(help="Only rejected events with this reason, such as undecodable.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many records, the newest ones.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List the topics of MODULE, or show the newest records of one, decoded.

    In TOPIC.dead and TOPIC.late each record tells why an event was rejected,
    where it came from, and what it says as far as a schema fits.

    \b
    samestream topics examples/flights.py
    samestream topics examples/flights.py flights.arrivals.dead --reason undecodable
    """
    from contextlib import closing

    from samestream.console.settings import connect
    from samestream.schemas.app import load
    from samestream.streams.lowering import compile_app

    app = load(module, settings.namespace)
    plan = compile_app(app)
    with closing(connect(settings)) as transport:
        if topic:
            _show(transport, plan, topic, reason, limit, as_json)
        else:
            _list(transport, app, plan, as_json)


def _list(transport: Transport, app: App, plan: Plan, as_json: bool) -> None:
    from samestream.console import tables

    rows = list(_rows(transport, app, plan))
    if as_json:
        for row in rows:
            print(json.dumps(row))
        return
    columns = ("topic", "kind", "partitions", "records", "late", "dead")
    shown = [["-" if row[name] is None else row[name] for name in columns] for row in rows]
    tables.console().print(tables.table(columns, shown, ("partitions", "records", "late", "dead")))
    if any(str(row["records"]).startswith("~") for row in rows):
        print("\n~ written in transactions: counts their control records, too")
    if missing := [row["topic"] for row in rows if row["partitions"] is None]:
        print(f"\n{len(missing)} topics do not exist yet: samestream apply MODULE")


def _rows(transport: Transport, app: App, plan: Plan) -> list[dict[str, Any]]:
    """One row per topic of the app; the counts of late and dead events are the journal's, and exact."""
    from samestream.streams.deploy import provision
    from samestream.streams.engine import journal
    from samestream.streams.engine.journal import Balance

    counts = transport.topics()
    specs = provision.topics(app, plan)
    kinds = _kinds(app, plan)
    balances: dict[str, Balance] = {}
    if plan.journal in counts:
        owners = _owners(plan)
        entries = journal.read(transport, plan.journal)
        for name in {entry.processor for entry in entries}:
            judged = journal.balance([entry for entry in entries if entry.processor == name])
            balances |= {topic: found for topic, found in judged.items() if owners.get(topic) == name}
    lengths = _lengths(transport, counts, [spec.name for spec in specs if spec.name in counts])
    rows = []
    for spec in specs:
        kind, balance = kinds[spec.name], balances.get(spec.name)
        records: object = lengths.get(spec.name)
        if kind in ("late", "dead") and records is not None:
            origin = balances.get(spec.name.rpartition(".")[0], Balance())
            records = origin.late if kind == "late" else origin.dead
        elif kind not in ("event", "schemas", "models", "pulse") and records:
            records = f"~{records:,}"
        rows.append(
            {
                "topic": spec.name,
                "kind": kind,
                "partitions": counts.get(spec.name),
                "records": records,
                "late": balance.late if balance else None,
                "dead": balance.dead if balance else None,
            }
        )
    return rows


def _kinds(app: App, plan: Plan) -> dict[str, str]:
    kinds = {
        plan.journal: "journal",
        plan.drift: "drift",
        plan.profiles: "profiles",
        plan.schemas: "schemas",
        plan.registry: "models",
        plan.pulse: "pulse",
    }
    for event in app.events.values():
        topic = app.topic(event)
        kinds |= {topic: "event", f"{topic}.late": "late", f"{topic}.dead": "dead"}
    for model in plan.models.values():
        kinds |= {topic: kind for kind, topic in model.topics.items()}
    return kinds


def _owners(plan: Plan) -> dict[str, str]:
    """Which processor writes out the late and dead events of a topic: of several that read it, one does."""
    owners = {plan.events[model.label.event].topic: f"outcomes.{model.name}" for model in plan.models.values()}
    return owners | {part.topic: "features" for part in plan.inputs.values()}


def _lengths(transport: Transport, counts: Mapping[str, int], names: list[str]) -> dict[str, int]:
    from samestream.streams.transport import Partition

    partitions = [Partition(name, number) for name in names for number in range(counts[name])]
    starts, ends = transport.starts(partitions), transport.ends(partitions)
    lengths = dict.fromkeys(names, 0)
    for part in partitions:
        lengths[part.topic] += ends[part].stable - starts[part]
    return lengths


def _show(transport: Transport, plan: Plan, topic: str, reason: str, limit: int, as_json: bool) -> None:
    from samestream.console.reading import Translator, exact, instant, newest
    from samestream.console.rejected import Rejected, find, parse
    from samestream.schemas.errors import SettingsError
    from samestream.streams.deploy import provision

    find(transport, topic)
    translator = Translator(provision.store(transport, plan), exact if as_json else instant)
    if not topic.endswith((".dead", ".late")):
        if reason:
            raise SettingsError(
                "only rejected events have a reason", where=topic, hint=f"look at {topic}.dead or {topic}.late."
            )
        for seen in newest(transport, topic, limit):
            _tell(seen, translator, as_json)
        return

    kept: dict[tuple[int, int], Rejected] = {}

    def wanted(seen: Seen) -> bool:
        found = parse(seen)
        if found is None or reason not in ("", found.reason):
            return False
        kept[seen.partition.partition, seen.offset] = found
        return True

    found = [kept[seen.partition.partition, seen.offset] for seen in newest(transport, topic, limit, wanted)]
    for one in found:
        event = translator.record(one.value)
        print(json.dumps(one.document(event), ensure_ascii=False) if as_json else one.text(event))
    if not found and not as_json:
        print("no such records")


def _tell(seen: Seen, translator: Translator, as_json: bool) -> None:
    from samestream.console import reading

    value = translator.record(seen.value)
    if as_json:
        document = {
            "partition": seen.partition.partition,
            "offset": seen.offset,
            "known_time": reading.exact(seen.known_us),
            "key": reading.plain(seen.key),
            "value": value,
            "raw": None if value is not None else reading.encoded(seen.value),
        }
        print(json.dumps(document, ensure_ascii=False))
        return
    shown = "  ".join(f"{name}={part}" for name, part in value.items()) if value else reading.preview(seen.value)
    key = reading.preview(seen.key) if seen.key is None else reading.plain(seen.key)
    print(f"{seen.partition}@{seen.offset}  {reading.instant(seen.known_us)}  {key}  {shown}")
