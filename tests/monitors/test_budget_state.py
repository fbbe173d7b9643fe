"""What a monitor says of its budget in the journal: once a day, the same after a restart, and readable by whoever is elsewhere."""

from __future__ import annotations

import harness
import pytest
from harness import PLAN, SHOP

from samestream.monitors.budget_state import BudgetState, FamilyState, parse
from samestream.monitors.outcome_task import OutcomeMonitorTask
from samestream.monitors.task import MonitorTask
from samestream.schemas import records
from samestream.schemas.avro import Codec
from samestream.streams.engine import journal
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.engine.measures import measures_of
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.transport import Outgoing

from .test_outcome_task import Health

DAY_US = 86_400_000_000
MONITORS = SHOP.monitors["BuysHealth"]


def of_days(transport: MemoryTransport, monkeypatch: pytest.MonkeyPatch, days: range) -> None:
    """Events of some hours of each of these days, and their vectors."""
    start_us = harness.START_US
    for day in days:
        monkeypatch.setattr(harness, "START_US", start_us + day * DAY_US)
        harness.send(transport, harness.shop_events(150, seed=day))
    monkeypatch.setattr(harness, "START_US", start_us)
    harness.work_off(transport, FeatureTask(PLAN), batch_records=40)


def told(transport: MemoryTransport, monitor: str = "monitor.Buys") -> list[BudgetState]:
    """All that a monitor has said, in order."""
    entries = journal.read(transport, PLAN.journal, monitor)
    return [state for entry in entries for switch in entry.switches if (state := parse(switch)) is not None]


def test_a_monitor_says_it_whenever_a_family_has_come_to_another_day(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = harness.fresh()
    of_days(transport, monkeypatch, range(4))
    harness.work_off(transport, MonitorTask(PLAN, MONITORS), batch_records=40)
    first = told(transport)
    assert {state.at_us // DAY_US for state in first} == {harness.START_US // DAY_US + day for day in range(4)}
    batches = len(journal.read(transport, PLAN.journal, "monitor.Buys"))
    # sources, features and scores may come to a day at different batches, and none says the same day twice
    assert len(first) <= 3 * 4 < batches
    first_us = min(
        int(part.known_us[0]) for topic in ("shop.views", "shop.prices") for part in transport.read_all(topic)
    )
    assert {state.since_us for state in first[1:]} == {first_us}
    assert [(one.name, one.per_week, one.days, one.needed_days) for one in first[-1].families] == [
        ("sources", 0.5, 0, 18),  # three days of learning are over, and the fourth is not
        ("features", 0.5, 0, 17),
        ("scores", 0.5, 0, 34),
    ]
    # another process, without a snapshot: what it replays it does not say again, and then it goes on
    of_days(transport, monkeypatch, range(4, 7))
    harness.work_off(transport, MonitorTask(PLAN, MONITORS), batch_records=40)
    both = told(transport)
    assert both[: len(first)] == first
    assert {state.at_us // DAY_US for state in both[len(first) :]} == {
        harness.START_US // DAY_US + day for day in range(4, 7)
    }
    assert both[-1].since_us == first_us
    (sources, *_) = both[-1].families
    assert sources.days == 3  # of the days since the three of learning, those that are over
    assert not sources.speaks


def test_a_monitor_of_outcomes_says_its_part() -> None:
    transport = harness.fresh()
    codec, model = Codec(records.OUTCOME), PLAN.models["Buys"]
    for number in range(3):
        at_us = harness.START_US + number * DAY_US
        place = {"trigger_topic": "shop.views", "trigger_partition": 0, "trigger_offset": number, "version": "1"}
        value = {
            "entity": "u1",
            "event_time": at_us,
            **place,
            "score": 0.5,
            "value": None,
            "state": "labelled",
            "label": 1.0,
            "label_time": at_us,
            "label_known_time": at_us,
        }
        harness.send(transport, [Outgoing(model.topics["outcomes"], b"u1", codec.encode(value), at_us)])
    harness.work_off(transport, OutcomeMonitorTask(PLAN, Health), batch_records=1)
    found = told(transport, "monitor.Buys.outcomes")
    assert [(state.at_us, state.since_us) for state in found] == [
        (harness.START_US + number * DAY_US, None) for number in range(3)
    ]
    assert found[-1].families == (FamilyState("outcomes", 1.0, 2, 8),)


def test_what_is_no_state_of_a_budget_is_passed_over() -> None:
    state = BudgetState(1, None, (FamilyState("sources", 0.5, 18, 18, ("Order.sku: unseen",)),))
    assert parse(state.to_json()) == state
    assert state.families[0].speaks
    for other in ("", "no json", "[]", '{"compared": 1}', '{"budget": 3}'):
        assert parse(other) is None


def test_vectors_of_another_definition_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    transport, model = harness.fresh(), PLAN.models["Buys"]
    of_days(transport, monkeypatch, range(1))
    codec, topic = Codec(model.vector_schema), model.topics["features"]
    ours = [
        (key, value, us)
        for part in transport.read_all(topic)
        for key, value, us in zip(part.keys, part.values, part.known_us.tolist(), strict=True)
    ]
    for key, value, known_us in ours[:7]:
        other = {**codec.decode(value or b""), "fingerprint": "f" * len(model.fingerprint)}
        harness.send(transport, [Outgoing(topic, key, codec.encode(other), known_us)])
    task = MonitorTask(PLAN, MONITORS)
    harness.work_off(transport, task)
    (found,) = [one for one in measures_of(task) if one.name == "vectors_of_another_definition_total"]
    assert (found.value, found.kind, dict(found.labels)) == (7, "counter", {"role": "monitor.Buys", "model": "Buys"})
