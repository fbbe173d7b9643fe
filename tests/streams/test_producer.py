"""Producing from applications: what is accepted is never judged dead, and what is lost is always told."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samestream.schemas import Event, Field, event_time, field, key
from samestream.schemas.app import App, app_of
from samestream.schemas.avro import Codec
from samestream.schemas.avro_schemas import event_schema
from samestream.schemas.errors import (
    DeclarationError,
    DeliveryError,
    SchemaError,
    SettingsError,
    TransportError,
    ValueRefusedError,
)
from samestream.schemas.tables import Table
from samestream.streams import AsyncProducer, LostEvent, Producer
from samestream.streams.kafka.transport import KafkaTransport
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryBroker, MemoryTransport
from samestream.streams.transport import Fetched, Outgoing, Partition, TopicSpec, Transport, Undelivered
from samestream.streams.wire.decode import Decoder
from samestream.streams.wire.event_records import EventRecords
from samestream.streams.wire.schema_store import SchemaStore

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Sale(Event, topic="till.sales", lateness="10m"):
    till: Field[str] = key()
    pieces: Field[int] = field()
    amount: Field[float | None] = field()
    cash: Field[bool] = field()
    paid_at: Field[datetime | None] = field()
    at: Field[datetime] = event_time()


class Refund(Event, topic="till.refunds"):
    number: Field[int] = key()
    at: Field[datetime] = event_time()


def sale(till: str = "t1", **values: Any) -> Sale:
    return Sale(**{"till": till, "pieces": 2, "amount": 9.5, "cash": False, "at": NOON, **values})


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    made: Transport
    if request.param == "kafka":
        made = KafkaTransport(request.getfixturevalue("broker"))
    else:
        made = MemoryTransport(MemoryBroker())
    yield made
    made.close()


def small_app(transport: Transport, **config: str) -> tuple[App, type[Event]]:
    """An app with one event, on a topic of its own."""
    topic = f"producer-{uuid.uuid4().hex[:12]}"

    class Note(Event, topic=topic, partitions=2):
        name: Field[str] = key()
        text: Field[str] = field()
        at: Field[datetime] = event_time()

    app = app_of([Note], topic)
    properties = {"retention.ms": "-1", **{name.replace("_", "."): value for name, value in config.items()}}
    transport.create_topics([TopicSpec(topic, 2, config=properties), TopicSpec(app.schemas)])
    return app, Note


def contents(transport: Transport, event: type[Event]) -> list[tuple[bytes | None, dict[str, Any], int]]:
    codec = Codec(event_schema(event))
    return [
        (key, codec.decode(value or b""), known_us)
        for fetched in transport.read_all(event.topic)
        for key, value, known_us in zip(fetched.keys, fetched.values, fetched.known_us.tolist(), strict=True)
    ]


times = st.datetimes(datetime(1971, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC))


@settings(deadline=None)
@given(
    values=st.fixed_dictionaries(
        {
            "till": st.text() | st.just(""),
            "pieces": st.integers(-(2**64), 2**64) | st.booleans() | st.floats(),
            "amount": st.floats() | st.integers() | st.none() | st.text(max_size=1),
            "cash": st.booleans() | st.integers(0, 1),
            "paid_at": times | st.none() | st.datetimes(),
            "at": times | st.datetimes(),
        }
    ),
    known=st.none() | times,
)
def test_what_is_accepted_is_never_dead_and_comes_back_the_same(values: dict[str, Any], known: datetime | None) -> None:
    plan_input = compile_app(app_of([Sale], "till")).events["Sale"]
    decoder = Decoder(plan_input, SchemaStore(None, "", [plan_input.schema]))
    try:
        record = EventRecords(Sale, Sale.topic).record(Sale(**values), known)
    except (SchemaError, ValueRefusedError):
        fits = (
            isinstance(values["till"], str)
            and values["till"] != ""
            and type(values["pieces"]) is int
            and -(2**63) <= values["pieces"] < 2**63
            and type(values["amount"]) in (float, int, type(None))
            and type(values["cash"]) is bool
            and (values["paid_at"] is None or values["paid_at"].tzinfo is not None)
            and values["at"].tzinfo is not None
            and values["at"] <= (known or datetime.now(UTC))
        )
        surrogates = isinstance(values["till"], str) and any("\ud800" <= c <= "\udfff" for c in values["till"])
        assert surrogates or not fits or abs(values["amount"] or 0) > 1e300
        return
    stamp_us = record.known_us if record.known_us > 0 else int(datetime.now(UTC).timestamp() * 1e6)
    fetched = Fetched(
        Partition(Sale.topic, 0), np.array([7]), np.array([stamp_us // 1000 * 1000]), [record.key], [record.value]
    )
    found = decoder.decode(fetched, 0)
    assert found.deaths == {}
    assert found.columns["till"].values.tolist() == [values["till"]]
    assert found.columns["pieces"].values.tolist() == [values["pieces"]]
    assert found.time_us.tolist() == [(values["at"] - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)]


def test_a_wrong_event_is_refused_with_every_field_that_is_wrong() -> None:
    with pytest.raises(ValueRefusedError) as refused:
        sale("", pieces=2.5, amount="9", cash=1, at=datetime(2026, 5, 1))
    assert str(refused.value) == (
        "Sale: 4 values do not fit\n"
        "Found: Sale.pieces: 2.5 (float), which is no whole number; Sale.amount: '9' (str), which is no number; "
        "Sale.cash: 1 (int), which is neither True nor False; Sale.at: datetime.datetime(2026, 5, 1, 0, 0) (datetime), "
        "which has no time zone: add tzinfo=UTC, or the zone it is meant in\n"
        "Expected: Sale.pieces: int; Sale.amount: float | None; Sale.cash: bool; Sale.at: datetime\n"
        "Hint: compare them with the fields that Sale declares."
    )
    with pytest.raises(SchemaError) as unsent:
        EventRecords(Sale, Sale.topic).record(sale("", at=datetime(1970, 6, 1, tzinfo=UTC)), datetime(2026, 1, 1))
    assert str(unsent.value).startswith(
        "Sale '': the event does not fit its declaration, so it was not sent\n"
        "Found: till = ''; known = datetime.datetime(2026, 1, 1, 0, 0)\n"
        "Expected: till: a key that is not empty; known: a datetime with a time zone"
    )


@pytest.mark.parametrize(
    ("values", "known", "expected"),
    [
        ({"at": datetime(1970, 6, 1, tzinfo=UTC)}, None, "at: from 1971-01-01"),
        ({"at": NOON + timedelta(hours=1, milliseconds=1)}, NOON, "at: at most 1:00:00 after it became known"),
        ({"till": "x" * 1024 * 1024}, None, "the whole event: at most 1048576 bytes"),
        ({}, datetime(1970, 1, 1, tzinfo=UTC), "known: after 1970"),
        ({}, datetime(2026, 1, 1), "known: a datetime with a time zone"),
    ],
)
def test_what_a_processor_would_judge_dead_is_refused(
    values: dict[str, Any], known: datetime | None, expected: str
) -> None:
    with pytest.raises(SchemaError, match="does not fit its declaration") as refused:
        EventRecords(Sale, Sale.topic).record(sale(**values), known)
    assert str(refused.value.expected).startswith(expected)


def test_a_schema_is_published_with_the_first_event_and_events_are_keyed_and_stamped(transport: Transport) -> None:
    app, note = small_app(transport)
    before = datetime.now(UTC)
    with Producer(app, transport=transport) as producer:
        producer.produce(note(name="a", text="first", at=NOON), known=NOON + timedelta(seconds=5))
        producer.produce(note(name="b", text="second", at=before))
    found = sorted(contents(transport, note), key=lambda item: item[0] or b"")
    assert [(key, value["text"]) for key, value, _ in found] == [(b"a", "first"), (b"b", "second")]
    assert found[0][2] == round((NOON + timedelta(seconds=5)).timestamp() * 1e6)
    assert 0 <= found[1][2] - round(before.timestamp() * 1e6) // 1000 * 1000 < 60e6
    codec = Codec(event_schema(note))
    assert SchemaStore(transport, app.schemas).find(codec.fingerprint) == event_schema(note)


def test_rows_of_a_table_are_produced_and_deleted(transport: Transport) -> None:
    topic = f"producer-{uuid.uuid4().hex[:12]}"

    class Plane(Table, topic=topic, partitions=1):
        number: Field[int] = key()
        year: Field[int | None] = field()

    transport.create_topics([TopicSpec(topic, 1), TopicSpec(f"{topic}.schemas")])
    with Producer([Plane, Sale], name=topic, transport=transport) as producer:
        producer.produce(Plane(number=7, year=2010))
        producer.delete(Plane, 7)
        with pytest.raises(SchemaError) as refused:
            producer.delete(Plane, "7")
    assert str(refused.value) == (
        "Plane.number: this cannot be deleted\n"
        "Found: '7' (str), which is no whole number\n"
        "Expected: int\n"
        "Hint: delete(Plane, key) deletes the row of that key."
    )
    (fetched,) = transport.read_all(topic)
    assert fetched.keys == [b"7", b"7"]
    assert Codec(event_schema(Plane)).decode(fetched.values[0] or b"")["year"] == 2010
    assert fetched.values[1] is None
    with pytest.raises(SchemaError, match="this cannot be deleted"):
        EventRecords(Sale, Sale.topic).tombstone("t1")


def test_one_keys_events_keep_their_order(transport: Transport) -> None:
    app, note = small_app(transport)
    with Producer(app, transport=transport) as producer:
        for number in range(2_000):
            producer.produce(note(name=f"k{number % 7}", text=str(number), at=NOON))
    by_key: dict[bytes | None, list[int]] = {}
    for key_, value, _ in contents(transport, note):
        by_key.setdefault(key_, []).append(int(value["text"]))
    assert by_key == {f"k{rest}".encode(): list(range(rest, 2_000, 7)) for rest in range(7)}


def test_events_of_another_app_and_missing_topics_are_named() -> None:
    transport = MemoryTransport(MemoryBroker())
    producer = Producer([Sale], name="till", transport=transport)
    with pytest.raises(TransportError) as missing:
        producer.produce(sale())
    assert str(missing.value) == (
        "Producer, Sale: topics are missing, so nothing can be produced\n"
        "Found: no till.sales and no till.schemas\n"
        "Hint: create them with `samestream apply MODULE`."
    )
    with pytest.raises(SchemaError, match="Refund is no event of the app till"):
        producer.produce(Refund(number=1, at=NOON))
    producer.close()
    with pytest.raises(TransportError, match="the producer is closed"):
        producer.produce(sale())
    producer.close()


def test_what_cannot_be_connected_is_said_at_once() -> None:
    with pytest.raises(SettingsError, match="neither an address nor a transport"):
        Producer([Sale], name="till")
    with pytest.raises(SettingsError, match="an address and a transport"):
        Producer([Sale], name="till", bootstrap="x:1", transport=MemoryTransport(MemoryBroker()))
    with pytest.raises(DeclarationError, match="do not say which app they belong to"):
        Producer([Sale], transport=MemoryTransport(MemoryBroker()))


def test_a_lost_event_is_told_at_the_next_call_and_when_closing(transport: Transport) -> None:
    app, note = small_app(transport, max_message_bytes="1000")
    noise = "".join(uuid.uuid4().hex for _ in range(100))  # random, since what is compressed may fit
    producer = Producer(app, transport=transport)
    producer.produce(note(name="big", text=noise, at=NOON))
    while producer._desk.outbox.poll(0.2):
        pass
    with pytest.raises(DeliveryError) as lost:
        producer.produce(note(name="next", text="", at=NOON))
    (one,) = lost.value.undelivered
    assert (one.event, one.key, one.topic) == ("Note", "big", note.topic)
    assert Codec(event_schema(note)).decode(one.value)["text"] == noise
    assert isinstance(lost.value.__cause__, TransportError)
    assert str(lost.value).startswith("Producer: an event could not be delivered\nFound: Note 'big' (")
    assert "max.message.bytes" in lost.value.hint

    producer.produce(note(name="good", text="", at=NOON))
    producer.produce(note(name="big2", text=noise, at=NOON))
    with pytest.raises(DeliveryError, match="Note 'big2'"):
        producer.close()
    assert [key_ for key_, _, _ in contents(transport, note)] == [b"good"]


def test_a_callback_takes_the_lost_events_instead(transport: Transport) -> None:
    app, note = small_app(transport, max_message_bytes="1000")
    noise = "".join(uuid.uuid4().hex for _ in range(100))
    lost: list[LostEvent] = []
    with Producer(app, transport=transport, on_lost=lost.append) as producer:
        for number in range(3):
            producer.produce(note(name=f"big{number}", text=noise, at=NOON))
    assert sorted(one.key for one in lost) == ["big0", "big1", "big2"]
    assert "Note 'big0': " in str(min(lost, key=lambda one: one.key))


def test_an_error_in_the_block_goes_on_and_carries_what_was_lost(transport: Transport) -> None:
    app, note = small_app(transport, max_message_bytes="1000")
    noise = "".join(uuid.uuid4().hex for _ in range(100))

    def fail() -> None:
        with Producer(app, transport=transport) as producer:
            producer.produce(note(name="good", text="", at=NOON))
            producer.produce(note(name="big", text=noise, at=NOON))
            raise KeyError("mine")

    with pytest.raises(KeyError) as failed:
        fail()
    assert any("Note 'big'" in line for line in failed.value.__notes__)
    assert [key_ for key_, _, _ in contents(transport, note)] == [b"good"]


class _Stuck:
    """An outbox with room for two, from which nothing ever leaves."""

    def __init__(self) -> None:
        self.held: list[Outgoing] = []
        self.given_up = False

    def offer(self, record: Outgoing) -> bool:
        if len(self.held) < 2:
            self.held.append(record)
            return True
        return False

    def poll(self, timeout_s: float) -> int:
        return len(self.held)

    def failed(self) -> list[Any]:
        return []

    def give_up(self) -> None:
        self.given_up = True

    def close(self) -> None:
        self.held.clear()


def stuck_transport() -> tuple[Any, App, type[Event]]:
    inner = MemoryTransport(MemoryBroker())
    app, note = small_app(inner)
    stuck = SimpleNamespace(
        outbox=_Stuck,
        registry=None,
        topics=inner.topics,
        read_all=inner.read_all,
        writer=inner.writer,
        close=inner.close,
    )
    return stuck, app, note


def test_a_full_queue_holds_up_the_producer_and_says_so_in_the_end() -> None:
    stuck, app, note = stuck_transport()
    producer = Producer(app, transport=stuck, wait_s=0.05)
    for _ in range(2):
        producer.produce(note(name="a", text="", at=NOON))
    with pytest.raises(TransportError, match="the queue of events on their way stays full, so this one was not sent"):
        producer.produce(note(name="a", text="", at=NOON))
    assert producer.flush(timeout_s=0.01) == 2
    outbox: Any = producer._desk.outbox
    producer.close(timeout_s=0.01)
    assert outbox.given_up


def test_a_close_that_is_interrupted_tells_what_is_lost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stuck, app, note = stuck_transport()
    producer = Producer(app, transport=stuck)
    producer.produce(note(name="a", text="", at=NOON))
    outbox: Any = producer._desk.outbox

    def interrupt(timeout_s: float) -> int:
        if timeout_s:
            raise KeyboardInterrupt
        return len(outbox.held)

    def give_up() -> None:
        lost = TransportError("purged", found="_PURGE_QUEUE")
        monkeypatch.setattr(outbox, "failed", lambda: [Undelivered(record, lost) for record in outbox.held])

    monkeypatch.setattr(outbox, "poll", interrupt)
    monkeypatch.setattr(outbox, "give_up", give_up)
    with pytest.raises(KeyboardInterrupt):
        producer.close()
    assert "an event could not be delivered. Found: Note 'a' (_PURGE_QUEUE)" in caplog.text


def test_while_an_async_producer_waits_for_room_other_tasks_run() -> None:
    stuck, app, note = stuck_transport()

    async def go() -> int:
        ticks = 0
        producer = AsyncProducer(app, transport=stuck, wait_s=30.0)
        for _ in range(2):
            await producer.produce(note(name="a", text="", at=NOON))
        waiting = asyncio.create_task(producer.produce(note(name="b", text="", at=NOON)))
        while ticks < 5:
            await asyncio.sleep(0.01)
            ticks += 1
        assert not waiting.done()
        outbox: Any = producer._desk.outbox
        outbox.held.pop()
        await waiting
        assert [record.key for record in outbox.held] == [b"a", b"b"]
        await producer.close(timeout_s=0.0)
        return ticks

    assert asyncio.run(go()) == 5


def test_an_async_producer_delivers_tells_and_leaves_no_thread(transport: Transport) -> None:
    app, note = small_app(transport, max_message_bytes="4000")
    noise = "".join(uuid.uuid4().hex for _ in range(200))

    async def go() -> None:
        async with AsyncProducer(app, transport=transport) as producer:
            await asyncio.gather(*(producer.produce(note(name=f"k{number}", text="", at=NOON)) for number in range(50)))
            assert await producer.flush() == 0
            await producer.produce(note(name="big", text=noise, at=NOON))
            with pytest.raises(DeliveryError, match="AsyncProducer: an event could not be delivered"):
                await producer.flush()
            await producer.produce(note(name="big2", text=noise, at=NOON))
            with pytest.raises(DeliveryError, match="Note 'big2'"):
                await producer.close()

    before = set(threading.enumerate())
    asyncio.run(go())
    assert {thread for thread in threading.enumerate() if thread not in before and not thread.daemon} == set()
    assert len(contents(transport, note)) == 50


def test_a_producer_that_is_forgotten_delivers_and_complains(transport: Transport) -> None:
    app, note = small_app(transport)

    def forget() -> None:
        Producer(app, transport=transport).produce(note(name="a", text="", at=NOON))
        gc.collect()

    with pytest.warns(ResourceWarning, match="a Producer was not closed"):
        forget()
    assert [key_ for key_, _, _ in contents(transport, note)] == [b"a"]


def test_a_producer_does_not_survive_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = MemoryTransport(MemoryBroker())
    app, note = small_app(transport)
    with Producer(app, transport=transport) as producer:
        monkeypatch.setattr(os, "getpid", lambda: -1)
        with pytest.raises(TransportError, match="does not survive a fork"):
            producer.produce(note(name="a", text="", at=NOON))
        monkeypatch.undo()


_LEAVING = """
import sys
from datetime import UTC, datetime
from samestream.schemas import Event, Field, event_time, field, key
from samestream.streams import Producer

class Note(Event, topic=sys.argv[2], partitions=2):
    name: Field[str] = key()
    text: Field[str] = field()
    at: Field[datetime] = event_time()

producer = Producer([Note], name=sys.argv[2], bootstrap=sys.argv[1], properties={"linger.ms": "500"})
for number in range(100):
    producer.produce(Note(name=f"k{number}", text="", at=datetime.now(UTC)))
for argument in sys.argv[3:]:
    producer.produce(Note(name="big", text=argument, at=datetime.now(UTC)))
"""


@pytest.mark.kafka
def test_nothing_is_lost_in_silence_when_the_process_ends_without_close(broker: str) -> None:
    transport = KafkaTransport(broker)
    app, note = small_app(transport, max_message_bytes="2000")

    def left(*texts: str) -> str:
        command = [sys.executable, "-c", _LEAVING, broker, app.name, *texts]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stderr

    assert left() == ""
    assert len(contents(transport, note)) == 100
    # Kafka refuses a batch that is too large, so it may take others along: they are counted too
    noise = "".join(uuid.uuid4().hex for _ in range(100))
    assert re.match(r"Producer: (an event|\d+ events) could not be delivered. Found: Note '", left(noise))
    transport.close()


@pytest.mark.kafka
def test_a_small_queue_bounds_what_is_on_its_way(broker: str) -> None:
    transport = KafkaTransport(broker)
    app, note = small_app(transport)
    properties = {"queue.buffering.max.messages": "50", "linger.ms": "20"}
    most = 0
    with Producer(app, bootstrap=broker, properties=properties) as producer:
        for number in range(1_000):
            producer.produce(note(name=f"k{number}", text="", at=NOON))
            most = max(most, producer._desk.outbox.poll(0.0))
    assert 10 < most <= 50
    assert len(contents(transport, note)) == 1_000
    transport.close()


@pytest.mark.kafka
def test_a_property_that_does_not_fit_is_named(broker: str) -> None:
    with pytest.raises(TransportError, match="Kafka failed while opening a producer") as refused:
        Producer([Sale], name="till", bootstrap=broker, properties={"message.timeout.ms": "1"})
    assert "`message.timeout.ms` must be greater than `linger.ms`" in str(refused.value.found)


def test_the_streams_package_is_light_until_something_is_asked_of_it() -> None:
    heavy = ("confluent_kafka", "numba", "pyarrow", "numpy", "fastavro")
    program = f"import sys, samestream.streams; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip() == "[]"
