"""Consuming predictions and incidents in applications: typed, committed ones only, and nothing passed over."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import harness
import pytest
from own_shop import until

from samestream.schemas import records
from samestream.schemas.app import App
from samestream.schemas.avro import Codec
from samestream.schemas.errors import SettingsError, TransportError
from samestream.streams import Drift, Incident, Prediction, Predictions
from samestream.streams.clients.subscription import Position
from samestream.streams.kafka.transport import KafkaTransport
from samestream.streams.memory.transport import MemoryBroker, MemoryTransport
from samestream.streams.transport import Ends, Outgoing, Partition, TopicSpec, Transport, send_all
from samestream.streams.wire.schema_store import schema_record

CODEC = Codec(records.PREDICTION)
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
NOON_US = round(NOON.timestamp()) * 1_000_000


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    made: Transport
    if request.param == "kafka":
        made = KafkaTransport(request.getfixturevalue("broker"))
    else:
        made = MemoryTransport(MemoryBroker())
    yield made
    made.close()


@pytest.fixture
def app(transport: Transport) -> App:
    """The shop under a name of its own, with two partitions of predictions."""
    shop = harness.SHOP
    named = App(f"shop-{uuid.uuid4().hex[:12]}", shop.events, shop.features, shop.models, shop.monitors)
    keep = {"retention.ms": "-1"}
    topics = [TopicSpec(named.predictions_topic("Buys"), 2, config=keep), TopicSpec(named.drift, config=keep)]
    transport.create_topics([*topics, TopicSpec(named.schemas)])
    return named


def prediction(number: int, partition: int = 0, **values: Any) -> dict[str, Any]:
    found = {
        "entity": f"u{number}",
        "event_time": NOON_US + number * 1_000_000,
        "trigger_topic": "shop.views",
        "trigger_partition": partition,
        "trigger_offset": number,
        "model": "Buys",
        "version": "1",
        "fingerprint": "f",
        "score": number / 1000,
        "value": None,
        "probabilities": None,
    }
    return found | values


def outgoing(app: App, value: bytes | None, number: int = 0, partition: int = 0) -> Outgoing:
    return Outgoing(app.predictions_topic("Buys"), b"k", value, NOON_US + number * 1_000_000, partition)


def send(transport: Transport, app: App, numbers: range, partition: int = 0) -> None:
    send_all(
        transport,
        [outgoing(app, CODEC.encode(prediction(number, partition)), number, partition) for number in numbers],
    )


def entities(found: list[Prediction]) -> list[str | int]:
    return [one.entity for one in found]


def idle_s(transport: Transport) -> float:
    return 1.0 if transport.kind == "kafka" else 0.1


def reading(transport: Transport, app: App, **options: Any) -> Predictions:
    return Predictions(
        app, "Buys", **{"transport": transport, "start": "earliest", "idle_s": idle_s(transport), **options}
    )


def test_predictions_are_typed(transport: Transport, app: App) -> None:
    chosen = prediction(7, 1, entity=7, score=0.75, value="bike", probabilities={"bike": 0.75, "car": 0.25})
    send_all(transport, [outgoing(app, CODEC.encode(chosen), 7, 1)])
    with reading(transport, app) as predictions:
        (found,) = predictions
    assert found == Prediction(
        entity=7,
        event_time=NOON + timedelta(seconds=7),
        score=0.75,
        value="bike",
        probabilities={"bike": 0.75, "car": 0.25},
        model="Buys",
        version="1",
        fingerprint="f",
        trigger=Position("shop.views", 1, 7),
        known_time=NOON + timedelta(seconds=7),
        position=Position(app.predictions_topic("Buys"), 1, 0),
    )


def test_incidents_are_typed(transport: Transport, app: App) -> None:
    told = {
        "incident": "a1",
        "event": "open",
        "subject": "Buys.seconds",
        "cause": "View.seconds",
        "verdict": "unit",
        "severity": 3.5,
        "opened_at": NOON_US,
        "at": NOON_US + 1,
        "evidence": '{"factor": 60}',
    }
    codec = Codec(records.INCIDENT)
    wrong = [told | {"event": "explode"}, told | {"evidence": "["}, told | {"evidence": "[]"}, told | {"at": 2**62}]
    send_all(
        transport,
        [
            Outgoing(app.drift, b"a1", codec.encode(value), NOON_US)
            for value in (*wrong, told, told | {"event": "close"})
        ],
    )
    with Drift(app, transport=transport, start="earliest", idle_s=idle_s(transport)) as drift:
        opened, closed = drift
        assert drift.skipped == {"undecodable": 4}
    assert opened == Incident(
        incident="a1",
        event="open",
        subject="Buys.seconds",
        cause="View.seconds",
        verdict="unit",
        severity=3.5,
        opened_at=NOON,
        at=NOON + timedelta(microseconds=1),
        evidence={"factor": 60},
        known_time=NOON,
        position=Position(app.drift, 0, 4),
    )
    assert closed.event == "close"


def test_where_reading_starts(transport: Transport, app: App) -> None:
    send(transport, app, range(10))
    assert entities(list(reading(transport, app))) == [f"u{number}" for number in range(10)]
    since = reading(transport, app, start=NOON + timedelta(seconds=6, microseconds=1))
    assert entities(list(since)) == ["u7", "u8", "u9"]
    assert list(reading(transport, app, start=NOON + timedelta(days=1))) == []
    assert list(latest := reading(transport, app, start="latest")) == []
    send(transport, app, range(10, 12))
    assert entities(list(latest)) == ["u10", "u11"]


def test_only_what_is_committed_is_seen(transport: Transport, app: App) -> None:
    writer, part = transport.transactional_writer(f"{app.name}.writer"), Partition(app.predictions_topic("Buys"), 0)
    writer.open()

    def until(done: Callable[[Ends], bool]) -> int:
        deadline_s = time.monotonic() + 20
        while not done(ends := transport.ends([part])[part]):
            assert time.monotonic() < deadline_s
        return ends.high

    for number in range(4):
        # what ends the transaction before takes an offset, too, and is written after the commit was answered
        high = until(lambda ends: ends.stable == ends.high)
        writer.begin()
        writer.send([outgoing(app, CODEC.encode(prediction(number)), number)])
        until(lambda ends: ends.high > high)  # noqa: B023 - asked at once; the broker must not show it if it is aborted
        if number % 2:
            writer.commit()
        else:
            writer.abort()
    writer.close()
    assert entities(list(reading(transport, app))) == ["u1", "u3"]
    assert entities(list(reading(transport, app, group=f"{app.name}.g", idle_s=5 * idle_s(transport)))) == ["u1", "u3"]


def test_what_cannot_be_read_is_passed_over_counted_and_told(
    transport: Transport, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    good = CODEC.encode(prediction(1))
    unknown = good[:2] + b"12345678" + good[10:]
    bad = [None, b"", b"junk", good[:9], good[:-3], good + b"x", unknown, CODEC.encode(prediction(1, event_time=2**62))]
    send_all(transport, [outgoing(app, value) for value in [*bad, good]])
    with caplog.at_level(logging.WARNING), reading(transport, app) as predictions:
        assert entities(list(predictions)) == ["u1"]
    assert predictions.skipped == {"undecodable": 7, "wrong_schema": 1}
    assert "offset 0: it is not in Avro single-object encoding (undecodable; 1 so far)" in caplog.text
    assert "schema 3132333435363738 is unknown" in caplog.text


def test_predictions_of_an_older_schema_are_read(transport: Transport, app: App) -> None:
    older = records.PREDICTION | {"fields": records.PREDICTION["fields"][:-2]}
    send_all(transport, [schema_record(app.schemas, "old", older), outgoing(app, Codec(older).encode(prediction(3)))])
    (found,) = reading(transport, app)
    assert (found.entity, found.value, found.probabilities) == ("u3", None, None)


def group_reading(transport: Transport, app: App, **options: Any) -> Predictions:
    return reading(transport, app, **{"group": f"{app.name}.readers", "idle_s": 10.0, **options})


def take(predictions: Predictions, count: int) -> list[str | int]:
    return [next(predictions).entity for _ in range(count)]


def committed(transport: Transport, app: App) -> int:
    parts = [Partition(app.predictions_topic("Buys"), number) for number in range(2)]
    return sum(transport.committed(f"{app.name}.readers", parts).values())


def test_a_group_goes_on_where_it_left_off(transport: Transport, app: App) -> None:
    send(transport, app, range(10))
    with group_reading(transport, app) as predictions:
        assert take(predictions, 4) == ["u0", "u1", "u2", "u3"]
    assert committed(transport, app) == 4
    with group_reading(transport, app) as predictions:
        assert take(predictions, 6) == [f"u{number}" for number in range(4, 10)]


def test_after_an_error_the_one_under_way_comes_again(transport: Transport, app: App) -> None:
    send(transport, app, range(5))

    def fail() -> None:
        with group_reading(transport, app) as predictions:
            for found in predictions:
                if found.entity == "u2":
                    raise KeyError

    with pytest.raises(KeyError):
        fail()
    with group_reading(transport, app) as predictions:
        assert take(predictions, 3) == ["u2", "u3", "u4"]


def test_commits_by_hand_are_the_only_ones(transport: Transport, app: App) -> None:
    send(transport, app, range(6))
    with group_reading(transport, app, commit="manual") as predictions:
        assert take(predictions, 2) == ["u0", "u1"]
        predictions.commit()
        assert take(predictions, 2) == ["u2", "u3"]
    assert committed(transport, app) == 2
    with group_reading(transport, app, commit="manual") as predictions:
        assert take(predictions, 4) == ["u2", "u3", "u4", "u5"]


@pytest.mark.kafka
def test_members_share_the_partitions_and_take_over(broker: str) -> None:
    transport = KafkaTransport(broker, {"heartbeat.interval.ms": "100"})
    shop = harness.SHOP
    app = App(f"shop-{uuid.uuid4().hex[:12]}", shop.events, shop.features, shop.models, shop.monitors)
    topic = app.predictions_topic("Buys")
    transport.create_topics([TopicSpec(topic, 2, config={"retention.ms": "-1"}), TopicSpec(app.schemas)])
    for partition in range(2):
        send(transport, app, range(partition * 1000, partition * 1000 + 300), partition)
    first: list[str] = []
    second: list[str] = []
    busy, shared = threading.Event(), threading.Event()

    def join() -> None:
        busy.wait(30)
        with group_reading(transport, app) as predictions:
            for found in predictions:
                second.append(str(found.entity))
                shared.set()

    thread = threading.Thread(target=join)
    thread.start()
    with group_reading(transport, app) as predictions:
        for found in predictions:
            first.append(str(found.entity))
            if len(first) == 20:
                busy.set()
            if busy.is_set() and shared.wait(0.05):  # a slow member with a backlog, which must give the other its share
                break
    thread.join(60)
    expected = {f"u{number}" for number in (*range(300), *range(1000, 1300))}
    assert len(first) < 300 < len(second)
    assert set(first + second) == expected
    assert len(first + second) == len(expected)  # both left cleanly, so nothing came twice
    transport.close()


@pytest.mark.kafka
def test_a_member_that_is_given_up_reads_again_and_its_commit_is_refused(broker: str) -> None:
    properties = {"session.timeout.ms": "3000", "max.poll.interval.ms": "3000", "heartbeat.interval.ms": "100"}
    transport = KafkaTransport(broker, properties)
    shop = harness.SHOP
    app = App(f"shop-{uuid.uuid4().hex[:12]}", shop.events, shop.features, shop.models, shop.monitors)
    topic = app.predictions_topic("Buys")
    transport.create_topics([TopicSpec(topic, 2, config={"retention.ms": "-1"}), TopicSpec(app.schemas)])
    send(transport, app, range(3))
    with group_reading(transport, app, commit="manual") as slow:
        assert take(slow, 1) == ["u0"]
        with group_reading(transport, app) as other:  # gets its turn once Kafka has given the slow one up
            assert {next(other).entity for _ in range(3)} == {"u0", "u1", "u2"}
            with pytest.raises(TransportError, match="the group has gone on without this member"):
                slow.commit()
    transport.close()


def test_async_iteration_leaves_room_and_no_thread(transport: Transport, app: App) -> None:
    send(transport, app, range(300))
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async def go() -> list[str | int]:
        ticking = asyncio.create_task(tick())
        async with reading(transport, app) as predictions:
            found = [one.entity async for one in predictions]
        ticking.cancel()
        return found

    before = threading.active_count()
    assert asyncio.run(go()) == [f"u{number}" for number in range(300)]
    assert ticks >= 4
    assert threading.active_count() == before


def test_another_thread_can_stop_it(transport: Transport, app: App) -> None:
    send(transport, app, range(3))
    predictions = reading(transport, app, idle_s=None)
    found: list[str | int] = []

    def stop() -> None:
        until(lambda: len(found) == 3)
        predictions.stop()

    other = threading.Thread(target=stop)
    other.start()
    for one in predictions:
        found.append(one.entity)
    other.join()
    assert found == ["u0", "u1", "u2"]
    predictions.close()
    predictions.close()
    with pytest.raises(TransportError, match="it is closed"):
        next(predictions)


def test_what_is_asked_wrongly_is_said() -> None:
    transport = MemoryTransport(MemoryBroker())
    with pytest.raises(SettingsError, match="has no such model") as refused:
        Predictions(harness.SHOP, "Byus", transport=transport)
    assert refused.value.expected == "Buys"
    with pytest.raises(SettingsError, match="only a group commits"):
        Predictions(harness.SHOP, "Buys", transport=transport, commit="manual")
    with pytest.raises(SettingsError, match="only a group commits"):
        Predictions(harness.SHOP, "Buys", transport=transport).commit()
    with pytest.raises(SettingsError, match="a start needs a time zone"):
        Predictions(harness.SHOP, "Buys", transport=transport, start=datetime(2026, 5, 1))
    with pytest.raises(SettingsError, match="no such start"):
        Predictions(harness.SHOP, "Buys", transport=transport, start="first")  # type: ignore[arg-type]
    with pytest.raises(TransportError, match=r"Predictions of Buys, shop.predictions.Buys: there is no such topic"):
        next(Predictions(harness.SHOP, "Buys", transport=transport))
