"""Aggregates of every path and window through the whole processor: composite keys, keys of any kind, null parts, conditions."""

from __future__ import annotations

import random
from datetime import datetime
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import SECOND_US, START_US
from oracle import Oracle, Read

from samestream.schemas import Event, Features, Field, Model, event_time, field, key, label
from samestream.schemas.app import App
from samestream.schemas.avro import Codec
from samestream.streams.columns import to_python
from samestream.streams.engine.feature_task import FeatureTask
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.vector_replay import replayed
from samestream.streams.lowering import compile_app
from samestream.streams.transport import Outgoing
from samestream.trainers import gradient_boosting


class Ride(Event, topic="town.rides", lateness="1m", partitions=2):
    ride: Field[str] = key()
    start: Field[str | None] = field()
    end: Field[str | None] = field()
    zone: Field[int] = field()
    night: Field[bool | None] = field()
    fare: Field[float | None] = field()
    since: Field[datetime | None] = field()
    at: Field[datetime] = event_time()


class Route(Features, by=(Ride.start, Ride.end)):
    fare = Ride.fare.mean(over=("1m", "5m"))
    fares = Ride.fare.quantile(0.9, over="5m")
    rides = Ride.count(session="20s")
    zones = Ride.zone.distinct(over="lifetime", exact=3)
    seen_s = Ride.time_since_last(every="5m")


class Zone(Features, by=Ride.zone):
    mostly = Ride.start.most_frequent(every="1d", zone="Asia/Kolkata")
    last_three = Ride.fare.last_n(3, over="5m").length()
    night = Ride.night.share(over="5m", where=Ride.fare > 0)
    earliest = Ride.since.min(session="20s", where=Ride.fare > 0) == Ride.since.first(over="lifetime")
    greatest = Ride.start.max(over="5m") == Ride.end.max(over="1m")


class Hour(Features, by=Ride.night):
    fading = Ride.fare.decayed_sum("30s", over="lifetime") - Ride.zone.decayed_mean("1m", session="20s")


class Since(Features, by=(Ride.since, Ride.zone)):
    rides = Ride.count(over="5m")


class Fares(Features, by=Ride.fare):
    rides = Ride.count(over="lifetime")


class Long(Model, on=Ride, trainer=gradient_boosting(every="1d", history="7d")):
    fare_1m = Route.fare_1m
    fare_5m = Route.fare["5m"]
    fares = Route.fares
    rides = Route.rides
    zones = Route.zones
    seen_s = Route.seen_s
    at_home = Zone.mostly == Ride.start
    last_three = Zone.last_three
    night = Zone.night
    earliest = Zone.earliest
    greatest = Zone.greatest
    fading = Hour.fading
    since = Since.rides
    same_fare = Fares.rides
    back = Route.of(Ride.end, Ride.start).fare["1m"]
    long = label(Ride.fare > 1, by=Ride.ride, within="1h")


VIEWS = {view.__name__: view for view in (Route, Zone, Hour, Since, Fares)}
TOWN = App("town", {"Ride": Ride}, VIEWS, {"Long": Long}, {})
PLAN = compile_app(TOWN)
MODEL = PLAN.models["Long"]


def rides(seed: int, count: int) -> list[Outgoing]:
    draw, second, records = random.Random(seed), 0.0, []
    for number in range(count):
        second += draw.choice([0, 0.5, 3, 10, 21, draw.random() * 40])
        at = START_US + round((second - draw.choice([0, 0, 10, draw.random() * 70])) * SECOND_US)
        values = {
            "ride": f"r{number}",
            "start": draw.choice(["a", "b", "é", None]),
            "end": draw.choice(["a", "b", None]),
            "zone": draw.randrange(6),
            "night": draw.choice([True, False, None]),
            "fare": draw.choice([None, 0.1, 0.2, -3.5, 1e16, draw.random()]),
            "since": draw.choice([None, START_US, START_US - 5]),
        }
        known_us = START_US + round(second * SECOND_US)
        records.append(harness.encode(PLAN, "Ride", f"r{number}", known_us, **values, at=at))
    return records


@pytest.mark.parametrize("seed", range(4))
def test_online_and_replay_are_the_oracle_to_the_bit(seed: int, tmp_path: Path) -> None:
    transport = harness.fresh(TOWN, PLAN)
    harness.send(transport, rides(seed, 250))
    harness.work_off(transport, FeatureTask(PLAN), PLAN, batch_records=[1, 7, 100, 20_000][seed])
    codec, log = Codec(PLAN.inputs["Ride"].schema), []
    for fetched in transport.read_all("town.rides"):
        for offset, known_us, value in zip(
            fetched.offsets.tolist(), fetched.known_us.tolist(), fetched.values, strict=True
        ):
            assert value is not None
            log.append(Read("Ride", "town.rides", fetched.partition.partition, offset, known_us, codec.decode(value)))
    judge = Oracle(PLAN)
    judge.run(log)
    vectors = Codec(MODEL.vector_schema)
    served: dict[Any, dict[str, Any]] = {}
    for _, _, value, _ in harness.contents(transport, [MODEL.topics["features"]])[MODEL.topics["features"]]:
        assert value is not None
        found = vectors.decode(value)
        served["town.rides", found["trigger_partition"], found["trigger_offset"]] = {
            name: found[name] for name in MODEL.outputs
        }
    assert {place: repr(vector) for place, vector in served.items()} == {
        place: repr(vector) for place, vector in judge.vectors.items()
    }
    again: dict[Any, dict[str, Any]] = {}
    for _, _, every in replayed(PLAN, transport, harness.write_log(transport, FeatureLog(tmp_path), PLAN)):
        for part in every:
            columns = {name: to_python(column) for name, column in part.features.items()}
            for row, (partition, offset) in enumerate(zip(part.partition, part.offset.tolist(), strict=True)):
                again["town.rides", partition.partition, offset] = {name: each[row] for name, each in columns.items()}
    assert repr(sorted(again.items())) == repr(sorted(served.items()))
    for name in MODEL.outputs:
        different = {repr(vector[name]) for vector in served.values()}
        assert len(different) > 1, f"{name} is always {different}"
