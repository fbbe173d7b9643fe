"""What happens in a monitor's life: days without data, features that come and go, another instance that takes over."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import harness
import made_streams as made
import numpy as np
from harness import PLAN, SHOP
from made_outcomes import DAY as LABEL_DAY
from made_outcomes import NEEDED, life, outcome
from running import Running, until

from samestream.monitors import Monitors
from samestream.monitors.declared import Calibration, Declared, Performance
from samestream.monitors.incidents import IncidentRecord, Lineage
from samestream.monitors.outcome_watch import OutcomeWatch
from samestream.monitors.task import MonitorTask, parse
from samestream.schemas.app import load
from samestream.schemas.errors import FencedError
from samestream.streams.deploy import provision
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.lowering import compile_app
from samestream.streams.memory.transport import MemoryTransport
from samestream.streams.transport import Outgoing

DAY, HOUR, START = made.DAY, made.HOUR, made.START
GAP_US, STRUCK_US = START + 22 * DAY + 9 * HOUR, START + 26 * DAY + 12 * HOUR


@cache
def world() -> made.World:
    return made.calm_world(30)


def later(stream: made.Stream) -> made.Stream:
    """The same rows, those from an instant on a week later."""
    by_us = np.where(stream.known_us >= GAP_US, 7 * DAY, 0)
    return replace(stream, known_us=stream.known_us + by_us, time_us=stream.time_us + by_us)


def opened(records: list[IncidentRecord]) -> list[tuple[str, str]]:
    return [(one.cause, one.verdict) for one in records if one.event == "open"]


def test_a_week_without_data_is_one_silence_and_hides_nothing_after_it() -> None:
    struck = made.struck(world(), "unit", STRUCK_US)
    parts = {name: later(getattr(struck, name)) for name in ("departures", "weather", "vectors")}
    models = tuple((name, at_us + 7 * DAY * (at_us >= GAP_US), reference) for name, at_us, reference in struck.models)
    records = made.watched(replace(struck, models=models, **parts))
    assert opened(records) == [("Departure", "missing_source"), ("Departure.dep_delay", "unit")]
    assert records[1].evidence["joined_by"] == "Weather"
    back_us = GAP_US + 7 * DAY
    silent = {one.incident for one in records if one.verdict == "missing_source"}
    closed = [one.at_us for one in records if one.event == "close" and one.incident in silent]
    assert len(closed) == 1
    assert back_us < closed[0] < back_us + 9 * HOUR
    found = next(one for one in records if one.verdict == "unit")
    assert STRUCK_US + 7 * DAY < found.at_us < STRUCK_US + 7 * DAY + 2 * HOUR


def test_where_silence_is_not_watched_a_week_without_data_says_nothing() -> None:
    parts = {name: later(getattr(world(), name)) for name in ("departures", "weather", "vectors")}
    checks = tuple(check for check in made.DECLARED.features if type(check).__name__ != "Silence")
    assert made.watched(replace(world(), **parts), declared=replace(made.DECLARED, features=checks)) == []


def test_a_feature_that_appears_or_vanishes_is_not_drift_and_the_others_are_watched_on() -> None:
    at_us = START + 20 * DAY + 6 * HOUR
    shown = made.calm_world(30)
    is_late = shown.vectors.known_us >= at_us
    for there in (is_late, ~is_late):  # it appears; it vanishes
        columns = {**shown.vectors.columns, "temp": np.where(there, shown.vectors.columns["temp"], np.nan)}
        # the model that is trained next knows what is served then
        vectors = replace(shown.vectors, columns=columns)
        now = (
            vectors if there is is_late else replace(vectors, columns={**columns, "temp": np.full(len(there), np.nan)})
        )
        first = [one for one in made.trained(vectors, 14, 7, 30) if one[1] <= at_us]
        again = made.trained(made.between(now, at_us, shown.end_us), 21, 30, 22)
        models = (*first, *((name, at_us, reference) for name, _, reference in again))
        assert made.watched(replace(shown, vectors=vectors, models=models)) == []
        delay = np.where(vectors.known_us >= START + 25 * DAY, columns["carrier_delay"] + 60, columns["carrier_delay"])
        moved = replace(vectors, columns={**columns, "carrier_delay": delay})
        assert opened(made.watched(replace(shown, vectors=moved, models=models))) == [
            ("Departure.dep_delay", "world_changed")
        ]


def test_late_corrections_of_labels_change_figures_and_raise_nothing() -> None:
    declared = Declared(of=type("M", (), {}), alarms_per_week=4.0, scores=(Performance(), Calibration()))
    watch = OutcomeWatch(Lineage("M", ("x",), {}), "probability", declared, settle_us=2 * HOUR)
    rng = np.random.default_rng(5)
    rows = list(life(NEEDED + 20))
    corrected = [  # a week later three in ten are known better, and are as likely as they were said to be
        (at_us + 7 * LABEL_DAY, outcome(row["trigger_offset"], at_us, row["score"], label, "correction"))
        for at_us, row in rows[NEEDED * 240 : (NEEDED + 10) * 240]
        if rng.random() < 0.3 and (label := float(rng.random() < row["score"])) != row["label"]
    ]
    assert len(corrected) > 200
    for at_us, row in sorted([*rows, *corrected], key=lambda one: one[0]):
        watch.on_outcome(at_us, row)
    assert watch.records() == []
    aged = sorted([*life(NEEDED + 20, aged_from=NEEDED + 12), *corrected], key=lambda one: one[0])
    again = OutcomeWatch(Lineage("M", ("x",), {}), "probability", declared, settle_us=2 * HOUR)
    for at_us, row in aged:
        again.on_outcome(at_us, row)
    assert opened(again.records()) == [("M", "model_aged")]


Health = SHOP.monitors["BuysHealth"]


def told(transport: MemoryTransport) -> list[IncidentRecord]:
    found = [parse(value) for _, _, value, _ in harness.contents(transport, [PLAN.drift])[PLAN.drift]]
    return sorted((one for one in found if one is not None), key=lambda one: (one.at_us, one.incident, one.event))


def faulty_events() -> list[Outgoing]:
    """Views whose seconds are below zero for a while, which the declared range forbids, calm before and for long after."""
    calm, bad = harness.shop_events(6500), harness.shop_events(6500, seconds_scale=-1.0)
    return [*calm[:700], *bad[700:900], *calm[900:]]


def watching(transport: MemoryTransport, stands_by: bool) -> Running:
    """The monitor."""
    return Running(PLAN, transport, MonitorTask(PLAN, Health), stands_by, batch_records=200)


def test_instances_that_take_over_in_the_middle_of_an_incident_tell_what_one_would() -> None:
    events = faulty_events()
    once, shared = harness.fresh(), harness.fresh()
    harness.send(once, events)
    harness.work_off(once, FeatureTask(PLAN))
    harness.work_off(once, MonitorTask(PLAN, Health))
    expected = told(once)
    assert [(one.event, one.verdict) for one in expected if one.event != "update"] == [
        ("open", "bad_values"),
        ("close", "bad_values"),
    ]
    harness.send(shared, events[:850])
    harness.work_off(shared, FeatureTask(PLAN))
    active = watching(shared, stands_by=False)
    until(lambda: bool(told(shared)), 60)
    heir = watching(shared, stands_by=True)
    until(lambda: heir.health.state == "standby" and heir.health.events == active.health.events, 60)
    active.end()
    until(lambda: heir.health.state == "running", 60)
    harness.send(shared, events[850:2500])
    harness.work_off(shared, FeatureTask(PLAN))
    usurper = watching(shared, stands_by=False)  # and one that takes over from it while it works
    until(lambda: usurper.health.state == "running", 60)
    harness.send(shared, events[2500:])
    harness.work_off(shared, FeatureTask(PLAN))
    until(lambda: len(told(shared)) >= len(expected), 60)
    until(lambda: heir.failure is not None, 60)
    usurper.end()
    assert isinstance(heir.failure, FencedError)
    assert (active.failure, usurper.failure) == (None, None)
    assert told(shared) == expected


def test_a_definition_with_another_feature_takes_over_without_a_word(tmp_path: Path) -> None:
    """Vectors of the definition before and after lie in one topic; the new monitor reads both from the beginning."""
    text = (Path(harness.__file__).parent / "shop.py").read_text()
    (tmp_path / "shop.py").write_text(
        text.replace("    spread = ProductNow", "    cents_again = ProductNow.cents\n    spread = ProductNow")
    )
    app = load(str(tmp_path / "shop.py"))
    plan = compile_app(app)
    assert plan.fingerprint != PLAN.fingerprint
    transport = harness.fresh()
    events = faulty_events()
    harness.send(transport, events[:500])
    harness.work_off(transport, FeatureTask(PLAN))
    harness.work_off(transport, MonitorTask(PLAN, Health))
    assert told(transport) == []
    provision.provision(transport, app, plan)
    harness.send(transport, events[500:])
    harness.work_off(transport, FeatureTask(plan), plan)

    class More(Monitors, of=app.models["Buys"], alarms="1/week"):
        features = Health.__monitors__.features
        scores = Health.__monitors__.scores

    harness.work_off(transport, MonitorTask(plan, More), plan)
    records: list[Any] = [one for one in told(transport) if one.event != "update"]
    assert [(one.event, one.verdict) for one in records] == [("open", "bad_values"), ("close", "bad_values")]
