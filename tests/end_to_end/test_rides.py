"""The second example, of other keys, types and shape, through the same code: learned, scored, judged, and equal offline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import harness
import numpy as np
import pytest

from samestream.console.demo_report import outcome_figures
from samestream.examples import producing, rides_data
from samestream.monitors.task import MonitorTask
from samestream.monitors.vector_parity import verify
from samestream.schemas.app import load
from samestream.schemas.avro import Codec
from samestream.streams.deploy import provision
from samestream.streams.engine import journal
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.kafka.transport import KafkaTransport
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.lowering import compile_app
from samestream.streams.models.outcomes import OutcomeTask
from samestream.streams.models.scorer import ScorerTask
from samestream.streams.transport import Transport
from samestream.trainers.train import train

RIDES = load(str(Path(rides_data.__file__).with_name("rides.py")))
PLAN = compile_app(RIDES)
MODEL = PLAN.models["GenerousTip"]
CUT_US = rides_data.START_US + 5 * rides_data.DAY_US


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    if request.param == "memory":
        yield harness.fresh(RIDES, PLAN)
        return
    kafka = KafkaTransport(request.getfixturevalue("broker"))
    provision.provision(kafka, RIDES, PLAN)
    yield kafka
    kafka.delete_topics([spec.name for spec in provision.topics(RIDES, PLAN)])
    kafka.close()


def test_learned_scored_judged_and_equal_offline(transport: Transport, tmp_path: Path) -> None:
    log = FeatureLog(tmp_path / "log")
    batches = rides_data.load()
    early = {name: batch.take(np.flatnonzero(batch.known_us < CUT_US)) for name, batch in batches.items()}
    late = {name: batch.take(np.flatnonzero(batch.known_us >= CUT_US)) for name, batch in batches.items()}
    scorer = ScorerTask(PLAN, MODEL)
    producing.produce(transport, PLAN, early)
    harness.work_off(transport, FeatureTask(PLAN), PLAN)
    harness.work_off(transport, OutcomeTask(PLAN, MODEL), PLAN)
    harness.write_log(transport, log, PLAN)
    trained = train(PLAN, MODEL, log, transport, str(tmp_path / "artifacts"))
    assert trained.metrics["holdout_loss"] < trained.metrics["holdout_baseline_loss"]

    producing.produce(transport, PLAN, late)
    for task in (
        FeatureTask(PLAN),
        scorer,
        OutcomeTask(PLAN, MODEL),
        MonitorTask(PLAN, RIDES.monitors["GenerousTipHealth"]),
    ):
        harness.work_off(transport, task, PLAN)
    harness.write_log(transport, log, PLAN)

    balances = journal.balance(journal.read(transport, PLAN.journal, "features"))
    assert {topic: part.dead for topic, part in balances.items()} == dict.fromkeys(balances, 0)
    assert all(
        part.read == len(batches[name])
        for name in batches
        for topic, part in balances.items()
        if topic == PLAN.events[name].topic
    )
    vectors = sum(len(fetched) for fetched in transport.read_all(MODEL.topics["features"]))
    assert vectors == balances["rides.requests"].applied

    parity = verify(PLAN, transport, log)["GenerousTip"]
    assert (parity.compared, parity.mismatched) == (vectors, 0)
    assert (parity.as_known_compared, parity.as_known_mismatched) == (vectors, 0)
    assert 0 < parity.lateness_skewed < vectors

    figures = outcome_figures(transport, MODEL.topics["outcomes"], {"base_rate": trained.metrics["base_rate"]})
    assert figures["outcomes"]["labelled"] > 1_500
    assert figures["outcomes"]["unlabelled"] > 50
    assert figures["log_loss"] < figures["baseline_log_loss"]
    assert 0.62 < figures["auc"] < 0.85

    (partition, key, value, _), *_ = harness.contents(transport, [MODEL.topics["features"]])[MODEL.topics["features"]]
    assert value is not None
    vector = Codec(MODEL.vector_schema).decode(value)
    assert isinstance(vector["entity"], int)
    assert key == str(vector["entity"]).encode()
    assert isinstance(vector["is_member"], bool)
    assert 0 <= partition < 3
