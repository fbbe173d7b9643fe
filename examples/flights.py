"""Will a flight that is boarding arrive more than 15 minutes late?"""

from datetime import datetime

from samestream.monitors import Monitors, calibration, drift, parity, performance, quality, silence
from samestream.schemas import Event, Features, Field, Model, event_time, field, key, label
from samestream.trainers import gradient_boosting


class Boarding(Event, topic="flights.boarding", lateness="10m"):
    """A flight about to leave, 30 minutes before its scheduled departure."""

    flight_id: Field[str] = key()
    carrier: Field[str] = field()
    origin: Field[str] = field()
    dest: Field[str] = field()
    tailnum: Field[str | None] = field()
    distance: Field[float] = field(unit="mi", low=0)
    scheduled_dep_hour: Field[int] = field(unit="h", low=0, high=23, doc="local hour of the scheduled departure")
    at: Field[datetime] = event_time()


class Departure(Event, topic="flights.departures", lateness="10m"):
    """A flight has left its gate, known seconds later."""

    flight_id: Field[str] = key()
    carrier: Field[str] = field()
    origin: Field[str] = field()
    dep_delay: Field[float] = field(unit="min", low=-120, high=2000)
    dep_delay_hours: Field[float] = field(unit="h", low=-2, high=34)
    at: Field[datetime] = event_time()


class Arrival(Event, topic="flights.arrivals", lateness="1d"):
    """A flight has reached its destination; cancelled and diverted flights have none."""

    flight_id: Field[str] = key()
    carrier: Field[str] = field()
    origin: Field[str] = field()
    dest: Field[str] = field()
    arr_delay: Field[float] = field(unit="min")
    air_time: Field[float | None] = field(unit="min", low=0)
    at: Field[datetime] = event_time()


class Weather(Event, topic="flights.weather", lateness="2h", alignment="2h"):
    """The weather at an airport, stamped at the observed hour and published about 50 minutes later."""

    origin: Field[str] = key()
    temp: Field[float | None] = field(unit="F", low=-40, high=130)
    dewp: Field[float | None] = field(unit="F", low=-60, high=100)
    humid: Field[float | None] = field(unit="%", low=0, high=100)
    wind_speed: Field[float | None] = field(unit="mph", low=0, high=200)
    precip: Field[float | None] = field(unit="in", low=0)
    visib: Field[float | None] = field(unit="mi", low=0, high=10)
    at: Field[datetime] = event_time()


class CarrierNow(Features, by=Departure.carrier):
    """How a carrier is doing."""

    mean_delay_3h = Departure.dep_delay.mean(over="3h")
    departures_1h = Departure.count(over="1h")


class OriginNow(Features, by=Departure.origin):
    """How an airport is doing."""

    mean_delay_1h = Departure.dep_delay.mean(over="1h")
    mean_delay_hours_24h = Departure.dep_delay_hours.mean(over="24h")
    late_share_1h = Departure.count(over="1h", where=Departure.dep_delay > 15) / Departure.count(over="1h")


class OriginWeather(Features, by=Weather.origin):
    """The weather at an airport; its values are not whole numbers, so the order of summation shows."""

    mean_temp_6h = Weather.temp.mean(over="6h")
    max_wind_6h = Weather.wind_speed.max(over="6h")
    least_visibility_6h = Weather.visib.min(over="6h")
    rain_6h = Weather.precip.sum(over="6h")


class LateArrival(Model, on=Boarding, trainer=gradient_boosting(every="1d", history="30d")):
    """P(arr_delay > 15 min), scored once per boarding, before departure."""

    carrier_delay = CarrierNow.mean_delay_3h
    carrier_departures = CarrierNow.departures_1h
    origin_delay = OriginNow.mean_delay_1h
    origin_delay_day = OriginNow.mean_delay_hours_24h
    excess_delay = OriginNow.mean_delay_1h - CarrierNow.mean_delay_3h
    late_share = OriginNow.late_share_1h.fill(0)
    temp = OriginWeather.mean_temp_6h
    wind = OriginWeather.max_wind_6h
    visibility = OriginWeather.least_visibility_6h
    rain = OriginWeather.rain_6h
    distance = Boarding.distance
    hour = Boarding.scheduled_dep_hour
    late = label(Arrival.arr_delay > 15, by=Arrival.flight_id, within="1d")


class LateArrivalHealth(Monitors, of=LateArrival, alarms="1/week", zone="America/New_York"):
    """Is the model healthy, and if not, what kind of thing is wrong?"""

    features = parity(), drift(window="1d"), quality(), silence(longer_than="2h")
    scores = drift(window="1d"), performance(), calibration()
