"""Standing by on the log in memory: warm, first come first in line, and never while somebody is active or nobody answers."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import harness
import pytest
from harness import PLAN
from running import Running, until

from samestream.schemas.errors import FencedError, TransportError
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.engine.snapshots import Snapshots
from samestream.streams.memory.transport import MemoryTransport

EVENTS = harness.shop_events(300)
TOTAL = sum(record.topic in ("shop.views", "shop.prices") for record in EVENTS)


def serving(transport: MemoryTransport, stands_by: bool, snapshots: Snapshots | None = None) -> Running:
    """The feature processor."""
    return Running(PLAN, transport, FeatureTask(PLAN), stands_by, batch_records=20, snapshots=snapshots)


def test_it_is_warm_and_takes_over_when_the_active_one_leaves(tmp_path: Path) -> None:
    transport, undisturbed = harness.fresh(), harness.fresh()
    harness.send(undisturbed, EVENTS)
    harness.work_off(undisturbed, FeatureTask(PLAN))
    harness.send(transport, EVENTS[:200])
    active = serving(transport, stands_by=False)
    until(lambda: active.health.state == "running" and active.health.events > 50)
    heirs = [serving(transport, True, Snapshots(tmp_path / str(n), "x", every_s=0.05)) for n in range(2)]
    until(lambda: all(heir.health.state == "standby" for heir in heirs))
    until(lambda: all(heir.health.events == active.health.events > 130 for heir in heirs))
    assert all(heir.health.batches == 0 for heir in heirs), "they commit nothing"
    until(lambda: all(heir.health.snapshots for heir in heirs))
    active.end()
    harness.send(transport, EVENTS[200:])
    until(lambda: any(heir.health.events == TOTAL for heir in heirs))
    states = sorted(heir.health.state for heir in heirs)
    assert states == ["running", "standby"]
    for heir in sorted(heirs, key=lambda heir: heir.health.state, reverse=True):  # who stands by first
        heir.end()
        assert heir.failure is None
    assert harness.contents(transport, harness.output_topics()) == harness.contents(
        undisturbed, harness.output_topics()
    )


def test_one_alone_in_line_becomes_active_and_a_plain_start_takes_over_from_it() -> None:
    transport = harness.fresh()
    heir = serving(transport, stands_by=True)
    until(lambda: heir.health.state == "running")
    harness.send(transport, EVENTS[:100])
    until(lambda: heir.health.batches > 0)
    plain = serving(transport, stands_by=False)
    until(lambda: plain.health.state == "running")
    harness.send(transport, EVENTS[100:])
    until(lambda: plain.health.events == TOTAL)
    until(lambda: heir.failure is not None)
    assert isinstance(heir.failure, FencedError)
    plain.end()
    assert plain.failure is None


def test_a_broker_that_says_nothing_is_no_reason_to_take_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    transport = harness.fresh()
    silent = threading.Event()
    members = transport.members

    def asked(group: str) -> int:
        if silent.is_set():
            raise TransportError("Kafka failed while asking", hint="is it there?")
        return members(group)

    monkeypatch.setattr(transport, "members", asked)
    silent.set()
    heir = serving(transport, stands_by=True)
    until(lambda: "standing by, but Kafka failed while asking" in caplog.text)
    time.sleep(1.5)  # it would have asked twice
    assert heir.health.state == "standby"
    assert caplog.text.count("standing by, but") == 1
    silent.clear()
    until(lambda: heir.health.state == "running")
    heir.end()


def test_it_ends_when_it_is_told_to() -> None:
    transport = harness.fresh()
    active = serving(transport, stands_by=False)
    until(lambda: active.health.state == "running")
    heir = serving(transport, stands_by=True)
    until(lambda: heir.health.state == "standby")
    heir.end()
    assert (heir.failure, heir.health.state) == (None, "stopped")
    active.end()
