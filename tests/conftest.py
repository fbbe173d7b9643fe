"""What several folders of tests share: one genuine Kafka for the whole session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap address of a genuine Kafka on loopback.

    SAMESTREAM_TEST_BOOTSTRAP names one that runs already; otherwise one is started in a temporary folder.
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


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    """A Spark session in this process, shared by all tests."""
    from samestream.streams.spark import session as spark_session

    with spark_session.local() as session:
        yield session
