"""A small app for tests: one trigger, and a model of each kind: a probability, a number, a class. Texts are inputs."""

from datetime import datetime

from samestream.monitors import Monitors, drift, parity
from samestream.schemas import Event, Features, Field, Model, event_time, field, key, label, when
from samestream.trainers import linear


class Parcel(Event, topic="kinds.parcels", lateness="1m", partitions=2):
    parcel: Field[str] = key()
    carrier: Field[str] = field()
    service: Field[str | None] = field()
    weight: Field[float | None] = field(low=0)
    at: Field[datetime] = event_time()


class Delivery(Event, topic="kinds.deliveries", lateness="10m", partitions=2):
    parcel: Field[str] = key()
    carrier: Field[str] = field()
    hours: Field[float] = field()
    place: Field[str | None] = field()
    at: Field[datetime] = event_time()


class CarrierNow(Features, by=Delivery.carrier):
    mean_hours_1d = Delivery.hours.mean(over="1d")


class Slow(Model, on=Parcel, trainer=linear(every="1d", history="30d")):
    carrier = Parcel.carrier
    service = Parcel.service
    weight = Parcel.weight
    hours = CarrierNow.mean_hours_1d
    slow = label(Delivery.hours > 12, by=Delivery.parcel, within="12h")


class Hours(Model, on=Parcel, trainer=linear(every="1d", history="30d")):
    carrier = Parcel.carrier
    service = Parcel.service
    weight = Parcel.weight
    hours = CarrierNow.mean_hours_1d
    taken = label(Delivery.hours, by=Delivery.parcel, within="12h")


class Place(Model, on=Parcel, trainer=linear(every="1d", history="30d")):
    carrier = Parcel.carrier
    service = Parcel.service
    weight = Parcel.weight
    where = label(when(Delivery.hours > 16).then("late").otherwise(Delivery.place), by=Delivery.parcel, within="12h")


class SlowHealth(Monitors, of=Slow, alarms="1/week"):
    features = parity(), drift(window="6h")
    scores = drift(window="6h")


class HoursHealth(Monitors, of=Hours, alarms="1/week"):
    features = parity(), drift(window="6h")
    scores = drift(window="6h")


class PlaceHealth(Monitors, of=Place, alarms="1/week"):
    features = parity(), drift(window="6h")
    scores = drift(window="6h")
