"""The task over outcomes, on the log: what it writes, what it reads of others, and that a restart changes nothing."""

from __future__ import annotations

from typing import Any

import harness
from harness import PLAN, SHOP
from made_outcomes import DAY, NEEDED, START, life

from samestream.monitors import Monitors, calibration, performance
from samestream.monitors.incidents import IncidentRecord
from samestream.monitors.outcome_task import OutcomeMonitorTask
from samestream.monitors.task import parse, record_of
from samestream.schemas import records
from samestream.schemas.avro import Codec
from samestream.streams.engine import value_arrays
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.transport import Outgoing

MODEL = PLAN.models["Buys"]
_OUTCOME = Codec(records.OUTCOME)


class Health(Monitors, of=SHOP.models["Buys"], alarms="4/week"):
    scores = performance(), calibration()


def outcomes(days: int, aged_from: int) -> list[Outgoing]:
    found = []
    for at_us, row in life(days, aged_from):
        value = {
            **row,
            "entity": f"u{row['trigger_offset'] % 7}",
            "event_time": at_us - 1000,
            "label_known_time": at_us,
        }
        known_us = at_us // 1000 * 1000
        found.append(Outgoing(MODEL.topics["outcomes"], value["entity"].encode(), _OUTCOME.encode(value), known_us))
    return found


def told(transport: MemoryTransport) -> list[IncidentRecord]:
    found = [parse(value) for _, _, value, _ in harness.contents(transport, [PLAN.drift])[PLAN.drift]]
    return [record for record in found if record is not None]


def of_parity(event: Any, at_us: int) -> Outgoing:
    record = IncidentRecord(
        "p", event, "Buys.seconds", "online against offline", "definition_or_code", 1.0, at_us, at_us, {}
    )
    return record_of(PLAN.drift, record)


def test_a_model_that_aged_is_told_once_through_restarts() -> None:
    rows = outcomes(NEEDED + 6, aged_from=NEEDED + 3)
    transport = harness.fresh()
    for part in (rows[: len(rows) // 3], rows[len(rows) // 3 : -300], rows[-300:]):
        harness.send(transport, part)
        harness.work_off(transport, OutcomeMonitorTask(PLAN, Health))
    record, retold = told(transport)
    assert (record.event, record.verdict, record.subject) == ("open", "model_aged", "Buys.score")
    assert (retold.event, retold.incident) == ("update", record.incident)
    once = harness.fresh()
    harness.send(once, rows)
    task = OutcomeMonitorTask(PLAN, Health)
    harness.work_off(once, task)
    assert told(once) == told(transport)
    # and a snapshot holds all of it
    kept = OutcomeMonitorTask(PLAN, Health)
    kept.restore(value_arrays.pack(task._watch))
    assert kept._watch.learned_days == task._watch.learned_days
    measured = {one.name: one.value for one in kept.measures()}
    assert measured["monitor_needed_days"] == NEEDED <= measured["monitor_learned_days"]
    figures = {one.labels["figure"] for one in kept.measures() if one.name == "model_performance"}
    assert {"log_loss", "auc", "calibration_error"} <= figures


def test_while_parity_is_broken_the_model_is_not_blamed() -> None:
    transport = harness.fresh()
    rows = outcomes(NEEDED + 6, aged_from=NEEDED + 3)
    harness.send(
        transport, sorted([*rows, of_parity("open", START + (NEEDED + 2) * DAY)], key=lambda one: one.known_us)
    )
    harness.work_off(transport, OutcomeMonitorTask(PLAN, Health))
    assert [record.verdict for record in told(transport)] == ["definition_or_code"]
