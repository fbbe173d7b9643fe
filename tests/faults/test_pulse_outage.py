"""The broker, killed under the pulses of a monitor: nobody waits for them, and they go on when it is back."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import harness
import pytest
from own_shop import until

from samestream.console.pulses import Pulses
from samestream.monitors.task import MonitorTask
from samestream.schemas.app import load
from samestream.streams.deploy import provision
from samestream.streams.engine.processor import Processor
from samestream.streams.kafka.local_kafka import LocalKafka
from samestream.streams.kafka.transport import KafkaTransport
from samestream.streams.lowering import compile_app

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
LONE = load(str(Path(harness.__file__).with_name("lone.py")))
PLAN = compile_app(LONE)


def kill(kafka: LocalKafka) -> None:
    pid = kafka.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: "ended" in kafka.status().detail)


def test_pulses_outlive_their_broker_and_hold_up_nobody(own_kafka: LocalKafka) -> None:
    transport = KafkaTransport(own_kafka.bootstrap)
    provision.provision(transport, LONE, PLAN)
    task = MonitorTask(PLAN, LONE.monitors["FailsHealth"])
    worker = Processor(transport, PLAN.app, PLAN.journal, task, provision.store(transport, PLAN))
    worker.health.state = "running"
    pulses = Pulses(transport, PLAN, [worker], every_s=0.05)

    def stamps_s() -> list[float]:
        return [at_us / 1e6 for part in transport.read_all(PLAN.pulse) for at_us in part.known_us.tolist()]

    def on_its_way() -> int:
        assert pulses._outbox is not None
        return pulses._outbox.poll(0.0)

    pulses.start()
    until(lambda: len(stamps_s()) >= 3)
    kill(own_kafka)
    until(lambda: on_its_way() == 1)
    for _ in range(20):
        pulses.beat()
        assert on_its_way() == 1, "they do not pile up"
    back_s = time.time()
    own_kafka.up()
    until(lambda: stamps_s()[-1] > back_s)
    until(lambda: stamps_s()[-1] > back_s + 1)
    kill(own_kafka)
    until(lambda: on_its_way() == 1)
    began_s = time.monotonic()
    pulses.close()
    assert time.monotonic() - began_s < 10
    transport.close()
