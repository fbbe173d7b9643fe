"""Aggregates as DuckDB SQL; expressions are rendered by `streams.sql_duckdb`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from samestream.schemas import aggregates as ag
from samestream.schemas.aggregates import Aggregate
from samestream.schemas.kinds import Kind
from samestream.streams.sql_duckdb import DUCKDB
from samestream.streams.sql_duckdb_terms import TYPES, present, quoted, text, wrapped

__all__ = ["SUMMARIES", "TYPES", "Summary", "expression", "present", "quoted", "summary", "text", "wrapped"]

expression = DUCKDB.expression


@dataclass(frozen=True)
class Summary:
    """An aggregate as an algebra in SQL, so that a window can be put together from blocks of events.

    parts : what is kept of a block, aggregate expressions over its events' values ``{x}`` (null ones do not count) and,
        where an order matters, their place ``{at}``
    merge : from the parts ``{0}``, ``{1}`` of a window's blocks, grouped by window, to the value
    empty : the value of a window without a block
    """

    parts: tuple[str, ...]
    merge: str
    empty: str = "NULL"

    def parts_of(self, value: str, at: str) -> tuple[str, ...]:
        """The parts over named columns."""
        return tuple(part.replace("{x}", value).replace("{at}", at) for part in self.parts)

    def merged(self, parts: Sequence[str]) -> str:
        """The value over named parts."""
        merge = self.merge
        for index, part in enumerate(parts):
            merge = merge.replace(f"{{{index}}}", part)
        return merge


def summary(aggregate: Aggregate) -> Summary:
    """How an aggregate is computed; raises KeyError for a class without a rule."""
    return SUMMARIES[type(aggregate)](aggregate)


def _total(aggregate: Aggregate) -> str:
    assert aggregate.input is not None
    return wrapped("sum({0})") if aggregate.input.kind is Kind.INT else "sum({0})"


def _sum(aggregate: Aggregate) -> Summary:
    return Summary(("sum({x})",), present(aggregate.kind, _total(aggregate)))


def _mean(aggregate: Aggregate) -> Summary:
    return Summary(
        ("sum({x})", "count({x})"),
        present(Kind.FLOAT, f"(CAST({_total(aggregate)} AS DOUBLE) / nullif(sum({{1}}), 0))"),
    )


def _std(aggregate: Aggregate) -> Summary:
    # Sums of squares would cancel: a block keeps count, mean and squared deviations, and blocks are joined around the
    # mean of them all, so that a window of equal values deviates by rounding at most.
    blocks = "list(struct_pack(n := {0}, mean := {1}, m2 := {2})) FILTER (WHERE {0} > 0)"
    apart = "(b.mean - sum({0} * {1}) / sum({0}))"
    m2 = f"list_sum(list_transform({blocks}, lambda b: b.m2 + b.n * {apart} * {apart}))"
    return Summary(
        ("CAST(count({x}) AS DOUBLE)", "avg({x})", "var_pop({x}) * count({x})"),
        present(Kind.FLOAT, f"sqrt({m2} / nullif(sum({{0}}), 0))"),
    )


def _last(aggregate: Aggregate) -> Summary:
    latest = "max(struct_pack(at := {at}, x := {x})) FILTER (WHERE {x} IS NOT NULL)"
    return Summary((latest,), "struct_extract(max({0}), 'x')")


SUMMARIES: Mapping[type[Aggregate], Callable[[Aggregate], Summary]] = {
    ag.Count: lambda aggregate: Summary(("count({x})",), "CAST(sum({0}) AS BIGINT)", empty="0"),
    ag.Sum: _sum,
    ag.Mean: _mean,
    ag.Min: lambda aggregate: Summary(("min({x})",), "min({0})"),
    ag.Max: lambda aggregate: Summary(("max({x})",), "max({0})"),
    ag.Std: _std,
    ag.Last: _last,
}
