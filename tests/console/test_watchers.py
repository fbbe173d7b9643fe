"""The monitors are watched: one that is dead, or behind, is told by what it has written, and so is the budget."""

from __future__ import annotations

from pathlib import Path

import harness
import pytest
from harness import PLAN, SHOP

from samestream.console import watchers
from samestream.console.crew import Crew
from samestream.console.metrics import measured
from samestream.console.watchers import Watchers
from samestream.monitors import continuous_parity
from samestream.monitors.continuous_parity import REPLAY, ParityWorker
from samestream.monitors.incidents import IncidentRecord
from samestream.monitors.task import MonitorTask, record_of
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.engine.measures import measures_of
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.memory.transport import MemoryTransport

HOUR_US = 3_600_000_000
MONITOR = "monitor.Buys"


@pytest.fixture
def served() -> MemoryTransport:
    transport = harness.fresh()
    harness.send(transport, harness.shop_events(3000))
    harness.work_off(transport, FeatureTask(PLAN))
    return transport


def test_a_monitor_that_never_spoke_is_told_and_so_is_one_that_fell_behind(
    served: MemoryTransport, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(watchers, "_AGAIN_S", 0.0)
    monkeypatch.setattr(continuous_parity, "_COMMIT_S", 0.05)  # half a minute, otherwise
    seen = Watchers(served, SHOP, PLAN)
    found = {one.name: one for one in seen.standings()}
    assert set(found) == {MONITOR, "parity"}
    assert all(one.known_us is None for one in found.values())
    task = MonitorTask(PLAN, SHOP.monitors["BuysHealth"])
    harness.work_off(served, task)
    rests = {(one.name, one.labels.get("family", "")): one.value for one in measures_of(task)}
    assert (rests["monitor_history_days", "sources"], rests["monitor_history_needed_days", "sources"]) == (0, 18)
    assert rests["monitor_share_week", "features"] == 0.5
    assert rests["monitor_blind", "sources"] == 0
    parity = ParityWorker(served, PLAN, list(SHOP.monitors.values()), FeatureLog(tmp_path), interval_s=0.0)

    def has_spoken() -> bool:
        standing = next(one for one in seen.standings() if one.name == "parity")
        return parity.figures["Buys"][REPLAY].compared > 0 and standing.known_us is not None

    harness.run_until(parity, has_spoken)  # type: ignore[arg-type]
    found = {one.name: one for one in seen.standings()}
    assert (found[MONITOR].behind_us, found[MONITOR].missed) == (0, 0)
    assert found["parity"].behind_us == 0
    # features go on for some hours, and the monitor does not
    harness.send(served, [one._replace(known_us=one.known_us + 9 * HOUR_US) for one in harness.shop_events(200)])
    harness.work_off(served, FeatureTask(PLAN))
    found = {one.name: one for one in seen.standings()}
    assert found[MONITOR].behind_us > 3 * HOUR_US
    assert found[MONITOR].missed == found[MONITOR].behind_us // HOUR_US
    lines = list(measured(_crew(seen)))
    assert f'samestream_monitor_missed_windows{{monitor="{MONITOR}",model="Buys"}} {found[MONITOR].missed}' in lines
    assert f'samestream_monitor_spoken{{monitor="{MONITOR}",model="Buys"}} 1' in lines


def test_what_was_opened_in_a_week_is_told_beside_the_budget(
    served: MemoryTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest_us = harness.START_US + 3000 * 7 * harness.SECOND_US
    for number, (verdict, at_us) in enumerate(
        [("unit", newest_us), ("frozen", newest_us - 8 * 24 * HOUR_US), ("definition_or_code", newest_us)]
    ):
        for event in ("open", "update"):
            record = IncidentRecord(str(number), event, "Buys.seconds", "c", verdict, 1.0, at_us, at_us, {})  # type: ignore[arg-type]
            harness.send(served, [record_of(PLAN.drift, record)])
    found = {one.name: one for one in Watchers(served, SHOP, PLAN).standings()}
    assert (found[MONITOR].opened, found[MONITOR].budget) == (1, 1.0)
    assert found["parity"].opened == 1


def _crew(seen: Watchers) -> Crew:
    crew = Crew([])
    crew.others.append(seen)
    return crew
