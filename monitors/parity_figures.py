"""What a comparison of served vectors found, feature by feature: how often, on which side nothing was, and by how much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from samestream.monitors.diagnosis import instant
from samestream.streams.columns import Int64Array
from samestream.streams.sql.difference import Difference

WORST = 5
TWICE, NEVER, OTHER = "(served twice, or never asked for)", "(never served)", "(key, place or known time)"
"""Stand for a feature where it is the vector or its record that is wrong, and no value."""
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

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> FeatureFigures:
        """What `to_json` wrote."""
        return cls(**{key: value for key, value in stored.items() if key != "rate"})


@dataclass
class Spell:
    """What one path found since vectors began to differ; an incident tells of this, and not of the calm before it.

    began_us : known time of the first vector that differs, microseconds UTC. compared : vectors known from then on.
    examples : of vectors that differ, the first ones, and one of each feature that these do not show.
    """

    began_us: int
    compared: int = 0
    mismatched: int = 0
    missing: int = 0
    doubled: int = 0
    features: dict[str, FeatureFigures] = field(default_factory=dict)
    keys: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Share of the vectors compared since then that differ."""
        return self.mismatched / self.compared if self.compared else 0.0

    def feature(self, name: str) -> FeatureFigures:
        """The figures of one feature."""
        return self.features.setdefault(name, FeatureFigures())

    def count(self, known_us: Int64Array, missing: int = 0) -> None:
        """Count the vectors of one comparison. known_us : of each, shape (n,). missing : how many more there should have been."""
        self.compared += int((known_us >= self.began_us).sum()) + missing
        for part in self.features.values():
            part.compared = self.compared

    def blame(self, key: str) -> None:
        """Count a vector of a key that differs; of many keys only the worst are kept."""
        self.keys[key] += 1
        if len(self.keys) > 2 * _COUNTED_KEYS:
            self.keys = Counter(dict(self.keys.most_common(_COUNTED_KEYS)))

    def show(self, example: dict[str, Any]) -> None:
        """Keep an example, where there are few of them or it shows a feature that no other does."""
        self.examples = with_examples(self.examples, [example])

    def worst_keys(self) -> list[tuple[str, int]]:
        """The keys with the most vectors that differ."""
        return sorted(self.keys.items(), key=lambda item: (-item[1], item[0]))[:WORST]

    def evidence(self) -> dict[str, Any]:
        """What an incident says of it."""
        return {
            "began": instant(self.began_us),
            "since_it_began": {
                "compared": self.compared,
                "mismatched": self.mismatched,
                "rate": round(self.rate, 6),
                "missing": self.missing,
                "served_twice": self.doubled,
            },
            "features": {name: self.features[name].to_json() for name in worst_first(self.features)},
            "worst_keys": [list(pair) for pair in self.worst_keys()],
            "examples": self.examples,
        }

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        plain = ("began_us", "compared", "mismatched", "missing", "doubled", "examples")
        features = {name: part.to_json() for name, part in self.features.items()}
        return {name: getattr(self, name) for name in plain} | {"features": features, "keys": dict(self.keys)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Spell:
        """What `to_json` wrote."""
        features = {name: FeatureFigures.from_json(part) for name, part in stored["features"].items()}
        return cls(**{**stored, "features": features, "keys": Counter(stored["keys"])})


@dataclass
class PathFigures:
    """What one path of comparison found for one model since its definition last changed: vectors, those that differ, by feature.

    missing, doubled : vectors that should have been served and were not; that were served once more, or never asked for.
    newest_known_us : of the vectors compared; broken_known_us : of those that differ. spell : what the open incident tells of.
    """

    compared: int = 0
    mismatched: int = 0
    missing: int = 0
    doubled: int = 0
    other_definition: int = 0
    newest_known_us: int = 0
    broken_known_us: int = 0
    features: dict[str, FeatureFigures] = field(default_factory=dict)
    spell: Spell | None = None

    def feature(self, name: str) -> FeatureFigures:
        """The figures of one feature."""
        return self.features.setdefault(name, FeatureFigures())

    def break_at(self, known_us: int) -> Spell:
        """A vector known at an instant differs: count it, and give the spell that it belongs to."""
        self.mismatched += 1
        self.broken_known_us = max(self.broken_known_us, known_us)
        if self.spell is None:
            self.spell = Spell(known_us)
        self.spell.began_us = min(self.spell.began_us, known_us)
        self.spell.mismatched += 1
        return self.spell

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
            "spell": self.spell.to_json() if self.spell is not None else None,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> PathFigures:
        """What `to_json` wrote."""
        found = cls()
        for name, value in stored.items():
            if isinstance(value, int):
                setattr(found, name, value)
        for name, part in stored["features"].items():
            found.features[name] = FeatureFigures.from_json(part)
        if stored.get("spell"):  # entries of former versions have none
            found.spell = Spell.from_json(stored["spell"])
        return found


def worst_first(features: Mapping[str, FeatureFigures]) -> Sequence[str]:
    """Names of the features that differ, the most frequent first."""
    differing = [name for name, part in features.items() if part.mismatched]
    return sorted(differing, key=lambda name: (-features[name].mismatched, name))


def with_examples(known: Sequence[dict[str, Any]], more: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Examples of vectors that differ and some more: the first of them stay, and each feature has one."""
    found, places = list(known), {tuple(one["trigger"]) for one in known}
    for one in more:
        shown = {name for other in found for name in other["differs"]}
        if tuple(one["trigger"]) not in places and (len(found) < WORST or not set(one["differs"]) <= shown):
            found.append(one)
            places.add(tuple(one["trigger"]))
    return found
