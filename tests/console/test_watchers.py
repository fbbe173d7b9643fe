"""The monitors are watched: one that is dead, or behind, is told by what it has written, and so is the budget."""

from __future__ import annotations

from pathlib import Path

import harness
import pytest
from harness import PLAN, SHOP

from samestream.console import watchers
from samestream.console.crew import Crew
from samestream.console.metrics import measured
from samestream.console.unread import Unread
from samestream.console.watchers import Watchers, lines
from samestream.monitors import continuous_parity
from samestream.monitors.continuous_parity import REPLAY, ParityWorker
from samestream.monitors.incidents import IncidentRecord
from samestream.monitors.profile_writer import ProfileWriter
from samestream.monitors.task import MonitorTask, record_of
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.engine.measures import measures_of
from samestream.streams.engine.pulse import pulse
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.models.scorer import ScorerTask
from samestream.streams.transport import Partition

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
    assert list(found) == ["features", "scorer.Buys", "outcomes.Buys", "profiles", MONITOR, "parity"]
    assert all(one.known_us is None for name, one in found.items() if name != "features")
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


def test_pulses_hide_not_that_a_monitor_is_behind(served: MemoryTransport) -> None:
    """They are of today, and what is watched may be of any year."""
    harness.send(served, [pulse(PLAN.pulse)])
    harness.work_off(served, MonitorTask(PLAN, SHOP.monitors["BuysHealth"]))
    harness.send(served, [one._replace(known_us=one.known_us + 9 * HOUR_US) for one in harness.shop_events(200)])
    harness.work_off(served, FeatureTask(PLAN))
    found = {one.name: one for one in Watchers(served, SHOP, PLAN).standings()}
    assert found[MONITOR].behind_us > 3 * HOUR_US


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
    (spent,) = Watchers(served, SHOP, PLAN).spendings()
    # all places together; of when they were watched from nothing is known, for no monitor has spoken
    assert (spent.monitors, spent.per_week, spent.lately, spent.opened) == ("BuysHealth", 1.0, {7: 2, 28: 3}, 3)
    assert (spent.since_us, spent.rate) == (None, None)
    assert [(one.name, one.days, one.needed_days) for one in spent.families] == [
        ("sources", 0, 18),
        ("features", 0, 17),
        ("scores", 0, 34),
    ]
    # the monitor says from when on it watched, in the entry of its first day
    harness.work_off(served, MonitorTask(PLAN, SHOP.monitors["BuysHealth"]))
    (spent,) = Watchers(served, SHOP, PLAN).spendings()
    assert (spent.since_us, spent.rate) == (harness.START_US, None)  # hours are no week
    assert next(spent.lines()).endswith("and 3 in the 0.0 weeks since 2023-11-14T22:13:20Z: no rate yet")
    monkeypatch.setattr(harness, "START_US", harness.START_US + 10 * 24 * HOUR_US)
    harness.send(served, harness.shop_events(200))
    harness.work_off(served, FeatureTask(PLAN))
    (spent,) = Watchers(served, SHOP, PLAN).spendings()
    assert spent.lately == {7: 0, 28: 3}
    assert spent.weeks == pytest.approx(10 / 7, rel=0.01)
    assert spent.rate is not None
    assert spent.rate.per_week == 3 / spent.weeks
    assert spent.rate.low < spent.rate.per_week < spent.rate.high
    assert (
        "  sources: learning, 0 of 18 good days of history; until then only declared ranges are held against them"
        in list(spent.lines())
    )
    told = {(one.name, *one.labels.values()): one.value for one in measures_of(Watchers(served, SHOP, PLAN))}
    assert told["alarms_opened", "BuysHealth", "Buys", "28"] == 3
    assert told["alarms_declared_week", "BuysHealth", "Buys"] == 1
    assert told["alarms_achieved_week_bound", "BuysHealth", "Buys", "low"] == pytest.approx(spent.rate.low)


def test_whoever_stands_still_is_told_by_how_much_and_whoever_has_nothing_to_read_is_not_behind(
    served: MemoryTransport, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(watchers, "_AGAIN_S", 0.0)
    monkeypatch.setattr(watchers, "_LOG_AGAIN_S", 0.0)
    log, scorer = FeatureLog(tmp_path), ScorerTask(PLAN, PLAN.models["Buys"])
    seen = Watchers(served, SHOP, PLAN, str(tmp_path))
    fresh = Watchers(harness.fresh(), SHOP, PLAN)
    # nothing has come at all: nobody is behind, and no alert fires
    assert all(one.is_waiting and one.behind_us == 0 for one in fresh.standings())
    assert {one.value for one in measures_of(fresh) if one.name == "monitor_spoken"} == {1}
    found = {one.name: one for one in seen.standings()}
    whole_us = 3000 * 7 * harness.SECOND_US
    for name in ("scorer.Buys", "profiles", "log", "parity"):
        assert found[name].known_us is None
        assert found[name].behind_us == pytest.approx(whole_us, rel=0.01), name
    # what never spoke though there is something to read has its say over how long that stretches
    assert "log: has never spoken, 20,993 s of what it reads lie there" in list(lines(list(found.values())))
    harness.work_off(served, scorer)
    harness.write_log(served, log)
    profiler = ProfileWriter(served, PLAN, list(SHOP.monitors.values()), flush_s=0.05)
    harness.run_until(profiler, lambda: _of(seen, "profiles").behind_us == 0 and profiler.health.batches > 0)  # type: ignore[arg-type]
    found = {one.name: one for one in seen.standings()}
    assert {found[name].behind_us for name in ("features", "scorer.Buys", "log", "profiles")} == {0}
    # the journal moves on by itself, and events of three days come that nobody reads
    day_us = 24 * HOUR_US
    monkeypatch.setattr(harness, "START_US", harness.START_US + 3 * day_us)
    harness.send(served, harness.shop_events(200))
    found = {one.name: one for one in seen.standings()}
    for name in ("features", "log", "profiles"):
        assert found[name].behind_us > 2 * day_us, name
    assert found["scorer.Buys"].behind_us == 0  # no vector has come since
    harness.work_off(served, FeatureTask(PLAN))
    found = {one.name: one for one in seen.standings()}
    assert found["features"].behind_us == 0
    assert found["scorer.Buys"].behind_us > 2 * day_us


def test_a_log_that_cannot_be_read_hides_nobody_else(
    served: MemoryTransport, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Watchers(served, SHOP, PLAN, str(tmp_path))

    def away(self: FeatureLog, topic: str) -> None:
        raise OSError(f"no route to {topic}")

    monkeypatch.setattr(FeatureLog, "newest", away)
    told = {one.labels["monitor"]: one.value for one in measures_of(seen) if one.name == "monitor_spoken"}
    assert (told["features"], told["log"]) == (1, 0)
    assert "how far the feature log has come is unknown: no route to shop." in caplog.text


def test_a_long_backlog_is_measured_by_its_ends(served: MemoryTransport) -> None:
    """Of what lies unread only the first and the last records are read, however much there is."""
    topic = PLAN.models["Buys"].topics["features"]
    parts = [Partition(topic, number) for number in range(served.topics()[topic])]
    every = [us for fetched in served.read_all(topic) for us in fetched.known_us.tolist()]
    found = Unread(served).spans(
        {"whole": dict.fromkeys(parts, 0), "read": {parts[0]: served.ends(parts)[parts[0]].stable}}
    )
    assert found == {"whole": (min(every), max(every)), "read": None}


def _of(seen: Watchers, name: str) -> watchers.Watcher:
    return next(one for one in seen.standings() if one.name == name)


def _crew(seen: Watchers) -> Crew:
    crew = Crew([])
    crew.others.append(seen)
    return crew
