"""A schema registry: the client against one over HTTP, and an app that writes and reads by its ids, on genuine Kafka too."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import harness
import pytest
from registry import FakeRegistry, running

from samestream.monitors.vector_parity import verify
from samestream.schemas import avro
from samestream.schemas.app import load
from samestream.schemas.errors import RegistryError, SchemaError, SettingsError
from samestream.schemas.evolution import Level
from samestream.streams.deploy import provision
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.kafka.transport import KafkaTransport
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryBroker, MemoryTransport
from samestream.streams.plan import Plan
from samestream.streams.transport import Fetched, Outgoing, Transport
from samestream.streams.wire.decode import Decoder
from samestream.streams.wire.registry import Registry, frame_of
from samestream.streams.wire.schema_store import SchemaStore


def record(**fields: Any) -> avro.Schema:
    named = [{"name": name, "type": type_} for name, type_ in fields.items()]
    return {"type": "record", "name": "Sale", "namespace": "shop", "fields": named}


OLD, NEW = record(id="string", n="int"), record(id="string", n="long")


@pytest.fixture
def server() -> Iterator[FakeRegistry]:
    with running() as found:
        yield found


def test_schemas_have_ids_and_versions_and_are_asked_for_once(server: FakeRegistry) -> None:
    registry = Registry(server.url)
    assert (registry.find("s-value", OLD), registry.versions("s-value")) == (None, [])
    assert registry.register("s-value", OLD) == 1
    assert registry.register("s-value", NEW) == 2
    assert registry.versions("s-value") == [OLD, NEW]
    asked = len(server.requests)
    assert [registry.register("s-value", OLD), registry.find("s-value", NEW)] == [1, 2]
    assert Registry(server.url).schema(2) == NEW
    other = Registry(server.url)
    assert [other.schema(2), other.schema(2), other.schema(3)] == [NEW, NEW, None]
    assert len(server.requests) == asked + 3


def test_levels_are_set_read_and_kept(server: FakeRegistry) -> None:
    registry = Registry(server.url)
    registry.register("s-value", NEW)
    assert registry.level("s-value") is Level.BACKWARD
    assert not registry.accepts("s-value", OLD)
    with pytest.raises(RegistryError) as caught:
        registry.register("s-value", OLD)
    assert str(caught.value) == (
        "s-value: the schema registry refuses\n"
        "Found: 409: Schema being registered is incompatible with an earlier schema for subject 's-value'\n"
        "Hint: `samestream schemas check MODULE --against registry` names what is incompatible."
    )
    registry.set_level("s-value", Level.FORWARD)
    assert registry.level("s-value") is Level.FORWARD
    assert registry.accepts("s-value", OLD)
    assert registry.register("s-value", OLD) == 2


def test_one_that_is_down_is_waited_for_then_told(server: FakeRegistry) -> None:
    server.broken = True
    with pytest.raises(RegistryError) as caught:
        Registry(server.url, patience_s=0.6).register("s-value", OLD)
    assert caught.value.what == "the schema registry does not answer"
    assert "503" in str(caught.value.found)
    assert "No record is lost" in caught.value.hint
    with pytest.raises(RegistryError, match="does not answer"):
        Registry("http://127.0.0.1:9", patience_s=0).schema(1)
    back = threading.Timer(0.7, setattr, (server, "broken", False))
    back.start()
    assert Registry(server.url, patience_s=30).register("s-value", OLD) == 1
    back.join()


def test_what_is_no_address_is_told() -> None:
    with pytest.raises(SettingsError, match="not the address of a registry"):
        Registry("registry")


SHOP = str(Path(harness.__file__).with_name("shop.py"))
COUNT = 300


def kafka(registry: Registry, request: pytest.FixtureRequest) -> Transport:
    return KafkaTransport(request.getfixturevalue("broker"), {}, registry)


def memory(registry: Registry, request: pytest.FixtureRequest) -> Transport:
    return MemoryTransport(MemoryBroker(), registry)


@pytest.mark.parametrize("make", [memory, pytest.param(kafka, marks=pytest.mark.kafka)])
def test_an_app_reads_both_formats_and_writes_vectors_by_id(
    make: Callable[..., Transport], server: FakeRegistry, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    app = load(SHOP, f"n{uuid.uuid4().hex[:8]}")
    plan = compile_app(app)
    transport = make(Registry(server.url), request)
    made = provision.provision(transport, app, plan)
    subjects = {f"{topic}-value" for model in plan.models.values() for topic in model.topics.values()}
    subjects |= {f"{part.topic}-value" for part in plan.events.values()}
    assert set(server.subjects) == subjects
    assert subjects <= set(made.schemas) | {
        f"{plan.models['Buys'].topics[name]}-value" for name in ("predictions", "outcomes")
    }
    assert provision.provision(transport, app, plan).schemas == []

    store = provision.store(transport, plan)
    sent = [retopic(one, plan) for one in harness.shop_events(COUNT)]
    sent = [one if number % 3 else store.framed([one])[0] for number, one in enumerate(sent)]
    assert {one.value[:1] for one in sent if one.value} == {b"\x00", b"\xc3"}
    harness.send(transport, sent)
    harness.work_off(transport, FeatureTask(plan), plan)

    topic = plan.models["Buys"].topics["features"]
    values = [value for fetched in transport.read_all(topic) for value in fetched.values]
    number = Registry(server.url).find(f"{topic}-value", plan.models["Buys"].vector_schema)
    assert number is not None
    assert len(values) > COUNT / 3
    assert {value[:5] for value in values if value is not None} == {frame_of(number)}
    dead = [
        value
        for part in plan.events.values()
        for fetched in transport.read_all(f"{part.topic}.dead")
        for value in fetched.values
    ]
    assert dead == []
    log = harness.write_log(transport, FeatureLog(str(tmp_path)), plan)
    parity = verify(plan, transport, log)["Buys"]
    assert (parity.compared, parity.mismatched) == (len(values), 0)


def retopic(one: Outgoing, plan: Plan) -> Outgoing:
    """An event of the plain shop as one of a deployment with a namespace."""
    (name,) = [name for name, part in harness.PLAN.events.items() if part.topic == one.topic]
    return one._replace(topic=plan.events[name].topic)


def test_a_registry_that_is_away_stalls_and_loses_nothing(server: FakeRegistry) -> None:
    transport = MemoryTransport(MemoryBroker(), Registry(server.url))
    provision.provision(transport, harness.SHOP, harness.PLAN)
    store = provision.store(transport, harness.PLAN)
    harness.send(transport, store.framed(harness.shop_events(50)))
    away = MemoryTransport(transport._broker, Registry(server.url, patience_s=0.2))
    server.broken = True
    with pytest.raises(RegistryError, match="does not answer"):
        harness.work_off(away, FeatureTask(harness.PLAN))
    server.broken = False
    harness.work_off(away, FeatureTask(harness.PLAN))
    assert not any(
        len(part) for event in harness.PLAN.events.values() for part in transport.read_all(f"{event.topic}.dead")
    )
    assert sum(map(len, transport.read_all("shop.features.Buys")))


def test_an_id_that_nobody_knows_is_dead_and_so_is_a_format_without_its_registry(server: FakeRegistry) -> None:
    input = harness.PLAN.events["View"]
    for transport, reason in (
        (
            MemoryTransport(MemoryBroker(), Registry(server.url)),
            ("wrong_schema", "schema id 77 is unknown, expected one of View that was published before its records"),
        ),
        (MemoryTransport(MemoryBroker()), ("undecodable", "not in Avro single-object encoding")),
    ):
        decoder = Decoder(input, SchemaStore(transport, "t", [input.schema]))
        assert decoder._read(frame_of(77) + b"body") == (None, reason)


def test_nothing_is_written_by_a_schema_that_is_not_registered(server: FakeRegistry) -> None:
    transport = MemoryTransport(MemoryBroker(), Registry(server.url))
    with pytest.raises(
        RegistryError, match=r"shop\.views-value: the schema registry does not have the schema"
    ) as caught:
        provision.store(transport, harness.PLAN).framed(harness.shop_events(3))
    assert caught.value.hint == "register it with `samestream apply MODULE`."


def test_made_up_schemas_do_not_make_the_topic_be_read_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = MemoryTransport(MemoryBroker())
    provision.provision(transport, harness.SHOP, harness.PLAN)
    store, read = SchemaStore(transport, harness.PLAN.schemas), Counter[str]()
    read_all = transport.read_all

    def counted(topic: str, start: Mapping[int, int] | None = None) -> Iterator[Fetched]:
        for fetched in read_all(topic, start):
            read[topic] += len(fetched)
            yield fetched

    monkeypatch.setattr(transport, "read_all", counted)
    for number in range(100):
        assert store.find(number.to_bytes(8, "big")) is None
    once = sum(map(len, read_all(harness.PLAN.schemas)))
    assert read == {harness.PLAN.schemas: once}
    new = record(at="long")
    SchemaStore(transport, harness.PLAN.schemas).publish([("shop.sales-value", new)])
    assert store.find(avro.schema_fingerprint(new)) == new  # what is published later is found all the same


def test_a_fingerprint_never_comes_to_mean_something_else() -> None:
    transport = MemoryTransport(MemoryBroker())
    provision.provision(transport, harness.SHOP, harness.PLAN)
    store = SchemaStore(transport, harness.PLAN.schemas)
    micros, millis = (record(at={"type": "long", "logicalType": f"timestamp-{unit}"}) for unit in ("micros", "millis"))
    assert store.publish([("shop.sales-value", micros)]) == ["shop.sales-value"]
    assert store.publish([("shop.sales-value", micros | {"doc": "said better"})]) == []
    with pytest.raises(SchemaError) as caught:
        SchemaStore(transport, harness.PLAN.schemas).publish([("shop.sales-value", millis)])
    assert str(caught.value) == (
        "shop.sales-value, Sale.at: a schema of this fingerprint is known, and means something else\n"
        "Found: timestamp-millis\n"
        "Expected: timestamp-micros\n"
        "Hint: what a number means cannot change: add another field."
    )
