"""The machine example, tested as its author would."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from samestream.examples import machines
from samestream.examples.machines import Check, Reading, Spindle, Tool, ToolWear
from samestream.testing import AppTest


@pytest.fixture
def app() -> Iterator[AppTest]:
    with AppTest(machines, day="2026-03-28", zone="Europe/Berlin") as app:  # the clocks change in the next night
        yield app


def read(app: AppTest, clock: str, vibration: float, *, day: int = 1, temperature: float | None = 40.0) -> Reading:
    spindle = Spindle(speed=10_000.0, load=50.0, temperature=temperature)
    return Reading(machine_id=1, spindle=spindle, vibration=vibration, at=app.at(clock, day=day))


def test_days_are_those_of_the_plant_also_when_clocks_change(app: AppTest) -> None:
    app.send(
        read(app, "23:50", 1.0),
        read(app, "00:10", 1.0, day=2),
        read(app, "01:50", 3.0, day=2),
        read(app, "03:10", 1.0, day=2),  # twenty minutes later
        Check(check_id=1, machine_id=1, ambient=25.0, at=app.at("03:20", day=2)),
    )
    app.expect(
        ToolWear,
        1,
        now_readings_today=3,
        now_temperature_1h=40.0,
        asked_heat=15.0,
        asked_shift="night",
        mean_work=500_000.0,
        now_greatest_load_this_week=50.0,
    )


def test_the_tool_is_that_of_the_instant(app: AppTest) -> None:
    app.send(Tool(machine_id=1, grade="plain", fitted_at=app.at("06:00")), known=app.at("06:00"))
    app.send(Check(check_id=1, machine_id=1, ambient=20.0, at=app.at("08:00")))
    app.send(Tool(machine_id=1, grade="coated", fitted_at=app.at("09:00")), known=app.at("09:00"))
    app.send(Check(check_id=2, machine_id=1, ambient=20.0, at=app.at("10:00")))
    app.expect(ToolWear, 1, grade="plain")
    app.expect(ToolWear, 2, grade="coated")
