"""Every aggregate over every kind it accepts, with parameters that matter, and the values to try them on.

A new class in `schemas.aggregates` needs its parameters here, or `tests/laws/test_aggregates.py` fails.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st

from samestream.schemas import aggregates as ag
from samestream.schemas.aggregates import AGGREGATES, Aggregate
from samestream.schemas.expressions import Column, Kind

LEAST, GREATEST = -(2**63), 2**63 - 1
SECOND_US = 1_000_000
MAKE: Mapping[type[Aggregate], list[Callable[[Any], Aggregate]]] = {
    ag.Count: [ag.Count],
    ag.Sum: [ag.Sum],
    ag.Mean: [ag.Mean],
    ag.Variance: [ag.Variance],
    ag.Std: [ag.Std],
    ag.Min: [ag.Min],
    ag.Max: [ag.Max],
    ag.First: [ag.First],
    ag.Last: [ag.Last],
    ag.LastN: [lambda input: ag.LastN(input, 1), lambda input: ag.LastN(input, 3)],
    ag.Distinct: [ag.Distinct, lambda input: ag.Distinct(input, 0), lambda input: ag.Distinct(input, 2)],
    ag.Quantile: [lambda input: ag.Quantile(input, 0.5), lambda input: ag.Quantile(input, 0.95)],
    ag.MostFrequent: [ag.MostFrequent, lambda input: ag.MostFrequent(input, 2)],
    ag.Share: [ag.Share],
    ag.DecayedSum: [lambda input: ag.DecayedSum(input, "3s"), lambda input: ag.DecayedSum(input, "30d")],
    ag.DecayedMean: [lambda input: ag.DecayedMean(input, "3s"), lambda input: ag.DecayedMean(input, "30d")],
    ag.TimeSinceLast: [ag.TimeSinceLast],
}
VALUES: Mapping[Kind, st.SearchStrategy[Any]] = {
    Kind.INT: st.integers(-3, 300)
    | st.sampled_from([LEAST, GREATEST, 2**53 + 1, -(2**62), 0])
    | st.integers(LEAST, GREATEST),
    Kind.FLOAT: st.sampled_from([0.0, -0.0, 1.0, 1e16, -1e16, 5e-324, 1e308, math.inf, -math.inf])
    | st.floats(-1e6, 1e6, allow_nan=False),
    Kind.BOOL: st.booleans(),
    Kind.TIME: st.integers(0, 50) | st.sampled_from([-(2**50), 2**52, 1_700_000_000_000_000]),
    Kind.STRING: st.sampled_from(["", "a", "b", "é", "ß", "𝄞", "\x00", "A", "aa"]) | st.text(max_size=3),
    Kind.LIST: st.lists(st.integers(0, 2), max_size=2),
}
NAMES = {kind: f"{kind.value}s" for kind in VALUES}
"""The column of each kind."""


def cases() -> list[Aggregate]:
    """Every class, over rows where it takes them and over every kind it accepts."""
    found = []
    for cls in AGGREGATES:
        for make in MAKE[cls]:
            found += [make(None)] if cls.takes_rows else []
            found += [make(Column(name, kind)) for kind, name in NAMES.items() if kind in cls.accepts]
    return found


def written(aggregate: Aggregate) -> str:
    """A name for a test."""
    of = "rows" if aggregate.input is None else repr(aggregate.input)
    return f"{aggregate.name}({', '.join(filter(None, [of, aggregate.arguments()]))})"


def values_of(aggregate: Aggregate) -> st.SearchStrategy[Any]:
    """What it may be fed."""
    return VALUES[aggregate.input.kind] if aggregate.input is not None else st.just(True)


def bound(aggregate: Aggregate, values: list[Any]) -> float:
    """How far two results may be apart because floats were added in another order (DESIGN section 2); 0: not at all."""
    adds = (ag.Sum, ag.Variance, ag.DecayedSum)
    if not values or not isinstance(aggregate, adds):
        return 0.0
    sizes = [abs(float(value)) for value in values]
    if isinstance(aggregate, ag.Variance):
        squared = math.inf if math.inf in sizes else 1e-12 * sum(x * x for x in sizes)
        return math.sqrt(squared) if isinstance(aggregate, ag.Std) else squared
    whole = aggregate.input is not None and aggregate.input.kind is not Kind.FLOAT and not aggregate.as_floats
    return 0.0 if whole else max(1e-12 * sum(sizes), 5e-324)


def close(found: Any, expected: Any, bound: float) -> bool:
    """Whether two results are the same within a bound; without one to the bit. Where sums overflow, anything goes."""
    if bound == math.inf or math.isnan(bound):
        return True
    if isinstance(found, float) and isinstance(expected, float) and bound:
        return found == expected or abs(found - expected) <= bound
    return repr(found) == repr(expected)
