"""One declaration, several deployments on one broker: none sees another."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest
from harness import PLAN, SHOP, contents, fresh, send, shop_events, work_off, write_log
from recording import RecordingTransport

from samestream.schemas.app import load
from samestream.schemas.avro import Codec
from samestream.schemas.errors import SettingsError
from samestream.streams.deploy import provision
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryBroker
from samestream.streams.models.outcomes import OutcomeTask
from samestream.streams.plan import Plan
from samestream.streams.transport import Outgoing, Transport

FILE = str(Path(__file__).parents[1] / "support" / "shop.py")
DEV = load(FILE, "dev")
DEV_PLAN = compile_app(DEV)


def in_namespace(records: list[Outgoing], namespace: str) -> list[Outgoing]:
    return [record._replace(topic=f"{namespace}.{record.topic}") for record in records]


def test_the_namespace_is_in_every_name_and_in_no_fingerprint() -> None:
    names = [spec.name for spec in provision.topics(DEV, DEV_PLAN)]
    assert names == [f"dev.{spec.name}" for spec in provision.topics(SHOP, PLAN)]
    assert DEV_PLAN.app == "dev.shop"
    assert DEV_PLAN.fingerprint == PLAN.fingerprint
    assert DEV_PLAN.models["Buys"].fingerprint == PLAN.models["Buys"].fingerprint
    assert DEV_PLAN.models["Buys"].vector_schema == PLAN.models["Buys"].vector_schema
    assert [part.schema for part in DEV_PLAN.events.values()] == [part.schema for part in PLAN.events.values()]


@pytest.mark.parametrize("wrong", ["dev.eu", "a b", "dév", "x" * 61])
def test_a_namespace_that_no_topic_can_bear_is_refused(wrong: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(FILE, wrong)
    assert str(caught.value) == (
        f"namespace: this is no namespace\nFound: {wrong!r}\n"
        "Expected: letters, digits, dashes, underscores, at most 60\n"
        "Hint: --namespace dev; leave it out for production."
    )


def test_two_deployments_on_one_log_do_not_see_each_other(tmp_path: Path) -> None:
    broker = MemoryBroker()
    prod, dev = RecordingTransport(broker), RecordingTransport(broker)
    _both(prod, dev, tmp_path)
    assert dev.touched()
    assert all(name.startswith("dev.") for name in dev.touched())
    assert not any(name.startswith("dev.") for name in prod.touched())


def test_nor_on_genuine_kafka(broker: str, tmp_path: Path) -> None:
    from samestream.streams.kafka.transport import KafkaTransport

    transport = KafkaTransport(broker, {})
    one, other = (f"{word}-{secrets.token_hex(4)}" for word in ("one", "other"))
    try:
        _both(transport, transport, tmp_path, one, other)
    finally:
        transport.delete_topics([name for name in transport.topics() if name.startswith((one, other))])
        transport.close()


def _both(first: Transport, second: Transport, folder: Path, one: str = "", other: str = "dev") -> None:
    """Work off 200 events in one deployment and the first 40 in the other: each is what it would be alone."""
    events = shop_events(200)
    deployments = [(first, load(FILE, one), events), (second, load(FILE, other), events[:40])]
    for transport, app, sent in deployments:
        plan = compile_app(app)
        provision.provision(transport, app, plan)
        send(transport, in_namespace(sent, app.namespace) if app.namespace else sent)
    for transport, app, sent in deployments:
        plan = compile_app(app)
        work_off(transport, FeatureTask(plan), plan)
        work_off(transport, OutcomeTask(plan, plan.models["Buys"]), plan)
        log = write_log(transport, FeatureLog(folder), plan)
        assert plan.models["Buys"].topics["features"] in log.topics()
        alone = fresh()
        send(alone, sent)
        work_off(alone, FeatureTask(PLAN))
        assert _vectors(transport, plan) == _vectors(alone, PLAN) != []


def _vectors(transport: Transport, plan: Plan) -> list[tuple[int, dict[str, Any]]]:
    """What was served, by partition, but for the name of the trigger's topic."""
    model = plan.models["Buys"]
    codec, topic = Codec(model.vector_schema), model.topics["features"]
    decoded = [(number, codec.decode(value or b"")) for number, _, value, _ in contents(transport, [topic])[topic]]
    return [(number, {**vector, "trigger_topic": None}) for number, vector in decoded]
