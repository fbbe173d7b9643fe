"""What an incident means: the written table of verdicts, the table of units, and the command that shows it again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

PARITY_BROKEN = "definition_or_code"
"""The verdict when what was served is not what the log says."""


@dataclass(frozen=True)
class Verdict:
    """One row of the table.

    place : where the fault shows first: source, features, scores, or online against offline.
    rank : of two verdicts about one cause the higher rank is told.
    weight : severity at full extent, 0 to 1.
    """

    name: str
    place: str
    meaning: str
    advice: str
    rank: int
    weight: float


VERDICTS = {
    verdict.name: verdict
    for verdict in (
        Verdict(
            "missing_source",
            "source",
            "The source has said nothing for longer than it ever did.",
            "Ask the team that owns the source whether it stopped; features fall back to null or to old values.",
            rank=1,
            weight=1.0,
        ),
        Verdict(
            "late_data",
            "source",
            "Events become known much later after they happened than they used to.",
            "Look for a backlog between the application and the topic; windows miss what has not arrived.",
            rank=3,
            weight=0.8,
        ),
        Verdict(
            "bad_values",
            "source",
            "Values lie outside their declared range more often than before.",
            "Look at the examples; correct the source, or the declared range if it is too narrow.",
            rank=1,
            weight=0.7,
        ),
        Verdict(
            "frozen",
            "source",
            "The source repeats one value as it never did before.",
            "A sensor or a join upstream is stuck; features built from it no longer say anything.",
            rank=2,
            weight=0.9,
        ),
        Verdict(
            "unit",
            "source",
            "The values fit what they used to be once divided by the factor of a unit.",
            "Someone changed the unit upstream; have it changed back, or convert it in the declaration.",
            rank=2,
            weight=1.0,
        ),
        Verdict(
            "missing_partition",
            "source",
            "One partition of the source is silent while the others speak.",
            "Look at the producer or the connector of that partition; its keys fall back to null or to old values.",
            rank=2,
            weight=0.9,
        ),
        Verdict(
            "missing_group",
            "source",
            "One group of keys is silent while the others speak.",
            "Ask who sends for that group whether it stopped; its keys fall back to null or to old values.",
            rank=1,
            weight=0.8,
        ),
        Verdict(
            "nulls",
            "source",
            "Values are missing far more often than they used to be.",
            "Ask who fills the field; features skip what is null.",
            rank=2,
            weight=0.8,
        ),
        Verdict(
            "zeroed",
            "source",
            "Zeros replace a share of the values.",
            "Look for a default that stands in for a value that could not be read.",
            rank=2,
            weight=0.9,
        ),
        Verdict(
            "sentinel",
            "source",
            "One value that hardly ever occurred now holds a share of all.",
            "Find out what the value stands for, such as -999 for unknown, and send null instead.",
            rank=2,
            weight=0.9,
        ),
        Verdict(
            "inverted",
            "source",
            "True comes as often as false did, and false as true.",
            "Look for a condition that was turned round upstream, or for a field that now names the opposite.",
            rank=2,
            weight=1.0,
        ),
        Verdict(
            "shifted",
            "source",
            "Instants lie further from their events' own times than they did.",
            "Look for another time zone, a default, or another event's time in the field.",
            rank=2,
            weight=0.9,
        ),
        Verdict(
            "swapped",
            "source",
            "Two fields hold each other's values.",
            "Compare the writer's schema with the declaration; positions or names were exchanged.",
            rank=3,
            weight=1.0,
        ),
        Verdict(
            "respelled",
            "source",
            "Texts that were common are spelled otherwise, or under another name.",
            "Have the spelling changed back, or map the new one; keys and categories no longer match.",
            rank=2,
            weight=0.9,
        ),
        Verdict(
            "new_category",
            "source",
            "Texts appear that were never seen, and none of the known ones is gone.",
            "See whether they are meant; a model has learned nothing about them.",
            rank=1,
            weight=0.5,
        ),
        Verdict(
            "duplicated",
            "source",
            "Events arrive more than once.",
            "Look for a producer that sends again without idempotence; counts and sums are too high.",
            rank=3,
            weight=0.9,
        ),
        Verdict(
            "clock",
            "source",
            "Event times are off: by a whole hour, or before they could have happened.",
            "Look for a time zone or a change of the clock at the application; windows hold the wrong events.",
            rank=3,
            weight=0.9,
        ),
        Verdict(
            "unreadable",
            "source",
            "Events are rejected far more often than they used to be.",
            "Look at the dead-letter topic for the reasons; a schema may have changed.",
            rank=2,
            weight=1.0,
        ),
        Verdict(
            "definition_or_code",
            "online against offline",
            "What was served is not what the log gives for the same instant.",
            "Compare versions and fingerprints of both sides; retrain nothing until they agree.",
            rank=1,
            weight=1.0,
        ),
        Verdict(
            "model_swapped",
            "scores",
            "A prediction is not what the announced artifact says of the served vector.",
            "Compare the artifact that the scorer holds with the digest in the models topic; deploy the version again.",
            rank=1,
            weight=1.0,
        ),
        Verdict(
            "world_changed",
            "features",
            "The distribution moved, and no source shows a fault.",
            "See whether the change is real and will last; if so, train on newer history.",
            rank=1,
            weight=0.5,
        ),
        Verdict(
            "model_aged",
            "labels",
            "Predictions became worse, while what was served is what the log says and no source shows a fault.",
            "Train on newer history; if that does not help, what the model predicts depends on something it does not see.",
            rank=1,
            weight=0.7,
        ),
    )
}


@dataclass(frozen=True)
class Unit:
    """A mistake of units: what is reported is ``true * scale + offset``. of : what is measured; "" for anything."""

    says: str
    scale: float
    of: str
    offset: float = 0.0

    @property
    def plain(self) -> bool:
        """True where the factor is so large (8 or more, either way) that weather and seasons do not look like it."""
        return self.offset == 0 and not 1 / 8 < self.scale < 8


UNITS = (
    Unit("x60: minutes reported as seconds", 60.0, "time"),
    Unit("x1/60: seconds reported as minutes, or minutes as hours", 1 / 60, "time"),
    Unit("x3600: hours reported as seconds", 3600.0, "time"),
    Unit("x1/3600: seconds reported as hours", 1 / 3600, "time"),
    Unit("x24: days reported as hours", 24.0, "time"),
    Unit("x1/24: hours reported as days", 1 / 24, "time"),
    Unit("x1000: thousands reported as ones", 1000.0, ""),
    Unit("x1/1000: ones reported as thousands", 1 / 1000, ""),
    Unit("x100: units reported as hundredths, or shares as per cent", 100.0, ""),
    Unit("x1/100: hundredths reported as units, or per cent as shares", 1 / 100, ""),
    Unit("x1.609344: miles reported as kilometres", 1.609344, "length"),
    Unit("x0.621371: kilometres reported as miles", 0.621371, "length"),
    Unit("x2.54: inches reported as centimetres", 2.54, "length"),
    Unit("x1/2.54: centimetres reported as inches", 1 / 2.54, "length"),
    Unit("x25.4: inches reported as millimetres", 25.4, "length"),
    Unit("x1/25.4: millimetres reported as inches", 1 / 25.4, "length"),
    Unit("x0.3048: feet reported as metres", 0.3048, "length"),
    Unit("x3.28084: metres reported as feet", 3.28084, "length"),
    Unit("x1.609344: miles an hour reported as kilometres an hour", 1.609344, "speed"),
    Unit("x0.44704: miles an hour reported as metres a second", 0.44704, "speed"),
    Unit("x3.6: metres a second reported as kilometres an hour", 3.6, "speed"),
    Unit("x0.453592: pounds reported as kilograms", 0.45359237, "mass"),
    Unit("x2.204623: kilograms reported as pounds", 2.2046226, "mass"),
    Unit("x9/5 + 32: degrees Celsius reported as Fahrenheit", 9 / 5, "temperature", 32.0),
    Unit("(x - 32) x 5/9: degrees Fahrenheit reported as Celsius", 5 / 9, "temperature", -160 / 9),
)

MEASURES = {
    **dict.fromkeys(("us", "ms", "s", "min", "h", "d"), "time"),
    **dict.fromkeys(("mm", "cm", "m", "km", "in", "ft", "yd", "mi"), "length"),
    **dict.fromkeys(("g", "kg", "t", "oz", "lb"), "mass"),
    **dict.fromkeys(("C", "F", "K", "°C", "°F"), "temperature"),
    **dict.fromkeys(("mph", "km/h", "m/s", "kn"), "speed"),
}
"""What a declared unit measures."""


def units_of(declared: str | None) -> tuple[Unit, ...]:
    """The mistakes to look for in a field: those of what it measures, or all plain ones where that is not declared."""
    measured = MEASURES.get(declared or "")
    if measured is None:
        return tuple(unit for unit in UNITS if unit.plain)
    return tuple(unit for unit in UNITS if unit.of in ("", measured))


MODULE = "MODULE"
"""Stands for the module that declares the app: the topic does not know where those who read it keep it."""


def command(incident: str, module: str = MODULE) -> str:
    """The one command line that shows the fault of an incident again, computed from the log."""
    return f"samestream monitor {module} {incident} --again"


def instant(at_us: int) -> str:
    """An instant as people read it: ISO 8601 in UTC, to the second. at_us : microseconds UTC."""
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
