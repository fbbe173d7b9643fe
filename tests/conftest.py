"""What several folders of tests share: one genuine Kafka for the session, one Spark, and the grids printed at its end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import agreement
import pytest
from hypothesis import settings

# No test is timed: what is compiled for the first time takes a while, and machines are as busy as they are.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap address of a genuine Kafka on loopback.

    SAMESTREAM_TEST_BOOTSTRAP names one that runs already, with group.min.session.timeout.ms=1000; otherwise one is started
    in a temporary folder.
    """
    running = os.environ.get("SAMESTREAM_TEST_BOOTSTRAP")
    if running:
        yield running
        return
    from samestream.streams.kafka.local_kafka import LocalKafka

    kafka = LocalKafka(tmp_path_factory.mktemp("kafka"))
    try:
        yield kafka.up().bootstrap
    finally:
        kafka.down()


# With a few rows Spark takes longer to compile a query than to run it. As users have it, it is in test_expressions.py and
# where `spark-submit` runs; SPARK=whole has it so everywhere.
QUICK = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    """A Spark session in this process, shared by all tests."""
    from samestream.streams.spark import session as spark_session

    with spark_session.local(more={} if os.environ.get("SPARK") == "whole" else QUICK) as session:
        yield session


SPARK = ("tests/spark/", "tests/grid/")
FIRST = (*SPARK, "tests/end_to_end/test_demo.py")
"""What takes longest, so that it does not come last."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes longest first."""
    items.sort(key=lambda item: next((at for at, path in enumerate(FIRST) if item.nodeid.startswith(path)), len(FIRST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where files stay together, all that needs Spark does: one process starts it, and has it warm."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "spark" if nodeid.startswith(SPARK) else str(super()._split_scope(nodeid))

    return ByFile(config, log) if config.getoption("dist") == "loadfile" else None


GRIDS = pytest.StashKey[dict[str, list[str]]]()


@pytest.fixture(scope="session")
def grids(pytestconfig: pytest.Config) -> dict[str, list[str]]:
    """Lines to print at the end, by title."""
    return pytestconfig.stash.setdefault(GRIDS, {})


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand over what this process saw, if it is one of several that share the tests."""
    sent = getattr(session.config, "workeroutput", None)
    if sent is not None:
        sent["grids"] = session.config.stash.get(GRIDS, {})
        sent["agreed"], sent["tried"] = list(agreement.AGREED.items()), list(agreement.TRIED.items())


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take what another process saw."""
    told = getattr(node, "workeroutput", {})
    node.config.stash.setdefault(GRIDS, {}).update(told.get("grids", {}))
    for counter, name in ((agreement.AGREED, "agreed"), (agreement.TRIED, "tried")):
        counter.update({(operation, engine): count for (operation, engine), count in told.get(name, [])})


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print them."""
    expressions = {agreement.TITLE: agreement.lines()} if agreement.TRIED else {}
    for title, lines in {**config.stash.get(GRIDS, {}), **expressions}.items():
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.write_line(line)
