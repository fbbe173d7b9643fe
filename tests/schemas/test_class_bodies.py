"""What may stand in the body of a declared class: what means nothing there, or would hide something, is refused word for word."""

from datetime import date, datetime
from types import new_class
from typing import Any

import pytest

from samestream.schemas import (
    Event,
    Features,
    Field,
    Model,
    OnDemand,
    Record,
    Table,
    event_time,
    field,
    key,
    label,
    when,
)
from samestream.schemas.errors import DeclarationError
from samestream.trainers import linear

TRAINER = linear(every="1d", history="30d")


class Ride(Event, topic="rides"):
    ride: Field[str] = key()
    city: Field[str] = field()
    fare: Field[float] = field()
    tags: Field[list[str]] = field()
    at: Field[datetime] = event_time()


class End(Event, topic="ends"):
    ride: Field[str] = key()
    late: Field[bool] = field()
    at: Field[datetime] = event_time()


class CityNow(Features, by=Ride.city):
    fare_1h = Ride.fare.mean(over="1h")


class City(Table, topic="cities"):
    city: Field[str] = key()
    people: Field[int] = field()


MEAN = Ride.fare.mean(over="1h")
LATE = label(End.late, by=End.ride, within="1h")
EVENT_KEPT = (
    "Expected: none of about, ahead_us, alignment_us, columns, fields, key_field, lateness_us, members, time_field, timed, "
    "topic, topic_options\nHint: choose another name."
)


def declare(kind: type[Any], body: dict[str, Any], types: dict[str, Any] | None = None, **options: Any) -> type[Any]:
    return new_class("Made", (kind,), options, lambda space: space.update(body, __annotations__=types or {}))


def event(body: dict[str, Any], types: dict[str, Any], **options: Any) -> type[Any]:
    body = {"ride": key(), "at": event_time(), **body}
    return declare(Event, body, {"ride": Field[str], "at": Field[datetime], **types}, **{"topic": "made", **options})


def view(**body: Any) -> type[Any]:
    return declare(Features, body, by=Ride.city)


def model(**body: Any) -> type[Any]:
    return declare(Model, {"late": LATE, **body}, on=Ride, trainer=TRAINER)


STRAY = "this attribute means nothing here\n"
OWN = "Hint: what is for yourself begins with an underscore: _{}."
VIEW = "Expected: a feature: an expression of aggregates\n"

REFUSED: list[tuple[Any, str]] = [
    (lambda: view(mean=MEAN, limit=15), f"Made.limit: {STRAY}Found: 15\n{VIEW}{OWN.format('limit')}"),
    (
        lambda: view(mean=MEAN, city=when(Ride.fare > 1)),  # type: ignore[arg-type]
        f"Made.city: {STRAY}Found: <samestream.schemas.conditional.First object\n{VIEW}"
        "Hint: finish it: when(...).then(...).otherwise(...).",
    ),
    (
        lambda: view(mean=MEAN, most=Ride.fare.max),
        f"Made.most: {STRAY}Found: <bound method Aggregable.max of Ride.fare>\n{VIEW}Hint: it is a method: call it, .max(...).",
    ),
    (
        lambda: model(fare=Ride.fare, city="Rome"),
        f"Made.city: {STRAY}Found: 'Rome'\nExpected: an input (an expression, a view, a table) or the label\n{OWN.format('city')}",
    ),
    (
        lambda: declare(OnDemand, {"fare": Ride.fare, "n": 5}, on=Ride),
        f"Made.n: {STRAY}Found: 5\nExpected: a feature: an expression of fields of Ride and other features\n{OWN.format('n')}",
    ),
    (
        lambda: model(city=CityNow, city_fare_1h=Ride.fare),
        "Made.city_fare_1h: two inputs have one name\nFound: CityNow.fare_1h and Ride.fare\n"
        "Expected: a name for each: of several windows ..._1h, of a view ..._<feature>\nHint: rename one of the two.",
    ),
    (
        lambda: view(event=MEAN),
        "Made.event: this name is kept\nFound: event\nExpected: none of about, by, event, features, of, several\n"
        "Hint: choose another name.",
    ),
    (
        lambda: declare(OnDemand, {"on": Ride.fare}, on=Ride),
        "Made.on: this name is kept\nFound: on\nExpected: none of about, features, on\nHint: choose another name.",
    ),
    (
        lambda: event({"fields": field()}, {"fields": Field[str]}),
        f"Made.fields: this name is kept\nFound: fields\n{EVENT_KEPT}",
    ),
    (
        lambda: declare(Record, {"members": field()}, {"members": Field[str]}),
        "Made.members: this name is kept\nFound: members\nExpected: none of about, members\nHint: choose another name.",
    ),
    (
        lambda: view(größe=MEAN),
        "Made.größe: a name is not written in ASCII\nFound: größe\nExpected: letters a to z, digits and underscores\n"
        "Hint: Avro knows no others.",
    ),
    (
        lambda: declare(Ride, {}, topic="others"),
        "Made: a declared class is not derived from another\nFound: class Made(Ride)\nExpected: class Made(Event)\n"
        "Hint: declare it anew; fields that several events have can stand in a Record.",
    ),
    (
        lambda: declare(City, {}, topic="others"),
        "Made: a declared class is not derived from another\nFound: class Made(City)\nExpected: class Made(Table)\n"
        "Hint: declare it anew; fields that several events have can stand in a Record.",
    ),
    (
        lambda: declare(CityNow, {"most": MEAN}, by=Ride.city),
        "Made: a declared class is not derived from another\nFound: class Made(CityNow)\nExpected: class Made(Features)\n"
        "Hint: declare it anew; fields that several events have can stand in a Record.",
    ),
    (
        lambda: event({}, {"fare": float}),
        "Made.fare: a field is annotated as one\nFound: float\nExpected: Field[...], or Nested[...] for a record\n"
        "Hint: fare: Field[float] = field().",
    ),
    (
        lambda: declare(Features, {"mean": MEAN}, by=Ride.tags),
        "Made: a list or a map names no entity\nFound: Ride.tags (list)\nExpected: a number, condition, time or text\n"
        "Hint: keep what names the entity in a field of its own.",
    ),
    (
        lambda: CityNow.of("Rome"),  # type: ignore[arg-type]
        "CityNow.of: the keys do not fit the view\nFound: 'Rome'\nExpected: Ride.city (string)\n"
        "Hint: pass one trigger field for each key of the view, in its order.",
    ),
    (
        lambda: event({"at": event_time()}, {"at": Field[date]}),
        "Made.at: the event time must be a datetime, never null\nFound: date\nExpected: Field[datetime]\n"
        "Hint: at: Field[datetime] = event_time().",
    ),
    (
        lambda: event({}, {}, topic=".."),
        "Made: an event needs a Kafka topic\nFound: '..'\n"
        "Expected: letters, digits, dots, dashes, underscores, at most 180\n"
        'Hint: class Made(Event, topic="app.mades").',
    ),
    (
        lambda: event({}, {}, min_insync=3, replication=2),
        "Made: a topic could never be written to\nFound: min_insync=3, replication=2\n"
        "Expected: at most as many copies in sync as there are\nHint: min_insync=2 goes with replication=3.",
    ),
    (
        lambda: event({}, {}, retention="0s"),
        "Made.retention: a topic keeps nothing\nFound: 0 microseconds\nExpected: 1ms or more\n"
        'Hint: retention="90d"; leave it out to keep events for ever.',
    ),
]


@pytest.mark.parametrize(("made", "message"), REFUSED)
def test_it_is_refused(made: Any, message: str) -> None:
    with pytest.raises(DeclarationError) as told:
        made()
    # an object's address is not part of the message
    lines = [
        line.split(" object at ")[0] + " object" if " object at " in line else line
        for line in str(told.value).split("\n")
    ]
    assert "\n".join(lines) == message


def test_names_with_an_underscore_are_for_oneself() -> None:
    assert list(view(mean=MEAN, _limit=15).features) == ["mean"]
    assert list(model(fare=Ride.fare, _limit=15).inputs) == ["fare"]


def test_a_field_may_be_called_count() -> None:
    made = event({"count": field()}, {"count": Field[int]})
    assert made.count.mean(over="1h").event is made
