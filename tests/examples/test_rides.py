"""The rides example, tested as its author would."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from samestream.examples import rides
from samestream.examples.rides import GenerousTip, RideEnd, RideRequest, ZoneStatus
from samestream.testing import AppTest


@pytest.fixture
def app() -> Iterator[AppTest]:
    with AppTest(rides, day="2026-05-01") as app:
        yield app


def request(app: AppTest, number: int, clock: str, zone: int = 7, passengers: int = 1) -> RideRequest:
    return RideRequest(request_id=number, zone_id=zone, passengers=passengers, member=False, requested_at=app.at(clock))


def end(app: AppTest, number: int, clock: str, fare: float, tip: float | None) -> RideEnd:
    return RideEnd(request_id=number, zone_id=7, fare=fare, tip=tip, minutes=12.0, ended_at=app.at(clock))


def test_tips_of_the_zone_leave_out_what_was_paid_in_cash(app: AppTest) -> None:
    app.send(
        end(app, 1, "08:00", fare=20.0, tip=4.0),
        end(app, 2, "09:00", fare=10.0, tip=1.0),
        end(app, 3, "09:30", fare=30.0, tip=None),
        request(app, 4, "10:00"),
    )
    app.expect(
        GenerousTip, 4, tip_share=(0.2 + 0.1) / 2, generous_share=0.5, fares=40.0, tip_spread=1.5, is_group=False
    )


def test_the_latest_state_of_the_zone_and_the_demand_before_the_request(app: AppTest) -> None:
    app.send(
        ZoneStatus(zone_id=7, vehicles=9, surge=1.0, noted_at=app.at("09:00")),
        ZoneStatus(zone_id=7, vehicles=4, surge=1.5, noted_at=app.at("09:50")),
        request(app, 1, "09:45", passengers=4),
        request(app, 2, "09:55", zone=8),
        request(app, 3, "10:00", passengers=3),
    )
    app.expect(GenerousTip, 3, surge=1.5, free_per_request=4.0, least_vehicles=4, crowd=4, is_group=True)
    app.expect(GenerousTip, 2, surge=None, crowd=0)


def test_a_cash_tip_is_no_label(app: AppTest) -> None:
    app.give_model(GenerousTip, 0.4)
    app.send(request(app, 1, "10:00"), request(app, 2, "10:01"))
    app.send(end(app, 1, "10:20", fare=20.0, tip=None), end(app, 2, "10:30", fare=20.0, tip=5.0))
    assert [(one.entity, one.label) for one in app.outcomes(GenerousTip)] == [(2, 1.0)]
    assert app.prediction(GenerousTip, 1).score == 0.4
