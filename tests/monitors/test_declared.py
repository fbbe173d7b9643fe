"""Declaring monitors: what is collected, and every wrong declaration's message."""

import dataclasses
import subprocess
import sys
from datetime import datetime
from typing import Any

import pytest

from samestream.monitors import Monitors, drift, parity, quality, silence
from samestream.monitors.declared import Declared, Drift, Filters, Parity, Performance, Quality, Silence
from samestream.monitors.families import families
from samestream.schemas import Event, Field, Model, Trainer, event_time, field, key, label
from samestream.schemas.errors import DeclarationError


class Take(Event, topic="rides.takes", lateness="10m"):
    bike: Field[str] = key()
    charge: Field[float] = field()
    at: Field[datetime] = event_time()


class Return(Event, topic="rides.returns", lateness="10m"):
    bike: Field[str] = key()
    minutes: Field[float] = field()
    at: Field[datetime] = event_time()


class LongRide(Model, on=Take, trainer=Trainer("boosted_trees", 86_400_000_000, 864_000_000_000)):
    charge = Take.charge
    long = label(Return.minutes > 30, by=Return.bike, within="1d")


def test_a_declaration_is_a_frozen_value() -> None:
    class Health(Monitors, of=LongRide, alarms="1/week"):
        features = parity(), drift(window="1d"), quality(), silence(longer_than="2h")
        scores = drift(window="1d")

    assert Health.__monitors__ == Declared(
        of=LongRide,
        alarms_per_week=1.0,
        features=(Parity(), Drift("1d"), Quality(), Silence("2h")),
        scores=(Drift("1d"),),
    )
    assert Health.__monitors__.name == "LongRide"
    assert Drift("1d").window_us == 86_400_000_000
    assert Silence("2h").longer_than_us == 7_200_000_000
    with pytest.raises(dataclasses.FrozenInstanceError):
        Health.__monitors__.alarms_per_week = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("alarms", "per_week"), [("1/week", 1.0), ("2/day", 14.0), ("0.5/week", 0.5), ("1/hour", 168.0), ("3/month", 0.7)]
)
def test_alarms_are_counted_by_the_week(alarms: str, per_week: float) -> None:
    class Health(Monitors, of=LongRide, alarms=alarms):
        scores = drift(window="1d")

    assert Health.__monitors__.alarms_per_week == pytest.approx(per_week)


def declare(body: dict[str, Any], **options: Any) -> None:
    type("Health", (Monitors,), body, **{"of": LongRide, **options})


@pytest.mark.parametrize(
    ("body", "options", "where", "hint"),
    [
        ({"scores": Drift("1d")}, {"of": "LongRide"}, "Health: ", "class Health(Monitors, of="),
        ({"scores": Drift("1d")}, {"of": Take}, "Health: ", "class Health(Monitors, of="),
        ({"scores": Drift("1d")}, {"every": "1d"}, "Health: ", "class Health(Monitors, of="),
        ({"scores": Drift("1d")}, {"alarms": "often"}, "Health, alarms: ", "budget of zero"),
        ({"scores": Drift("1d")}, {"alarms": "0/week"}, "Health, alarms: ", "budget of zero"),
        ({}, {}, "Health: ", "say what to watch"),
        ({"scores": Drift("1d")}, {"lasting": "a while"}, "Health: the length in lasting", 'write for example "2h"'),
        ({"scores": Drift("1d")}, {"lasting": "0m"}, "Health: the length in lasting", 'write for example "2h"'),
        ({"scores": Drift("1d")}, {"min_rows": -1}, "Health, min_rows: ", "min_rows=50"),
        ({"scores": Drift("1d")}, {"min_rows": "50"}, "Health, min_rows: ", "min_rows=50"),
        (
            {"scores": Drift("1d")},
            {"zone": "America/NewYork"},
            "Health, zone: no such",
            "did you mean 'America/New_York'",
        ),
        ({"labels": Drift("1d")}, {}, "Health.labels: ", "scores = drift"),
        ({"features": "drift"}, {}, "Health.features: ", "write the calls"),
        ({"features": drift}, {}, "Health.features: ", "write the calls"),
        ({"scores": Parity()}, {}, "Health.scores: ", "write the calls"),
        ({"features": Drift("a day")}, {}, "Health.features: ", 'write for example "2h"'),
        ({"features": Silence("0h")}, {}, "Health.features: ", 'write for example "2h"'),
        ({"features": (Drift("1d"), Drift("1h"))}, {}, "Health.features: ", "keep the one"),
        ({"features": Drift("1d", "yesterday")}, {}, "Health.features: there is no such", 'reference="matched"'),
        ({"features": Drift("5h", "matched")}, {}, "Health.features: a window that does not divide", 'drift("1h"'),
        ({"features": Drift("2d", "matched")}, {}, "Health.features: a window that does not divide", 'drift("1h"'),
        ({"scores": Drift("1h", "matched")}, {}, "Health.scores: only of features", "leave `reference` out"),
    ],
)
def test_a_wrong_declaration_names_class_and_field(
    body: dict[str, Any], options: dict[str, Any], where: str, hint: str
) -> None:
    with pytest.raises(DeclarationError) as raised:
        declare(body, **options)
    assert str(raised.value).startswith(where)
    assert hint in str(raised.value).split("Hint: ")[1]


EVERYTHING: dict[str, Any] = {
    "features": (Drift("1d"), Quality(), Silence("2h")),
    "scores": (Drift("1d"), Performance()),
}


def test_a_budget_is_divided_among_what_is_watched_and_each_part_says_when_it_may_speak() -> None:
    def divided(body: dict[str, Any], alarms: str) -> list[tuple[str, float, int]]:
        found = families(type("Health", (Monitors,), body, of=LongRide, alarms=alarms).__monitors__)
        return [(one.name, one.per_week, one.needed_days) for one in found]

    # the table in docs/monitors.md
    assert divided(EVERYTHING, "1/week") == [
        ("sources", 0.5, 18),
        ("features", 0.25, 34),
        ("scores", 0.25, 69),
        ("outcomes", 0.25, 34),
    ]
    assert divided({"features": (Drift("1d"), Quality()), "scores": (Drift("1d"),)}, "1/week") == [
        ("sources", 0.5, 18),
        ("features", 0.5, 17),
        ("scores", 0.5, 34),
    ]
    assert divided({"scores": (Drift("7d"),)}, "0.5/week") == [("scores", 0.5, 14)]  # 1.5 windows, and whole ones
    assert divided({"features": (Parity(),)}, "0.001/month") == []  # parity needs none


def test_a_budget_that_nothing_could_keep_within_a_year_is_refused_and_the_least_is_named() -> None:
    with pytest.raises(DeclarationError) as raised:
        declare(EVERYTHING, alarms="0.001/month")
    assert raised.value.line == (
        "Health, alarms: with so small a budget nothing could be told for years. Found: '0.001/month': sources after 74,999"
        " good days, features after 149,999 good days, scores after 299,999 good days, outcomes after 149,999 good days."
        " Expected: at most 365 good days of history until everything that is watched may speak."
        ' Hint: alarms="0.2/week" is about the least for this; what is not watched leaves its part to the rest.'
    )
    with pytest.raises(DeclarationError, match=r"Found: '0\.5/month': scores after 599 good days\n"):
        declare(EVERYTHING, alarms="0.5/month")
    for alarms in ("0.2/week", "1/month"):
        declare(EVERYTHING, alarms=alarms)
    declare({"features": (Drift("1d"),)}, alarms="0.5/month")  # all of it for one family


def test_what_an_incident_must_come_to_is_declared() -> None:
    class Health(Monitors, of=LongRide, lasting="30m", min_rows=50):
        scores = drift("1d")

    assert Health.__monitors__.filters == Filters("30m", 50)
    assert Health.__monitors__.filters.lasting_us == 30 * 60_000_000


def test_a_reference_is_declared_and_shown() -> None:
    assert drift("1h", reference="matched") == Drift("1h", "matched")
    assert repr(drift("1h", reference="matched")) == "Drift(window='1h', reference='matched')"
    assert repr(drift("1h")) == "Drift(window='1h')"
    declare({"features": drift("6h", reference="matched")})
    declare({"features": drift("5h", reference="trailing")})


def test_the_whole_message() -> None:
    with pytest.raises(DeclarationError) as raised:
        declare({"features": (Parity(), Drift("1 fortnight"))})
    assert str(raised.value) == (
        "Health.features: the length in drift(window=...) was not understood\n"
        "Found: Drift(window='1 fortnight')\n"
        "Expected: a number and a unit, one of us ms s m h d w\n"
        'Hint: write for example "2h" or "1d".'
    )
    assert isinstance(raised.value.__cause__, DeclarationError)


def test_declaring_loads_no_numpy() -> None:
    code = "import sys, samestream.monitors; print(sorted({'numpy', 'scipy', 'pyarrow', 'numba'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
