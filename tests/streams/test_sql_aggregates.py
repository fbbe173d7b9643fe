"""Every aggregate over every window in SQL, on any log, against plain definitions (`aggregate_oracle`)."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from aggregate_oracle import Row as Placed
from aggregate_oracle import begin, distinct, lower_end, plain
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from made_facts import EPOCH, HOUR, SECOND, START, WINDOWS, Fact, Row, answers, plan_of, planned

from samestream.schemas import aggregates as ag
from samestream.schemas import when
from samestream.schemas.expressions import Column
from samestream.schemas.kinds import Kind
from samestream.schemas.windows import Window
from samestream.streams.plan import Plan
from samestream.streams.sql import aggregates as sql_aggregates
from samestream.streams.sql import windows as sql_windows
from samestream.streams.sql.difference import difference, slack_of
from samestream.streams.sql.point_in_time import as_known, point_in_time


def expected(plan: Plan, asks: Sequence[Row], facts: Sequence[Row], ranked: bool) -> list[dict[str, Any]]:
    """Every output of every ask; each is one aggregate, in the plan's order."""
    model = plan.models["Answer"]
    (lookup,) = model.lookups
    table, found = plan.tables[lookup.table], []
    names = {output.name: name for name, output in model.outputs.items()}  # type: ignore[attr-defined]
    for ask in asks:
        t, vector = START + ask.at, {}
        known = [
            (place, fact)
            for place, fact in enumerate(facts)
            if fact.shop == ask.shop and (not ranked or (fact.applied and fact.rank < ask.rank))
        ]
        for part, column in zip(table.aggregates, lookup.columns, strict=True):
            window = table.windows[part.window].window
            start = begin(window, [Placed(START + fact.at, 0, ()) for _, fact in known], t)
            fed = table.inputs[part.input]
            inside = []
            for place, fact in known:
                if start is not None and start <= START + fact.at < t:
                    value = fed_value(part.aggregate, fed, dict(zip("ixbsw", fact.values, strict=True)))
                    if value is not None:
                        inside.append((START + fact.at, (fact.partition, place), value))
            vector[names[column]] = (
                plain(part.aggregate, sorted(inside, key=lambda event: event[:2]), t) if ask.shop is not None else None
            )
        found.append(vector)
    return found


def fed_value(aggregate: ag.Aggregate[Any], fed: Any, row: dict[str, Any]) -> Any:
    wheres = {"b": row["b"] is True, "i": row["i"] is not None and row["i"] > 0, "s": row["s"] not in (None, "a")}
    if fed.where is not None and not wheres[next(leaf.name for leaf in fed.where.leaves() if hasattr(leaf, "name"))]:
        return None
    value = 0 if aggregate.input is None else row[aggregate.input.name]  # type: ignore[attr-defined]
    return (value - EPOCH) // timedelta(microseconds=1) if isinstance(value, datetime) else value


def check(plan: Plan, query: Any, asks: Sequence[Row], facts: Sequence[Row]) -> None:
    model, found = plan.models["Answer"], answers(plan, asks, facts, query, slack=True)
    rows = expected(plan, asks, facts, ranked=query is as_known)
    types_ = {name: found.schema.field(name).type for name in model.outputs}
    right = pa.table(
        {
            **{name: found[name] for name in ("_partition", "_offset")},
            **{name: pa.array([row[name] for row in rows], type_) for name, type_ in types_.items()},
        }
    )
    compared = difference(right, found, list(model.outputs))
    wrong = {
        name: [
            (row, got, want, slack)
            for row, (got, want, slack) in enumerate(
                zip(found[name].to_pylist(), right[name].to_pylist(), slacks(found, name), strict=True)
            )
            if part.differs[order(asks)[row]]
        ]
        for name, part in compared.items()
        if part.mismatched
    }
    assert not wrong


def order(asks: Sequence[Row]) -> list[int]:
    """Where each ask stands among those ordered by position."""
    placed = sorted(range(len(asks)), key=lambda row: (asks[row].partition, row))
    return [placed.index(row) for row in range(len(asks))]


def slacks(found: pa.Table, name: str) -> list[Any]:
    return found[slack_of(name)].to_pylist() if slack_of(name) in found.column_names else [None] * len(found)


PHASES = (Phase.explicit, Phase.reuse, Phase.generate)  # a run takes most of a second: too long to shrink by
INTS = [0, 1, -1, 1, 2, 255, 256, 300, 2**53 + 1, 2**63 - 1, -(2**63)]
FLOATS = [0.0, -0.0, 1.0, 1.0, -2.5, 0.1, 1e16, -1e16, 1e-310, 5e-324, 1e160, 1e308, -1e308, math.inf, -math.inf]
TEXTS = ["", "a", "a", "b", "é", "Z", "日本", "\U0001f600", "it's"]
TIMES = [EPOCH, EPOCH + timedelta(microseconds=1), EPOCH - timedelta(days=1), datetime(2024, 5, 1, tzinfo=UTC)]


def values(calm: bool) -> st.SearchStrategy[tuple[Any, ...]]:
    floats = st.one_of(st.sampled_from(FLOATS[:8]), st.floats(-1e3, 1e3)) if calm else st.sampled_from(FLOATS)
    ints = st.integers(-5, 1000) if calm else st.sampled_from(INTS)
    kinds = (ints, floats, st.booleans(), st.sampled_from(TEXTS), st.sampled_from(TIMES))
    return st.tuples(*(st.one_of(st.none(), kind, kind, kind) for kind in kinds))


@st.composite
def logs(draw: st.DrawFn) -> tuple[list[Row], list[Row]]:
    """Asks and facts of three shops; ranks follow the times but for some, which were known early or late."""
    calm = draw(st.booleans())
    span = draw(st.sampled_from([2 * SECOND, 600 * SECOND, 3 * HOUR, 40 * 24 * HOUR]))
    at = st.one_of(st.integers(0, span), st.sampled_from([0, HOUR, HOUR - 1, HOUR + 1]))
    shop = st.sampled_from(["a", "a", "b"])
    facts = draw(st.lists(st.tuples(at, shop, st.booleans() | st.just(True), values(calm)), max_size=60))
    asks = draw(st.lists(st.tuples(at, st.one_of(shop, st.none(), st.just("c"))), min_size=1, max_size=30))
    known = [at + draw(st.sampled_from([0, 0, 0, 1, SECOND, HOUR, -1])) for at, *_ in [*facts, *asks]]
    ranks = {place: rank for rank, place in enumerate(sorted(range(len(known)), key=known.__getitem__))}
    return (
        [Row(at, shop, ranks[len(facts) + place]) for place, (at, shop) in enumerate(asks)],
        [Row(at, shop, ranks[place], applied, each) for place, (at, shop, applied, each) in enumerate(facts)],
    )


def test_every_aggregate_and_window_has_a_rule() -> None:
    assert set(sql_aggregates.RULES) == set(ag.AGGREGATES)
    assert set(sql_windows.RULES) == set(Window.__subclasses__())
    named = {type(part.aggregate) for part in planned("sliding").tables[0].aggregates}
    assert named == set(ag.AGGREGATES)


@pytest.mark.parametrize("window", WINDOWS)
@settings(max_examples=6, deadline=None, phases=PHASES)
@given(log=logs())
def test_as_known_on_any_log(window: str, log: tuple[list[Row], list[Row]]) -> None:
    check(planned(window), as_known, *log)


@pytest.mark.parametrize("window", WINDOWS)
@settings(max_examples=3, deadline=None, phases=PHASES)
@given(log=logs())
def test_point_in_time_on_any_log(window: str, log: tuple[list[Row], list[Row]]) -> None:
    check(planned(window), point_in_time, *log)


@settings(max_examples=6, deadline=None, phases=PHASES)
@given(log=logs())
def test_all_windows_in_one_lookup(log: tuple[list[Row], list[Row]]) -> None:
    asked = {}
    for name, window in WINDOWS.items():
        asked |= {f"rows_{name}": Fact.count(**window), f"last_{name}": Fact.s.last(**window)}
        asked |= {f"sum_{name}": Fact.x.sum(**window), f"distinct_{name}": Fact.i.distinct(exact=2, **window)}
    check(plan_of(asked), as_known, *log)


def test_a_busy_key_whose_events_come_in_any_order() -> None:
    """Blocks of many grains hold an event or two that a trigger did not know, and are cut down to these."""
    rng = random.Random(5)
    asked = {"rows": Fact.count(over="lifetime", tile="1s"), "last": Fact.i.last(over="lifetime", tile="1s")}
    asked |= {"often": Fact.i.most_frequent(2, over="lifetime", tile="1s"), "short": Fact.count(session="5m")}
    times = sorted(rng.randrange(40 * 24 * HOUR) for _ in range(1500))
    late = [time + rng.choice([0] * 20 + [HOUR, 30 * 24 * HOUR]) for time in times]
    facts = [
        Row(time, "a", known, True, (rng.randrange(5), None, None, None, None))
        for time, known in zip(times, late, strict=True)
    ]
    asks = [Row(time, "a", time) for time in sorted(rng.randrange(41 * 24 * HOUR) for _ in range(60))]
    check(plan_of(asked), as_known, asks, facts)


@pytest.mark.parametrize(("count", "exact"), [(1024, 1024), (1025, 1024), (3000, 100), (20_000, 1024)])
def test_distinct_is_exact_to_its_bound_and_then_a_function_of_the_set(count: int, exact: int) -> None:
    window = {"over": "1h"}
    asked = {f.name: f.distinct(exact=exact, **window) for f in (Fact.i, Fact.s, Fact.w)}
    values = [
        (number * 7919, None, None, f"é{number}", EPOCH + timedelta(microseconds=number)) for number in range(count)
    ]
    # most in one crowd, the rest beside: blocks above and below the bound; each value twice
    facts = [Row(place % 50, "a", place, True, value) for place, value in enumerate(values)]
    facts += [Row(SECOND * (place % 900), "a", count + place, True, value) for place, value in enumerate(values)]
    (found,) = answers(plan_of(asked), [Row(1000 * SECOND, "a", 2 * count)], facts).to_pylist()
    sets = {"i": {v[0] for v in values}, "s": {v[3] for v in values}, "w": {v[4] for v in values}}
    sets["w"] = {round((value - EPOCH) / timedelta(microseconds=1)) for value in sets["w"]}
    right = {name: distinct(list(each), exact) for name, each in sets.items()}
    assert {name: found[name] for name in right} == pytest.approx(right, abs=1 if count > exact else 0)


def test_a_quantile_is_the_lower_end_of_its_bucket_for_any_float() -> None:
    rng = random.Random(1)
    powers = [2.0**power * (1 + part / 128) for power in range(-1022, 1024, 13) for part in (0, 1, 64, 127)]
    floats = [*powers, *(math.nextafter(x, side) for x in powers for side in (0.0, math.inf))]
    floats += [rng.randrange(1, 2**52) * 5e-324 for _ in range(100)]
    floats += [rng.choice([-1, 1]) * 10 ** rng.uniform(-300, 300) for _ in range(1000)]
    floats += [float(number) for number in range(-256, 257)]
    facts = [Row(0, str(place), place, True, (None, x, None, None, None)) for place, x in enumerate(floats)]
    asks = [Row(1, str(place), len(floats) + place) for place in range(len(floats))]
    found = answers(plan_of({"median": Fact.x.median(over="1h")}), asks, facts)["median"].to_pylist()
    wrong = [(x, got) for x, got in zip(floats, found, strict=True) if got != lower_end(x)]
    assert not wrong
    assert found[-513:] == floats[-513:]


@pytest.mark.parametrize(
    ("q", "ranks"),
    [
        (0.0, (1, 1, 1)),
        (0.07, (1, 1, 7)),  # 0.07 * 100 is 7.000000000000001 in floats
        (0.1, (1, 1, 10)),
        (0.3, (1, 3, 30)),
        (1 / 3, (1, 4, 34)),
        (0.5, (1, 5, 50)),
        (0.999, (1, 10, 100)),
        (1.0, (1, 10, 100)),
    ],
)
def test_the_rank_of_a_quantile_is_exact(q: float, ranks: tuple[int, int, int]) -> None:
    for count, rank in zip((1, 10, 100), ranks, strict=True):
        facts = [Row(0, "a", place, True, (place + 1, None, None, None, None)) for place in range(count)]
        found = answers(plan_of({"x": Fact.i.quantile(q, over="1h")}), [Row(1, "a", count)], facts)
        assert found["x"].to_pylist() == [rank]


def test_keys_of_every_kind_together() -> None:
    rng = random.Random(2)
    pools = [
        [0, -(2**63), None],
        [0.5, -0.0, None],
        [True, False, None],
        ["", "é", None],
        [EPOCH, EPOCH - timedelta(1), None],
    ]
    facts, asks = (
        [Row(rng.randrange(100), "a", place, True, [rng.choice(pool) for pool in pools]) for place in range(200)]
        for _ in range(2)
    )
    plan = plan_of({"rows": Fact.count(over="lifetime")}, by=("i", "x", "b", "s", "w"))
    right = [
        None if None in ask.values else sum(fact.values == ask.values and fact.at < ask.at for fact in facts)
        for ask in asks
    ]
    assert answers(plan, asks, facts, point_in_time)["rows"].to_pylist() == right
    assert len(set(right)) > 2


# Slack: what the order of additions, or an estimate, may do to an output ------------------------------------------------------
def slack(output: Any, facts: Sequence[Any]) -> tuple[Any, float]:
    """An output over the columns of some sums, and its slack."""
    plan = plan_of(
        {"x": Fact.x.sum(over="1h"), "mean": Fact.x.mean(over="1h"), "n": Fact.i.distinct(exact=1, over="1h")}
    )
    names = {name: column.name for name, column in plan.models["Answer"].outputs.items()}  # type: ignore[attr-defined]
    model = plan.models["Answer"]
    kinds = {"x": Kind.FLOAT, "mean": Kind.FLOAT, "n": Kind.INT}
    value = output(**{name: Column(names[name], kind) for name, kind in kinds.items()})
    plan = replace(plan, models={"Answer": replace(model, outputs={"out": value})})
    rows = [Row(place, "a", place, True, (place, x, None, None, None)) for place, x in enumerate(facts)]
    found = answers(plan, [Row(len(rows), "a", len(rows))], rows, slack=True)
    return found["out"][0].as_py(), found[slack_of("out")][0].as_py()


FACTS = [1e16, 1.0, -1e16]
EACH = 1e-9 * (2e16 + 1)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (lambda x, mean, n: x, 2 * EACH),  # up and down
        (lambda x, mean, n: x * 60, 120 * EACH),
        (lambda x, mean, n: x - mean, 2 * EACH + 2 * EACH / 3),
        (lambda x, mean, n: x.abs() + 5, 2 * EACH),
        (lambda x, mean, n: x > 0, math.inf),  # too close to call
        (lambda x, mean, n: x > 1e12, 0.0),
        (lambda x, mean, n: when(x > 0).then("a").otherwise("b"), math.inf),
        (lambda x, mean, n: when(x > 1e12).then("a").otherwise("b"), 0.0),
        (lambda x, mean, n: n, 2.0),
        (lambda x, mean, n: x.is_null(), 0.0),
    ],
)
def test_slack_goes_through_an_output(output: Any, expected: float) -> None:
    assert slack(output, FACTS)[1] == pytest.approx(expected)


def test_of_a_variance_that_overflows_nothing_is_promised() -> None:
    facts = [Row(place, "a", place, True, (None, x, None, None, None)) for place, x in enumerate([1e308, -1e308, 1.0])]
    found = answers(plan_of({"x": Fact.x.variance(over="1h")}), [Row(9, "a", 9)], facts, slack=True)
    assert found[slack_of("x")].to_pylist() == [math.inf]


def test_no_more_than_slack() -> None:
    assert slack(lambda x, mean, n: x, [0.1, 0.2, None])[1] < 1e-9
    assert (
        slack(lambda x, mean, n: x, [1e308, 1e308, -1e308])[1] == math.inf
    )  # an overflow in one order and not in another
    assert slack(lambda x, mean, n: x, [math.inf, 1.0])[1] == pytest.approx(0, abs=1e-8)
    assert slack(lambda x, mean, n: x, [math.inf, -math.inf])[1] == 0
    assert slack(lambda x, mean, n: x, [])[1] == 0
