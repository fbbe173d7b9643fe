"""Restarts at any point, of any task, whatever else goes on: nothing twice, nothing lost, nothing forgotten."""

from __future__ import annotations

import threading
from collections import Counter

import harness
import pytest
from harness import PLAN, SECOND_US, START_US

from samestream.schemas import records
from samestream.schemas.avro import Codec
from samestream.schemas.errors import TransportError
from samestream.streams.deploy import provision
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.engine.processor import Processor
from samestream.streams.models.outcomes import OutcomeTask
from samestream.streams.transport import Outgoing, Partition, partition_of

MODEL = PLAN.models["Buys"]
HOUR_US = 3600 * SECOND_US
_VECTOR, _PREDICTION = Codec(MODEL.vector_schema), Codec(records.PREDICTION)


def test_an_open_transaction_on_the_journal_hides_nothing() -> None:
    """Entries behind another processor's open transaction are not visible yet; a restart must wait for them."""
    transport = harness.fresh()
    events = harness.shop_events(120)
    harness.send(transport, events[:60])
    first = Processor(transport, PLAN.app, PLAN.journal, FeatureTask(PLAN), provision.store(transport, PLAN))
    other = transport.transactional_writer("somebody else")

    def goes_on_behind_an_open_transaction() -> bool:
        if first.health.results and not other_is_open:
            other.open()
            other.begin()
            number = partition_of(b"features", transport.topics()[PLAN.journal])
            other.send([Outgoing(PLAN.journal, b"somebody", b"junk", START_US, number)])
            other_is_open.append(first.health.results)
            harness.send(transport, events[60:])
        return bool(other_is_open) and first.health.results > other_is_open[0]

    other_is_open: list[int] = []
    harness.run_until(first, goes_on_behind_an_open_transaction)
    second = Processor(transport, PLAN.app, PLAN.journal, FeatureTask(PLAN), provision.store(transport, PLAN))
    stop = threading.Event()
    thread = threading.Thread(target=second.run, args=(stop,), daemon=True)
    thread.start()
    thread.join(0.5)
    assert second.health.state == "recovering"
    assert second.health.stalled_by == [PLAN.journal]
    other.abort()
    while second.health.state == "recovering":
        thread.join(0.01)
    stop.set()
    thread.join(30)
    harness.work_off(transport, FeatureTask(PLAN))
    vectors = harness.contents(transport, [MODEL.topics["features"]])[MODEL.topics["features"]]
    triggers = Counter(
        _VECTOR.decode(value or b"")["trigger_partition"] * 10**6 + _VECTOR.decode(value or b"")["trigger_offset"]
        for _, _, value, _ in vectors
    )
    assert max(triggers.values()) == 1


def prediction(user: str, second: float) -> Outgoing:
    at = START_US + round(second * SECOND_US)
    value = {
        "entity": user,
        "event_time": at,
        "trigger_topic": "shop.views",
        "trigger_partition": 0,
        "trigger_offset": int(second),
        "model": "Buys",
        "version": "1",
        "fingerprint": MODEL.fingerprint,
        "score": 0.5,
    }
    return Outgoing(MODEL.topics["predictions"], user.encode(), _PREDICTION.encode(value), at)


def order(user: str, second: float, partition: int | None = None) -> Outgoing:
    at = START_US + round(second * SECOND_US)
    sent = harness.encode(PLAN, "Order", user, at, user=user, amount=1.0, at=at)
    return sent._replace(partition=partition)


SCENARIOS = {
    "a prediction before any label": [prediction("u", 1), order("x", 2, 0), order("x", 3, 1), order("u", 4)],
    "an idle label partition": [prediction("u", 1), order("x", 20_000, 0), order("u", 30), order("x", 21_000, 1)],
    "both ends": [order("u", 5), prediction("u", 1), prediction("v", 2), order("x", 9_000, 0), order("x", 9_000, 1)],
}


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_outcomes_survive_a_restart_at_any_point(scenario: str, cut: int) -> None:
    sent, topic = SCENARIOS[scenario], MODEL.topics["outcomes"]

    def worked_off(*parts: list[Outgoing]) -> harness.Seen:
        transport = harness.fresh()
        for part in parts:
            harness.send(transport, part)
            harness.work_off(transport, OutcomeTask(PLAN, MODEL))
        return harness.contents(transport, [topic])

    restarted = worked_off(sent[:cut], sent[cut:])
    in_one_process = worked_off_in_steps(sent[:cut], sent[cut:])
    assert restarted == in_one_process
    assert len(restarted[topic]) >= 1


def worked_off_in_steps(*parts: list[Outgoing]) -> harness.Seen:
    """The same input in the same steps, by one process that is never restarted."""
    transport = harness.fresh()
    task = OutcomeTask(PLAN, MODEL)
    processor = Processor(transport, PLAN.app, PLAN.journal, task, provision.store(transport, PLAN))
    stop = threading.Event()
    thread = threading.Thread(target=processor.run, args=(stop,), daemon=True)
    thread.start()
    sent = 0
    for part in parts:
        harness.send(transport, part)
        sent += len(part)
        while processor.health.events < sent:
            thread.join(0.01)
    stop.set()
    thread.join(30)
    return harness.contents(transport, [MODEL.topics["outcomes"]])


def test_another_number_of_partitions_is_refused_until_accepted() -> None:
    transport = harness.fresh()
    harness.send(transport, harness.shop_events(50))
    harness.work_off(transport, FeatureTask(PLAN))
    transport._broker.logs[Partition("shop.views", 2)] = []
    transport._broker.counts["shop.views"] = 3
    processor = Processor(transport, PLAN.app, PLAN.journal, FeatureTask(PLAN), provision.store(transport, PLAN))
    with pytest.raises(TransportError, match=r"shop\.views had 2, has 3"):
        processor.run(threading.Event())
    accepting = Processor(
        transport, PLAN.app, PLAN.journal, FeatureTask(PLAN), provision.store(transport, PLAN), accept_partitions=True
    )
    bad = Outgoing("shop.views", b"u", b"garbage", START_US, 2)
    harness.send(transport, [bad])
    read = sum(record.topic in ("shop.views", "shop.prices") for record in harness.shop_events(50))
    harness.run_until(accepting, lambda: accepting.health.events == read + 1)
    assert sum(len(fetched) for fetched in transport.read_all("shop.views.dead")) == 1
    assert Partition("shop.views", 2) in transport.committed("shop.features", [Partition("shop.views", 2)])
