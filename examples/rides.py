"""Will a rider tip generously? Other keys, types and shapes than the flights: whole-number keys, conditions, last values."""

from datetime import datetime

from samestream.monitors import Monitors, drift, parity, quality, silence
from samestream.schemas import Event, Features, Field, Model, event_time, field, key, label
from samestream.trainers import gradient_boosting


class RideRequest(Event, topic="rides.requests", lateness="5m", partitions=3):
    """Somebody wants a ride."""

    request_id: Field[int] = key()
    zone_id: Field[int] = field()
    passengers: Field[int] = field(low=1, high=6)
    member: Field[bool] = field()
    requested_at: Field[datetime] = event_time()


class RideEnd(Event, topic="rides.ends", lateness="1h", partitions=3):
    """A ride is over and paid; a cash tip is not on record."""

    request_id: Field[int] = key()
    zone_id: Field[int] = field()
    fare: Field[float] = field(unit="usd", low=0)
    tip: Field[float | None] = field(unit="usd", low=0)
    minutes: Field[float] = field(unit="min", low=0)
    ended_at: Field[datetime] = event_time()


class ZoneStatus(Event, topic="rides.zones", lateness="5m", partitions=1):
    """How busy a zone is."""

    zone_id: Field[int] = key()
    vehicles: Field[int] = field(low=0)
    surge: Field[float] = field(low=1, high=5)
    noted_at: Field[datetime] = event_time()


class ZoneTips(Features, by=RideEnd.zone_id):
    """How riders of a zone have tipped."""

    mean_tip_share_24h = (RideEnd.tip / RideEnd.fare).mean(over="24h")
    tip_spread_6h = RideEnd.tip.std(over="6h")
    generous_share_24h = RideEnd.count(over="24h", where=RideEnd.tip > 0.15 * RideEnd.fare) / RideEnd.tip.count(
        over="24h"
    )
    fares_1h = RideEnd.fare.sum(over="1h")


class ZoneNow(Features, by=ZoneStatus.zone_id):
    """What the zone last reported."""

    surge = ZoneStatus.surge.last(over="2h")
    vehicles = ZoneStatus.vehicles.last(over="2h")
    least_vehicles_6h = ZoneStatus.vehicles.min(over="6h")


class ZoneDemand(Features, by=RideRequest.zone_id):
    """How many rides are asked for; the triggers are events of this view, too."""

    requests_30m = RideRequest.count(over="30m", tile="1m")
    most_passengers_30m = RideRequest.passengers.max(over="30m")


class GenerousTip(Model, on=RideRequest, trainer=gradient_boosting(every="1d", history="7d", max_iter=60)):
    """P(tip > 15 % of the fare), at the request."""

    tip_share = ZoneTips.mean_tip_share_24h
    tip_spread = ZoneTips.tip_spread_6h
    generous_share = ZoneTips.generous_share_24h
    fares = ZoneTips.of(RideRequest.zone_id).fares_1h
    surge = ZoneNow.surge
    free_per_request = ZoneNow.vehicles / ZoneDemand.requests_30m
    least_vehicles = ZoneNow.least_vehicles_6h
    crowd = ZoneDemand.most_passengers_30m.fill(0)
    is_member = RideRequest.member
    is_group = RideRequest.passengers > 2
    generous = label(RideEnd.tip > 0.15 * RideEnd.fare, by=RideEnd.request_id, within="2h")


class GenerousTipHealth(Monitors, of=GenerousTip, alarms="1/week"):
    """The same monitors as any model's."""

    features = parity(), drift(window="6h"), quality(), silence(longer_than="3h")
    scores = drift(window="6h")
