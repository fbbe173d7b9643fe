"""Laws that every aggregate obeys, over every kind it accepts; a new class gets them for free (DESIGN section 2)."""

from __future__ import annotations

import inspect
import math
import os
import pickle
from typing import Any

import pytest
from aggregate_oracle import plain
from hypothesis import given, settings
from hypothesis import strategies as st
from made_aggregates import MAKE, VALUES, bound, cases, close, values_of, written

from samestream.schemas import aggregates as ag
from samestream.schemas import algebra, extremes, hyperloglog, sums, value_sets
from samestream.schemas.aggregates import AGGREGATES, Aggregate
from samestream.schemas.errors import DeclarationError
from samestream.schemas.expressions import Column, Kind

Placed = tuple[int, int, Any]
# of each of a hundred aggregates; LAW=long asks of each what CI asks of all together
often = settings(max_examples=200 if os.environ.get("LAW") == "long" else 12, deadline=None)
every = pytest.mark.parametrize("aggregate", cases(), ids=written)


def test_every_class_is_listed_and_has_parameters_to_try() -> None:
    found = {
        cls
        for module in (algebra, sums, extremes, value_sets)
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, Aggregate) and cls is not Aggregate and not cls.__name__.startswith("_")
    }
    assert set(AGGREGATES) == set(MAKE) == found


def test_every_class_accepts_kinds_that_have_values() -> None:
    assert {kind for cls in AGGREGATES for kind in cls.accepts} - {Kind.MAP} <= set(VALUES)
    refused = [(cls, kind) for cls in AGGREGATES for kind in Kind if kind not in cls.accepts]
    for cls, kind in refused:
        with pytest.raises(DeclarationError, match="does not take"):
            MAKE[cls][0](Column("x", kind))


def events(aggregate: Aggregate, least: int = 0) -> st.SearchStrategy[list[Placed]]:
    """Events by ascending (time, position), with ties in time."""
    gaps = st.sampled_from([0, 1, 7, 1_000_000, 40_000_000])
    drawn = st.lists(st.tuples(gaps, values_of(aggregate)), min_size=least, max_size=12)

    def placed(pairs: list[tuple[int, Any]]) -> list[Placed]:
        t, found = 1_000, []
        for position, (gap, value) in enumerate(pairs):
            t += gap
            found.append((t, position, value))
        return found

    return drawn.map(placed)


def state(aggregate: Aggregate, found: list[Placed]) -> Any:
    held = aggregate.zero()
    for t, position, value in found:
        held = aggregate.add(held, float(value) if aggregate.as_floats else value, (t, position))
    return held


def now(found: list[Placed]) -> int:
    return found[-1][0] + 5 if found else 0


def values(found: list[Placed]) -> list[Any]:
    return [value for *_, value in found]


def bits(held: Any) -> Any:
    """Tells -0.0 from 0.0, but not the order of a set."""
    return held if isinstance(held, frozenset) else repr(held)


@every
def test_of_nothing_there_is_nothing(aggregate: Aggregate) -> None:
    expected = 0 if isinstance(aggregate, ag.Count | ag.Distinct) else None
    assert aggregate.result(aggregate.zero(), 5) == expected


@every
@often
@given(data=st.data())
def test_zero_is_an_identity(aggregate: Aggregate, data: st.DataObject) -> None:
    held = state(aggregate, data.draw(events(aggregate)))
    assert bits(aggregate.merge(aggregate.zero(), held)) == bits(held)
    assert bits(aggregate.merge(held, aggregate.zero())) == bits(held)


@every
@often
@given(data=st.data())
def test_merging_is_associative(aggregate: Aggregate, data: st.DataObject) -> None:
    found = data.draw(events(aggregate, 3))
    a, b = sorted(data.draw(st.tuples(st.integers(0, len(found)), st.integers(0, len(found)))))
    first, second, third = (state(aggregate, part) for part in (found[:a], found[a:b], found[b:]))
    left = aggregate.merge(aggregate.merge(first, second), third)
    right = aggregate.merge(first, aggregate.merge(second, third))
    t = now(found)
    assert close(aggregate.result(left, t), aggregate.result(right, t), bound(aggregate, values(found)))


@every
@often
@given(data=st.data())
def test_events_may_be_split_anywhere(aggregate: Aggregate, data: st.DataObject) -> None:
    found = data.draw(events(aggregate))
    at, t = data.draw(st.integers(0, len(found))), now(found)
    parts = aggregate.merge(state(aggregate, found[:at]), state(aggregate, found[at:]))
    whole = state(aggregate, found)
    assert close(aggregate.result(parts, t), aggregate.result(whole, t), bound(aggregate, values(found)))


@every
@often
@given(data=st.data())
def test_the_order_of_application_changes_nothing(aggregate: Aggregate, data: st.DataObject) -> None:
    found = data.draw(events(aggregate))
    shuffled, t = data.draw(st.permutations(found)), now(found)
    one, other = (aggregate.result(state(aggregate, each), t) for each in (found, shuffled))
    if isinstance(aggregate, ag.Min | ag.Max) and one == other == 0:
        return  # of 0.0 and -0.0 the first
    assert close(one, other, bound(aggregate, values(found)))


@every
@often
@given(data=st.data())
def test_a_result_is_what_people_mean(aggregate: Aggregate, data: st.DataObject) -> None:
    found = data.draw(events(aggregate))
    t, fed = now(found), [(at, p, float(v) if aggregate.as_floats else v) for at, p, v in found]
    expected = plain(aggregate, fed, t)
    got = aggregate.result(state(aggregate, found), t)
    assert close(got, expected, bound(aggregate, values(found)))


@every
@often
@given(data=st.data())
def test_states_are_values(aggregate: Aggregate, data: st.DataObject) -> None:
    held = state(aggregate, data.draw(events(aggregate)))
    again = pickle.loads(pickle.dumps(held))
    assert bits(again) == bits(held)
    hash(held)  # so nothing in it can change


@every
def test_the_kind_of_a_result_is_declared(aggregate: Aggregate) -> None:
    kinds = {int: Kind.INT, float: Kind.FLOAT, bool: Kind.BOOL, str: Kind.STRING, list: Kind.LIST}
    value = {Kind.INT: 3, Kind.FLOAT: 2.5, Kind.BOOL: True, Kind.TIME: 7, Kind.STRING: "a", Kind.LIST: [1]}
    fed = value[aggregate.input.kind] if aggregate.input is not None else True
    got = aggregate.result(aggregate.add(aggregate.zero(), fed, (1, 1)), 5)
    declared = Kind.INT if aggregate.kind is Kind.TIME else aggregate.kind
    assert kinds[type(got)] is declared
    assert aggregate.item is (aggregate.input.kind if aggregate.kind is Kind.LIST else None)


@pytest.mark.parametrize(
    ("n", "within"), [(1_500, 0.05), (5_000, 0.05), (10_000, 0.06), (20_000, 0.06), (60_000, 0.06)]
)
def test_distinct_is_near_above_its_bound(n: int, within: float) -> None:
    aggregate = ag.Distinct(Column("x", Kind.INT))
    held = aggregate.zero()
    for value in range(n):
        held = aggregate.add(held, value, (0, 0))
    assert math.isclose(aggregate.result(held, 0), n, rel_tol=within)


def test_linear_counting_never_rounds_near_a_half() -> None:
    # so the estimate does not depend on the last bit of a logarithm
    for empty in range(1, hyperloglog.REGISTERS + 1):
        counted = hyperloglog.REGISTERS * math.log(hyperloglog.REGISTERS / empty)
        assert abs(counted % 1 - 0.5) > 1e-6


@given(st.floats(allow_nan=False))
def test_a_quantile_is_at_most_a_128th_too_small(value: float) -> None:
    low = value_sets.lower_end(value_sets.bucket(value))
    assert low == value or abs(low) <= abs(value)
    assert abs(low) * 128 >= abs(value) * 127 or abs(value) < 1e-300 or abs(value) > 1e300
    assert value_sets.bucket(low) == value_sets.bucket(value)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_buckets_ascend(one: float, other: float) -> None:
    assert (one < other) <= (value_sets.bucket(one) <= value_sets.bucket(other))


def test_whole_numbers_to_256_are_exact() -> None:
    assert [value_sets.lower_end(value_sets.bucket(float(n))) for n in range(-256, 257)] == list(range(-256, 257))
