"""The `samestream` command: which commands there are, and how failures are told."""

from __future__ import annotations

import errno
import importlib
import importlib.util
import logging
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import Abort, Exit, TyperException

from samestream.schemas.errors import FencedError, SamestreamError, SettingsError

MODULES = (
    "demo",
    "example",
    "check",
    "plan",
    "diff",
    "broker",
    "apply",
    "schemas",
    "run",
    "rebuild",
    "topics",
    "redrive",
    "offline",
    "training_sets",
    "replay",
    "backfill",
    "counterfactual",
    "skew",
    "monitor",
    "profiles",
    "log",
    "forget",
)
"""Modules of the console that register commands."""

STORY = (
    "demo",
    "example",
    "check",
    "plan",
    "diff",
    "up",
    "apply",
    "schemas",
    "run",
    "rebuild",
    "status",
    "topics",
    "redrive",
    "train",
    "training-set",
    "replay",
    "backfill",
    "counterfactual",
    "parity",
    "skew",
    "monitor",
    "profiles",
    "log",
    "forget",
    "down",
)
"""The commands in the order in which a newcomer needs them."""

HELP = """Features, models and monitors as one event-driven system on Kafka: online equals offline, measured.

See it all work on real flights:

\b
  samestream demo

or on synthetic data, without any Kafka:

\b
  samestream example cards --keep tried   and offline commands to try on its log

Then your own app, declared in one Python module (start from examples/flights.py):

\b
  samestream check app.py      what can be proved before anything starts
  samestream plan app.py       what will run, before anything runs
  samestream diff old.py app.py   what changed, what it breaks, whom it touches
  samestream up                a Kafka on this machine, unless you have one
  samestream apply app.py      its topics and schemas
  samestream schemas check app.py   whether they may replace those before
  samestream run app.py        features, scores, outcomes, log, monitors
  samestream rebuild app.py    state anew, after a change of definition
  samestream status app.py     who has come how far
  samestream train app.py      a model from the log; the scorer takes it up
  samestream training-set app.py   vectors joined with labels, as Parquet
  samestream replay app.py --out vectors.parquet   the served vectors, computed again
  samestream backfill app.py --out history.parquet   a new feature over old history
  samestream counterfactual old.py app.py   what another definition would have said
  samestream parity app.py     what was served against what the log says
  samestream skew app.py       which late events make which difference
  samestream monitor app.py    incidents, with verdict and evidence
  samestream profiles app.py   how features, scores and sources are distributed, window by window
  samestream log retain app.py --keep 90d   cut off what is old; compact, show
  samestream forget app.py --key user=u1   erase a person from the log
  samestream topics app.py     what topics hold, rejected events included
  samestream redrive app.py    send rejected events again, repaired
  samestream down              stop the local Kafka; its data stays

Every command explains itself: samestream run --help.
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 another process took over.
"""


class Root(TyperGroup):
    """Orders the commands, takes `--debug` anywhere, and tells failures in one line."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The story first, then what it does not know."""
        names = super().list_commands(ctx)
        return sorted(names, key=lambda name: STORY.index(name) if name in STORY else len(STORY))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """People add `--debug` at the end of the line that failed."""
        if "--debug" in args:
            args = ["--debug", *(part for part in args if part != "--debug")]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; whatever it raises becomes a line on stderr and an exit code."""
        try:
            return super().invoke(ctx)
        except (Exit, Abort, TyperException):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # the reader of a pipe has seen enough; typer knows what to do
            raise Exit(told(error, debug=bool(ctx.params.get("debug")))) from error


def told(error: Exception, *, debug: bool) -> int:
    """Print a failure on stderr, with its trace if asked for, and return the exit code it deserves."""
    if debug:
        traceback.print_exception(error)
    if isinstance(error, SamestreamError):
        line = error.line
        if isinstance(error, FencedError) and not error.hint:
            line += " Hint: another process of this role runs; this one has stopped."
    else:
        said = " ".join(str(error).split())
        line = f"{type(error).__name__}: {said}" if said else type(error).__name__
        line += "" if debug else " Hint: this was not foreseen; run again with --debug for the trace."
    print(f"error: {line}", file=sys.stderr)
    if isinstance(error, FencedError):
        return 3
    return 2 if isinstance(error, SettingsError) else 1


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"samestream {version('samestream')}")
        raise typer.Exit


app = typer.Typer(
    cls=Root,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(help=HELP)
def root(
    debug: Annotated[
        bool, typer.Option("--debug", envvar="SAMESTREAM_DEBUG", help="Show the trace of a failure, too.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """See HELP."""
    if not debug:
        # librdkafka's remarks on what it tries again; what fails in the end is raised
        logging.getLogger("samestream.kafka").setLevel(logging.ERROR)


def _register() -> None:
    for name in MODULES:
        path = f"samestream.console.{name}"
        if importlib.util.find_spec(path) is not None:  # only absence is forgiven, never a module that fails
            importlib.import_module(path).register(app)


_register()


def main() -> None:
    """Run the command line; ends the process with its exit code."""
    app(prog_name="samestream")


if __name__ == "__main__":
    main()
