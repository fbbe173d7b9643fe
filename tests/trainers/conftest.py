"""Logs of the shop that several files read."""

from __future__ import annotations

import harness
import pytest
from shop_log import EVENTS, logged

from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.memory.transport import MemoryTransport


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[MemoryTransport, FeatureLog]:
    return logged(tmp_path_factory.mktemp("log"), EVENTS)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> tuple[MemoryTransport, FeatureLog]:
    """Three hours: longer than an event may be known ahead."""
    return logged(tmp_path_factory.mktemp("log"), harness.shop_events(1500, seed=3))
