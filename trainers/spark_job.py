"""A job for `spark-submit`: training sets and reference profiles from the feature log.

::

    JOB=$(python -m samestream.trainers.spark_job --where)
    spark-submit --master ... "$JOB" training-set app.py MODEL --log s3://bucket/log --out FOLDER --split 2013-01-25
    spark-submit --master ... "$JOB" training-set app.py MODEL --log s3://bucket/log --out FOLDER --mode as_known --rows asked.csv
    spark-submit --master ... "$JOB" profiles app.py MODEL --log s3://bucket/log --out profiles.json

Driver and executors need samestream with the extra `spark`; `PYSPARK_PYTHON` says by which Python.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # run as a file, its folder would hide modules of other packages that are called alike
    sys.path[:] = [folder for folder in sys.path if Path(folder or ".").resolve() != Path(__file__).resolve().parent]

import argparse
import json
from datetime import UTC, datetime
from typing import Any

from samestream.schemas.app import load
from samestream.schemas.errors import SamestreamError, TrainingError
from samestream.streams.lowering import compile_app
from samestream.streams.plan import Plan
from samestream.streams.spark import session as spark_session
from samestream.streams.spark.profiles import profiles
from samestream.trainers import dataset_files, spark_dataset
from samestream.trainers.request import Request


def main(arguments: list[str]) -> int:
    """Run the job; 0, or 1 with a line on stderr."""
    if arguments == ["--where"]:
        print(Path(__file__).resolve())
        return 0
    asked = _asked(arguments)
    try:
        plan = _checked(asked)  # before Spark is started, which takes long
        with spark_session.submitted(f"samestream {asked.what} {asked.model}") as session:
            session.sparkContext.setLogLevel("ERROR")
            _training_set(asked, plan, session) if asked.what == "training-set" else _profiles(asked, plan, session)
    except SamestreamError as error:
        print(f"error: {error.line}", file=sys.stderr)
        return 1
    return 0


def _checked(asked: argparse.Namespace) -> Plan:
    """The plan. Raises SamestreamError for a module, model, range or place to write that is none."""
    plan = compile_app(load(asked.module, asked.namespace))
    if asked.model not in plan.models:
        raise TrainingError(
            "no such model", where="MODEL", found=asked.model, expected=", ".join(plan.models), hint="name one."
        )
    if asked.from_ is not None and asked.to is not None and asked.from_ >= asked.to:
        raise TrainingError("the range is empty", where="--to", hint="--to is exclusive, and later than --from.")
    if asked.what == "training-set":
        _request(asked).check()
        dataset_files.refuse_existing(asked.out)
    elif not asked.out.absolute().parent.is_dir():
        found = asked.out.absolute().parent
        raise TrainingError("no such folder", where="--out", found=found, hint="create it first.")
    elif asked.out.exists() and not asked.overwrite:
        hint = "name another file with --out, or add --overwrite."
        raise TrainingError("there is something already", where=str(asked.out), hint=hint)
    return plan


def _request(asked: argparse.Namespace) -> Request:
    rows = str(asked.rows.absolute()) if asked.rows is not None else None
    return Request(asked.model, asked.mode, asked.from_, asked.to, asked.as_of, tuple(asked.split), rows)


def _training_set(asked: argparse.Namespace, plan: Plan, session: Any) -> None:
    made = spark_dataset.build(plan, _request(asked), asked.log, session)
    dataset_files.write(made, asked.out)
    print(
        f"wrote {asked.out}, {sum(part['rows'] for part in made.manifest['parts'].values()):,} rows, digest {made.digest}"
    )


def _profiles(asked: argparse.Namespace, plan: Plan, session: Any) -> None:
    found = profiles(plan.models[asked.model], asked.log, session, asked.from_, asked.to)
    beside = asked.out.with_name(f".{asked.out.name}.part")
    try:
        beside.write_text(json.dumps({name: profile.to_json() for name, profile in found.items()}) + "\n")
        beside.replace(asked.out)
    except OSError as error:
        raise TrainingError(
            "the profiles cannot be written", where=str(asked.out), found=error, hint="make room, or name another file."
        ) from error
    finally:
        beside.unlink(missing_ok=True)
    rows = next(iter(found.values())).n if found else 0
    print(f"wrote {asked.out}, {len(found)} profiles of {rows:,} vectors")


def _asked(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="spark_job", description="Training sets and reference profiles, on Spark.")
    parser.add_argument("what", choices=["training-set", "profiles"])
    parser.add_argument("module", help="the module that declares the app")
    parser.add_argument("model")
    parser.add_argument("--log", required=True, help="root of the feature log, as every executor sees it")
    parser.add_argument("--out", required=True, type=Path, help="new folder (training-set), or file (profiles)")
    parser.add_argument("--overwrite", action="store_true", help="let --out of profiles replace a file that exists")
    parser.add_argument("--namespace", default="")
    parser.add_argument("--mode", default="served", choices=["served", "as_known", "point_in_time"])
    parser.add_argument(
        "--rows", type=Path, help="keys and instants of your own (.parquet, .csv), on the driver; not served"
    )
    parser.add_argument(
        "--from", dest="from_", type=_us, metavar="TIME", help="first trigger event time, ISO 8601 (UTC)"
    )
    parser.add_argument("--to", type=_us, metavar="TIME", help="trigger event times before this")
    parser.add_argument("--as-of", type=_us, metavar="TIME", help="use only what the log knew before this")
    parser.add_argument(
        "--split",
        action="append",
        default=[],
        type=_us,
        metavar="TIME",
        help="where test begins; twice: validation",
    )
    return parser.parse_args(arguments)


def _us(text: str) -> int:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"a time is not understood: {text}. Hint: write 2013-02-01 or 2013-02-01T12:00Z."
        ) from error
    return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1_000_000)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
