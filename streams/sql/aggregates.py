"""Aggregates as DuckDB SQL: of blocks of events, put together to the value of a window. One rule per class.

There are two ways to put a window together, by what is kept of a block of events:

* a `Summary`: a few values of fixed size, such as a sum and a count;
* a `Bag`: how often each *item* occurs in it; for what needs the items themselves, such as a quantile.

Both are rules for text; `streams.sql.lookup` knows what the blocks of a window are. Nothing here shares code with the
kernel or with the algebra in Python. For floats, whose sums depend on the order, a rule has also a *slack*: by how much two
right computations may differ at most. It is a `Summary` of its own:

========================  ====================================================================================
sum, mean                 1e-9 * sum\\|x\\|, and that divided by the count
std                       1e-9 * max\\|x\\|, which is s below
variance                  2 * std * s + s ** 2, which is what s allows
decayed_sum               1e-9 * sum(\\|x\\| * weight)
decayed_mean              1e-9 * sum(\\|x\\| * weight) / sum(weight)
distinct                  1 above the bound, where a sum of 4,096 floats is rounded to an estimate
all others                0
========================  ====================================================================================

Where such a magnitude overflows, nothing is promised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from samestream.schemas import aggregates as ag
from samestream.schemas.aggregates import Aggregate
from samestream.schemas.expressions import Kind
from samestream.streams.sql import duckdb_terms as sql
from samestream.streams.sql.difference import TOLERANCE

REGISTERS = 4096
_ALPHA = f"CAST('{0.7213 / (1 + 1.079 / REGISTERS) * REGISTERS * REGISTERS * 2**49!r}' AS DOUBLE)"


@dataclass(frozen=True)
class Summary:
    """An aggregate as an algebra in SQL.

    parts : what is kept of a block, aggregate expressions over its events: of their values ``{x}`` (a null does not
        count), places ``{at}``, times ``{t}`` and the latest time of a value in the block ``{newest}``
    merge : from the parts ``{0}``, ``{1}`` of a window's blocks, grouped by window, and the ``{instant}``, to the value
    empty : the value of a window without a block
    slack : how far off the value may be
    framed : the value as a window function of the events, ``{over}`` standing for its frame; "" if there is none
    latest : the value by the latest event of the window that has one, of its ``{x}`` and ``{t}``; "" if that does not tell
    """

    parts: tuple[str, ...]
    merge: str
    empty: str = "NULL"
    slack: Summary | None = None
    framed: str = ""
    latest: str = ""


@dataclass(frozen=True)
class Bag:
    """An aggregate over the items of a window and how often each occurs.

    item : of a value ``{x}``, a whole number by which items are ordered; empty if values are numbered in their order
    value : a query for `_row` and `value`, from the rows (`_row`, item, n) of ``{bag}`` and, if values are numbered, the
        rows of ``{items}`` that `items` gives
    exact : of a block with more items than this, only the greatest `height` of each `register` is kept, as the item
        ``-(register * 64 + height)``; None for no such bound
    slack : an expression over ``{value}``: how far off it may be
    """

    item: str
    value: str
    empty: str = "NULL"
    exact: int | None = None
    slack: str = ""


def rule(aggregate: Aggregate) -> Summary | Bag:
    """How an aggregate is computed; raises KeyError for a class without a rule."""
    return RULES[type(aggregate)](aggregate)


def filled(text: str, **names: str) -> str:
    """The text with names for its placeholders in braces; other braces stay."""
    for name, value in names.items():
        text = text.replace("{" + name + "}", value)
    return text


def _slack(parts: tuple[str, ...], merge: str, framed: str = "") -> Summary:
    return Summary(parts, merge, empty="0", framed=framed)


# Summaries ------------------------------------------------------------------------------------------------------------
_SIZE = "sum(CASE WHEN isfinite({x}) THEN abs({x}) END)"  # infinities are added in any order alike


def _kind(aggregate: Aggregate) -> Kind:
    assert aggregate.input is not None
    return aggregate.input.kind


def _total(aggregate: Aggregate, total: str = "sum({0})") -> str:
    return sql.wrapped(total) if _kind(aggregate) is Kind.INT else total


def _sum(aggregate: Aggregate) -> Summary:
    framed = f"{TOLERANCE} * {_SIZE} {{over}}"
    slack = _slack((_SIZE,), f"{TOLERANCE} * sum({{0}})", framed) if _kind(aggregate) is Kind.FLOAT else None
    return Summary(
        ("sum({x})",),
        sql.present(aggregate.kind, _total(aggregate)),
        slack=slack,
        framed=sql.present(aggregate.kind, _total(aggregate, "sum({x}) {over}")),
    )


def _mean(aggregate: Aggregate) -> Summary:
    floats, count = _kind(aggregate) is Kind.FLOAT, "nullif(count({x}) {over}, 0)"
    whole = f"(CAST({_total(aggregate, 'sum({x}) {over}')} AS DOUBLE) / {count})"
    slack = _slack(
        (_SIZE, "count({x})"),
        f"{TOLERANCE} * sum({{0}}) / nullif(sum({{1}}), 0)",
        f"{TOLERANCE} * {_SIZE} {{over}} / {count}",
    )
    return Summary(
        ("sum({x})", "count({x})"),
        sql.present(Kind.FLOAT, f"(CAST({_total(aggregate)} AS DOUBLE) / nullif(sum({{1}}), 0))"),
        slack=slack if floats else None,
        framed=sql.present(Kind.FLOAT, "avg({x}) {over}" if floats else whole),
    )


def _moments(root: bool) -> Callable[[Aggregate], Summary]:
    # Sums of squares would cancel: a block keeps count, mean and squared deviations, and blocks are joined around the
    # mean of them all, so that a window of equal values deviates by rounding at most.
    blocks = "list(struct_pack(n := {0}, mean := {1}, m2 := {2})) FILTER (WHERE {0} > 0)"
    apart = "(b.mean - sum({0} * {1}) / sum({0}))"
    m2 = f"list_sum(list_transform({blocks}, lambda b: b.m2 + b.n * {apart} * {apart}))"
    variance = f"greatest({m2}, 0) / nullif(sum({{0}}), 0)"
    # a square of what is greater than this may overflow
    size = (
        "max(CASE WHEN abs(CAST({x} AS DOUBLE)) < 1e150 THEN abs(CAST({x} AS DOUBLE)) "
        "WHEN isfinite(CAST({x} AS DOUBLE)) THEN CAST('inf' AS DOUBLE) END)"
    )
    parts = (
        "CAST(count({x}) AS DOUBLE)",
        "avg(CAST({x} AS DOUBLE))",
        "var_pop(CAST({x} AS DOUBLE)) * count({x})",
        size,
    )
    s = f"({TOLERANCE} * max({{3}}))"
    slack = s if root else f"2 * sqrt({variance}) * {s} + {s} * {s}"
    value = sql.present(Kind.FLOAT, f"sqrt({variance})" if root else variance)
    return lambda aggregate: Summary(parts[:3], value, slack=_slack(parts, slack))


def _extreme(name: str) -> Callable[[Aggregate], Summary]:
    return lambda aggregate: Summary((f"{name}({{x}})",), f"{name}({{0}})", framed=f"{name}({{x}}) {{over}}")


def _ends(name: str) -> Callable[[Aggregate], Summary]:
    chosen = f"{name}(struct_pack(at := {{at}}, x := {{x}})) FILTER (WHERE {{x}} IS NOT NULL)"
    latest = "{x}" if name == "max" else ""
    return lambda aggregate: Summary((chosen,), f"struct_extract({name}({{0}}), 'x')", latest=latest)


def _last_n(aggregate: Aggregate) -> Summary:
    assert isinstance(aggregate, ag.LastN)
    latest = f"max(struct_pack(at := {{at}}, x := {{x}}), {aggregate.n}) FILTER (WHERE {{x}} IS NOT NULL)"
    merged = f"list_reverse(list_reverse_sort(flatten(list({{0}}) FILTER (WHERE {{0}} IS NOT NULL)))[1:{aggregate.n}])"
    return Summary((latest,), f"list_transform({merged}, lambda e: e.x)")


_NEWEST = "max({t}) FILTER (WHERE {x} IS NOT NULL)"
_REAL = "CAST({x} AS DOUBLE)"
_REAL_SIZE = f"CASE WHEN isfinite({_REAL}) THEN abs({_REAL}) END"


class _Decay:
    """Weights are relative to the newest value, of a block and then of the window, so that they never overflow.

    What is older by 1,023 half-lives weighs nothing, be it infinite. The first part is always `_NEWEST`.
    """

    def __init__(self, aggregate: Aggregate) -> None:
        assert isinstance(aggregate, ag.DecayedSum)
        self._half_life_us = aggregate.half_life_us

    def weight(self, age_us: str) -> str:
        """What an event of an age counts."""
        return f"pow(2, -CAST({age_us} AS DOUBLE) / {self._half_life_us})"

    def near(self, age_us: str) -> str:
        """Whether that is anything."""
        return f"{age_us} < {1023 * self._half_life_us}"

    def part(self, value: str) -> str:
        """A weighted sum in a block."""
        age_us = "({newest} - {t})"
        return f"sum({value} * {self.weight(age_us)}) FILTER (WHERE {self.near(age_us)})"

    def total(self, part: int) -> str:
        """A weighted sum in a window, as of its newest value."""
        age_us = "(max({0}) - b.newest)"
        blocks = f"list(struct_pack(newest := {{0}}, x := {{{part}}})) FILTER (WHERE {{0}} IS NOT NULL)"
        blocks = f"list_filter({blocks}, lambda b: {self.near(age_us)})"
        return f"list_sum(list_transform({blocks}, lambda b: b.x * {self.weight(age_us)}))"


def _decayed_sum(aggregate: Aggregate) -> Summary:
    decay, age_us = _Decay(aggregate), "({instant} - max({0}))"
    aged = f"coalesce({decay.total(1)} * CASE WHEN {decay.near(age_us)} THEN {decay.weight(age_us)} END, 0)"
    return Summary(
        (_NEWEST, decay.part(_REAL)),
        sql.present(Kind.FLOAT, f"CASE WHEN max({{0}}) IS NOT NULL THEN {aged} END"),
        slack=_slack((_NEWEST, decay.part(_REAL_SIZE)), f"{TOLERANCE} * {aged}"),
    )


def _decayed_mean(aggregate: Aggregate) -> Summary:
    decay = _Decay(aggregate)
    mean = f"{decay.total(1)} / {decay.total(2)}"
    weights = decay.part("CASE WHEN {x} IS NOT NULL THEN CAST(1 AS DOUBLE) END")
    return Summary(
        (_NEWEST, decay.part(_REAL), weights),
        sql.present(Kind.FLOAT, mean),
        slack=_slack((_NEWEST, decay.part(_REAL_SIZE), weights), f"{TOLERANCE} * {mean}"),
    )


# Bags -----------------------------------------------------------------------------------------------------------------
_BUCKETS, _POWERS = 128, 1075  # buckets of a power of two; powers of two below 1 there are, and one more


def _quantile(aggregate: Aggregate) -> Bag:
    """An item is the number of a bucket, of its values' sign: 0 of zero, else ``(power + 1075) * 128 + place``."""
    assert isinstance(aggregate, ag.Quantile)
    size = "abs(CAST({x} AS DOUBLE))"
    # a logarithm may be rounded across a whole number; a comparison with the power itself is exact
    power = f"CAST(floor(log2({size})) AS BIGINT)"
    power = f"({power} + CAST({size} >= pow(2, {power} + 1) AS BIGINT) - CAST({size} < pow(2, {power}) AS BIGINT))"
    place = f"CAST(floor(({size} / pow(2, {power}) - 1) * {_BUCKETS}) AS BIGINT)"
    number = f"CASE WHEN isinf({size}) THEN {(1024 + _POWERS) * _BUCKETS} ELSE ({power} + {_POWERS}) * {_BUCKETS} + {place} END"
    item = f"CASE WHEN {size} = 0 THEN 0 WHEN {{x}} < 0 THEN -({number}) WHEN {{x}} > 0 THEN {number} END"
    q = Fraction(repr(aggregate.q))
    # of a share with more digits than whole numbers have, no window holds enough values for the second
    rank = f"greatest(1, (CAST(total AS HUGEINT) * {q.numerator} + {q.denominator - 1}) // {q.denominator})"
    rank = rank if q.denominator < 10**20 else "1"
    counted = (
        "SELECT _row, item, sum(n) OVER (PARTITION BY _row ORDER BY item) AS upto, "
        "sum(n) OVER (PARTITION BY _row) AS total FROM {bag}"
    )
    lower = f"pow(2, abs(item) // {_BUCKETS} - {_POWERS}) * (1 + CAST(abs(item) % {_BUCKETS} AS DOUBLE) / {_BUCKETS})"
    return Bag(
        item,
        f"SELECT _row, CASE WHEN item = 0 THEN CAST(0 AS DOUBLE) ELSE sign(item) * {lower} END AS value FROM "
        f"(SELECT _row, min(item) AS item FROM ({counted}) WHERE upto >= {rank} GROUP BY _row)",
    )


def _most_frequent(aggregate: Aggregate) -> Bag:
    assert isinstance(aggregate, ag.MostFrequent)
    chosen = f"min(struct_pack(less := -n, item := item), {aggregate.k or 1})"
    value = "list(x ORDER BY less, item)" if aggregate.k else "any_value(x)"
    return Bag(
        "",
        f"SELECT _row, {value} AS value FROM (SELECT _row, unnest(chosen, recursive := true) FROM "
        f"(SELECT _row, {chosen} AS chosen FROM {{bag}} GROUP BY _row)) JOIN {{items}} USING (item) GROUP BY _row",
    )


def _distinct(aggregate: Aggregate) -> Bag:
    """Above the bound HyperLogLog's estimate: harmonic mean of the registers, linear counting where many are empty."""
    assert isinstance(aggregate, ag.Distinct)
    registers = (
        "SELECT _row, coalesce(register, -item // 64) AS register, max(coalesce(height, -item % 64)) AS height, "
        "count(*) AS items, min(item) AS least FROM {bag} LEFT JOIN {items} USING (item) GROUP BY ALL"
    )
    registers = registers.replace("GROUP BY ALL", "GROUP BY _row, coalesce(register, -item // 64)")
    windows = (
        "SELECT _row, sum(items) AS items, min(least) AS least, count(*) AS filled, "
        f"sum(CAST(1 AS HUGEINT) << (49 - height)) AS weight FROM ({registers}) GROUP BY _row"
    )
    every = f"(weight + CAST({REGISTERS} - filled AS HUGEINT) * {2**49})"
    harmonic = f"({_ALPHA} / CAST({every} AS DOUBLE))"
    linear = f"{REGISTERS} * ln(CAST({REGISTERS} AS DOUBLE) / ({REGISTERS} - filled))"
    estimate = f"CASE WHEN {harmonic} <= {2.5 * REGISTERS} AND filled < {REGISTERS} THEN {linear} ELSE {harmonic} END"
    return Bag(
        "",
        f"SELECT _row, CASE WHEN least > 0 AND items <= {aggregate.exact} THEN CAST(items AS BIGINT) "
        f"ELSE greatest({aggregate.exact + 1}, CAST(floor({estimate} + 0.5) AS BIGINT)) END AS value FROM ({windows})",
        empty="0",
        exact=aggregate.exact,
        slack=f"CASE WHEN {{value}} > {aggregate.exact} THEN 1 ELSE 0 END",
    )


def items(value: str, source: str) -> str:
    """A query that numbers the values of a column in their order, with their place in a HyperLogLog.

    Of the first 60 bits of the MD5 of a value's text, 12 are the ``register``, and ``height`` is the place of the first
    one among the other 48, from 1; 49 if there is none.
    """
    hashed = f"SELECT {value} AS x, md5(CAST({value} AS VARCHAR)) AS digest FROM {source} WHERE {value} IS NOT NULL"
    bits = "SELECT x, CAST('0x' || digest[1:3] AS BIGINT) AS register, CAST('0x' || digest[4:15] AS BIGINT) AS rest"
    return (
        "SELECT x, row_number() OVER (ORDER BY x) AS item, register, "
        "49 - CASE WHEN rest = 0 THEN 0 ELSE length(bin(rest)) END AS height "
        f"FROM ({bits} FROM (SELECT DISTINCT * FROM ({hashed})))"
    )


RULES: Mapping[type[Aggregate], Callable[[Aggregate], Summary | Bag]] = {
    ag.Count: lambda aggregate: Summary(
        ("count({x})",), "CAST(sum({0}) AS BIGINT)", empty="0", framed="count({x}) {over}"
    ),
    ag.Sum: _sum,
    ag.Mean: _mean,
    ag.Share: lambda aggregate: Summary(
        ("count(*) FILTER (WHERE {x})", "count({x})"),
        "CAST(sum({0}) AS DOUBLE) / nullif(sum({1}), 0)",
        framed="CAST(count(*) FILTER (WHERE {x}) {over} AS DOUBLE) / nullif(count({x}) {over}, 0)",
    ),
    ag.Variance: _moments(root=False),
    ag.Std: _moments(root=True),
    ag.Min: _extreme("min"),
    ag.Max: _extreme("max"),
    ag.First: _ends("min"),
    ag.Last: _ends("max"),
    ag.LastN: _last_n,
    ag.TimeSinceLast: lambda aggregate: Summary(
        ("max({t}) FILTER (WHERE {x} IS NOT NULL)",),
        "CAST({instant} - max({0}) AS DOUBLE) / 1e6",
        latest="CAST({instant} - {t} AS DOUBLE) / 1e6",
    ),
    ag.DecayedSum: _decayed_sum,
    ag.DecayedMean: _decayed_mean,
    ag.Distinct: _distinct,
    ag.MostFrequent: _most_frequent,
    ag.Quantile: _quantile,
}
