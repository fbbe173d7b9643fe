"""Profiles on genuine Kafka: instances share the partitions, one dies without a word, and every row counts once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import harness
import numpy as np
import pytest
from harness import PLAN, SHOP

from samestream.monitors.profile_writer import ProfileWriter
from samestream.schemas.avro import Codec
from samestream.streams.deploy import provision
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.kafka.transport import KafkaTransport
from samestream.streams.models.profile import NumericProfile
from samestream.streams.models.profile_topic import ProfileBook

MODEL = PLAN.models["Buys"]
MONITORS = list(SHOP.monitors.values())


class Struck(Exception):
    """What stands for SIGKILL: nothing is written, nothing committed any more."""


class Mortal(ProfileWriter):
    """Dies when it is about to write for the second time."""

    flushes = 0

    def _flush(self, writer: object, readers: object) -> None:
        self.flushes += 1
        if self.flushes > 1 and self.health.events > 50:
            raise Struck
        super()._flush(writer, readers)  # type: ignore[arg-type]


@pytest.fixture
def kafka(broker: str) -> Iterator[KafkaTransport]:
    transport = KafkaTransport(broker, {"session.timeout.ms": "6000"})
    provision.provision(transport, SHOP, PLAN)
    yield transport
    transport.delete_topics([spec.name for spec in provision.topics(SHOP, PLAN)])
    transport.close()


@pytest.mark.kafka
def test_instances_come_and_go_and_every_row_counts_once(kafka: KafkaTransport) -> None:
    harness.send(kafka, harness.shop_events(500))
    harness.work_off(kafka, FeatureTask(PLAN), batch_records=60)
    topic = MODEL.topics["features"]
    codec = Codec(MODEL.vector_schema)
    rows = [codec.decode(value) for part in kafka.read_all(topic) for value in part.values if value]
    whole = NumericProfile.of(
        [row["seconds"] or 0.0 for row in rows], np.array([row["seconds"] is not None for row in rows])
    )
    stop, ended = threading.Event(), list[str]()

    def go(writer: ProfileWriter) -> None:
        try:
            writer.run(stop)
        except Struck:
            ended.append("struck")

    def start(writer: ProfileWriter) -> threading.Thread:
        thread = threading.Thread(target=go, args=(writer,), daemon=True)
        thread.start()
        return thread

    def counted() -> NumericProfile | None:
        found = ProfileBook.read(kafka.read_all(PLAN.profiles)).over("Buys.seconds", "", MODEL.fingerprint)
        assert found is None or isinstance(found, NumericProfile)
        return found

    threads = [start(Mortal(kafka, PLAN, MONITORS, flush_s=0.2))]
    threads[0].join(30)
    assert ended == ["struck"]
    threads += [start(ProfileWriter(kafka, PLAN, MONITORS, flush_s=0.2)) for _ in range(2)]
    until = time.monotonic() + 60
    while ((found := counted()) is None or found.n < len(rows)) and time.monotonic() < until:
        time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join(30)
    found = counted()
    assert found is not None
    for name in ("n", "nulls", "zeros", "min", "max"):
        assert getattr(found, name) == getattr(whole, name), name
    np.testing.assert_array_equal(found.counts, whole.counts)
    assert found.sum == pytest.approx(whole.sum)
