"""Keys that come and go: that the engine forgets idle ones changes no vector."""

from __future__ import annotations

from datetime import datetime

import harness
import pytest
from harness import SECOND_US, START_US

from samestream.schemas import Event, Features, Field, Model, event_time, field, key, label
from samestream.schemas.app import App
from samestream.streams.engine import table_state
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.lowering import compile_app
from samestream.trainers import gradient_boosting


class Scan(Event, topic="passing.scans", lateness="1m", partitions=1):
    """A parcel passes a gate."""

    parcel: Field[str] = key()
    gate: Field[int] = field()
    grams: Field[float] = field()
    at: Field[datetime] = event_time()


class ParcelNow(Features, by=Scan.parcel):
    """On the compiled path and on the general one."""

    grams_10m = Scan.grams.sum(over="10m")
    fading_10m = Scan.grams.decayed_sum("1m", over="10m")
    gates_5m = Scan.gate.distinct(over="5m")
    scans_hour = Scan.count(every="1h")
    session = Scan.grams.mean(session="2m", over="20m")


class ParcelAtGate(Features, by=(Scan.parcel, Scan.gate)):
    """A key of two parts, on the general path alone."""

    median_10m = Scan.grams.median(over="10m")


class Lost(Model, on=Scan, trainer=gradient_boosting(every="1d", history="7d")):
    """Every feature of every scan."""

    grams = ParcelNow.grams_10m
    fading = ParcelNow.fading_10m
    gates = ParcelNow.gates_5m
    hour = ParcelNow.scans_hour
    session = ParcelNow.session
    here = ParcelAtGate.median_10m
    lost = label(Scan.grams < 0, by=Scan.parcel, within="30m")


APP = App("passing", {"Scan": Scan}, {"ParcelNow": ParcelNow, "ParcelAtGate": ParcelAtGate}, {"Lost": Lost}, {})
PLAN = compile_app(APP)


def scans():
    """Three parcels at a time, each for two minutes; the first comes again after hours."""
    for number in range(1200):
        at = START_US + number * 17 * SECOND_US
        late = (0, 0, 45, 3)[number % 4] * SECOND_US
        parcel = "again" if number < 20 or number > 1150 else f"parcel-{number // 6 + number % 3}"
        grams = (number * 7919 % 1000) / 7
        yield harness.encode(PLAN, "Scan", parcel, at, parcel=parcel, gate=number % 2, grams=grams, at=at - late)


def served(batch_records):
    """What is written, and the states it left."""
    transport = harness.fresh(APP, PLAN)
    harness.send(transport, scans())
    task = FeatureTask(PLAN)
    harness.work_off(transport, task, PLAN, batch_records=batch_records)
    return harness.contents(transport, harness.output_topics(PLAN)), task._engine.tables


def test_no_vector_changes_when_idle_keys_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, remembered = served(20_000)
    monkeypatch.setattr(table_state, "_LEAST_SWEEP", 1)
    found, tables = served(40)
    assert found == expected
    assert sum(len(part) for part in found.values()) == 1200
    for table, keys in zip(tables, (len(table.index) for table in remembered), strict=True):
        assert table.index.bound < keys, "no id was given out twice"
