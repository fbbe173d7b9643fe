"""How worn is a machine's tool? A number to predict, from sensors: calendar days, lifetimes, quantiles, decay, records in records.

Try it: ``samestream example machines``.
"""

from datetime import datetime

from samestream.monitors import Monitors, drift, parity, quality, silence
from samestream.schemas import (
    Event,
    Features,
    Field,
    Model,
    Nested,
    OnDemand,
    Record,
    Table,
    event_time,
    field,
    key,
    label,
    nested,
    when,
)
from samestream.trainers import gradient_boosting

PLANT = "Europe/Berlin"  # shifts and days are those of the plant


class Spindle(Record):
    """What turns the tool."""

    speed: Field[float] = field(unit="rpm", low=0, high=24_000)
    load: Field[float] = field(unit="%", low=0, high=150)
    temperature: Field[float | None] = field(unit="C", low=-20, high=120)


class Reading(Event, topic="plant.readings", lateness="5m", partitions=2):
    """What the sensors of a machine say, every ten minutes of work."""

    machine_id: Field[int] = key()
    spindle: Nested[Spindle] = nested(doc="as the drive reports it")
    vibration: Field[float] = field(unit="mm/s", low=0, high=50)
    at: Field[datetime] = event_time()


class Tool(Table, topic="plant.tools", partitions=1):
    """The tool that a machine holds; a new record when it is changed."""

    machine_id: Field[int] = key()
    grade: Field[str] = field(doc="of the coating")
    fitted_at: Field[datetime] = event_time()


class Check(Event, topic="plant.checks", lateness="5m", partitions=2):
    """Somebody wants to know how worn a tool is, without stopping the machine."""

    check_id: Field[int] = key()
    machine_id: Field[int] = field()
    ambient: Field[float] = field(unit="C")
    at: Field[datetime] = event_time()


class Measurement(Event, topic="plant.measurements", lateness="1h", partitions=2):
    """The wear of the tool, measured once the machine stands still."""

    check_id: Field[int] = key()
    wear: Field[float] = field(unit="um", low=0)
    at: Field[datetime] = event_time()


class MachineNow(Features, by=Reading.machine_id):
    """How a machine runs."""

    vibration_p95_1d = Reading.vibration.quantile(0.95, over="1d")
    vibration_spread = Reading.vibration.variance(over=("2h", "1d")).described(unit="mm2/s2", low=0)
    recent_vibration = Reading.vibration.decayed_mean("3h", over="1d")
    recent_load = Reading.spindle.load.decayed_mean("3h", over="1d")
    temperature_1h = Reading.spindle.temperature.mean(over="1h")
    readings_today = Reading.count(every="1d", zone=PLANT)
    greatest_load_this_week = Reading.spindle.load.max(every="1w", zone=PLANT)


class MachineLife(Features, by=Reading.machine_id):
    """What a machine has done since it was installed."""

    work = (Reading.spindle.speed * Reading.spindle.load).sum(over="lifetime")
    readings = Reading.count(over="lifetime")
    calmest = Reading.vibration.min(over="lifetime")


class Asked(OnDemand, on=Check):
    """What only the request tells."""

    heat = MachineNow.temperature_1h - Check.ambient
    shift = when(Check.at.hour(PLANT) < 6).then("night").when(Check.at.hour(PLANT) < 14).then("early").otherwise("late")


class ToolWear(Model, on=Check, trainer=gradient_boosting(every="1d", history="30d", max_iter=80)):
    """The wear that a measurement would find, in micrometres."""

    now = MachineNow
    asked = Asked
    mean_work = MachineLife.work / MachineLife.readings
    over_calmest = MachineNow.recent_vibration - MachineLife.calmest
    grade = Tool.grade
    wear = label(Measurement.wear, by=Measurement.check_id, within="8h")


class ToolWearHealth(Monitors, of=ToolWear, alarms="1/week"):
    """Is the model healthy?"""

    features = parity(), drift(window="1d"), quality(), silence(longer_than="12h")
    scores = drift(window="1d")
