"""A chain over an event that is not the request, and may come much later than one."""

from __future__ import annotations

from datetime import datetime

from samestream.schemas import Event, Features, Field, Model, Table, event_time, field, key, label
from samestream.trainers import gradient_boosting


class Plane(Table, topic="ground.planes", partitions=1):
    """A plane."""

    tail: Field[str] = key()
    maker: Field[str | None] = field()
    year: Field[int | None] = field()


class Boarding(Event, topic="ground.boardings", lateness="10m", partitions=1):
    """The request."""

    flight: Field[int] = key()
    tail: Field[str | None] = field()
    at: Field[datetime] = event_time()


class Departure(Event, topic="ground.departures", lateness="6h", partitions=1):
    """What comes ground."""

    flight: Field[int] = key()
    tail: Field[str | None] = field()
    delay: Field[float | None] = field()
    at: Field[datetime] = event_time()


class MakerNow(Features, by=Plane.of(Departure.tail).maker):
    """A chain."""

    mean_delay_1d = Departure.delay.mean(over="1d")
    mean_year_1d = Plane.of(Departure.tail).year.mean(over="1d")


class LongDelay(Model, on=Boarding, trainer=gradient_boosting(every="1d", history="30d")):
    """Chains."""

    maker_delay = MakerNow.mean_delay_1d
    maker_year = MakerNow.mean_year_1d
    year = Plane.year
    long = label(Departure.delay > 15, by=Departure.flight, within="1d")
