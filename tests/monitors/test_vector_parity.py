"""Parity must miss nothing: whatever is done to a served record, the comparison says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import harness
import pytest
from harness import PLAN

from samestream.monitors.parity_incident import closed_us, publish
from samestream.monitors.task import parse
from samestream.monitors.vector_parity import ModelParity, verify
from samestream.schemas import records
from samestream.schemas.avro import Codec
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.transport import Outgoing, Partition

MODEL = PLAN.models["Buys"]
TOPIC = MODEL.topics["features"]
_VECTOR = Codec(MODEL.vector_schema)
Slots = list[Outgoing | None]


def served(tampering: Callable[[Slots], None] | None = None) -> MemoryTransport:
    """A broker with served vectors; ``tampering`` may change the records of their first partition afterwards."""
    transport = harness.fresh()
    harness.send(transport, harness.shop_events(300))
    harness.work_off(transport, FeatureTask(PLAN))
    if tampering:
        slots = [slot for slot in transport._broker.log(Partition(TOPIC, 0)) if slot.record is not None]
        held: Slots = [slot.record for slot in slots]
        tampering(held)
        for slot, record in zip(slots, held, strict=True):
            slot.record = record
    return transport


def changed(record: Outgoing | None, **values: object) -> Outgoing:
    assert record is not None
    assert record.value is not None
    return record._replace(value=_VECTOR.encode({**_VECTOR.decode(record.value), **values}))


def one_bit(held: Slots) -> None:
    held[5] = changed(held[5], seconds=1e-300)


def a_null(held: Slots) -> None:
    held[5] = changed(held[5], views=None)


def lost(held: Slots) -> None:
    held[5] = None


def twice(held: Slots) -> None:
    held[6] = held[5]


def swapped(held: Slots) -> None:
    held[5], held[6] = held[6], held[5]


def other_key(held: Slots) -> None:
    assert held[5] is not None
    held[5] = held[5]._replace(key=b"somebody else")


def test_untouched_vectors_are_equal(tmp_path: Path) -> None:
    transport = served()
    found = verify(PLAN, transport, harness.write_log(transport, FeatureLog(tmp_path)))["Buys"]
    assert found.compared > 100
    assert (found.mismatched, found.as_known_mismatched, found.by_feature) == (0, 0, {})
    assert publish(transport, PLAN, list(harness.SHOP.monitors.values()), {"Buys": found}) == 0


@pytest.mark.parametrize("tampering", [one_bit, a_null, lost, twice, swapped, other_key])
def test_whatever_is_changed_is_found(tampering: Callable[[Slots], None], tmp_path: Path) -> None:
    transport = served(tampering)
    found = verify(PLAN, transport, harness.write_log(transport, FeatureLog(tmp_path)), with_sql=False)["Buys"]
    assert found.mismatched > 0
    assert publish(transport, PLAN, list(harness.SHOP.monitors.values()), {"Buys": found}) == 1
    assert found.spells["replay"] is not None
    assert 0 < found.spells["replay"].mismatched <= found.mismatched


def test_an_incident_opens_once_is_updated_and_closes(tmp_path: Path) -> None:
    transport = served(one_bit)
    log, monitors = harness.write_log(transport, FeatureLog(tmp_path)), list(harness.SHOP.monitors.values())
    broken = verify(PLAN, transport, log, with_sql=False)
    publish(transport, PLAN, monitors, broken)
    publish(transport, PLAN, monitors, broken)
    mended = {"Buys": ModelParity("Buys", compared=broken["Buys"].compared)}
    publish(transport, PLAN, monitors, mended)
    assert publish(transport, PLAN, monitors, mended) == 0
    told = [parse(value) for _, _, value, _ in harness.contents(transport, [PLAN.drift])[PLAN.drift]]
    assert [one.event for one in told if one] == ["open", "update", "close"]
    assert len({one.incident for one in told if one}) == 1


def test_both_comparisons_stand_side_by_side_and_what_is_over_is_not_told_again(tmp_path: Path) -> None:
    transport = served(one_bit)
    log, monitors = harness.write_log(transport, FeatureLog(tmp_path)), list(harness.SHOP.monitors.values())
    found = verify(PLAN, transport, log)
    assert found["Buys"].by_feature == found["Buys"].as_known_by_feature == {"seconds": 1}, "each counts for itself"
    publish(transport, PLAN, monitors, found)
    ((_, _, value, _),) = harness.contents(transport, [PLAN.drift])[PLAN.drift]
    opened = parse(value)
    assert opened is not None
    for path in ("replay", "as_known"):
        assert opened.evidence[path]["since_it_began"]["mismatched"] == 1
        assert opened.evidence[path]["examples"][0]["known_us"] == opened.opened_at_us
    publish(transport, PLAN, monitors, {"Buys": ModelParity("Buys", compared=found["Buys"].compared)})
    over_us = closed_us(transport, PLAN.drift, "Buys")
    assert over_us >= opened.opened_at_us
    again = verify(PLAN, transport, log, after_us={"Buys": over_us})
    assert again["Buys"].broken == 1
    assert publish(transport, PLAN, monitors, again) == 0


def test_a_difference_is_an_incident_that_names_the_feature(tmp_path: Path) -> None:
    transport = served(one_bit)
    found = verify(PLAN, transport, harness.write_log(transport, FeatureLog(tmp_path)))
    assert found["Buys"].by_feature["seconds"] >= 1
    assert publish(transport, PLAN, list(harness.SHOP.monitors.values()), found) == 1
    ((_, _, value, _),) = harness.contents(transport, [PLAN.drift])[PLAN.drift]
    incident = Codec(records.INCIDENT).decode(value or b"")
    assert (incident["verdict"], incident["subject"]) == ("definition_or_code", "Buys.seconds")
