"""`samestream demo`: the main job on real flights, in one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from samestream.console.options import CONNECTION, configured
from samestream.schemas.errors import SettingsError

if TYPE_CHECKING:
    from samestream.console.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


@configured(*CONNECTION)
def demo(
    settings: Settings,
    months: Annotated[
        str, typer.Option(help="Months of 2013, such as 1-3: the first trains, the later ones are scored.")
    ] = "1-3",
    fault: Annotated[
        str, typer.Option(help="Break the events on the way: none, unit, frozen, late or missing.")
    ] = "none",
    summary: Annotated[Path | None, typer.Option(help="Write the figures there, as JSON.", dir_okay=False)] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the broker running and all data in place.")] = False,
) -> None:
    """See the whole idea work on real flights, on genuine Kafka.

    \b
    The first month is released, features are computed online and logged, a model
    is trained from the log and published; then the later months are released and
    scored live. Labels join late, and a fresh process compares online with offline.

    \b
    Example: samestream demo --months 1-2 --fault unit --summary out.json
    Faults:  unit     delays turn from minutes into seconds
             frozen   a delay sticks at its last value
             late     departures become known three hours late
             missing  the weather stops coming
    """
    from samestream.console.demo_report import report
    from samestream.console.demo_run import run_demo
    from samestream.examples.faults import FAULTS

    if fault not in FAULTS:
        raise SettingsError(
            "no such fault", where="--fault", found=fault, expected=", ".join(FAULTS), hint="leave it out for none."
        )
    if settings.namespace:
        raise SettingsError(
            "the demo knows no namespaces",
            where="--namespace",
            found=settings.namespace,
            hint="leave it out, unset SAMESTREAM_NAMESPACE: the demo has a broker of its own.",
        )
    chosen = parse_months(months)
    if summary is not None and not summary.absolute().parent.is_dir():
        raise SettingsError(
            "no such folder", where="--summary", found=summary.absolute().parent, hint="create it first."
        )
    try:
        found = run_demo(
            chosen, fault, summary, settings.folder, settings.bootstrap, keep, settings.properties, print_line
        )
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    typer.echo(report(found))


def print_line(text: str) -> None:
    """Say something at once, also into a pipe."""
    typer.echo(text)


def parse_months(text: str) -> list[int]:
    """``"1-3"`` or ``"2"`` as months of 2013. Raises SettingsError for anything else."""
    first, _, last = text.partition("-")
    try:
        months = list(range(int(first), int(last or first) + 1))
    except ValueError:
        months = []
    if not months or months[0] < 1 or months[-1] > 12:
        raise SettingsError(
            "months are not understood",
            where="--months",
            found=text,
            expected="1-3, or any range within 1-12",
            hint="the first month trains.",
        )
    return months
