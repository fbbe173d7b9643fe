"""Every aggregate over every window in SQL, on any log, against plain definitions (`aggregate_oracle`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import aggregate_oracle as plain
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from samestream.schemas import Event, Features, Field, Model, event_time, field, key, label
from samestream.schemas import aggregates as ag
from samestream.schemas.app import App
from samestream.schemas.expressions import Column
from samestream.schemas.windows import Window
from samestream.streams import sql_aggregates, sql_windows
from samestream.streams.difference import difference, slack_of
from samestream.streams.plan import Lookup, Plan, _TableBuilder, compile_app
from samestream.streams.point_in_time import as_known, point_in_time
from samestream.trainers import gradient_boosting

SECOND, HOUR = 1_000_000, 3_600_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START = round((datetime(2024, 3, 10, 6, tzinfo=UTC) - EPOCH).total_seconds()) * SECOND  # an hour before clocks change


class Ask(Event, topic="shop.asks"):
    ask: Field[str] = key()
    shop: Field[str | None] = field()
    at: Field[datetime] = event_time()


class Fact(Event, topic="shop.facts"):
    shop: Field[str] = key()
    i: Field[int | None] = field()
    x: Field[float | None] = field()
    b: Field[bool | None] = field()
    s: Field[str | None] = field()
    w: Field[datetime | None] = field()
    at: Field[datetime] = event_time()


WINDOWS: dict[str, dict[str, Any]] = {
    "sliding": {"over": "1h"},
    "coarse": {"over": "50s", "tile": "7s"},
    "lifetime": {"over": "lifetime"},
    "tumbling": {"every": "1h"},
    "day": {"every": "1d", "zone": "America/New_York"},
    "week": {"every": "1w", "zone": "Asia/Kathmandu"},
    "month": {"every": "1mo"},
    "session": {"session": "90s"},
    "short": {"session": "90s", "over": "4m"},
}


def every_aggregate(window: dict[str, Any]) -> dict[str, Any]:
    """One feature for every aggregate of every kind of value, and some that say where."""
    i, x, b, s, w = Fact.i, Fact.x, Fact.b, Fact.s, Fact.w
    return {
        "rows": Fact.count(**window),
        "rows_since": Fact.time_since_last(**window),
        **{f"count_{f.name}": f.count(**window) for f in (i, x, b, s, w)},
        **{f"sum_{f.name}": f.sum(**window) for f in (i, x)},
        **{f"mean_{f.name}": f.mean(**window) for f in (i, x)},
        **{f"variance_{f.name}": f.variance(**window) for f in (i, x)},
        **{f"std_{f.name}": f.std(**window) for f in (i, x)},
        **{f"min_{f.name}": f.min(**window) for f in (i, x, s, w)},
        **{f"max_{f.name}": f.max(**window) for f in (i, x, s, w)},
        **{f"first_{f.name}": f.first(**window) for f in (i, x, b, s, w)},
        **{f"last_{f.name}": f.last(**window) for f in (i, x, b, s, w)},
        **{f"last_3_{f.name}": f.last_n(3, **window) for f in (i, x, b, s, w)},
        **{f"distinct_{f.name}": f.distinct(**window) for f in (i, b, s, w)},
        **{f"distinct_2_{f.name}": f.distinct(exact=2, **window) for f in (i, s)},
        **{f"median_{f.name}": f.median(**window) for f in (i, x)},
        **{f"q90_{f.name}": f.quantile(0.9, **window) for f in (i, x)},
        **{f"often_{f.name}": f.most_frequent(**window) for f in (i, b, s, w)},
        **{f"often_2_{f.name}": f.most_frequent(2, **window) for f in (i, b, s, w)},
        "share": b.share(**window),
        "decayed": x.decayed_sum("1m", **window),
        "decayed_short": i.decayed_sum("50ms", **window),
        "decayed_mean": x.decayed_mean("50ms", **window),
        "since": s.time_since_last(**window),
        "last_where": s.last(where=b, **window),
        "median_where": x.median(where=i > 0, **window),
        "share_where": b.share(where=s != "a", **window),
    }


class Now(Features, by=Fact.shop):
    rows = Fact.count(over="1h")


class Answer(Model, on=Ask, trainer=gradient_boosting(every="1d", history="30d")):
    rows = Now.rows
    up = label(Fact.i > 0, by=Fact.shop, within="1h")


@cache
def planned(window: str) -> Plan:
    """A plan whose outputs are the bare aggregates: of any kind, also those that no model can take in."""
    plan = compile_app(App("shop", {"Ask": Ask, "Fact": Fact}, {"Now": Now}, {"Answer": Answer}, {}))
    table = _TableBuilder(0, "Fact", ("shop",))
    asked = every_aggregate(WINDOWS[window])
    columns = {name: f"0/shop/{table.add(value)}" for name, value in asked.items()}
    outputs = {name: Column(column, asked[name].kind, asked[name].item) for name, column in columns.items()}
    lookup = Lookup(0, ("shop",), tuple(columns.values()))
    model = replace(plan.models["Answer"], lookups=(lookup,), outputs=outputs)
    return replace(plan, tables=(table.build(),), models={"Answer": model})


@dataclass
class Row:
    """One event of either kind: microseconds after START, its place in the merged order, whether it was applied."""

    at: int
    shop: str | None
    rank: int
    applied: bool = True
    values: Sequence[Any] = (None,) * 5


def tables(asks: Sequence[Row], facts: Sequence[Row]) -> tuple[pa.Table, pa.Table]:
    def table(rows: Sequence[Row]) -> dict[str, Any]:
        return {
            "_partition": pa.array([row.rank % 2 for row in rows], pa.int32()),
            "_offset": pa.array(range(len(rows)), pa.int64()),
            "_rank": pa.array([row.rank for row in rows], pa.int64()),
            "_applied": pa.array([row.applied for row in rows], pa.bool_()),
            "shop": pa.array([row.shop for row in rows], pa.string()),
            "at": pa.array([START + row.at for row in rows], pa.timestamp("us", "UTC")),
        }

    types_ = [pa.int64(), pa.float64(), pa.bool_(), pa.string(), pa.timestamp("us", "UTC")]
    fields = {
        name: pa.array([row.values[place] for row in facts], type_)
        for place, (name, type_) in enumerate(zip("ixbsw", types_, strict=True))
    }
    names = pa.array([str(number) for number in range(len(asks))], pa.string())
    return pa.table({**table(asks), "ask": names}), pa.table({**table(facts), **fields})


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
            start = plain.start_us(table.windows[part.window].window, t, [START + fact.at for _, fact in known])
            fed = table.inputs[part.input]
            inside = []
            for place, fact in known:
                if start <= START + fact.at < t:
                    value = fed_value(part.aggregate, fed, dict(zip("ixbsw", fact.values, strict=True)))
                    if value is not None:
                        inside.append((START + fact.at, (fact.rank % 2, place), value))
            vector[names[column]] = plain.value(part.aggregate, t, inside) if ask.shop is not None else None
        found.append(vector)
    return found


def fed_value(aggregate: ag.Aggregate[Any], fed: Any, row: dict[str, Any]) -> Any:
    wheres = {"b": row["b"] is True, "i": row["i"] is not None and row["i"] > 0, "s": row["s"] not in (None, "a")}
    if fed.where is not None and not wheres[next(leaf.name for leaf in fed.where.leaves() if hasattr(leaf, "name"))]:
        return None
    return 0 if aggregate.input is None else row[aggregate.input.name]  # type: ignore[attr-defined]


def check(window: str, query: Any, asks: Sequence[Row], facts: Sequence[Row]) -> None:
    plan = planned(window)
    model, ranked = plan.models["Answer"], query is as_known
    triggers, events = tables(asks, facts)
    found = query(plan, model, triggers, {"Fact": events}, slack=True)
    rows = expected(plan, asks, facts, ranked)
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
    placed = sorted(range(len(asks)), key=lambda row: (asks[row].rank % 2, row))
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
    check(window, as_known, *log)


@pytest.mark.parametrize("window", WINDOWS)
@settings(max_examples=3, deadline=None, phases=PHASES)
@given(log=logs())
def test_point_in_time_on_any_log(window: str, log: tuple[list[Row], list[Row]]) -> None:
    check(window, point_in_time, *log)
