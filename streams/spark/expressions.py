"""Expressions as Spark SQL: one rule per operation, with its null rule. The twin of `streams.sql.duckdb`.

Text rendered here is run by a session of `streams.spark.session`, in which whole numbers wrap at 64 bits (ANSI mode is off) and the
time zone is UTC. Columns are of the types in `spark_terms.TYPES`, and a NaN in them has already become a null (`present`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samestream.schemas import comparisons as cp
from samestream.schemas import conditional as cd
from samestream.schemas import lists as li
from samestream.schemas.expressions import Expr
from samestream.streams.spark import calendar as spark_calendar
from samestream.streams.spark import numbers as spark_numbers
from samestream.streams.spark import text as spark_text
from samestream.streams.spark.terms import TYPES, bound, constant, present, quoted, real, text
from samestream.streams.sql.dialect import Dialect, Rule


def _comparison(symbol: str) -> Rule:
    def rule(value: Expr[Any], args: list[str]) -> str:
        mixed = value.args[0].kind is not value.args[1].kind  # only numbers mix, and as floats
        left, right = (real(arg) if mixed else arg for arg in args)
        return f"({left} {symbol} {right})"

    return rule


def _is_in(value: cp.IsIn, args: list[str]) -> str:
    options = [(option, constant(option.kind, option.value)) for option in value.options]
    if all(option.kind is value.args[0].kind and not option.kind.is_number for option in value.options):
        return f"({args[0]} IN ({', '.join(written for _, written in options)}))"
    equal = _comparison("=")  # a set of floats tells 0.0 from -0.0
    asked = [equal(cp.Equal(value.args[0], option), ["{0}", written]) for option, written in options]
    return bound(value, args, f"({' OR '.join(asked)})")


def _fill(value: Expr[Any], args: list[str]) -> str:
    type = SPARK.type_of(value.kind, value.item)
    return f"coalesce(CAST({args[0]} AS {type}), CAST({args[1]} AS {type}))"


def _when(value: cd.When[Any], args: list[str]) -> str:
    type = SPARK.type_of(value.kind, value.item)
    branches, otherwise = value.branches(args)
    cases = " ".join(f"WHEN {condition} THEN CAST({chosen} AS {type})" for condition, chosen in branches)
    return f"CASE {cases} ELSE CAST({otherwise or 'NULL'} AS {type}) END"


def _list_contains(value: li.ListContains, args: list[str]) -> str:
    found = "array_contains({0}, {1})"
    if value.args[0].item is not value.args[1].kind:
        found = f"array_contains(CAST({{0}} AS ARRAY<DOUBLE>), {real('{1}')})"
    # of a list with nulls that does not hold the value, Spark does not know
    return bound(value, args, f"CASE WHEN {{0}} IS NOT NULL AND {{1}} IS NOT NULL THEN coalesce({found}, false) END")


def _at(value: li.At, args: list[str]) -> str:
    if value.index >= 0:
        return present(value.kind, f"get({args[0]}, {value.index})")
    return present(value.kind, f"element_at({args[0]}, {max(value.index, 1 - 2**31)})")  # no list is that long


RULES: Mapping[type[Expr[Any]], Rule] = {
    cp.Less: _comparison("<"),
    cp.LessOrEqual: _comparison("<="),
    cp.Greater: _comparison(">"),
    cp.GreaterOrEqual: _comparison(">="),
    cp.Equal: _comparison("="),
    cp.IsIn: _is_in,
    cd.And: lambda value, args: f"({args[0]} AND {args[1]})",
    cd.Or: lambda value, args: f"({args[0]} OR {args[1]})",
    cd.Not: lambda value, args: f"(NOT {args[0]})",
    cd.Fill: _fill,
    cd.IsNull: lambda value, args: f"({args[0]} IS NULL)",
    cd.When: _when,
    li.ListLength: lambda value, args: f"CAST(array_size({args[0]}) AS BIGINT)",
    li.ListContains: _list_contains,
    li.At: _at,
    li.Get: lambda value, args: present(value.kind, f"element_at({args[0]}, {text(value.key)})"),
    **spark_numbers.RULES,
    **spark_text.RULES,
    **spark_calendar.RULES,
}

SPARK = Dialect(TYPES, quoted, constant, RULES)
