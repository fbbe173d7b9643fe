"""Where Kafka cannot be fetched, the demo says so, loudly, and runs on the in-process transport."""

from __future__ import annotations

from pathlib import Path

import pytest

from samestream.console import demo_run
from samestream.schemas.errors import BrokerError, BrokerUnavailableError
from samestream.streams.kafka.local_kafka import LocalKafka


def test_the_demo_says_so_and_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def up(self: LocalKafka, *_: object) -> None:
        raise BrokerUnavailableError("Kafka can be fetched neither by mvn nor by download", hint="connect to a network")

    monkeypatch.setattr(LocalKafka, "up", up)
    said: list[str] = []
    found = demo_run.run_demo([1], "none", None, tmp_path, None, False, {}, said.append)
    assert any("!! NO KAFKA: Kafka can be fetched neither" in line for line in said)
    assert found["broker"]["kind"] == "memory"
    assert found["vectors"] == found["events"]["flights.boarding"]["produced"] == 27_004
    assert found["parity"]["mismatched"] == 0
    assert list(tmp_path.iterdir()) == []


def test_a_kafka_that_fails_is_not_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def up(self: LocalKafka, *_: object) -> None:
        raise BrokerError("the broker died", hint="look at its log")

    monkeypatch.setattr(LocalKafka, "up", up)
    with pytest.raises(BrokerError, match="the broker died"):
        demo_run.run_demo([1], "none", None, tmp_path, None, False, {}, lambda _: None)
