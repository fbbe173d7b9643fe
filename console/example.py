"""`samestream example`: the other examples, each from end to end in this process."""

from __future__ import annotations

import importlib
import shlex
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from samestream.schemas.errors import SettingsError

if TYPE_CHECKING:
    from samestream.console.example_run import ExampleRun

EXAMPLES = {
    "rides": "tips: keys of whole numbers, conditions, standard deviations, last values",
    "checkouts": "Chronon's quickstart: purchases and returns of a shop over 3, 14 and 30 days, accounts as a table",
    "cards": "card fraud in three classes: chains over tables, sessions, sketches, keys of two fields, enums, decimals",
    "machines": "tool wear as a number: calendar days, lifetimes, quantiles, decay, nested records, on-demand features",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("example")(example)


def example(
    name: Annotated[str, typer.Argument(help="One of " + ", ".join(EXAMPLES) + "; left out, what each shows.")] = "",
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="New folder for the feature log and the model.", file_okay=False)
    ] = None,
) -> None:
    """Run one of the other examples from end to end, on synthetic data.

    \b
    Its first weeks are released, features computed and logged, and a model trained
    from the log; then the rest is released, scored and judged, and what was served is
    compared with the log. It runs in this process, on a log in memory: no Kafka is
    needed. (The flights, on genuine Kafka, are `samestream demo`.) With --keep its
    log stays, and commands are printed that work on it without Kafka (parity is of an app
    that runs).

    \b
    Example: samestream example cards
    Example: samestream example cards --keep tried
    """
    if not name:
        for known, shows in EXAMPLES.items():
            typer.echo(f"{known:<10} {shows}")
        return
    if name not in EXAMPLES:
        raise SettingsError(
            "no such example",
            where="NAME",
            found=name,
            expected=", ".join(EXAMPLES),
            hint="`samestream example` lists them.",
        )
    if keep is not None and keep.exists():
        raise SettingsError(
            "there is something already", where="--keep", found=keep, hint="nothing is written over: name a new folder."
        )
    from samestream.console.example_run import run_example
    from samestream.schemas.app import load
    from samestream.streams.memory.transport import MemoryBroker, MemoryTransport

    data = importlib.import_module(f"samestream.examples.{name}_data")
    module = Path(data.__file__ or "").with_name(f"{name}.py")
    app = load(str(module))
    with tempfile.TemporaryDirectory() as folder, closing(MemoryTransport(MemoryBroker())) as transport:
        found = run_example(app, data.releases(), transport, keep or Path(folder), typer.echo)
    typer.echo(told(found))
    if keep is not None:
        typer.echo("kept        try what needs no Kafka:")
        modes = ("served", "as_known", "point_in_time")
        tries: list[tuple[str | Path, ...]] = [
            *(("training-set", module, "--mode", mode, "--out", keep / mode) for mode in modes),
            ("replay", module, "--out", keep / "replayed.parquet"),
            ("skew", module, next(iter(app.models))),
        ]
        for words in tries:
            typer.echo("  samestream " + shlex.join(map(str, (*words, "--log", keep / "log"))))


def told(found: ExampleRun) -> str:
    """What came of it, as lines of text."""
    late = sum(part.late for part in found.balances.values())
    dead = sum(part.dead for part in found.balances.values())
    parity = found.parity
    figures = ", ".join(
        f"{name.replace('_', ' ')} {value:,.4g}" for name, value in found.figures.items() if value is not None
    )
    return "\n".join(
        [
            f"events      {sum(found.produced.values()):,}; of those that features read {late:,} late, {dead:,} dead",
            f"parity      {parity.mismatched:,} of {parity.compared:,} vectors differ by replay, "
            f"{parity.as_known_mismatched:,} of {parity.as_known_compared:,} by SQL",
            f"judged      {figures}",
        ]
    )
