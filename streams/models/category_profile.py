"""A mergeable profile of one column of texts: how often each occurs. What `profile.NumericProfile` is for numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from samestream.schemas.errors import SchemaError
from samestream.streams.models import profile_kernel as kernel
from samestream.streams.models.profile import (
    Bools,
    Bytes,
    Ints,
    NumericProfile,
    cardinality,
    read_registers,
    written,
)
from samestream.streams.models.profile_kernel import REGISTERS

RULE = "categories/2"
CAP = 1024
GROUPS = 16


@dataclass(eq=False)
class CategoryProfile:
    """Counts of texts over any set of rows.

    n : rows seen, nulls included. counts : rows by text; exact until more than 1024 different ones were seen, then only the
    1024 most frequent are kept at every step, and `others` counts the rows of those let go.
    registers : of HyperLogLog, from which `distinct` is estimated, shape (1024,).
    """

    n: int = 0
    nulls: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    others: int = 0
    registers: Bytes = field(default_factory=lambda: np.zeros(REGISTERS, np.uint8))

    @classmethod
    def of(cls, values: npt.NDArray[Any] | pa.Array[Any], valid: Bools | None = None) -> CategoryProfile:
        """Profile of one array of texts, of objects or Arrow's; `valid` is all true where omitted."""
        texts = values if isinstance(values, pa.Array) else pa.array(values, pa.large_string(), from_pandas=True)
        if valid is not None:
            texts = texts.filter(pa.array(valid))
        present = texts.drop_null()
        counted = pa.RecordBatch.from_struct_array(pc.value_counts(present))
        profile = cls(len(values), len(values) - len(present), registers=_registers_of(counted["values"]))
        if len(counted) > CAP:
            kept: Any = pc.select_k_unstable(counted, CAP, [("counts", "descending"), ("values", "ascending")])  # type: ignore[call-overload]
            counted = counted.take(kept)
        profile.counts = {row["values"]: row["counts"] for row in counted.to_pylist()}
        profile.others = len(present) - sum(profile.counts.values())
        return profile

    @property
    def distinct(self) -> float:
        """How many different texts there were: exact where none was let go, else within about 3 per cent."""
        there = self.n - self.nulls
        return min(cardinality(self.registers), float(there)) if self.others else float(len(self.counts))

    @property
    def null_share(self) -> float:
        """Share of rows without a text; 0 of no rows."""
        return self.nulls / self.n if self.n else 0.0

    def merge(self, other: CategoryProfile) -> CategoryProfile:
        """The profile of the rows of both; neither is changed."""
        counts = dict(self.counts)
        merged = replace(self, n=self.n + other.n, nulls=self.nulls + other.nulls, counts=counts)
        merged.others += other.others
        merged.registers = np.maximum(self.registers, other.registers)
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
        told = {"rule": RULE, "n": self.n, "nulls": self.nulls, "others": self.others, "counts": counts}
        return {**told, "registers": written(self.registers)}

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
        counts = dict(stored["counts"])
        return cls(stored["n"], stored["nulls"], counts, stored["others"], read_registers(stored["registers"]))

    def _add(self, more: Mapping[str, int]) -> None:
        for text, count in more.items():
            self.counts[text] = self.counts.get(text, 0) + count
        if len(self.counts) > CAP:
            kept = sorted(self.counts.items(), key=lambda part: (-part[1], part[0]))[:CAP]
            self.others += sum(self.counts.values()) - sum(count for _, count in kept)
            self.counts = dict(kept)


def _registers_of(texts: Any) -> Bytes:
    registers = np.zeros(REGISTERS, np.uint8)
    if len(texts):
        _, bounds, data = texts.cast(pa.large_string()).buffers()
        # copies: numba would compile a second version for read-only arrays
        held = np.frombuffer(data, np.uint8).copy() if data is not None and data.size else np.zeros(1, np.uint8)
        kernel.register_texts(held, np.frombuffer(bounds, np.int64)[: len(texts) + 1].copy(), registers)
    return registers


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
