"""A log at rest has one meaning: batches, restarts, fetching order and noise change no byte of what is written."""

from __future__ import annotations

import random
import threading

import harness
import pytest
from harness import PLAN, START_US
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samestream.streams.deploy import provision
from samestream.streams.engine import journal
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.engine.processor import Processor
from samestream.streams.memory.transport import MemoryBroker, MemoryTransport
from samestream.streams.transport import Fetched, Outgoing, partition_of

EVENTS = harness.shop_events(600)


@pytest.fixture(scope="module")
def undisturbed() -> harness.Seen:
    return harness.undisturbed(EVENTS)


def test_the_reference_holds_every_kind_of_output(undisturbed: harness.Seen) -> None:
    assert len(undisturbed["shop.features.Buys"]) > 200
    assert undisturbed["shop.views.late"]
    reads = {topic: len(records) for topic, records in undisturbed.items()}
    views = sum(record.topic == "shop.views" for record in EVENTS)
    assert reads["shop.features.Buys"] + reads["shop.views.late"] + reads["shop.views.dead"] == views


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch_records=st.integers(1, 400))
def test_batch_size_changes_nothing(undisturbed: harness.Seen, batch_records: int) -> None:
    transport = harness.fresh()
    harness.send(transport, EVENTS)
    harness.work_off(transport, FeatureTask(PLAN), batch_records=batch_records)
    assert harness.contents(transport, harness.output_topics()) == undisturbed


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 500), min_size=1, max_size=3), batch_records=st.integers(5, 100))
def test_restarts_change_nothing(undisturbed: harness.Seen, cuts: list[int], batch_records: int) -> None:
    """A new process with empty state takes over after any number of events, and recovers from the journal."""
    transport = harness.fresh()
    harness.send(transport, EVENTS)
    for cut in sorted(cuts):
        processor = Processor(
            transport,
            PLAN.app,
            PLAN.journal,
            FeatureTask(PLAN),
            provision.store(transport, PLAN),
            batch_records=batch_records,
        )
        harness.run_until(processor, lambda cut=cut, processor=processor: processor.health.events >= cut)  # type: ignore[misc]
    harness.work_off(transport, FeatureTask(PLAN), batch_records=batch_records)
    assert harness.contents(transport, harness.output_topics()) == undisturbed


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000))
def test_fetching_order_changes_nothing(undisturbed: harness.Seen, seed: int) -> None:
    """Partitions may arrive in any order and in any pieces."""
    transport = harness.fresh()
    harness.send(transport, EVENTS)
    make, draw = transport.reader, random.Random(seed)

    def jumbled():  # type: ignore[no-untyped-def]
        reader = make()
        fetch = reader.fetch

        def piecewise(max_records: int, timeout_s: float) -> list[Fetched]:
            fetched = fetch(draw.randint(1, 60), timeout_s)
            draw.shuffle(fetched)
            return fetched

        reader.fetch = piecewise  # type: ignore[method-assign]
        return reader

    transport.reader = jumbled  # type: ignore[method-assign]
    harness.work_off(transport, FeatureTask(PLAN))
    assert harness.contents(transport, harness.output_topics()) == undisturbed


def test_aborted_transactions_and_control_records_change_nothing(undisturbed: harness.Seen) -> None:
    transport = harness.fresh()
    writer = transport.transactional_writer("noise")
    writer.open()
    for start in range(0, len(EVENTS), 50):
        writer.begin()
        writer.send(EVENTS[start + 7 : start + 20])
        writer.abort()
        writer.begin()
        writer.send(EVENTS[start : start + 50])
        writer.commit()
    harness.work_off(transport, FeatureTask(PLAN))
    found = harness.contents(transport, harness.output_topics())
    strip = slice(
        0, 2
    )  # offsets, and with them triggers, moved by the control records; who got how many vectors did not
    assert {topic: [item[strip] for item in items] for topic, items in found.items()} == {
        topic: [item[strip] for item in items] for topic, items in undisturbed.items()
    }


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    places=st.lists(st.integers(0, len(EVENTS)), min_size=1, max_size=5), batch_records=st.sampled_from([1, 7, 20_000])
)
def test_poisoned_events_change_no_vector(undisturbed: harness.Seen, places: list[int], batch_records: int) -> None:
    """One record to a batch, some batches have nothing that counts."""
    transport, events = harness.fresh(), list(EVENTS)
    for place in sorted(places, reverse=True):
        known_us = EVENTS[place - 1].known_us if place else START_US
        events.insert(place, Outgoing("shop.prices", b"p1", b"\xc3\x01garbage", known_us))
    harness.send(transport, events)
    harness.work_off(transport, FeatureTask(PLAN), batch_records=batch_records)
    found = harness.contents(transport, harness.output_topics())
    assert len(found["shop.prices.dead"]) == len(places)
    assert found["shop.features.Buys"] == undisturbed["shop.features.Buys"]


@pytest.mark.parametrize("event", ["Price", "Order"])
def test_an_idle_partition_changes_nothing(undisturbed: harness.Seen, event: str) -> None:
    counts, topic = harness.fresh().topics(), PLAN.events[event].topic
    transport = MemoryTransport(MemoryBroker())
    provision.provision(transport, harness.SHOP, PLAN, chosen={event: {"partitions": counts[topic] + 1}})
    assert transport.topics()[topic] == counts[topic] + 1
    numbers = [partition_of(event.key or b"", counts[event.topic]) for event in EVENTS]
    harness.send(transport, [event._replace(partition=at) for event, at in zip(EVENTS, numbers, strict=True)])
    harness.work_off(transport, FeatureTask(PLAN))
    assert harness.contents(transport, harness.output_topics()) == undisturbed


def test_an_open_transaction_holds_the_others_back() -> None:
    """Nobody may pass a partition of which it is not known what it will hold."""
    transport = harness.fresh()
    late_comer = transport.transactional_writer("slow")
    late_comer.open()
    late_comer.begin()
    first = harness.encode(PLAN, "Price", "p0", START_US, product="p0", cents=5, at=START_US)
    late_comer.send([first])
    view = harness.encode(PLAN, "View", "u0", START_US + 1000, user="u0", product="p0", seconds=1.0, at=START_US + 1000)
    harness.send(transport, [view])
    processor = Processor(transport, PLAN.app, PLAN.journal, FeatureTask(PLAN), provision.store(transport, PLAN))
    stop = threading.Event()
    thread = threading.Thread(target=processor.run, args=(stop,), daemon=True)
    thread.start()
    thread.join(1.0)
    assert journal.read(transport, PLAN.journal) == []
    late_comer.commit()
    deadline = threading.Event()
    for _ in range(200):
        if processor.health.results:
            break
        deadline.wait(0.05)
    stop.set()
    thread.join(10)
    (vector,) = harness.contents(transport, ["shop.features.Buys"])["shop.features.Buys"]
    from samestream.schemas.avro import Codec

    assert vector[2] is not None
    assert Codec(PLAN.models["Buys"].vector_schema).decode(vector[2])["cents"] == 5


def test_the_wait_for_earlier_events_does_not_end_with_the_next_arrival() -> None:
    """A view is held, another one comes, then a price that was known before both: all three are of one batch."""
    transport = harness.fresh()
    view, later = (
        harness.encode(PLAN, "View", "u0", known_us, user="u0", product="p0", seconds=1.0, at=known_us)
        for known_us in (START_US + 1000, START_US + 2000)
    )
    price = harness.encode(PLAN, "Price", "p0", START_US, product="p0", cents=5, at=START_US)
    arriving, make = iter([view, later, price]), transport.reader

    def arriving_one_by_one():  # type: ignore[no-untyped-def]
        reader = make()
        fetch = reader.fetch

        def next_one(max_records: int, timeout_s: float) -> list[Fetched]:
            harness.send(transport, [event for event in (next(arriving, None),) if event])
            return fetch(max_records, timeout_s)

        reader.fetch = next_one  # type: ignore[method-assign]
        return reader

    transport.reader = arriving_one_by_one  # type: ignore[method-assign]
    store = provision.store(transport, PLAN)
    processor = Processor(transport, PLAN.app, PLAN.journal, FeatureTask(PLAN), store, wait_s=0.5)
    harness.run_until(processor, lambda: processor.health.events >= 3)
    first = journal.read(transport, PLAN.journal)[0]
    assert sum(part.end - part.start for part in first.ranges) == 3
