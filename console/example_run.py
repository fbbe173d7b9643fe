"""One example from end to end in this process: released in two parts, learned from the first, judged on the second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samestream.examples import producing
from samestream.examples.event_batch import EventBatch
from samestream.monitors.task import MonitorTask
from samestream.monitors.vector_parity import ModelParity, verify
from samestream.schemas import records
from samestream.schemas.app import App
from samestream.schemas.avro import Codec
from samestream.schemas.errors import SamestreamError
from samestream.streams.deploy import provision
from samestream.streams.engine import journal
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.engine.processor import Health, Processor, Task
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.log_writer import LogWriter, logged_topics
from samestream.streams.lowering import compile_app
from samestream.streams.models import artifact
from samestream.streams.models.outcomes import OutcomeTask
from samestream.streams.models.performance import performance
from samestream.streams.models.scorer import ScorerTask
from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.transport import Partition, Transport
from samestream.trainers.train import Trained, train

Batches = Mapping[str, EventBatch]
_PATIENCE_S = 300.0


@dataclass(frozen=True)
class ExampleRun:
    """What came of an example: how many events went to each topic and what became of them, the model, parity, figures."""

    plan: Plan
    model: ModelPlan
    produced: dict[str, int]
    balances: dict[str, journal.Balance]
    trained: Trained
    parity: ModelParity
    figures: dict[str, Any]


def run_example(
    app: App, releases: tuple[Batches, Batches], transport: Transport, folder: Path, tell: Callable[[str], None]
) -> ExampleRun:
    """Release, learn, release the rest, score, join labels, watch, log, and compare online with offline.

    folder : takes the feature log and the model
    tell : is given a line for each step
    """
    plan = compile_app(app)
    (model,) = plan.models.values()
    provision.provision(transport, app, plan)
    log, produced = FeatureLog(folder / "log"), dict[str, int]()
    scorer = ScorerTask(plan, model)  # one that runs all along: the champion comes while it does

    def release(batches: Batches) -> None:
        for topic, count in producing.produce(transport, plan, batches).items():
            produced[topic] = produced.get(topic, 0) + count
        tell(f"released    {sum(produced.values()):,} events so far")

    release(releases[0])
    first: list[Task] = [FeatureTask(plan), OutcomeTask(plan, model)]
    for task in first:
        _work_off(transport, plan, task)
    _write_log(transport, plan, log)
    trained = train(plan, model, log, transport, str(folder / "artifacts"))
    tell(f"trained     {model.name} on {trained.version.trained_rows:,} vectors of the log")
    release(releases[1])
    then: list[Task] = [FeatureTask(plan), scorer, OutcomeTask(plan, model)]
    then += [MonitorTask(plan, declared) for declared in app.monitors.values()]
    for task in then:
        _work_off(transport, plan, task)
    _write_log(transport, plan, log)
    tell("scored      the rest, with labels joined as they came")
    parity = verify(plan, transport, log)[model.name]
    return ExampleRun(
        plan,
        model,
        produced,
        journal.balance(journal.read(transport, plan.journal, "features")),
        trained,
        parity,
        _figures(transport, model, trained),
    )


def _figures(transport: Transport, model: ModelPlan, trained: Trained) -> dict[str, Any]:
    learned = artifact.load(trained.version.artifact, trained.version.digest).reference
    usual = learned["label_shares"] if model.output == "class" else learned["label_mean"]
    codec = Codec(records.OUTCOME)
    found = [
        codec.decode(value)
        for fetched in transport.read_all(model.topics["outcomes"])
        for value in fetched.values
        if value is not None
    ]
    return performance(model.output, found, usual)


def _work_off(transport: Transport, plan: Plan, task: Task) -> None:
    """Run a task in this thread until it has judged every record of its inputs."""
    store = provision.store(transport, plan)
    worker = Processor(transport, plan.app, plan.journal, task, store, wait_s=0.0)
    worker.run(_WorkedOff(worker.health, _records(transport, [part.topic for part in task.inputs])))


def _write_log(transport: Transport, plan: Plan, log: FeatureLog) -> None:
    topics = logged_topics(plan)
    logged = sum(log.read(topic).num_rows for topic in topics if topic in log.topics())
    writer = LogWriter(transport, plan, log, provision.store(transport, plan))
    writer.run(_WorkedOff(writer.health, _records(transport, topics) - logged))


def _records(transport: Transport, topics: list[str]) -> int:
    """How many records some topics hold, once every transaction on them is decided: Kafka marks them after it has answered."""
    counts = transport.topics()
    partitions = [Partition(topic, number) for topic in topics for number in range(counts[topic])]
    while any(end.stable < end.high for end in transport.ends(partitions).values()):
        time.sleep(0.01)
    return sum(len(fetched) for topic in topics for fetched in transport.read_all(topic))


class _WorkedOff(threading.Event):
    """Stops what runs in this thread once it has taken so many records."""

    def __init__(self, health: Health, count: int) -> None:
        super().__init__()
        self._health, self._count, self._deadline_s = health, count, time.monotonic() + _PATIENCE_S

    def is_set(self) -> bool:
        """Whether everything is taken. Raises SamestreamError where that takes too long."""
        if time.monotonic() > self._deadline_s:
            raise SamestreamError(
                "a task of the example did not finish",
                where=self._health.name,
                found=f"{self._health.events} of {self._count} records after {_PATIENCE_S:g} s",
                hint="this is a fault of samestream: please report it.",
            )
        return self._health.state != "starting" and self._health.events >= self._count
