"""Values in declarations that no column, schema or window could hold: each is refused, with the whole message."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from samestream.schemas import Event, Features, Field, event_time, field, key
from samestream.schemas.errors import DeclarationError
from samestream.trainers import linear


class Ride(Event, topic="rides", lateness="1m"):
    ride: Field[str] = key()
    city: Field[str] = field()
    fare: Field[float] = field()
    km: Field[int] = field()
    fees: Field[dict[str, float]] = field()
    at: Field[datetime] = event_time()


class CityNow(Features, by=Ride.city):
    fare_1h = Ride.fare.mean(over="1h")


SAID = 'Hint: such as doc="Minutes late", owner="ops", tags=("delay",), unit="min", low=-60, high=1500, pii=False.'
ABOVE = "mean(Ride.fare.mean(over='1h')): an aggregate is over fields, not over other aggregates or features\n"
FIELDS_ONLY = (
    "Expected: fields of one event\n"
    "Hint: aggregate the field itself; what is computed from several aggregates is an expression of them."
)
LENGTH = "mean(Ride.fare): a duration is too long\nFound: '{}'\nExpected: at most 100 years\nHint: use a shorter one."

REFUSED: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: Ride.km > 2**63,
        "a constant: a whole number does not fit 64 bits\nFound: 9223372036854775808\nExpected: from -2**63 to 2**63 - 1\n"
        "Hint: write it as a float: it is no exact count.",
    ),
    (
        lambda: Ride.km > 10**5000,  # Python itself refuses to write so many digits
        "a constant: a whole number does not fit 64 bits\nFound: 16611 bits\nExpected: from -2**63 to 2**63 - 1\n"
        "Hint: write it as a float: it is no exact count.",
    ),
    (
        lambda: Ride.fare + Decimal("1e400"),
        "Decimal('1E+400'): a Decimal does not fit a float\nFound: 401 digits\nExpected: at most 1.8e308 in size\n"
        'Hint: write float("inf") where infinity is meant.',
    ),
    (
        lambda: Ride.fare + Decimal("sNaN"),
        "Decimal('sNaN'): this constant cannot stand in an expression\nFound: Decimal\n"
        "Expected: a bool, int, float, Decimal, str, UUID, date, datetime or a symbol of a StrEnum\n"
        "Hint: use is_null() and fill() for missing values.",
    ),
    (
        lambda: Ride.at > datetime(2026, 1, 1),
        "datetime.datetime(2026, 1, 1, 0, 0): a datetime needs a time zone\nFound: no time zone\nExpected: an instant\n"
        "Hint: add tzinfo=UTC, or the zone that it is meant in.",
    ),
    (
        lambda: Ride.fees.get("\ud800"),
        "'\\ud800': this text cannot be written as UTF-8\nFound: half of a surrogate pair at 0\n"
        "Expected: whole characters\nHint: write the whole character.",
    ),
    (
        lambda: Ride.km.cast([]),  # type: ignore[call-overload]
        "Ride.km.cast([]): there is no cast to this\nFound: []\nExpected: int, float, str or bool\n"
        "Hint: times are declared as fields, Field[datetime]: none is made of text.",
    ),
    (lambda: Ride.fare.mean(over="9" * 400 + "d"), LENGTH.format("9" * 400 + "d")),
    (lambda: Ride.fare.mean(over=("1h", "200000w")), LENGTH.format("200000w")),
    (
        lambda: Ride.fare.mean(over=timedelta(hours=-1)),
        "mean(Ride.fare): a duration cannot be negative\nFound: datetime.timedelta(days=-1, seconds=82800)\n"
        "Expected: 0 or more\nHint: drop the sign.",
    ),
    (
        lambda: Ride.fare.mean(over="1h").mean(over="1h"),
        f"{ABOVE}Found: Ride.fare.mean(over='1h')\n{FIELDS_ONLY}",
    ),
    (
        lambda: Ride.fare.mean(over="1h", where=Ride.count(over="1h") > 5),
        "mean(Ride.fare): an aggregate is over fields, not over other aggregates or features\n"
        f"Found: Ride.count(over='1h')\n{FIELDS_ONLY}",
    ),
    (
        lambda: CityNow.fare_1h.max(over="1d"),
        "max(CityNow.fare_1h): an aggregate is over fields, not over other aggregates or features\n"
        f"Found: CityNow.fare_1h\n{FIELDS_ONLY}",
    ),
    (
        lambda: Ride.fare.mean(over="1h").described(low=5, high=1),
        "Ride.fare.mean(over='1h'): what is said of it means nothing\nFound: low=5\n"
        f"Expected: low: at most high=1\n{SAID}",
    ),
    (
        lambda: Ride.fare.described(low=float("nan"), unit=5, tags=7),  # type: ignore[arg-type]
        "Ride.fare: what is said of it means nothing\nFound: unit=5, tags=7, low=nan\n"
        f"Expected: unit: text; tags: text, or several texts; low: a finite int or float\n{SAID}",
    ),
    (
        lambda: Ride.city.described(low=0),
        "Ride.city: what is said of it means nothing\nFound: low=0\n"
        f"Expected: low: nothing, for a range is of numbers\n{SAID}",
    ),
    (
        lambda: linear(every="1d", history="0d"),
        "linear(history=...): a trainer needs a length of time\nFound: '0d'\nExpected: more than nothing\n"
        'Hint: every="1d", history="30d".',
    ),
    (
        lambda: event_time(earliest=datetime(2013, 1, 1)),
        "event_time(): an event time lies between two instants\nFound: earliest=datetime.datetime(2013, 1, 1, 0, 0), "
        "latest=datetime.datetime(2200, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)\n"
        "Expected: datetimes with a time zone, the earlier one first\n"
        "Hint: event_time(earliest=datetime(2013, 1, 1, tzinfo=UTC)).",
    ),
]


@pytest.mark.parametrize(("declare", "message"), REFUSED)
def test_it_is_refused(declare: Callable[[], Any], message: str) -> None:
    with pytest.raises(DeclarationError) as told:
        declare()
    assert str(told.value) == message


def test_the_range_of_a_field_is_checked_with_its_class() -> None:
    with pytest.raises(DeclarationError, match=r"Wrong\.fare: what is said of it means nothing"):

        class Wrong(Event, topic="wrong"):
            ride: Field[str] = key()
            fare: Field[float] = field(low=10, high=1)
            at: Field[datetime] = event_time()


def test_several_windows_may_be_timedeltas() -> None:
    several = Ride.fare.mean(over=(timedelta(hours=1), "3h"))
    assert list(several) == ["1h", "3h"]
    assert several["1h"].meaning() == Ride.fare.mean(over="1h").meaning()


def test_infinite_decimals_are_infinite_floats() -> None:
    assert (Ride.fare < Decimal("inf")).meaning() == (Ride.fare < float("inf")).meaning()
    assert event_time(latest=datetime(2100, 1, 1, tzinfo=UTC)).high > 0
