"""`samestream skew`: which late events make what was served differ from what an ideal observer would have seen."""

from __future__ import annotations

import json
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from samestream.console.options import CONNECTION, Module, configured
from samestream.schemas.errors import SettingsError

if TYPE_CHECKING:
    from samestream.console.settings import Settings
    from samestream.monitors.lateness_skew import Events, LatenessSkew


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("skew")(skew)


@configured(*CONNECTION, "log")
def skew(
    settings: Settings,
    module: Module,
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="Which model; needed when the app declares several.")
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="First trigger event time, ISO 8601 (UTC).")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Trigger event times before this, ISO 8601 (UTC).")
    ] = None,
    entity: Annotated[str | None, typer.Option(help="Of this key's vectors alone.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="How many vectors and events are shown one by one.")] = 5,
    out: Annotated[
        Path | None, typer.Option(help="Every difference, event by event, as Parquet.", dir_okay=False)
    ] = None,
    target: Annotated[Path | None, typer.Option("--json", help="Write the figures there.", dir_okay=False)] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Let --out and --json replace files that exist.")
    ] = False,
) -> None:
    """Tell, event by event, what came too late to be served.

    \b
    A vector is made of what the log knew at its trigger. Where an ideal observer, to
    whom nothing comes late, would have seen another value, some event of the window
    was not applied yet: this names it, with its position, when it happened and when
    the log learned of it. It is no fault, but the price of being in time; what it
    amounts to says whether to wait longer or to mend a source. The feature log is
    enough; Kafka is asked for the journal alone, where the log does not hold it.

    \b
    samestream skew examples/flights.py --from 2013-01-05 --to 2013-01-06
    samestream skew examples/flights.py --entity 20130103-EV-4321-EWR
    samestream skew examples/flights.py --out skew.parquet --json skew.json
    """
    import numpy as np

    from samestream.console.apply import require
    from samestream.console.offline import check_folder, one_model, progress_end, range_of, show_progress
    from samestream.console.settings import connect
    from samestream.monitors.lateness_skew import explain
    from samestream.schemas.app import load
    from samestream.streams.log import judged_log
    from samestream.streams.log.feature_log import FeatureLog
    from samestream.streams.log.vector_file import refuse_existing, write_whole
    from samestream.streams.log.vector_replay import journaled, logged_of
    from samestream.streams.log.whole_history import ALWAYS_US, NEVER_US
    from samestream.streams.log.whole_history import begin_us as begin_of
    from samestream.streams.lowering import compile_app

    app = load(module, settings.namespace)
    plan = compile_app(app)
    chosen = plan.models[one_model(list(plan.models), model, where="MODEL")]
    from_us, to_us = range_of(from_, to)
    check_folder(target, "--json")
    check_folder(out, "--out")
    refuse_existing(target, overwrite, "--json")
    refuse_existing(out, overwrite)
    log = FeatureLog(settings.log_uri)
    with closing(connect(settings)) if log.newest(plan.journal) is None else nullcontext() as transport:
        if transport is not None:
            require(transport, app)
        entries = logged_of(plan, log, journaled(plan, transport, log))
    ranks = judged_log.ranks(plan, log, entries, show_progress)
    progress_end()
    if (begin_us := begin_of(plan, chosen, log)) > ALWAYS_US:
        if begin_us == NEVER_US or (to_us is not None and begin_us >= to_us):
            raise SettingsError(
                "the beginning of the feature log was cut off, and windows of all these vectors reach before that",
                where="samestream skew",
                hint="choose later ones with --from and --to.",
            )
        if from_us is None or from_us < begin_us:
            from_us = begin_us
            since = f"{np.datetime64(begin_us, 'us')}Z"
            typer.echo(
                f"the beginning of the feature log was cut off: only vectors from {since} on are whole", err=True
            )
    found = explain(plan, chosen, log, ranks, from_us=from_us, to_us=to_us, entity=entity)
    if not found.vectors and found.other_definition:
        raise SettingsError(
            "there is no vector of the present definition in this range",
            where="samestream skew",
            found=f"{found.other_definition:,} vectors of another definition were passed over",
            hint="run it with the module that served them; `samestream counterfactual OLD NEW` compares two definitions.",
        )
    if not found.vectors:
        raise SettingsError(
            "there is no vector in this range",
            where="samestream skew",
            found=f"{from_ or 'any'} to {to or 'any'}, entity {entity or 'any'}",
            hint="widen --from and --to; --entity is the trigger's key as text.",
        )
    if out is not None:
        write_whole(found.table(), out, "the differences")
    if target is not None:
        target.write_text(json.dumps(figures(found), indent=2) + "\n")
    _show(found, limit)
    if out is not None:
        typer.echo(f"wrote {out}")


def figures(found: LatenessSkew) -> dict[str, Any]:
    """What was found, in numbers: times in seconds."""
    import numpy as np

    sources = {}
    for name in found.events:
        count = found.vectors_per_event(name)
        if count.any():
            source = found.events[name]
            late_s = (source.known_us - source.time_us)[count > 0] / 1e6
            sources[name] = {
                "events": int((count > 0).sum()),
                "never_applied": int((source.rank[count > 0] >= 2**62).sum()),
                "known_after_s": {str(q): float(np.quantile(late_s, q)) for q in (0.5, 0.95, 1.0)},
            }
    return {
        "model": found.model.name,
        "vectors": found.vectors,
        "differ": len(found.differing),
        "unexplained": found.unexplained,
        "features": {
            name: {
                "vectors": len(part.rows),
                "mean": float(part.apart.mean()) if len(part.apart) else None,
                "greatest": float(part.apart.max()) if len(part.apart) else None,
                "events": sum(len(np.unique(late)) for _, late in part.missed.values()),
                "unexplained": len(part.unexplained),
            }
            for name, part in found.features.items()
        },
        "sources": sources,
    }


def _show(found: LatenessSkew, limit: int) -> None:
    from samestream.console import tables

    said, out = figures(found), tables.console()
    typer.echo(
        f"{found.model.name}: {said['differ']:,} of {found.vectors:,} vectors would differ, had every event been known the"
        " moment it happened"
    )
    if not said["differ"]:
        return
    rows = [
        (name, part["vectors"], _number(part["mean"]), _number(part["greatest"]), part["events"])
        for name, part in said["features"].items()
    ]
    right = ("vectors", "mean", "greatest", "late events")
    out.print(tables.table(("feature", *right), rows, right))
    for name, part in said["sources"].items():
        half, most, longest = (_length(part["known_after_s"][q]) for q in ("0.5", "0.95", "1.0"))
        refused = f"; {part['never_applied']:,} came too late to be applied at all" if part["never_applied"] else ""
        typer.echo(
            f"{name}: {part['events']:,} events, known {half} after they happened (95 %: {most}, at most {longest}){refused}"
        )
    if said["unexplained"]:
        typer.echo(
            f"{said['unexplained']:,} values are not told event by event: they depend on keys that a reference table says"
        )
    for name, source in found.events.items():
        _show_events(name, source, found, limit)
    _show_vectors(found, limit)


def _show_events(name: str, source: Events, found: LatenessSkew, limit: int) -> None:
    import numpy as np

    count = found.vectors_per_event(name)
    for event in np.argsort(-count, kind="stable")[:limit].tolist():
        if count[event]:
            typer.echo(f"  {count[event]:,} vectors lacked {_event(name, source, event)}")


def _show_vectors(found: LatenessSkew, limit: int) -> None:
    from samestream.console.reading import instant

    asked = found.triggers
    for vector in found.differing[:limit].tolist():
        entity = asked.table[asked.input.key].take([vector]).to_pylist()[0]
        made = f"known {instant(int(asked.known_us[vector]))}"
        typer.echo(f"{entity} at {instant(int(asked.time_us[vector]))}, {made} ({asked.place(vector)})")
        for feature, part in found.features.items():
            if vector not in part.rows:
                continue
            at = int(part.rows.searchsorted(vector))
            typer.echo(
                f"  {feature:<24}{_number(part.served[at].as_py())} served, {_number(part.expected[at].as_py())} by event time"
            )
            for name, (vectors, late) in part.missed.items():
                for event in late[vectors == vector].tolist():
                    behind_us = int(found.events[name].known_us[event] - asked.known_us[vector])
                    when = (
                        f"{_length(behind_us / 1e6)} after the vector"
                        if behind_us >= 0
                        else "known before, but refused as late"
                    )
                    typer.echo(f"    {_event(name, found.events[name], event)}, {when}")


def _event(name: str, source: Events, event: int) -> str:
    from samestream.console.reading import instant

    refused = "" if source.rank[event] < 2**62 else ", never applied"
    happened, known = instant(int(source.time_us[event])), instant(int(source.known_us[event]))
    return f"{name} {source.place(event)}: happened {happened}, known {known}{refused}"


def _number(value: Any) -> str:
    return f"{value:,.6g}" if isinstance(value, float) else "null" if value is None else str(value)


def _length(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
