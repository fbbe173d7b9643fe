"""What a comparison of served vectors found, feature by feature: how often, on which side nothing was, and by how much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from samestream.streams.sql.difference import Difference

WORST = 5
_COUNTED_KEYS = 1000


@dataclass
class FeatureFigures:
    """How one feature differed. compared : vectors. null_served, null_expected : the one side was null, the other not.

    greatest_absolute, greatest_relative : of two numbers; relative to the expected one, where that is not zero.
    """

    compared: int = 0
    mismatched: int = 0
    null_served: int = 0
    null_expected: int = 0
    greatest_absolute: float = 0.0
    greatest_relative: float = 0.0

    @property
    def rate(self) -> float:
        """Share of the vectors compared that differ."""
        return self.mismatched / self.compared if self.compared else 0.0

    def note(self, served: Any, expected: Any) -> None:
        """Count two values that differ."""
        self.mismatched += 1
        self.null_served += served is None
        self.null_expected += expected is None
        if isinstance(served, int | float) and isinstance(expected, int | float):
            apart = abs(float(served) - float(expected))
            self.greatest_absolute = max(self.greatest_absolute, apart)
            if expected:
                self.greatest_relative = max(self.greatest_relative, apart / abs(float(expected)))

    def add(self, found: Difference) -> None:
        """Count a column that was compared in SQL."""
        self.compared += found.compared
        self.mismatched += found.mismatched
        self.null_served += found.null_served
        self.null_expected += found.null_expected
        self.greatest_absolute = max(self.greatest_absolute, found.greatest)
        self.greatest_relative = max(self.greatest_relative, found.greatest_relative)

    def to_json(self) -> dict[str, float]:
        """As JSON."""
        return asdict(self) | {"rate": round(self.rate, 9)}


@dataclass
class PathFigures:
    """What one path of comparison found for one model: vectors, those that differ, and per feature.

    missing, doubled : vectors that should have been served and were not; that were served once more, or never asked for.
    newest_known_us : of the vectors compared. examples : of vectors that differ, since they were last taken.
    """

    compared: int = 0
    mismatched: int = 0
    missing: int = 0
    doubled: int = 0
    other_definition: int = 0
    newest_known_us: int = 0
    broken_known_us: int = 0
    features: dict[str, FeatureFigures] = field(default_factory=dict)
    keys: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)

    def feature(self, name: str) -> FeatureFigures:
        """The figures of one feature."""
        return self.features.setdefault(name, FeatureFigures())

    def worst_keys(self) -> list[tuple[str, int]]:
        """The keys with the most vectors that differ."""
        return sorted(self.keys.items(), key=lambda item: (-item[1], item[0]))[:WORST]

    def blame(self, key: str, count: int = 1) -> None:
        """Count vectors of a key that differ; of many keys only the worst are kept."""
        self.keys[key] += count
        if len(self.keys) > 2 * _COUNTED_KEYS:
            self.keys = Counter(dict(self.keys.most_common(_COUNTED_KEYS)))

    @property
    def by_feature(self) -> dict[str, int]:
        """Vectors that differ, per feature."""
        return {name: part.mismatched for name, part in self.features.items() if part.mismatched}

    def to_json(self) -> dict[str, Any]:
        """As JSON, without what only this process needs."""
        features = {name: part.to_json() for name, part in self.features.items() if part.compared or part.mismatched}
        told = (
            "compared",
            "mismatched",
            "missing",
            "doubled",
            "other_definition",
            "newest_known_us",
            "broken_known_us",
        )
        return {name: getattr(self, name) for name in told} | {
            "features": features,
            "worst_keys": [list(pair) for pair in self.worst_keys()],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> PathFigures:
        """What `to_json` wrote."""
        found = cls()
        for name, value in stored.items():
            if isinstance(value, int):
                setattr(found, name, value)
        for name, part in stored["features"].items():
            found.features[name] = FeatureFigures(**{key: value for key, value in part.items() if key != "rate"})
        found.keys = Counter(dict(stored["worst_keys"]))
        return found


def worst_first(features: Mapping[str, FeatureFigures]) -> Sequence[str]:
    """Names of the features that differ, the most frequent first."""
    differing = [name for name, part in features.items() if part.mismatched]
    return sorted(differing, key=lambda name: (-features[name].mismatched, name))
