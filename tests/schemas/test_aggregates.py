"""How aggregates are declared: over several windows in one line, and what is refused, word for word."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from samestream.schemas import Event, Features, Field, event_time, field, key
from samestream.schemas.errors import DeclarationError


class Ride(Event, topic="rides"):
    ride: Field[str] = key()
    fare: Field[float] = field()
    night: Field[bool] = field()
    at: Field[datetime] = event_time()


def test_several_windows_in_one_line_are_a_feature_each() -> None:
    class Now(Features, by=Ride.ride):
        before = Ride.count(over="1h")
        fare = Ride.fare.mean(over=("1h", "3h"), where=Ride.night)

    assert list(Now.features) == ["before", "fare_1h", "fare_3h"]
    assert Now.fare["3h"] is Now.features["fare_3h"]
    assert repr(Now.features["fare_3h"].expression) == "Ride.fare.mean(over='3h', where=Ride.night)"
    bound = Now.of(Ride.ride).fare["1h"]
    assert repr(bound) == "Now.fare_1h"
    with pytest.raises(DeclarationError) as refused:
        Now.fare["2h"]
    assert str(refused.value) == (
        "[Now.fare_1h, Now.fare_3h]: no such window\nFound: '2h'\nExpected: '1h' or '3h'\n"
        "Hint: write the length as it was declared."
    )


def test_what_is_said_of_several_windows_is_said_of_each() -> None:
    class Now(Features, by=Ride.ride):
        fare = Ride.fare.mean(over=("1h", "3h")).described(unit="EUR", low=0)

    assert [(one.about.unit, one.about.low) for one in Now.features.values()] == [("EUR", 0), ("EUR", 0)]


def test_a_name_is_taken_once() -> None:
    with pytest.raises(DeclarationError) as refused:

        class Now(Features, by=Ride.ride):
            fare_1h = Ride.fare.max(over="1h")
            fare = Ride.fare.mean(over=("1h", "3h"))

    assert str(refused.value) == (
        "Now.fare_1h: two features have one name\n"
        "Found: a feature over several windows takes the names of all of them\n"
        "Expected: fare_1h declared once\nHint: rename one of the two."
    )


WRONG: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: Ride.ride.mean(over="1h"),  # type: ignore[misc]
        "Ride.ride: `mean` does not take text\nFound: string\nExpected: whole numbers or floats\n"
        "Hint: count() and last() take any kind; or aggregate a condition, such as count(where=...).",
    ),
    (
        lambda: Ride.fare.share(over="1h"),  # type: ignore[misc]
        "Ride.fare: `share` does not take floats\nFound: float\nExpected: conditions\n"
        "Hint: compare it with something first: (Departure.dep_delay > 15).share(over='1h').",
    ),
    (
        lambda: Ride.fare.distinct(over="1h"),  # type: ignore[misc]
        "Ride.fare: `distinct` does not take floats\nFound: float\n"
        "Expected: whole numbers or conditions or times or text\n"
        "Hint: floats have no text that all engines agree on: round first, (x * 100).round().cast(int).",
    ),
    (
        lambda: Ride.fare.quantile(95, over="1h"),
        "quantile(Ride.fare): `quantile` needs a share of the values\nFound: 95\nExpected: a number from 0 to 1\n"
        'Hint: write quantile(0.95, over="1h") for the value that 95 % do not exceed.',
    ),
    (
        lambda: Ride.fare.last_n(5000, over="1h"),
        "last_n: `last_n` needs a number of values\nFound: 5000\nExpected: a whole number from 1 to 1,000\n"
        "Hint: write last_n(10).",
    ),
    (
        lambda: Ride.fare.decayed_sum("1us", over="1h"),
        "decayed_sum(Ride.fare): a half-life is too short\nFound: '1us'\nExpected: 1ms or more\n"
        'Hint: write decayed_sum("1h", over="1d").',
    ),
    (
        lambda: Ride.count(ovr="1h"),  # type: ignore[call-overload]
        "count: unknown option of an aggregate\nFound: ovr\nExpected: over, every, zone, session, tile, where\n"
        'Hint: write for example over="1h".',
    ),
    (
        lambda: Ride.fare.mean(over=("1h", "1h")),
        "mean(Ride.fare): several windows need names of their own\nFound: ('1h', '1h')\n"
        "Expected: different lengths, each a whole number and a unit\n"
        'Hint: write over=("1h", "3h", "24h"): the features are then named ..._1h, ..._3h and ..._24h.',
    ),
    (
        lambda: Ride.fare.mean(over="1h", where=Ride.fare),  # type: ignore[call-overload]
        "mean(Ride.fare): `where` must be a condition\nFound: Ride.fare\nExpected: true or false of each event\n"
        "Hint: compare a field: where=Departure.dep_delay > 15.",
    ),
]


@pytest.mark.parametrize(("declare", "message"), WRONG)
def test_a_wrong_aggregate_says_what_is_wrong(declare: Callable[[], Any], message: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        declare()
    assert str(refused.value) == message
