"""Aggregates as Spark SQL: the twin of `streams.sql.aggregates`, whose `Summary` and `Bag` say what a rule is.

Whole numbers wrap by themselves, and a division by zero is null. Rules have no slack.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

from samestream.schemas import aggregates as ag
from samestream.schemas.aggregates import Aggregate
from samestream.schemas.expressions import Kind
from samestream.streams.spark.terms import let, present, real
from samestream.streams.sql.aggregates import REGISTERS, Bag, Summary

_ALPHA = f"CAST('{0.7213 / (1 + 1.079 / REGISTERS) * REGISTERS * REGISTERS * 2**49!r}' AS DOUBLE)"
_REAL = real("{x}")


def rule(aggregate: Aggregate) -> Summary | Bag:
    """How an aggregate is computed; raises KeyError for a class without a rule."""
    return RULES[type(aggregate)](aggregate)


# Summaries ------------------------------------------------------------------------------------------------------------
def _added(numbers: str) -> str:
    """The sum of an array of floats."""
    return f"aggregate({numbers}, 0D, (sum, next) -> sum + next)"


def _blocks(fields: Mapping[str, str], where: str) -> str:
    """What is known of every block of a window, as an array."""
    named = ", ".join(f"'{name}', {value}" for name, value in fields.items())
    return f"collect_list(named_struct({named})) FILTER (WHERE {where})"


def _moments(root: bool) -> Callable[[Aggregate], Summary]:
    # as in DuckDB: squared deviations of blocks are joined around the mean of them all
    window = (
        f"named_struct('mean', sum({{0}} * {{1}}) / sum({{0}}), "
        f"'blocks', {_blocks({'n': '{0}', 'mean': '{1}', 'm2': '{2}'}, '{0} > 0')})"
    )
    apart = "(b.mean - window.mean)"
    m2 = let("window", window, _added(f"transform(window.blocks, b -> b.m2 + b.n * {apart} * {apart})"))
    variance = f"greatest({m2}, 0D) / nullif(sum({{0}}), 0D)"
    parts = ("CAST(count({x}) AS DOUBLE)", f"avg({_REAL})", f"var_pop({_REAL}) * count({{x}})")
    value = present(Kind.FLOAT, f"sqrt({variance})" if root else variance)
    return lambda aggregate: Summary(parts, value)


def _ends(name: str) -> Callable[[Aggregate], Summary]:
    placed = "named_struct('at', {at}, 'x', {x})"
    return lambda aggregate: Summary(
        (f"{name}_by({placed}, {{at}}) FILTER (WHERE {{x}} IS NOT NULL)",), f"{name}_by({{0}}, {{0}}.at).x"
    )


def _last_n(aggregate: Aggregate) -> Summary:
    assert isinstance(aggregate, ag.LastN)

    def latest(found: str) -> str:
        return f"slice(array_sort({found}, (l, r) -> CASE WHEN l.at > r.at THEN -1 ELSE 1 END), 1, {aggregate.n})"

    values = "collect_list(named_struct('at', {at}, 'x', {x})) FILTER (WHERE {x} IS NOT NULL)"
    merged = f"transform(reverse({latest('flatten(collect_list({0}))')}), e -> e.x)"
    return Summary(
        (f"CASE WHEN count({{x}}) > 0 THEN {latest(values)} END",), f"CASE WHEN count({{0}}) > 0 THEN {merged} END"
    )


class _Decay:
    """Weights are relative to the newest value, as in DuckDB; the first part is always the time of that value."""

    NEWEST = "max({t}) FILTER (WHERE {x} IS NOT NULL)"

    def __init__(self, aggregate: Aggregate) -> None:
        assert isinstance(aggregate, ag.DecayedSum)
        self._half_life_us = aggregate.half_life_us

    def weight(self, age_us: str) -> str:
        """What an event of an age counts."""
        return f"pow(2D, -{real(age_us)} / {real(str(self._half_life_us))})"

    def near(self, age_us: str) -> str:
        """Whether that is anything."""
        return f"{age_us} < {1023 * self._half_life_us}"

    def part(self, value: str) -> str:
        """A weighted sum in a block."""
        age_us = "({newest} - {t})"
        return f"sum({value} * {self.weight(age_us)}) FILTER (WHERE {self.near(age_us)})"

    def total(self, part: int) -> str:
        """A weighted sum in a window, as of its newest value."""
        blocks = _blocks({"newest": "{0}", "x": f"{{{part}}}"}, "{0} IS NOT NULL")
        age_us = "(window.newest - b.newest)"
        near = f"filter(window.blocks, b -> {self.near(age_us)})"
        weighted = _added(f"transform({near}, b -> b.x * {self.weight(age_us)})")
        return let("window", f"named_struct('newest', max({{0}}), 'blocks', {blocks})", weighted)


def _decayed_sum(aggregate: Aggregate) -> Summary:
    decay, age_us = _Decay(aggregate), "({instant} - max({0}))"
    aged = f"coalesce({decay.total(1)} * CASE WHEN {decay.near(age_us)} THEN {decay.weight(age_us)} END, 0D)"
    return Summary(
        (decay.NEWEST, decay.part(_REAL)), present(Kind.FLOAT, f"CASE WHEN max({{0}}) IS NOT NULL THEN {aged} END")
    )


def _decayed_mean(aggregate: Aggregate) -> Summary:
    decay = _Decay(aggregate)
    weights = decay.part("CASE WHEN {x} IS NOT NULL THEN 1D END")
    return Summary(
        (decay.NEWEST, decay.part(_REAL), weights), present(Kind.FLOAT, f"{decay.total(1)} / {decay.total(2)}")
    )


# Bags -----------------------------------------------------------------------------------------------------------------
_BUCKETS, _POWERS = 128, 1075  # as in DuckDB


def _quantile(aggregate: Aggregate) -> Bag:
    """An item is the number of a bucket, as in DuckDB."""
    assert isinstance(aggregate, ag.Quantile)
    size = f"abs({_REAL})"
    power = f"floor(log2({size}))"
    power = f"({power} + CAST({size} >= pow(2D, {power} + 1) AS BIGINT) - CAST({size} < pow(2D, {power}) AS BIGINT))"
    place = f"floor(({size} / pow(2D, {power}) - 1D) * {_BUCKETS})"
    number = (
        f"CASE WHEN {size} = CAST('Infinity' AS DOUBLE) THEN {(1024 + _POWERS) * _BUCKETS}L "
        f"ELSE ({power} + {_POWERS}) * {_BUCKETS} + {place} END"
    )
    item = f"CASE WHEN {size} = 0 THEN 0L WHEN {{x}} < 0 THEN -({number}) WHEN {{x}} > 0 THEN {number} END"
    q = Fraction(repr(aggregate.q))
    # of a share with more digits than whole numbers have, no window holds enough values for the second
    rank = f"greatest(1, (CAST(total AS DECIMAL(38, 0)) * {q.numerator} + {q.denominator - 1}) div {q.denominator})"
    rank = rank if q.denominator < 10**20 else "1"
    counted = (
        "SELECT _row, item, sum(n) OVER (PARTITION BY _row ORDER BY item) AS upto, "
        "sum(n) OVER (PARTITION BY _row) AS total FROM {bag}"
    )
    lower = f"pow(2D, abs(item) div {_BUCKETS} - {_POWERS}) * (1D + abs(item) % {_BUCKETS} / {_BUCKETS}D)"
    return Bag(
        item,
        f"SELECT _row, CASE WHEN item = 0 THEN 0D ELSE sign(item) * {lower} END AS value FROM "
        f"(SELECT _row, min(item) AS item FROM ({counted}) WHERE upto >= {rank} GROUP BY _row)",
    )


def _most_frequent(aggregate: Aggregate) -> Bag:
    assert isinstance(aggregate, ag.MostFrequent)
    placed = "SELECT *, row_number() OVER (PARTITION BY _row ORDER BY n DESC, item) AS place FROM {bag}"
    listed = "transform(sort_array(collect_list(named_struct('place', place, 'x', x))), e -> e.x)"
    return Bag(
        "",
        f"SELECT _row, {listed if aggregate.k else 'any_value(x)'} AS value FROM ({placed}) JOIN {{items}} USING (item) "
        f"WHERE place <= {aggregate.k or 1} GROUP BY _row",
    )


def _distinct(aggregate: Aggregate) -> Bag:
    """Above the bound HyperLogLog's estimate, as in DuckDB."""
    assert isinstance(aggregate, ag.Distinct)
    register = "coalesce(register, (-item) div 64)"
    registers = (
        f"SELECT _row, {register} AS register, max(coalesce(height, (-item) % 64)) AS height, count(*) AS items, "
        f"min(item) AS least FROM {{bag}} LEFT JOIN {{items}} USING (item) GROUP BY _row, {register}"
    )
    windows = (
        "SELECT _row, sum(items) AS items, min(least) AS least, count(*) AS filled, "
        f"sum(CAST(1 AS BIGINT) << CAST(49 - height AS INT)) AS weight FROM ({registers}) GROUP BY _row"
    )
    harmonic = f"({_ALPHA} / {real(f'(weight + ({REGISTERS} - filled) * {2**49})')})"  # 2 ** 61 at most
    linear = f"{REGISTERS} * ln({REGISTERS}D / ({REGISTERS} - filled))"
    estimate = f"CASE WHEN {harmonic} <= {2.5 * REGISTERS}D AND filled < {REGISTERS} THEN {linear} ELSE {harmonic} END"
    return Bag(
        "",
        f"SELECT _row, CASE WHEN least > 0 AND items <= {aggregate.exact} THEN items "
        f"ELSE greatest({aggregate.exact + 1}, floor({estimate} + 0.5D)) END AS value FROM ({windows})",
        empty="0",
        exact=aggregate.exact,
    )


def items(value: str, source: str) -> str:
    """See `sql.aggregates.items`."""
    hashed = f"SELECT {value} AS x, md5(CAST({value} AS STRING)) AS digest FROM {source} WHERE {value} IS NOT NULL"
    first, rest = (
        f"CAST(conv(substr(digest, {start}, {length}), 16, 10) AS BIGINT)" for start, length in ((1, 3), (4, 12))
    )
    return (
        "SELECT x, row_number() OVER (ORDER BY x) AS item, register, "
        "49 - CASE WHEN rest = 0 THEN 0 ELSE length(bin(rest)) END AS height "
        f"FROM (SELECT x, {first} AS register, {rest} AS rest FROM (SELECT DISTINCT * FROM ({hashed})))"
    )


RULES: Mapping[type[Aggregate], Callable[[Aggregate], Summary | Bag]] = {
    ag.Count: lambda aggregate: Summary(("count({x})",), "sum({0})", empty="0"),
    ag.Sum: lambda aggregate: Summary(("sum({x})",), present(aggregate.kind, "sum({0})")),
    ag.Mean: lambda aggregate: Summary(
        ("sum({x})", "count({x})"), present(Kind.FLOAT, f"({real('sum({0})')} / nullif(sum({{1}}), 0))")
    ),
    ag.Share: lambda aggregate: Summary(
        ("count(*) FILTER (WHERE {x})", "count({x})"), f"{real('sum({0})')} / nullif(sum({{1}}), 0)"
    ),
    ag.Variance: _moments(root=False),
    ag.Std: _moments(root=True),
    ag.Min: lambda aggregate: Summary(("min({x})",), "min({0})"),
    ag.Max: lambda aggregate: Summary(("max({x})",), "max({0})"),
    ag.First: _ends("min"),
    ag.Last: _ends("max"),
    ag.LastN: _last_n,
    ag.TimeSinceLast: lambda aggregate: Summary((_Decay.NEWEST,), f"{real('({instant} - max({0}))')} / 1e6D"),
    ag.DecayedSum: _decayed_sum,
    ag.DecayedMean: _decayed_mean,
    ag.Distinct: _distinct,
    ag.MostFrequent: _most_frequent,
    ag.Quantile: _quantile,
}
