"""The fault suite: real processes on genuine Kafka, killed. FAULTS=long runs the long form."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from nursery import Nursery
from own_shop import LONG, OwnShop

from samestream.streams.kafka.local_kafka import LocalKafka


def pytest_configure(config: pytest.Config) -> None:
    """Know the marker; markers are strict."""
    config.addinivalue_line("markers", "rounds(n): how often the long form of the fault suite repeats a test")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that take a ``round`` run once, and many times in the long form."""
    if "round" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("rounds")
        metafunc.parametrize("round", range((marker.args[0] if marker else 20) if LONG else 1))


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    nursery = Nursery(tmp_path_factory.mktemp("nursery"))
    yield nursery
    nursery.close()


@pytest.fixture
def shop(broker: str, nursery: Nursery, tmp_path: Path) -> Iterator[OwnShop]:
    """An app of its own on the broker of all tests, which has to carry the topics of none that are over."""
    shop = OwnShop(broker, nursery, tmp_path)
    yield shop
    shop.drop()


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[LocalKafka]:
    kafka = LocalKafka(tmp_path / "kafka")
    try:
        kafka.up()
        yield kafka
    finally:
        kafka.down(0.0)  # nobody will read what it has
