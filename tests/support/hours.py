"""A small app with one feature over each kind of window, around the night in which clocks go back."""

from __future__ import annotations

from datetime import UTC, datetime

import harness

from samestream.schemas import Event, Features, Field, Model, event_time, field, key, label
from samestream.schemas.app import app_of
from samestream.streams.plan import Plan
from samestream.streams.transport import Outgoing
from samestream.trainers import gradient_boosting

ZONE = "Europe/Berlin"
MIDNIGHT_US = round(datetime(2024, 10, 26, 22, tzinfo=UTC).timestamp()) * 1_000_000  # Sunday begins; it has 25 hours
MINUTE_US = 60_000_000


class Tick(Event, topic="hours.ticks", lateness="3h", partitions=1):
    """Something of one key happens."""

    number: Field[int] = key()
    who: Field[str] = field()
    magnitude: Field[float] = field()
    at: Field[datetime] = event_time()


class Now(Features, by=Tick.who):
    """Every kind of window."""

    sliding = Tick.magnitude.sum(over="1h")
    ever = Tick.magnitude.mean(over="lifetime")
    hourly = Tick.count(every="1h")
    daily = Tick.count(every="1d", zone=ZONE)
    weekly = Tick.magnitude.max(every="1w", zone=ZONE)
    monthly = Tick.magnitude.min(every="1mo", zone=ZONE)
    together = Tick.count(session="30m")
    faded = Tick.magnitude.decayed_sum("1h", over="1d")


class Big(Model, on=Tick, trainer=gradient_boosting(every="1d", history="7d")):
    """What each window says."""

    now = Now
    big = label(Tick.magnitude > 1, by=Tick.number, within="1h")


HOURS = app_of([Tick, Now, Big], name="hours")


def hour_log(plan: Plan) -> list[Outgoing]:
    """Ticks of two keys over the clock change and into the next week and month, one of them late."""
    minutes = [-61, -20, -1, 0, 29, 59, 60, 61, 120, 179, 180, 200, 1_499, 1_500, 1_501, 1_560, 6 * 1_440, 9 * 1_440]
    found = []
    for number, minute in enumerate(minutes):
        at = MIDNIGHT_US + minute * MINUTE_US
        known_us = at + (15 * MINUTE_US if minute == 59 else 0)
        who, size = "ab"[number % 3 == 2], 1.5 * number
        found.append(harness.encode(plan, "Tick", number, known_us, number=number, who=who, magnitude=size, at=at))
    return sorted(found, key=lambda record: record.known_us)
