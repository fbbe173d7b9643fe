"""Expressions as DuckDB SQL: one rule per operation, with its null rule. The twin of `streams.engine.evaluate`.

Text rendered here reads columns of the types in `TYPES`, in which a NaN has already become a null (`present`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samestream.schemas import comparisons as cp
from samestream.schemas import conditional as cd
from samestream.schemas import lists as li
from samestream.schemas.expressions import Expr
from samestream.streams.sql import duckdb_calendar as sql_duckdb_calendar
from samestream.streams.sql import duckdb_numbers as sql_duckdb_numbers
from samestream.streams.sql import duckdb_text as sql_duckdb_text
from samestream.streams.sql.dialect import Dialect, Rule
from samestream.streams.sql.duckdb_terms import TYPES, bound, constant, present, quoted, text


def _comparison(symbol: str) -> Rule:
    def rule(value: Expr[Any], args: list[str]) -> str:
        mixed = value.args[0].kind is not value.args[1].kind  # only numbers mix, and as floats
        left, right = (f"CAST({arg} AS DOUBLE)" if mixed else arg for arg in args)
        return f"({left} {symbol} {right})"

    return rule


def _is_in(value: cp.IsIn, args: list[str]) -> str:
    options = [(option, constant(option.kind, option.value)) for option in value.options]
    if all(option.kind is value.args[0].kind for option in value.options):
        return f"({args[0]} IN ({', '.join(written for _, written in options)}))"
    equal = _comparison("=")
    asked = [equal(cp.Equal(value.args[0], option), ["{0}", written]) for option, written in options]
    return bound(value, args, f"({' OR '.join(asked)})")


def _fill(value: Expr[Any], args: list[str]) -> str:
    type = DUCKDB.type_of(value.kind, value.item)
    return f"coalesce(CAST({args[0]} AS {type}), CAST({args[1]} AS {type}))"


def _when(value: cd.When[Any], args: list[str]) -> str:
    type = DUCKDB.type_of(value.kind, value.item)
    branches, otherwise = value.branches(args)
    cases = " ".join(f"WHEN {condition} THEN CAST({chosen} AS {type})" for condition, chosen in branches)
    return f"CASE {cases} ELSE CAST({otherwise or 'NULL'} AS {type}) END"


def _list_contains(value: li.ListContains, args: list[str]) -> str:
    if value.args[0].item is value.args[1].kind:
        return f"list_contains({args[0]}, {args[1]})"
    return f"list_contains(CAST({args[0]} AS DOUBLE[]), CAST({args[1]} AS DOUBLE))"


def _at(value: li.At, args: list[str]) -> str:
    # DuckDB counts from 1, and like us from the end below 0
    return present(value.kind, f"list_extract({args[0]}, {value.index + (value.index >= 0)})")


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
    li.ListLength: lambda value, args: f"len({args[0]})",
    li.ListContains: _list_contains,
    li.At: _at,
    li.Get: lambda value, args: present(value.kind, f"({args[0]})[{text(value.key)}]"),
    **sql_duckdb_numbers.RULES,
    **sql_duckdb_text.RULES,
    **sql_duckdb_calendar.RULES,
}

DUCKDB = Dialect(TYPES, quoted, constant, RULES)
