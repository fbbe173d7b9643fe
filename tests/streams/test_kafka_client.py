"""Which of the three clients a transport is of, and what it makes of brokers that are away or come back; no broker is needed."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from confluent_kafka import TopicPartition

from samestream.schemas.errors import SettingsError, TransportError
from samestream.streams.kafka import librdkafka
from samestream.streams.kafka.client import CLIENT, chosen
from samestream.streams.kafka.transport import KafkaTransport
from samestream.streams.transport import Partition


def test_the_client_follows_the_library_unless_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CLIENT, raising=False)
    assert chosen() == "direct"
    assert chosen("", {"security.protocol": "SASL_SSL"}) == "native"
    assert chosen("", {"ssl.ca.location": "ca.pem"}) == "native"
    assert chosen("", {"socket.keepalive.enable": "true"}) == "native"  # direct would not heed it
    with pytest.raises(SettingsError, match=r"Found: socket\.keepalive\.enable"):
        chosen("direct", {"socket.keepalive.enable": "true", "batch.size": "1000"})
    assert chosen("", {"security.protocol": "plaintext", "batch.size": "1000"}) == "direct"
    assert chosen("", {"session.timeout.ms": "2000", "heartbeat.interval.ms": "500"}) == "direct"
    with pytest.raises(SettingsError, match=r"Found: sasl\.mechanism"):
        chosen("direct", {"sasl.mechanism": "PLAIN"})
    monkeypatch.setenv(CLIENT, "python")
    assert chosen() == "python"
    assert chosen("native") == "native"
    monkeypatch.setenv(CLIENT, "java")
    with pytest.raises(SettingsError, match="no such Kafka client"):
        chosen()


def test_a_library_of_another_version_is_left_to_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CLIENT, raising=False)
    monkeypatch.setattr(librdkafka, "TESTED", ())
    librdkafka.library.cache_clear()
    librdkafka.unusable.cache_clear()
    try:
        assert chosen() == "python"
        with pytest.raises(SettingsError, match="librdkafka cannot be used"):
            chosen("native")
    finally:
        librdkafka.library.cache_clear()
        librdkafka.unusable.cache_clear()


def test_an_absent_broker_is_reported_with_its_address_and_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samestream.streams.kafka.transport._ANSWER_S", 0.5)
    transport = KafkaTransport("127.0.0.1:1")
    with pytest.raises(TransportError, match=r"127.0.0.1:1: Kafka failed[\s\S]*Hint: is the broker running"):
        transport.topics()
    transport.close()


class ComingBack:
    """An admin client of a broker that comes back: asked for offsets it answers, and says none at first."""

    def __init__(self) -> None:
        self.answers = [-1001, 7]

    def list_offsets(self, asked: Mapping[TopicPartition, object], **_: object) -> dict[TopicPartition, Future[object]]:
        offset, found = self.answers.pop(0), {}
        for at in asked:
            found[at] = Future[object]()
            found[at].set_result(SimpleNamespace(offset=offset))
        return found

    def list_topics(self, **_: object) -> None:
        """Nothing is known anew."""


def test_an_answer_without_an_offset_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = KafkaTransport("127.0.0.1:1")
    monkeypatch.setattr(transport, "_admin", ComingBack())
    assert transport.starts([Partition("views", 0)]) == {Partition("views", 0): 7}
    transport.close()
