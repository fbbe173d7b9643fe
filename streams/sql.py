"""Expressions and aggregates as DuckDB SQL: one rule per class, with its null rule. The twin of `streams.evaluate`.

Text rendered here reads columns of the types in `TYPES`, in which a NaN has already become a null (`present`). Whole numbers
wrap at 64 bits as they do online: they are computed in 128 bits and folded back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from samestream.schemas import aggregates as ag
from samestream.schemas import expressions as ex
from samestream.schemas.aggregates import Aggregate
from samestream.schemas.expressions import Expr, Kind

TYPES: Mapping[Kind, str] = {
    Kind.INT: "BIGINT",
    Kind.FLOAT: "DOUBLE",
    Kind.BOOL: "BOOLEAN",
    Kind.STRING: "VARCHAR",
    Kind.TIME: "BIGINT",  # microseconds since 1970: needs no time zone and compares exactly
}
_RANGE, _HALF = "CAST('18446744073709551616' AS HUGEINT)", "CAST('9223372036854775808' AS HUGEINT)"

Rule = Callable[[Expr[Any], list[str]], str]


def quoted(name: str) -> str:
    """A column or table name as an identifier.

    >>> quoted('0/origin/1')
    '"0/origin/1"'
    """
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A string as a literal."""
    return "'" + value.replace("'", "''") + "'"


def expression(value: Expr[Any]) -> str:
    """An expression as SQL over columns named as its leaves are.

    Raises KeyError for a class without a rule, as for leaves that a plan has not lowered to columns.
    """
    if isinstance(value, ex.Column):
        return quoted(value.name)
    if isinstance(value, ex.Literal):
        # by way of text: a bare 0.1 would be a DECIMAL
        return f"CAST({text(str(value.value))} AS {TYPES[value.kind]})"
    return RULES[type(value)](value, [expression(argument) for argument in value.args])


def present(kind: Kind, value: str) -> str:
    """The value, or null where it is NaN."""
    return f"nullif({value}, CAST('nan' AS DOUBLE))" if kind is Kind.FLOAT else value


def wrapped(value: str) -> str:
    """A HUGEINT folded to 64 bits, as two's complement wraps."""
    return f"CAST(((({value}) % {_RANGE} + {_RANGE} + {_HALF}) % {_RANGE}) - {_HALF} AS BIGINT)"


def _arithmetic(symbol: str) -> Rule:
    def rule(value: Expr[Any], args: list[str]) -> str:
        if value.kind is Kind.INT:
            return wrapped(f"CAST({args[0]} AS HUGEINT) {symbol} CAST({args[1]} AS HUGEINT)")
        return present(value.kind, f"(CAST({args[0]} AS DOUBLE) {symbol} CAST({args[1]} AS DOUBLE))")

    return rule


def _divide(value: Expr[Any], args: list[str]) -> str:
    return present(value.kind, f"(CAST({args[0]} AS DOUBLE) / nullif(CAST({args[1]} AS DOUBLE), 0))")


def _absolute(value: Expr[Any], args: list[str]) -> str:
    return wrapped(f"abs(CAST({args[0]} AS HUGEINT))") if value.kind is Kind.INT else f"abs({args[0]})"


def _comparison(symbol: str) -> Rule:
    def rule(value: Expr[Any], args: list[str]) -> str:
        mixed = value.args[0].kind is not value.args[1].kind  # only numbers mix, and as floats
        left, right = (f"CAST({arg} AS DOUBLE)" if mixed else arg for arg in args)
        return f"({left} {symbol} {right})"

    return rule


def _fill(value: Expr[Any], args: list[str]) -> str:
    return f"coalesce(CAST({args[0]} AS {TYPES[value.kind]}), CAST({args[1]} AS {TYPES[value.kind]}))"


RULES: Mapping[type[Expr[Any]], Rule] = {
    ex.Add: _arithmetic("+"),
    ex.Subtract: _arithmetic("-"),
    ex.Multiply: _arithmetic("*"),
    ex.Divide: _divide,
    ex.Absolute: _absolute,
    ex.Less: _comparison("<"),
    ex.LessOrEqual: _comparison("<="),
    ex.Greater: _comparison(">"),
    ex.GreaterOrEqual: _comparison(">="),
    ex.Equal: _comparison("="),
    ex.And: lambda value, args: f"({args[0]} AND {args[1]})",
    ex.Or: lambda value, args: f"({args[0]} OR {args[1]})",
    ex.Not: lambda value, args: f"(NOT {args[0]})",
    ex.Fill: _fill,
    ex.IsNull: lambda value, args: f"({args[0]} IS NULL)",
}


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
