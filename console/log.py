"""`samestream log`: how the feature log stands, its small files put together, its oldest offsets cut off."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from samestream.console.options import CONNECTION, Module, configured
from samestream.schemas.errors import FeatureLogError, SettingsError

if TYPE_CHECKING:
    from samestream.console.settings import Settings
    from samestream.streams.log.feature_log import FeatureLog
    from samestream.streams.plan import Plan

Grace = Annotated[
    str,
    typer.Option(
        "--grace", metavar="DURATION", help="Files replaced so long ago are removed; until then, readers go on."
    ),
]
group = typer.Typer(no_args_is_help=True, help="Look after the feature log: its files, its size, its age.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group.command("show")(show)
    group.command("compact")(compact)
    group.command("retain")(retain)
    group.command("events")(events)
    app.add_typer(group, name="log")


@configured("folder", "namespace", "log")
def show(settings: Settings, module: Module) -> None:
    """Show how many rows and files each topic of the log has, and from when to when.

    Example: samestream log show examples/flights.py
    """
    log, _, topics = _opened(settings, module)
    typer.echo(f"{'topic':<44}{'rows':>12}{'files':>8}{'MB':>9}  known from, to")
    for topic in topics:
        files = log.in_force(topic)
        times = [instant for file in files for instant in file.known_us]
        sample = log.sample(topic)
        typer.echo(
            f"{topic:<44}{sum(file.rows for file in files):>12,}{len(files):>8,}{sum(f.bytes for f in files) / 1e6:>9.1f}  "
            + (f"{_text(min(times))}, {_text(max(times))}" if times else "-")
            + (f"  sample of {sample:g} of its keys" if sample < 1 else "")
        )


@configured("folder", "namespace", "log")
def compact(settings: Settings, module: Module, grace: Grace = "1h") -> None:
    """Put the log's small files together, now; the log role does it all the while.

    \b
    Files of one hour are joined, and all of a day that is over and small. Readers and
    the log role go on meanwhile, and see the old files or the new, never both.

    Example: samestream log compact examples/flights.py
    """
    from samestream.streams.log import rewriting

    log, _, topics = _opened(settings, module)
    grace_s = _seconds(grace, "--grace")
    for topic in topics:
        done = rewriting.compact(log, topic)
        removed = rewriting.clear(log, topic, grace_s)
        typer.echo(f"{topic:<44}{done.files_before:>8,} files are now {done.files_after:,}; {removed:,} removed")


@configured(*CONNECTION, "log")
def retain(
    settings: Settings,
    module: Module,
    before: Annotated[
        str | None, typer.Option(metavar="TIME", help="Vectors known before this may go, ISO 8601 (UTC).")
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Vectors older than this may go, as the log's newest record has it."),
    ] = None,
    sets: Annotated[
        list[Path] | None, typer.Option(help="Folders of training sets, besides FOLDER/training-sets.", file_okay=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Cut even what training sets are made of.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    grace: Grace = "1h",
) -> None:
    """Cut off the oldest part of the log.

    \b
    Vectors, predictions and outcomes go that the log learned of before an instant; of
    events, those that no window of a vector that stays can reach. So all that stays
    can still be replayed, compared and trained on. With tables, or a window without a
    beginning, all events stay. Refused where a training set could not be made again
    from its manifest.

    \b
    samestream log retain examples/flights.py --keep 90d --dry-run
    samestream log retain examples/flights.py --before 2013-02-01
    """
    from samestream.console.offline import instant_of
    from samestream.console.settings import connect
    from samestream.streams.engine import journal
    from samestream.streams.engine.feature_task import NAME
    from samestream.streams.log import retention, rewriting

    log, plan, _ = _opened(settings, module)
    if (before is None) == (keep is None):
        raise SettingsError(
            "say how much is to be kept", where="samestream log retain", hint="--keep 90d, or --before TIME."
        )
    newest_us = retention.newest_known_us(log, plan)
    if newest_us is None:
        raise FeatureLogError(
            "the log is empty", where=log.storage.root, hint="nothing needs to be cut; is --log the one that is meant?"
        )
    before_us = instant_of(before, "--before") if keep is None else newest_us - round(_seconds(keep, "--keep") * 1e6)
    assert before_us is not None
    with closing(connect(settings)) as transport:
        entries = journal.read(transport, plan.journal, NAME)
    cuts = retention.planned(plan, log, entries, before_us)
    needed = retention.needed_by(cuts, [settings.folder / "training-sets", *(sets or [])])
    if needed and not force and not dry_run:
        first = needed[0]
        raise FeatureLogError(
            f"{len({part.manifest for part in needed})} training sets could not be made again, so nothing was cut",
            where=str(first.manifest),
            found=f"needs {first.topic} partition {first.partition} from offset {first.start} on",
            hint="keep more, move these training sets away, or say --force.",
        )
    for part in cuts:
        going = ", ".join(f"{number} below {start:,}" for number, start in sorted(part.starts.items()))
        if not going:
            typer.echo(f"{part.topic:<44}" + (f"stays whole: {part.why}" if part.why else "holds nothing that may go"))
        elif dry_run:
            typer.echo(f"{part.topic:<44}would lose offsets of partition {going}")
    for need in needed if dry_run else ():
        typer.echo(f"needed by {need.manifest}: {need.topic} partition {need.partition} from {need.start:,} on")
    if dry_run:
        return
    for done in retention.cut(log, cuts):
        removed = rewriting.clear(log, done.topic, _seconds(grace, "--grace"))
        typer.echo(f"{done.topic:<44}{done.rows:>12,} rows cut off; {removed:,} files removed")


@configured("folder", "namespace", "log")
def events(
    settings: Settings,
    module: Module,
    event: Annotated[str, typer.Argument(metavar="EVENT", help="Which events: the name of their class.")],
    out: Annotated[Path, typer.Option(help="Write them to this Parquet file.", dir_okay=False)],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Let --out replace a file that exists.")] = False,
) -> None:
    """Write the logged events of one kind with their merge rank and whether they were applied.

    \b
    _rank is an event's place in the order in which all inputs were merged, _applied
    whether it counted: a vector is made of the events that were applied, of a lower
    rank than its trigger's, and of an earlier time. Both follow from the journal, which
    the log holds; no broker is asked. Events that are not judged yet are left out.

    Example: samestream log events examples/flights.py Departure --out departures.parquet
    """
    import numpy as np

    from samestream.console.offline import check_folder
    from samestream.streams.log.judged_log import judged
    from samestream.streams.log.vector_file import refuse_existing, write_whole

    log, plan, _ = _opened(settings, module)
    if event not in plan.inputs:
        raise SettingsError(
            "no such events",
            where="EVENT",
            found=event,
            expected=", ".join(plan.inputs),
            hint="those that features read.",
        )
    check_folder(out, "--out")
    refuse_existing(out, overwrite)
    found = judged(plan, log, event)
    write_whole(found, out, "the events")
    applied = int(np.count_nonzero(found["_applied"].to_numpy()))
    typer.echo(f"wrote {len(found):,} events to {out}, {applied:,} of them applied")


def _opened(settings: Settings, module: str) -> tuple[FeatureLog, Plan, list[str]]:
    """The log, the plan, and the topics of the app that the log has."""
    from samestream.schemas.app import load
    from samestream.streams.log.feature_log import FeatureLog
    from samestream.streams.log.log_writer import logged_topics
    from samestream.streams.lowering import compile_app

    plan, log = compile_app(load(module, settings.namespace)), FeatureLog(settings.log_uri)
    held = set(log.topics())
    topics = [topic for topic in logged_topics(plan) if topic in held]
    if not topics:
        raise FeatureLogError(
            "the log holds nothing of this app",
            where=log.storage.root,
            found=", ".join(sorted(held)) or "no topics",
            hint="is --log the one that is meant? `samestream run MODULE log` writes it.",
        )
    return log, plan, topics


def _seconds(text: str, option: str) -> float:
    from samestream.schemas import durations
    from samestream.schemas.errors import DeclarationError

    if text in ("0", "0s"):
        return 0.0
    try:
        return durations.parse(text, option) / 1e6
    except DeclarationError as error:
        raise SettingsError("not a duration", where=option, found=text, hint="90d, 12h, 30m, or 0.") from error


def _text(time_us: int) -> str:
    import numpy as np

    return f"{np.datetime64(time_us // 1_000_000, 's')}Z"
