"""A made-up shop whose facts have a value of every kind, asks that look at them, and plans for every aggregate and window."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pyarrow as pa

from samestream.schemas import Event, Features, Field, Model, event_time, field, key, label
from samestream.schemas.app import App
from samestream.schemas.expressions import Column
from samestream.streams.lowering import TableBuilder, compile_app
from samestream.streams.plan import Lookup, Plan
from samestream.streams.sql.point_in_time import as_known
from samestream.trainers import gradient_boosting

SECOND, HOUR = 1_000_000, 3_600_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START = round((datetime(2024, 3, 10, 6, tzinfo=UTC) - EPOCH).total_seconds()) * SECOND  # an hour before clocks change


class Ask(Event, topic="shop.asks"):
    ask: Field[str] = key()
    shop: Field[str | None] = field()
    i: Field[int | None] = field()
    x: Field[float | None] = field()
    b: Field[bool | None] = field()
    s: Field[str | None] = field()
    w: Field[datetime | None] = field()
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
    """A plan for every aggregate over one of the windows."""
    return plan_of(every_aggregate(WINDOWS[window]))


def plan_of(asked: Mapping[str, Any], by: tuple[str, ...] = ("shop",)) -> Plan:
    """A plan whose outputs are bare aggregates: of any kind, also those that no model can take in."""
    plan = compile_app(App("shop", {"Ask": Ask, "Fact": Fact}, {"Now": Now}, {"Answer": Answer}, {}))
    table = TableBuilder(0, "Fact", tuple(Fact.fields[name] for name in by))
    columns = {name: f"0/{table.add(value)}" for name, value in asked.items()}
    outputs = {name: Column(column, asked[name].kind, asked[name].item) for name, column in columns.items()}
    lookup = Lookup(0, by, tuple(dict.fromkeys(columns.values())))
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

    @property
    def partition(self) -> int:
        """One of two."""
        return self.rank % 2


def tables(asks: Sequence[Row], facts: Sequence[Row]) -> tuple[pa.Table, pa.Table]:
    """Both as the log holds them, with rank and whether applied; an offset is the place in the sequence."""
    names = pa.array([str(number) for number in range(len(asks))], pa.string())
    return _table(asks).append_column("ask", names), _table(facts)


def _table(rows: Sequence[Row]) -> pa.Table:
    kinds = {"i": pa.int64(), "x": pa.float64(), "b": pa.bool_(), "s": pa.string(), "w": pa.timestamp("us", "UTC")}
    values = {
        name: pa.array([row.values[place] for row in rows], type) for place, (name, type) in enumerate(kinds.items())
    }
    return pa.table(
        {
            "_partition": pa.array([row.partition for row in rows], pa.int32()),
            "_offset": pa.array(range(len(rows)), pa.int64()),
            "_rank": pa.array([row.rank for row in rows], pa.int64()),
            "_applied": pa.array([row.applied for row in rows], pa.bool_()),
            "shop": pa.array([row.shop for row in rows], pa.string()),
            "at": pa.array([START + row.at for row in rows], pa.timestamp("us", "UTC")),
            **values,
        }
    )


def answers(
    plan: Plan, asks: Sequence[Row], facts: Sequence[Row], query: Callable[..., pa.Table] = as_known, **options: Any
) -> pa.Table:
    """The vectors in SQL."""
    triggers, events = tables(asks, facts)
    return query(plan, plan.models["Answer"], triggers, {"Fact": events}, **options)


def random_log(seed: int, count: int) -> dict[str, list[tuple[int, int, dict[str, Any]]]]:
    """By event: (partition, known_us, values) in the order of the log; some come minutes late, a few too late."""
    rng = random.Random(seed)
    found: dict[str, list[tuple[int, int, dict[str, Any]]]] = {"Ask": [], "Fact": []}
    known = START
    for number in range(count):
        known += rng.choice([0, 1, 1000, SECOND, 45 * SECOND, 100 * SECOND, HOUR // 2])
        at = known - rng.choice([0, 0, 0, 1, 7 * SECOND, 100 * SECOND, 590 * SECOND, HOUR])

        def maybe(value: Any) -> Any:
            return None if rng.random() < 0.2 else value

        values = {
            "i": maybe(rng.choice([rng.randrange(-3, 9), 2**63 - 1])),
            "x": maybe(rng.choice([rng.gauss(1e3, 3), 1e16, -1e16, 0.1])),
            "b": maybe(rng.random() < 0.5),
            "s": maybe(rng.choice(["", "a", "b", "é", "日本"])),
            "w": maybe(round((START - rng.randrange(5)) / 1)),
            "at": at,
        }
        if rng.random() < 0.3:
            values |= {"ask": str(number), "shop": maybe(rng.choice("ab"))}
            found["Ask"].append((rng.randrange(2), known, values))
        else:
            found["Fact"].append((rng.randrange(2), known, {**values, "shop": rng.choice("ab")}))
    return found
