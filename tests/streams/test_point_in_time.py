"""Offline SQL against a plain loop over the log, against the columnar engine, and expression by expression against NumPy."""

from __future__ import annotations

import math
import random
import statistics
from datetime import UTC, datetime

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from samestream.schemas import (
    Event,
    Features,
    Field,
    Model,
    avro,
    event_time,
    expressions,
    field,
    key,
    label,
)
from samestream.schemas.app import App
from samestream.schemas.errors import FeatureLogError
from samestream.streams import columns as cols
from samestream.streams.engine import evaluate, order
from samestream.streams.engine.clock import Clocks
from samestream.streams.engine.columnar import ColumnarEngine
from samestream.streams.log.log_writer import to_arrow
from samestream.streams.lowering import compile_app
from samestream.streams.sql.difference import difference
from samestream.streams.sql.point_in_time import as_known, point_in_time
from samestream.streams.transport import Fetched, Partition
from samestream.streams.wire.decode import Decoder
from samestream.streams.wire.schema_store import SchemaStore
from samestream.trainers import gradient_boosting

SECOND = 1_000_000
START = int(datetime(2024, 5, 1, tzinfo=UTC).timestamp()) * SECOND


class Visit(Event, topic="shop.visits", lateness="5s", alignment="5s"):
    visit: Field[str] = key()
    shop: Field[str | None] = field()
    other: Field[str] = field()
    paid: Field[bool] = field()
    at: Field[datetime] = event_time()


class Sale(Event, topic="shop.sales", lateness="5s", alignment="5s"):
    shop: Field[str] = key()
    items: Field[int | None] = field()
    amount: Field[float | None] = field()
    paid: Field[bool | None] = field()
    at: Field[datetime] = event_time()


class ShopNow(Features, by=Sale.shop):
    sales = Sale.count(over="10s")
    priced = Sale.amount.count(over="10s", tile="3s")
    items = Sale.items.sum(over="10s")
    amount = Sale.amount.sum(over="20s", tile="7s")
    mean_items = Sale.items.mean(over="20s", tile="7s")
    mean = Sale.amount.mean(over="10s")
    least = Sale.amount.min(over="1m")
    least_items = Sale.items.min(over="10s", tile="10s")
    most = Sale.amount.max(over="10s")
    most_items = Sale.items.max(over="1m")
    spread = Sale.amount.std(over="10s")
    latest = Sale.amount.last(over="10s")
    latest_items = Sale.items.last(over="5s", tile="500ms")
    large_share = Sale.count(over="1m", where=Sale.amount > 5) / Sale.count(over="1m")
    doubled = (Sale.amount * 2 - Sale.items).sum(over="1m", where=~Sale.paid | (Sale.items > 1))


class PaidNow(Features, by=(Sale.shop, Sale.paid)):
    sales = Sale.count(over="20s")


class VisitNow(Features, by=Visit.shop):
    visits = Visit.count(over="20s")


class Buys(Model, on=Visit, trainer=gradient_boosting(every="1d", history="30d")):
    a = ShopNow.sales
    b = ShopNow.priced
    c = ShopNow.items
    d = ShopNow.amount
    e = ShopNow.mean_items
    f = ShopNow.mean
    g = ShopNow.least
    h = ShopNow.least_items
    i = ShopNow.most
    j = ShopNow.most_items
    k = ShopNow.spread
    l = ShopNow.latest  # noqa: E741
    m = ShopNow.latest_items
    n = ShopNow.large_share.fill(0)
    o = ShopNow.doubled
    p = PaidNow.sales
    q = VisitNow.visits
    r = ShopNow.of(Visit.other).mean - ShopNow.mean
    s = Visit.paid
    bought = label(Sale.items > 0, by=Sale.shop, within="1h")


APP = App(
    "shop",
    {"Visit": Visit, "Sale": Sale},
    {"ShopNow": ShopNow, "PaidNow": PaidNow, "VisitNow": VisitNow},
    {"Buys": Buys},
    {},
)
PLAN = compile_app(APP)
MODEL = PLAN.models["Buys"]


# Data -----------------------------------------------------------------------------------------------------------------
def random_events(seed, count, disorder_s=0):
    """Event name -> events (partition, known_us, values) in the order of the log; few instants, so that ties are many."""
    rng = random.Random(seed)
    found = {"Visit": [], "Sale": []}
    known = START
    for i in range(count):
        known += rng.choice([0, 250_000, 1_000_000, 4_000_000])
        at = known - rng.choice([0, 0, 1, disorder_s]) * SECOND * bool(disorder_s)
        maybe = lambda value: None if rng.random() < 0.2 else value  # noqa: E731
        if rng.random() < 0.4:
            values = {
                "visit": f"v{i}",
                "shop": maybe(rng.choice("abc")),
                "other": rng.choice("abd"),
                "paid": rng.random() < 0.5,
            }
            found["Visit"].append((rng.randrange(2), known, {**values, "at": at}))
        else:
            values = {
                "shop": rng.choice("abc"),
                "items": maybe(rng.randrange(-2, 5)),
                "amount": maybe(rng.gauss(1e3, 3)),
            }
            found["Sale"].append((rng.randrange(2), known, {**values, "paid": maybe(rng.random() < 0.5), "at": at}))
    return found


def run_engine(events):
    """The log as tables marked with rank and whether applied, and the vectors of the columnar engine."""
    store = SchemaStore(None, "x", [part.schema for part in PLAN.events.values()])
    inputs, decoded = tuple(PLAN.inputs.values()), []
    for part in inputs:
        codec = avro.Codec(part.schema)
        for number in range(2):
            mine = [(known, values) for partition, known, values in events[part.name] if partition == number]
            keys = [str(values[part.key]).encode() for _, values in mine]
            known = np.array([known for known, _ in mine], np.int64)
            place = Partition(part.topic, number)
            bytes_ = [codec.encode(values) for _, values in mine]
            fetched = Fetched(place, np.arange(len(mine), dtype=np.int64), known, keys, bytes_)
            decoded.append(Decoder(part, store).decode(fetched, -(2**62)))
    of = {part.partition: i // 2 for i, part in enumerate(decoded)}
    batch = order.ordered(inputs, tuple(sorted(of)), of, decoded)
    Clocks(PLAN.query_lag_us).judge(batch)
    (vectors,) = ColumnarEngine(PLAN).process(batch)
    tables = {}
    for index, part in enumerate(inputs):
        rank = np.flatnonzero(batch.input == index)
        rank = rank[np.argsort(batch.row[rank])]
        table = to_arrow(part, decoded[2 * index : 2 * index + 2]).append_column("_rank", pa.array(rank))
        tables[part.name] = table.append_column("_applied", pa.array(batch.decision[rank] == order.APPLIED))
    served = {name: cols.to_arrow(column, MODEL.outputs[name].kind) for name, column in vectors.features.items()}
    partition = pa.array([part.partition for part in vectors.partition], pa.int32())
    return tables, pa.table({"_partition": partition, "_offset": vectors.offset, **served})


# Oracle ---------------------------------------------------------------------------------------------------------------
def oracle(triggers, events, ranked):
    """Every output of every trigger, one event at a time, straight from DESIGN section 2."""
    found = []
    for trigger in rows(triggers, PLAN.inputs["Visit"]):
        looked_up = dict(columns_of(trigger, PLAN.inputs["Visit"]))
        for lookup in MODEL.lookups:
            table = PLAN.tables[lookup.table]
            mine = tuple(trigger[name] for name in lookup.keys)
            for part, name in zip(table.aggregates, lookup.columns, strict=False):
                if not name:
                    continue
                value = None
                if None not in mine:
                    window = table.windows[part.window].window
                    tail = window.start_us(trigger["at"])
                    fed = table.inputs[part.input]
                    inside = []
                    for event in events[table.event]:
                        if tuple(event[name] for name in table.by) != mine or not tail <= event["at"] < trigger["at"]:
                            continue
                        if ranked and not (event["_applied"] and event["_rank"] < trigger["_rank"]):
                            continue
                        read = columns_of(event, PLAN.inputs[table.event])
                        if evaluate.condition(fed.where, read, 1)[0]:
                            got = 1 if fed.value is None else cols.to_python(evaluate.evaluate(fed.value, read, 1))[0]
                            if got is not None:
                                inside.append((event["at"], event["_partition"], event["_offset"], got))
                    value = aggregate(part.aggregate.name, inside)
                looked_up[name] = cols.from_values([value], part.aggregate.kind)
        found.append(
            {name: cols.to_python(evaluate.evaluate(value, looked_up, 1))[0] for name, value in MODEL.outputs.items()}
        )
    return found


def aggregate(name, inside):
    values = [value for *_, value in inside]
    if name == "count":
        return len(values)
    if not values:
        return None
    return {
        "sum": lambda: sum(values),
        "mean": lambda: sum(values) / len(values),
        "min": lambda: min(values),
        "max": lambda: max(values),
        "std": lambda: statistics.pstdev(values),
        "last": lambda: max(inside)[-1],
    }[name]()


def rows(table, input):
    found = table.to_pylist()
    for row in found:
        row[input.time] = round((row[input.time] - expressions.EPOCH).total_seconds() * 1e6)
    return found


def columns_of(row, input):
    return {name: cols.from_values([row[name]], kind) for name, kind in input.columns.items()}


def applied(table):
    return table.filter(table["_applied"])


def assert_same(got, expected, names=tuple(MODEL.outputs)):
    found = difference(got, expected, names)
    wrong = {name: part for name, part in found.items() if part.mismatched or part.compared != len(expected)}
    assert not wrong


# Tests ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("query", [point_in_time, as_known])
def test_equals_a_plain_loop(query, seed):
    tables, _ = run_engine(random_events(seed, 150, disorder_s=9))
    triggers = applied(tables["Visit"])
    shuffled = triggers.take(np.random.default_rng(seed).permutation(len(triggers)))
    plain = {name: rows(table, PLAN.inputs[name]) for name, table in tables.items()}
    got = query(PLAN, MODEL, shuffled, tables)
    assert got.column_names == ["_partition", "_offset", *MODEL.outputs]
    assert got.select(["_partition", "_offset"]).to_pylist() == shuffled.select(["_partition", "_offset"]).to_pylist()
    for found, expected in zip(got.to_pylist(), oracle(shuffled, plain, query is as_known), strict=True):
        for name, value in expected.items():
            assert found[name] == (value if value is None else pytest.approx(value, rel=1e-9, abs=1e-9)), name


def test_equals_the_engine_on_a_log_in_order():
    tables, served = run_engine(random_events(1, 3000))
    assert_same(point_in_time(PLAN, MODEL, tables["Visit"], tables), served)


@pytest.mark.parametrize("seed", range(3))
def test_as_known_equals_the_engine_on_all_vectors_of_a_disordered_log(seed):
    tables, served = run_engine(random_events(seed, 3000, disorder_s=12))
    triggers = applied(tables["Visit"])
    assert len(triggers) < len(tables["Visit"])  # some were late
    assert_same(as_known(PLAN, MODEL, triggers, tables), served)
    ideal = difference(point_in_time(PLAN, MODEL, triggers, tables), served, ["a"])["a"]
    assert ideal.mismatched > 0  # the lateness skew


def test_crowded_grains_are_cut_and_give_the_same():
    rng = np.random.default_rng(0)
    count = 2000
    at = START + np.sort(rng.integers(0, 30 * SECOND, count))
    amount = rng.normal(0, 1, count)
    sales = pa.table(
        {
            "_partition": np.zeros(count, np.int32),
            "_offset": np.arange(count),
            "shop": ["a"] * count,
            "items": np.ones(count, np.int64),
            "amount": amount,
            "paid": np.ones(count, bool),
            "at": pa.array(at, pa.timestamp("us", "UTC")),
        }
    )
    instant = START + 28_123_457
    triggers = visits([("a", instant)])
    (got,) = point_in_time(PLAN, MODEL, triggers, {"Sale": sales, "Visit": triggers}).to_pylist()
    inside = (at >= (instant - 20 * SECOND) // (7 * SECOND) * 7 * SECOND) & (at < instant)
    assert got["d"] == pytest.approx(math.fsum(amount[inside]), abs=1e-9)
    assert got["q"] == 0


def visits(instants):
    table = {"visit": [str(i) for i in range(len(instants))], "shop": [shop for shop, _ in instants]}
    at = pa.array([at for _, at in instants], pa.timestamp("us", "UTC"))
    places = {
        "_partition": pa.array([0] * len(instants), pa.int32()),
        "_offset": pa.array(range(len(instants)), pa.int64()),
    }
    rest = {"other": ["b"] * len(instants), "paid": [True] * len(instants), "at": at}
    return pa.table({**places, "_rank": places["_offset"], "_applied": [True] * len(instants), **table, **rest})


NO_SALES = pa.table({"_partition": pa.array([], pa.int32()), "_offset": pa.array([], pa.int64())})


def test_of_no_events_a_count_is_zero_and_of_no_key_null():
    triggers = visits([("a", START), (None, START)])
    got = point_in_time(PLAN, MODEL, triggers, {"Sale": NO_SALES, "Visit": triggers})
    assert got["a"].to_pylist() == [0, None]
    assert got["g"].to_pylist() == [None, None]
    assert got["n"].to_pylist() == [0.0, 0.0]


def test_times_before_1970_fall_in_the_right_tiles():
    shops = [("a", -3), ("a", -20 * SECOND), ("a", 5)]
    triggers = visits(shops)
    got = point_in_time(PLAN, MODEL, triggers, {"Sale": NO_SALES, "Visit": triggers})
    assert got["q"].to_pylist() == [1, 0, 2]  # the window of 20s reaches back to a whole second


def test_missing_events_and_columns_are_named():
    triggers = visits([("a", START)])
    with pytest.raises(FeatureLogError, match=r"Buys\.Sale: .*missing"):
        point_in_time(PLAN, MODEL, triggers, {"Visit": triggers})
    with pytest.raises(FeatureLogError, match=r"Visit\._rank: .*missing"):
        as_known(PLAN, MODEL, triggers.drop_columns("_rank"), {"Visit": triggers, "Sale": NO_SALES})
    with pytest.raises(FeatureLogError, match=r"Visit\.other: .*does not know this field"):
        point_in_time(PLAN, MODEL, triggers.drop_columns("other"), {"Visit": triggers, "Sale": NO_SALES})


def test_a_given_connection_is_left_as_it_was():
    triggers = visits([("a", START)])
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE triggers AS SELECT 1 AS mine")
        events = {"Sale": NO_SALES, "Visit": triggers}
        first = point_in_time(PLAN, MODEL, triggers, events, connection)
        assert point_in_time(PLAN, MODEL, triggers, events, connection).equals(first)
        assert connection.execute("SHOW TABLES").fetchall() == [("triggers",)]
        assert connection.execute("SELECT * FROM triggers").fetchall() == [(1,)]
