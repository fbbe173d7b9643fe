"""A small app with reference tables: looked up directly, by another table, as the key of a view, and inside an aggregate."""

from __future__ import annotations

from datetime import datetime

from samestream.schemas import Event, Features, Field, Model, OnDemand, Table, event_time, field, key, label
from samestream.trainers import gradient_boosting


class Plane(Table, topic="fleet.planes", partitions=1):
    """A plane; its time is when it became known."""

    tail: Field[str] = key()
    year: Field[int | None] = field()
    maker: Field[str | None] = field()
    weight: Field[float] = field()


class Maker(Table, topic="fleet.makers", partitions=2):
    """Who makes planes, valid from a declared time."""

    name: Field[str] = key()
    is_big: Field[bool] = field()
    since: Field[datetime] = event_time()


class Flight(Event, topic="fleet.flights", lateness="10m", partitions=2):
    """A flight, which is also the request."""

    flight: Field[int] = key()
    tail: Field[str | None] = field()
    delay: Field[float | None] = field()
    at: Field[datetime] = event_time()


class MakerNow(Features, by=Plane.of(Flight.tail).maker):
    """How a maker's planes are doing: an entity chain."""

    mean_delay_1h = Flight.delay.mean(over="1h")
    heavy_1h = Flight.count(over="1h", where=Plane.of(Flight.tail).weight > 50)
    mean_year_1h = Plane.of(Flight.tail).year.mean(over="1h")


class Request(OnDemand, on=Flight):
    """Computed at the request."""

    excess = MakerNow.mean_delay_1h - Flight.delay


class LongDelay(Model, on=Flight, trainer=gradient_boosting(every="1d", history="30d")):
    """Whatever can be looked up."""

    year = Plane.year
    weight = Plane.weight.fill(-1)
    by_big_maker = Maker.of(Plane.of(Flight.tail).maker).is_big
    maker_delay = MakerNow.mean_delay_1h
    heavy = MakerNow.heavy_1h
    mean_year = MakerNow.mean_year_1h
    excess = Request.excess
    long = label(Flight.delay > 15, by=Flight.flight, within="1d")
