"""A stop of everything, for real, on genuine Kafka: the only source falls silent, and that is told while nothing comes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest

from samestream.monitors.incidents import IncidentRecord
from samestream.monitors.task import MonitorTask, parse
from samestream.schemas.app import load
from samestream.streams.deploy import provision
from samestream.streams.engine import journal
from samestream.streams.kafka.transport import KafkaTransport
from samestream.streams.lowering import compile_app
from samestream.streams.plan import Plan

MINUTE_US, DAY_US = 60_000_000, 86_400_000_000
MODULE = Path(harness.__file__).with_name("lone.py")


@pytest.fixture
def lone(broker: str, tmp_path: Path) -> Path:
    """The app with one source, under a name and topics of its own."""
    name = f"lone{uuid.uuid4().hex[:8]}"
    path = tmp_path / f"{name}.py"
    path.write_text(MODULE.read_text().replace('topic="lone.', f'topic="{name}.'))
    return path


@pytest.fixture
def kafka(broker: str) -> Iterator[KafkaTransport]:
    transport = KafkaTransport(broker)
    yield transport
    transport.close()


def incidents(kafka: KafkaTransport, plan: Plan) -> list[IncidentRecord]:
    values = [value for part in kafka.read_all(plan.drift) for value in part.values]
    return [record for record in map(parse, values) if record is not None]


@pytest.mark.kafka
@pytest.mark.timeout(240)
def test_a_total_outage_is_told_while_it_lasts(broker: str, kafka: KafkaTransport, lone: Path) -> None:
    app = load(str(lone))
    plan = compile_app(app)
    provision.provision(kafka, app, plan)
    # 23 days, known when they happened; the last one came half an hour ago, and none comes any more
    stopped_us = int(time.time() * 1e6) - 30 * MINUTE_US
    harness.send(
        kafka,
        (
            harness.encode(plan, "Reading", "s", at_us, sensor="s", level=1.0, at=at_us - 1_000_000)
            for at_us in range(stopped_us - 23 * DAY_US, stopped_us + 1, 2 * MINUTE_US)
        ),
    )
    events = sum(map(len, kafka.read_all(plan.events["Reading"].topic)))
    harness.work_off(kafka, MonitorTask(plan, app.monitors["FailsHealth"]), plan)
    assert incidents(kafka, plan) == [], "events alone do not say how late it is"

    run = "from samestream.console.main import main; main()"
    live = subprocess.Popen(
        [sys.executable, "-c", run, "run", str(lone), "monitor", "--bootstrap", broker],
        cwd=lone.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        deadline_s = time.monotonic() + 90
        while not incidents(kafka, plan):
            assert live.poll() is None, live.communicate()[0]
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        live.send_signal(signal.SIGTERM)
        out, _ = live.communicate(timeout=60)
    finally:
        live.kill()
        live.communicate()
    assert live.returncode == 0, out
    (found,) = incidents(kafka, plan)
    assert (found.event, found.verdict, found.cause) == ("open", "missing_source", "Reading")
    assert stopped_us < found.opened_at_us < stopped_us + 20 * MINUTE_US
    assert sum(map(len, kafka.read_all(plan.events["Reading"].topic))) == events, "nothing came meanwhile"
    # the broker's clock stamped them
    assert kafka.topic_config(plan.pulse)["message.timestamp.type"] == "LogAppendTime"
    stamps_us = [int(at_us) for part in kafka.read_all(plan.pulse) for at_us in part.known_us]
    assert stamps_us
    assert all(abs(at_us / 1e6 - time.time()) < 300 for at_us in stamps_us)
    entries = journal.read(kafka, plan.journal, "monitor.Fails")
    assert journal.balance(entries)[plan.pulse].applied <= len(stamps_us)
