"""A whole app as a user writes it: a type checker has nothing to say."""

from datetime import datetime
from typing import assert_type

from samestream.monitors import Monitors, drift, parity, quality, silence
from samestream.schemas import Event, Expr, Features, Field, Model, OnDemand, Table, event_time, field, key, label
from samestream.trainers import gradient_boosting


class Boarding(Event, topic="boardings", lateness="10m"):
    flight: Field[str] = key()
    carrier: Field[str] = field()
    tail: Field[str] = field()
    distance: Field[float] = field(unit="mi", low=0)
    at: Field[datetime] = event_time()


class Departure(Event, topic="departures", partitions=2, retention="90d"):
    carrier: Field[str] = key()
    flight: Field[str] = field()
    delay: Field[float | None] = field()
    at: Field[datetime] = event_time()


class Plane(Table, topic="planes"):
    tail: Field[str] = key()
    year: Field[int | None] = field()


class CarrierNow(Features, by=Departure.carrier):
    mean_delay_3h = Departure.delay.mean(over="3h")
    late_share_1h = (Departure.delay > 15).share(over="1h", where=Departure.delay.is_null() | (Departure.delay < 900))
    counts = Departure.count(over=("1h", "1d"))
    today = Departure.count(every="1d", zone="America/New_York")
    burst = Departure.delay.last_n(3, session="30m")


class Excess(OnDemand, on=Boarding):
    excess = CarrierNow.mean_delay_3h - 5


class Late(Model, on=Boarding, trainer=gradient_boosting(every="1d", history="30d")):
    mean_delay = CarrierNow.mean_delay_3h.fill(0)
    per_mile = CarrierNow.mean_delay_3h / Boarding.distance
    excess = Excess.excess
    hour_count = CarrierNow.counts["1h"]
    age = Boarding.at.year() - Plane.of(Boarding.tail).year
    late = label(Departure.delay > 15, by=Departure.flight, within="1d")


class Health(Monitors, of=Late, alarms="1/week"):
    features = parity(), drift(window="1h"), quality(), silence(longer_than="2h")
    scores = drift(window="1h")


boarding = Boarding(flight="a", carrier="B6", tail="N1", distance=3.5, at=datetime.fromisoformat("2024-01-01T00:00Z"))
assert_type(boarding.flight, str)
assert_type(boarding.at, datetime)
assert_type(CarrierNow.mean_delay_3h, Expr[float])
assert_type(CarrierNow.counts["1h"], Expr[int])
assert_type(CarrierNow.today, Expr[int])
