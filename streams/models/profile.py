"""A mergeable profile of one numeric feature: what monitors compare and what a training set leaves behind.

**Bucket rule.** A finite value that is not zero is ``sign * m * 2**e`` with ``0.5 <= m < 1`` (``frexp``). Its octave is
`e`, clipped to ``-31 .. 64``; the octave is cut into 16 equal parts, so a bucket is at most 1/16 of its lower edge wide.
Buckets are numbered by value: 0 .. 1535 negative (greatest magnitude first), 1536 zero, 1537 .. 3072 positive. Magnitudes
below ``2**-32`` fall into the smallest bucket of their sign, those from ``2**64`` on into the greatest. Changing the rule
breaks every stored profile, so `RULE` names it.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.schemas.errors import SchemaError
from samestream.streams.models import profile_kernel as kernel
from samestream.streams.models.profile_kernel import LOWEST_OCTAVE, PARTS, REGISTERS, SIDE, TABLE

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

RULE = "log-linear-16/2"
OCTAVES = SIDE // PARTS
ZERO = SIDE
BUCKETS = 2 * SIDE + 1
ATOM_CAP = 128
SAMPLE, SEEN_IN_SAMPLE = 4096, 4
"""Where a column holds too many different values to count each, those that occur so often in a sample are counted."""

_octave = np.ldexp(1.0, np.arange(LOWEST_OCTAVE - 1, LOWEST_OCTAVE - 1 + OCTAVES))
_lower = (_octave[:, None] * (1 + np.arange(PARTS) / PARTS)).ravel()
_upper = np.append(_lower[1:], np.ldexp(1.0, LOWEST_OCTAVE - 1 + OCTAVES))
BUCKET_LOW: Floats = np.concatenate([-_upper[::-1], [0.0], _lower])
BUCKET_HIGH: Floats = np.concatenate([-_lower[::-1], [0.0], _upper])


def buckets_of(values: Floats) -> Ints:
    """Bucket number of each value, by the rule above.

    values : shape (n,), finite.
    """
    mantissa, octave = np.frexp(values)
    part = (np.abs(mantissa) * (2 * PARTS)).astype(np.int64) - PARTS
    magnitude = np.minimum(np.maximum((octave - LOWEST_OCTAVE) * PARTS + part, 0), SIDE - 1)
    return np.asarray(ZERO + np.sign(values).astype(np.int64) * (magnitude + 1), dtype=np.int64)


def run_lengths(values: Floats) -> tuple[Floats, Ints]:
    """Values of the runs of equal neighbours, and how long each is; both of shape (runs,).

    values : shape (n,), no NaN.
    """
    if len(values) == 0:
        return values, np.zeros(0, np.int64)
    changes = (values[1:] != values[:-1]).nonzero()[0]
    bounds = np.empty(len(changes) + 2, np.int64)
    bounds[0], bounds[1:-1], bounds[-1] = 0, changes + 1, len(values)
    return values[bounds[:-1]], bounds[1:] - bounds[:-1]


def cardinality(registers: Bytes) -> float:
    """How many different values raised these registers (Flajolet et al., 2007, with their correction for few).

    registers : shape (1024,).
    """
    m = len(registers)
    estimate = 0.7213 / (1 + 1.079 / m) * m * m / float(np.sum(np.exp2(-registers.astype(np.float64))))
    empty = int(np.count_nonzero(registers == 0))
    return m * math.log(m / empty) if estimate <= 2.5 * m and empty else estimate


def written(registers: Bytes) -> str:
    """Registers as text, for JSON."""
    return base64.b64encode(zlib.compress(registers.tobytes())).decode()


def read_registers(stored: str) -> Bytes:
    """The registers that `written` wrote, shape (1024,)."""
    return np.frombuffer(bytearray(zlib.decompress(base64.b64decode(stored))), np.uint8)


@dataclass(eq=False)
class NumericProfile:
    """Counts and moments of one feature over any set of rows.

    Everything that is a count merges exactly and in any order; so do the registers. `sum` and `sum_squares` are plain
    float sums: merged in another order they agree within ``1e-12 * sum|x|``. Runs of equal neighbours merge in the order
    of the rows (`self` before `other`). `atoms` counts exact values: all of them until a column held more than 512 or
    the profile more than 128, then the most frequent ones (`atoms_exact` becomes false). Of one column a value that makes
    up a hundredth is among them but for a chance below one in a billion; merged, a count may be too low.

    n : rows seen, nulls included. nonfinite : valid rows holding NaN or infinity; they are counted here and nowhere else.
    repeats : values that equal the one before them.
    registers : of HyperLogLog, from which `distinct` is estimated, shape (1024,).
    """

    n: int = 0
    nulls: int = 0
    nonfinite: int = 0
    zeros: int = 0
    negatives: int = 0
    min: float | None = None
    max: float | None = None
    sum: float = 0.0
    sum_squares: float = 0.0
    counts: Ints = field(default_factory=lambda: np.zeros(BUCKETS, np.int64))
    atoms: dict[float, int] = field(default_factory=dict)
    atoms_exact: bool = True
    first_run: tuple[float, int] | None = None
    last_run: tuple[float, int] | None = None
    longest_run: int = 0
    repeats: int = 0
    registers: Bytes = field(default_factory=lambda: np.zeros(REGISTERS, np.uint8))

    @classmethod
    def of(cls, values: npt.ArrayLike, valid: npt.ArrayLike | None = None) -> NumericProfile:
        """Profile of one array; `valid` is all true where omitted."""
        floats = np.asarray(values, dtype=np.float64)
        profile = cls()
        profile.add(floats, np.ones(len(floats), np.bool_) if valid is None else np.asarray(valid, np.bool_))
        return profile

    @property
    def values(self) -> int:
        """Rows holding a finite value."""
        return self.n - self.nulls - self.nonfinite

    @property
    def null_share(self) -> float:
        """Share of rows without a finite value; 0 of no rows."""
        return (self.nulls + self.nonfinite) / self.n if self.n else 0.0

    @property
    def mean(self) -> float | None:
        """Arithmetic mean; None of no values."""
        return self.sum / self.values if self.values else None

    @property
    def std(self) -> float | None:
        """Standard deviation of the values, of n and not n - 1; None of no values. Of values that differ in the last digits alone
        it is not exact, since it comes from sums.
        """
        if not self.values:
            return None
        return math.sqrt(max(self.sum_squares / self.values - (self.sum / self.values) ** 2, 0.0))

    @property
    def heaviest(self) -> tuple[float, int] | None:
        """The most frequent exact value and its count (the smaller value where two are equal); None of no values."""
        return min(self.atoms.items(), key=lambda atom: (-atom[1], atom[0])) if self.atoms else None

    @property
    def distinct(self) -> float:
        """How many different values there were: exact where `atoms_exact`, else within about 3 per cent (HyperLogLog)."""
        return float(len(self.atoms)) if self.atoms_exact else min(cardinality(self.registers), float(self.values))

    def add(self, values: Floats, valid: Bools) -> None:
        """Count further rows, which follow those already counted.

        values : shape (n,); what stands at an invalid place is not looked at. valid : shape (n,).
        """
        keys, tallies = np.zeros(TABLE, np.int64), np.zeros(TABLE, np.int64)
        numbers, floats = np.zeros(9, np.int64), np.zeros(6, np.float64)
        # NumPy warns of nothing in compiled code: of values near 1e308 the sums are infinite, and told as unknown
        kernel.tally(values, valid, self.counts, keys, tallies, self.registers, numbers, floats)
        alone = self._one_run()
        self.n += len(values)
        self.nulls += int(numbers[kernel.NULLS])
        self.nonfinite += int(numbers[kernel.NONFINITE])
        if not numbers[kernel.LAST_RUN]:
            return
        self.zeros += int(numbers[kernel.ZEROS])
        self.negatives += int(numbers[kernel.NEGATIVES])
        self.repeats += int(numbers[kernel.REPEATS])
        low, high, total, squares, first, last = floats.tolist()
        self.min = low if self.min is None else min(self.min, low)
        self.max = high if self.max is None else max(self.max, high)
        self.sum += total
        self.sum_squares += squares
        if numbers[kernel.DISTINCT] < 0:
            self.atoms_exact = False
            keys, tallies = _frequent(values, valid)
        found = tallies > 0
        self._add_atoms(dict(zip(keys[found].view(np.float64).tolist(), tallies[found].tolist(), strict=True)))
        first_run, last_run, longest = numbers[[kernel.FIRST_RUN, kernel.LAST_RUN, kernel.LONGEST_RUN]].tolist()
        one = bool(numbers[kernel.REPEATS] + 1 == len(values) - numbers[kernel.NULLS] - numbers[kernel.NONFINITE])
        self._add_runs((first, first_run), (last, last_run), longest, alone, one)

    def merge(self, other: NumericProfile) -> NumericProfile:
        """The profile of the rows of `self` followed by those of `other`; neither is changed."""
        merged = replace(self, counts=self.counts + other.counts, atoms=dict(self.atoms))
        alone = self._one_run()
        merged.n += other.n
        merged.nulls += other.nulls
        merged.nonfinite += other.nonfinite
        merged.zeros += other.zeros
        merged.negatives += other.negatives
        merged.min = min((low for low in (self.min, other.min) if low is not None), default=None)
        merged.max = max((high for high in (self.max, other.max) if high is not None), default=None)
        merged.sum += other.sum
        merged.sum_squares += other.sum_squares
        merged.repeats += other.repeats
        merged.registers = np.maximum(self.registers, other.registers)
        merged.atoms_exact = self.atoms_exact and other.atoms_exact
        merged._add_atoms(other.atoms)
        if other.first_run is not None and other.last_run is not None:
            merged._add_runs(other.first_run, other.last_run, other.longest_run, alone, other._one_run())
        return merged

    def quantile(self, q: float) -> float | None:
        """The value below which a share `q` of the values lies, linear inside a bucket; None of no values.

        It is off by at most the width of its bucket, 1/16 of its magnitude.
        """
        if self.values == 0 or self.min is None or self.max is None:
            return None
        reached = np.cumsum(self.counts)
        rank = q * self.values
        bucket = int(np.searchsorted(reached, max(rank, 1e-9), side="left"))
        inside = 1 - (reached[bucket] - rank) / self.counts[bucket]
        value = BUCKET_LOW[bucket] + inside * (BUCKET_HIGH[bucket] - BUCKET_LOW[bucket])
        return float(min(max(value, self.min), self.max))

    def edges(self, groups: int = 16) -> Ints:
        """Bucket numbers that cut these values into at most `groups` groups of about equal mass.

        Shape (groups + 1,) or less: the first occupied bucket, the cuts, and one past the last occupied bucket. A
        bucket is never split, so a heavy atom makes a heavy group. Of no values: an empty group at zero.
        """
        occupied = np.flatnonzero(self.counts)
        if len(occupied) == 0:
            return np.array([ZERO, ZERO + 1], dtype=np.int64)
        wanted = self.values * np.arange(1, groups) / groups
        cuts = np.searchsorted(np.cumsum(self.counts), wanted, side="left") + 1
        return np.unique(np.concatenate([[occupied[0]], cuts, [occupied[-1] + 1]])).astype(np.int64)

    def bins(self, edges: Ints) -> Ints:
        """Counts over the groups of a reference's `edges`: below all, each group, above all, without a value.

        Shape (len(edges) + 2,); the sum is `n`.
        """
        upto = np.concatenate([[0], np.cumsum(self.counts)])
        inside = np.diff(upto[edges])
        without = self.nulls + self.nonfinite
        return np.concatenate([[upto[edges[0]]], inside, [upto[-1] - upto[edges[-1]], without]]).astype(np.int64)

    def to_json(self) -> dict[str, Any]:
        """Everything, as values that JSON holds exactly."""
        occupied = np.flatnonzero(self.counts)
        return {
            "rule": RULE,
            **{name: _writable(getattr(self, name)) for name in _PLAIN},
            "buckets": occupied.tolist(),
            "counts": self.counts[occupied].tolist(),
            "atoms": [[value, count] for value, count in sorted(self.atoms.items())],
            "first_run": None if self.first_run is None else list(self.first_run),
            "last_run": None if self.last_run is None else list(self.last_run),
            "registers": written(self.registers),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> NumericProfile:
        """The profile that `to_json` wrote.

        Raises SchemaError if it was counted by another bucket rule.
        """
        if stored.get("rule") != RULE:
            raise SchemaError(
                "A profile counted by another bucket rule cannot be compared.",
                where="profile",
                found=stored.get("rule"),
                expected=RULE,
                hint="train the model again with this version of samestream.",
            )
        profile = cls(**{name: _read(name, stored[name]) for name in _PLAIN})
        profile.counts[np.asarray(stored["buckets"], dtype=np.int64)] = stored["counts"]
        profile.atoms = {float(value): int(count) for value, count in stored["atoms"]}
        profile.first_run = None if stored["first_run"] is None else (stored["first_run"][0], stored["first_run"][1])
        profile.last_run = None if stored["last_run"] is None else (stored["last_run"][0], stored["last_run"][1])
        profile.registers = read_registers(stored["registers"])
        return profile

    def _add_atoms(self, more: Mapping[float, int]) -> None:
        for value, count in more.items():
            self.atoms[value] = self.atoms.get(value, 0) + count
        if len(self.atoms) > ATOM_CAP:
            self.atoms_exact = False
            kept = sorted(self.atoms.items(), key=lambda atom: (-atom[1], atom[0]))[:ATOM_CAP]
            self.atoms = dict(kept)

    def _one_run(self) -> bool:
        return self.first_run is not None and self.first_run[1] == self.values

    def _add_runs(
        self, first: tuple[float, int], last: tuple[float, int], longest: int, alone: bool, other_alone: bool
    ) -> None:
        """Join the runs of what follows; `alone` and `other_alone` say that a side is a single run."""
        if self.first_run is None or self.last_run is None:
            self.first_run, self.last_run, self.longest_run = first, last, longest
            return
        bridge = self.last_run[1] + first[1] if self.last_run[0] == first[0] else 0
        if bridge and alone:
            self.first_run = (first[0], bridge)
        self.last_run = (first[0], bridge) if bridge and other_alone else last
        self.longest_run = max(self.longest_run, longest, bridge)
        self.repeats += bridge > 0


def _frequent(values: Floats, valid: Bools) -> tuple[Ints, Ints]:
    """Bits of the values that are frequent in a sample, and how often they occur in all, both of shape (TABLE,).

    The sample's places follow from the number of rows alone, so that the same column gives the same profile.
    """
    if len(values) > SAMPLE:
        places = np.random.default_rng(len(values)).integers(0, len(values), SAMPLE)
    else:
        places = np.arange(len(values))
    sample = values[places][valid[places]] + 0.0
    found, often = np.unique(sample[np.isfinite(sample)], return_counts=True)
    keys, tallies = np.zeros(TABLE, np.int64), np.full(TABLE, -1, np.int64)
    wanted = found[often >= SEEN_IN_SAMPLE]
    chosen = wanted[np.argsort(-often[often >= SEEN_IN_SAMPLE], kind="stable")[: TABLE // 2]]
    kernel.recall(np.ascontiguousarray(chosen), keys, tallies)
    kernel.recount(values, valid, keys, tallies)
    return keys, tallies


_PLAIN = (
    "n",
    "nulls",
    "nonfinite",
    "zeros",
    "negatives",
    "min",
    "max",
    "sum",
    "sum_squares",
    "atoms_exact",
    "longest_run",
    "repeats",
)


def _writable(value: float | None) -> float | str | None:
    """JSON has no infinity: sums that overflowed are written as text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _read(name: str, value: Any) -> Any:
    return float(value) if name in ("sum", "sum_squares") else value
