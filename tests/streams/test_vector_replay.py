"""Replay of a range: only what windows reach is read, and the vectors are those that were served."""

from __future__ import annotations

from pathlib import Path

import harness
from harness import PLAN, SECOND_US, START_US

from samestream.streams.engine.feature_task import FeatureTask, VectorEncoder
from samestream.streams.log import vector_replay
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.transport import Outgoing

HOUR_US = 3600 * SECOND_US


def events(count: int) -> list[Outgoing]:
    """A view and a price in turn, 40 minutes apart, so that windows of a day see some of many days."""
    found = []
    for number in range(count):
        at = START_US + number * 40 * 60 * SECOND_US
        if number % 2:
            values = {"user": "u", "product": "p", "seconds": 0.1 * number, "at": at}
            found.append(harness.encode(PLAN, "View", "u", at + 1000, **values))
        else:
            found.append(harness.encode(PLAN, "Price", "p", at + 1000, product="p", cents=number, at=at))
    return found


def test_a_range_needs_only_what_windows_reach(tmp_path: Path) -> None:
    transport = harness.fresh()
    harness.send(transport, events(240))
    harness.work_off(transport, FeatureTask(PLAN), batch_records=5)
    log = harness.write_log(transport, FeatureLog(tmp_path))
    from_us, to_us = START_US + 100 * HOUR_US, START_US + 120 * HOUR_US
    entries = vector_replay.covered(PLAN, transport, log)
    part = vector_replay.span(PLAN, entries, from_us, to_us)
    assert 0 < part.state < part.first < part.end < len(entries)
    assert vector_replay.span(PLAN, entries, None, None) == vector_replay.Span(0, 0, len(entries))
    assert vector_replay.span(PLAN, entries, from_us, to_us, entries[part.first].sequence).first == part.first + 1
    encoder, found = VectorEncoder(PLAN), []
    for _, _, every in vector_replay.followed(PLAN, transport, log, entries, part):
        for vectors in every:
            inside = (vectors.event_time_us >= from_us) & (vectors.event_time_us < to_us)
            found += [record.value for record, kept in zip(encoder.records(vectors), inside, strict=True) if kept]
    served = log.read("shop.features.Buys")["event_time"].cast("int64").to_pylist()
    values = [value for _, _, value, _ in harness.contents(transport, ["shop.features.Buys"])["shop.features.Buys"]]
    assert found == [value for value, at in zip(values, served, strict=True) if from_us <= at < to_us]
    assert len(found) == 15
