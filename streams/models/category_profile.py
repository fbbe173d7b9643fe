"""A mergeable profile of one column of texts: how often each occurs. What `profile.NumericProfile` is for numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.schemas.errors import SchemaError
from samestream.streams.models.profile import Bools, Ints, NumericProfile

RULE = "categories/1"
CAP = 1024
GROUPS = 16


@dataclass(eq=False)
class CategoryProfile:
    """Counts of texts over any set of rows.

    n : rows seen, nulls included. counts : rows by text; exact until more than 1024 different ones were seen, then only the
    1024 most frequent are kept at every step, and `others` counts the rows of those let go.
    """

    n: int = 0
    nulls: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    others: int = 0

    @classmethod
    def of(cls, values: npt.NDArray[Any], valid: Bools | None = None) -> CategoryProfile:
        """Profile of one array of texts; `valid` is all true where omitted."""
        present = values if valid is None else values[valid]
        profile = cls(len(values), len(values) - len(present))
        profile._add(Counter(present.tolist()))
        return profile

    @property
    def null_share(self) -> float:
        """Share of rows without a text; 0 of no rows."""
        return self.nulls / self.n if self.n else 0.0

    def merge(self, other: CategoryProfile) -> CategoryProfile:
        """The profile of the rows of both; neither is changed."""
        counts = dict(self.counts)
        merged = replace(self, n=self.n + other.n, nulls=self.nulls + other.nulls, counts=counts)
        merged.others += other.others
        merged._add(other.counts)
        return merged

    def groups(self) -> tuple[str, ...]:
        """The texts that are compared one by one: the 16 most frequent; of equally frequent ones the least."""
        return tuple(sorted(self.counts, key=lambda text: (-self.counts[text], text))[:GROUPS])

    def bins(self, groups: tuple[str, ...]) -> Ints:
        """Counts of a reference's `groups`, of all other texts, and of rows without one. The sum is `n`."""
        inside = [self.counts.get(text, 0) for text in groups]
        return np.array([*inside, self.n - self.nulls - sum(inside), self.nulls], np.int64)

    def to_json(self) -> dict[str, Any]:
        """Everything, as values that JSON holds exactly."""
        counts = dict(sorted(self.counts.items()))
        return {"rule": RULE, "n": self.n, "nulls": self.nulls, "others": self.others, "counts": counts}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> CategoryProfile:
        """The profile that `to_json` wrote. Raises SchemaError if it was counted by another rule."""
        if stored.get("rule") != RULE:
            raise SchemaError(
                "A profile counted by another rule cannot be compared.",
                where="profile",
                found=stored.get("rule"),
                expected=RULE,
                hint="train the model again with this version of samestream.",
            )
        return cls(stored["n"], stored["nulls"], dict(stored["counts"]), stored["others"])

    def _add(self, more: Mapping[str, int]) -> None:
        for text, count in more.items():
            self.counts[text] = self.counts.get(text, 0) + count
        if len(self.counts) > CAP:
            kept = sorted(self.counts.items(), key=lambda part: (-part[1], part[0]))[:CAP]
            self.others += sum(self.counts.values()) - sum(count for _, count in kept)
            self.counts = dict(kept)


Profile = NumericProfile | CategoryProfile


def profile_of(values: npt.NDArray[Any], valid: Bools | None = None) -> Profile:
    """The profile of a column, by what it holds: texts, or numbers and conditions."""
    if values.dtype == object:
        return CategoryProfile.of(values, valid)
    return NumericProfile.of(values.astype(np.float64), valid)


def read_profile(stored: Mapping[str, Any]) -> Profile:
    """The profile that `to_json` of either kind wrote. Raises SchemaError if it was counted by a rule unknown here."""
    return CategoryProfile.from_json(stored) if stored.get("rule") == RULE else NumericProfile.from_json(stored)


def merged(first: Profile, second: Profile) -> Profile:
    """The profile of the rows of the first followed by those of the second; the second alone if they are of two kinds."""
    if isinstance(first, NumericProfile) and isinstance(second, NumericProfile):
        return first.merge(second)
    if isinstance(first, CategoryProfile) and isinstance(second, CategoryProfile):
        return first.merge(second)
    return second


def side_by_side(reference: Profile, current: Profile) -> tuple[Ints, Ints] | None:
    """Counts of both over the groups of the reference; None where one holds numbers and the other texts."""
    if isinstance(reference, NumericProfile) and isinstance(current, NumericProfile):
        edges = reference.edges()
        return reference.bins(edges), current.bins(edges)
    if isinstance(reference, CategoryProfile) and isinstance(current, CategoryProfile):
        groups = reference.groups()
        return reference.bins(groups), current.bins(groups)
    return None
