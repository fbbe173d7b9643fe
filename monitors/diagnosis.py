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
            rank=2,
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
            rank=3,
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
    """A mistake of units: what is reported is ``true * scale + offset``."""

    says: str
    scale: float
    offset: float = 0.0

    @property
    def plain(self) -> bool:
        """True where the factor is so large (8 or more, either way) that weather and seasons do not look like it."""
        return self.offset == 0 and not 1 / 8 < self.scale < 8


UNITS = (
    Unit("x60: minutes reported as seconds", 60.0),
    Unit("x1/60: seconds reported as minutes, or minutes as hours", 1 / 60),
    Unit("x3600: hours reported as seconds", 3600.0),
    Unit("x1/3600: seconds reported as hours", 1 / 3600),
    Unit("x24: days reported as hours", 24.0),
    Unit("x1/24: hours reported as days", 1 / 24),
    Unit("x1000: thousands reported as ones", 1000.0),
    Unit("x1/1000: ones reported as thousands", 1 / 1000),
    Unit("x100: units reported as hundredths, or shares as per cent", 100.0),
    Unit("x1/100: hundredths reported as units, or per cent as shares", 1 / 100),
    Unit("x1.609344: miles reported as kilometres", 1.609344),
    Unit("x0.621371: kilometres reported as miles", 0.621371),
    Unit("x2.54: inches reported as centimetres", 2.54),
    Unit("x1/2.54: centimetres reported as inches", 1 / 2.54),
    Unit("x25.4: inches reported as millimetres", 25.4),
    Unit("x1/25.4: millimetres reported as inches", 1 / 25.4),
    Unit("x0.3048: feet reported as metres", 0.3048),
    Unit("x3.28084: metres reported as feet", 3.28084),
    Unit("x0.453592: pounds reported as kilograms", 0.45359237),
    Unit("x2.204623: kilograms reported as pounds", 2.2046226),
    Unit("x9/5 + 32: degrees Celsius reported as Fahrenheit", 9 / 5, 32.0),
    Unit("(x - 32) x 5/9: degrees Fahrenheit reported as Celsius", 5 / 9, -160 / 9),
)


def command(incident: str) -> str:
    """The one command line that shows an incident again, with its numbers before and after."""
    return f"samestream monitor MODULE {incident}"


def instant(at_us: int) -> str:
    """An instant as people read it: ISO 8601 in UTC, to the second. at_us : microseconds UTC."""
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
