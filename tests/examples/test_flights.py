"""The flights example, tested as its author would: a few events in, the vector, the prediction and the outcome out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from samestream.examples import flights
from samestream.examples.flights import Arrival, Boarding, Departure, LateArrival, Weather
from samestream.testing import AppTest


@pytest.fixture
def app() -> Iterator[AppTest]:
    with AppTest(flights, day="2026-05-01", zone="America/New_York") as app:
        yield app


def departure(flight: str, at: datetime, delay: float, carrier: str = "UA", origin: str = "EWR") -> Departure:
    return Departure(
        flight_id=flight, carrier=carrier, origin=origin, dep_delay=delay, dep_delay_hours=delay / 60, at=at
    )


def boarding(flight: str, at: datetime, **values: Any) -> Boarding:
    usual = {"carrier": "UA", "origin": "EWR", "dest": "SFO", "tailnum": None, "distance": 2565.0}
    return Boarding(**{"flight_id": flight, "scheduled_dep_hour": 11, "at": at, **usual, **values})


def arrival(flight: str, at: datetime, delay: float) -> Arrival:
    return Arrival(flight_id=flight, carrier="UA", origin="EWR", dest="SFO", arr_delay=delay, air_time=None, at=at)


def test_delays_of_the_carrier_and_of_the_airport(app: AppTest) -> None:
    app.send(
        departure("d1", app.at("07:29:59"), 99.0),  # a second before the window of three hours
        departure("d2", app.at("07:30:00"), 10.0),
        departure("d3", app.at("10:00"), 20.0),
        departure("d4", app.at("10:05"), 60.0, carrier="DL"),
        departure("d5", app.at("10:06"), 50.0, origin="JFK"),
        boarding("f1", app.at("10:30")),
        departure("d6", app.at("10:30"), 500.0),  # at the instant: the future
    )
    app.expect(
        LateArrival,
        "f1",
        carrier_delay=(10 + 20 + 50) / 3,
        carrier_departures=2,
        origin_delay=40.0,
        late_share=1.0,
        excess_delay=40.0 - 80 / 3,
        distance=2565.0,
        hour=11,
        temp=None,
    )


def test_nothing_is_known_of_a_carrier_that_has_not_flown(app: AppTest) -> None:
    app.send(boarding("f1", app.at("10:30")))
    vector = app.vector(LateArrival, "f1")
    assert vector["carrier_delay"] is None
    assert vector["carrier_departures"] == 0
    assert vector["late_share"] == 0


def test_weather_counts_once_it_is_published(app: AppTest) -> None:
    def weather(hour: str, temp: float) -> Weather:
        return Weather(
            origin="EWR", temp=temp, dewp=40.0, humid=50.0, wind_speed=8.0, precip=0.0, visib=10.0, at=app.at(hour)
        )

    app.send(weather("09:00", 50.0), known=app.at("09:50"))
    app.send(boarding("f1", app.at("10:30")))
    app.send(weather("10:00", 60.0), known=app.at("10:50"))
    app.send(boarding("f2", app.at("11:00")))
    app.expect(LateArrival, "f1", temp=50.0)
    app.expect(LateArrival, "f2", temp=55.0)


def test_a_departure_that_is_told_too_late_is_in_no_feature(app: AppTest) -> None:
    app.send(departure("d1", app.at("10:00"), 5.0))
    app.send(*(departure(f"d{n}", app.at("10:20"), 5.0) for n in range(2, 20)))  # both partitions have come so far
    app.send(departure("straggler", app.at("10:09"), 500.0), known=app.at("10:21"))
    app.send(boarding("f1", app.at("10:30")))
    (late,) = app.late(Departure)
    assert (late.key, late.reason) == ("straggler", "late")
    app.expect(LateArrival, "f1", origin_delay=5.0)
    assert "10:09:00 straggler dep_delay=500.0: not applied: late" in app.explain(LateArrival, "f1", "origin_delay")


def test_a_flight_is_scored_and_judged(app: AppTest) -> None:
    app.give_model(LateArrival, lambda vector: 0.9 if (vector["origin_delay"] or 0) > 15 else 0.1)
    app.send(boarding("calm", app.at("09:00")))
    app.send(departure("d1", app.at("10:00"), 45.0))
    app.send(boarding("rush", app.at("10:30")), boarding("lost", app.at("10:31")))
    assert [(one.entity, one.score) for one in app.predictions(LateArrival)] == [
        ("calm", 0.1),
        ("rush", 0.9),
        ("lost", 0.9),
    ]
    app.send(arrival("calm", app.at("14:00"), -5.0), arrival("rush", app.at("17:00"), 40.0))
    assert (app.outcome(LateArrival, "calm").label, app.outcome(LateArrival, "rush").label) == (0.0, 1.0)
    app.send(*(arrival(f"x{n}", app.at("23:00", day=3), 0.0) for n in range(20)))  # a day, and a day of lateness, later
    assert app.outcome(LateArrival, "lost").state == "unlabelled"
