"""An app with one source, which comes every two minutes, and a monitor that waits for nothing else."""

from datetime import datetime

from samestream.monitors import Monitors, silence
from samestream.schemas import Event, Features, Field, Model, event_time, field, key, label
from samestream.trainers import gradient_boosting


class Reading(Event, topic="lone.readings", lateness="1m"):
    sensor: Field[str] = key()
    level: Field[float] = field()
    at: Field[datetime] = event_time()


class Failure(Event, topic="lone.failures", lateness="1m"):
    sensor: Field[str] = key()
    code: Field[int] = field()
    at: Field[datetime] = event_time()


class SensorNow(Features, by=Reading.sensor):
    level_10m = Reading.level.mean(over="10m")


class Fails(Model, on=Reading, trainer=gradient_boosting(every="1d", history="7d")):
    level = SensorNow.level_10m
    failed = label(Failure.code > 0, by=Failure.sensor, within="1h")


class FailsHealth(Monitors, of=Fails, alarms="1/week"):
    features = silence(longer_than="2m")
