"""Expressions as Spark SQL: one rule per operation, with its null rule. The twin of `streams.sql_duckdb`.

Text rendered here is run by a session of `streams.spark_session`, in which whole numbers wrap at 64 bits (ANSI mode is off) and the
time zone is UTC. Columns are of the types in `TYPES`, and a NaN in them has already become a null (`present`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samestream.schemas import arithmetic as ar
from samestream.schemas import comparisons as cp
from samestream.schemas import conditional as cd
from samestream.schemas.expressions import Column, Expr, Kind, Literal
from samestream.streams.sql_dialect import Dialect, Rule

TYPES: Mapping[Kind, str] = {
    Kind.INT: "BIGINT",
    Kind.FLOAT: "DOUBLE",
    Kind.BOOL: "BOOLEAN",
    Kind.STRING: "STRING",
    Kind.TIME: "BIGINT",  # microseconds since 1970, as everywhere
    Kind.LIST: "ARRAY<{item}>",
    Kind.MAP: "MAP<STRING, {item}>",
}
_ZERO = "0.0D"


def quoted(name: str) -> str:
    """A column or table name as an identifier.

    >>> quoted("0/origin/1")
    '`0/origin/1`'
    """
    return "`" + name.replace("`", "``") + "`"


def text(value: str) -> str:
    """A string as a literal; in Spark a backslash escapes."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def constant(kind: Kind, value: Any) -> str:
    """A constant; by way of text, since a bare 0.1 would be a DECIMAL."""
    return text(value) if kind is Kind.STRING else f"CAST({text(str(value))} AS {TYPES[kind]})"


def present(kind: Kind, value: str) -> str:
    """The value, or null where it is NaN (which equals itself in Spark)."""
    return f"nullif({value}, CAST('NaN' AS DOUBLE))" if kind is Kind.FLOAT else value


def let(name: str, value: str, body: str) -> str:
    """A body that reads a value by a name."""
    return f"element_at(transform(array({value}), {name} -> {body}), 1)"


def bound(value: Expr[Any], args: list[str], body: str) -> str:
    """A body that reads the arguments ``{0}``, ``{1}`` more than once: what is computed is computed once, and written once."""
    if all(isinstance(arg, Column | Literal) for arg in value.args):
        return body.format(*args)
    fields = ", ".join(f"'a{index}', {arg}" for index, arg in enumerate(args))
    return let("args", f"named_struct({fields})", body.format(*(f"args.a{index}" for index in range(len(args)))))


def real(value: str) -> str:
    """A number as a float."""
    return f"CAST({value} AS DOUBLE)"


def is_negative(value: str) -> str:
    """Whether the sign of a float is minus, that of -0.0 too."""
    return f"startswith(CAST({value} AS STRING), '-')"


def signed(zero: str, negative: str) -> str:
    """A zero that was computed, with a sign. Of constants the optimiser takes 0.0 and -0.0 for the same."""
    return f"(abs({zero}) * CASE WHEN {negative} THEN -1D ELSE 1D END)"


def _arithmetic(symbol: str) -> Rule:
    def rule(value: Expr[Any], args: list[str]) -> str:
        if value.kind is Kind.INT:
            return f"({args[0]} {symbol} {args[1]})"
        return present(value.kind, f"({real(args[0])} {symbol} {real(args[1])})")

    return rule


def _divide(value: Expr[Any], args: list[str]) -> str:
    return present(value.kind, f"({real(args[0])} / nullif({real(args[1])}, {_ZERO}))")


# whether a whole quotient was rounded up: towards zero, where it is negative
_APART = "{0} % {1} <> 0 AND ({0} < 0) <> ({1} < 0)"
_REAL = (real("{0}"), f"nullif({real('{1}')}, {_ZERO})")


def _floor_divide(value: Expr[Any], args: list[str]) -> str:
    if value.kind is Kind.INT:
        return bound(value, args, f"({{0}} div {{1}} - CASE WHEN {_APART} THEN 1L ELSE 0L END)")
    # as Python's floats divide: what is left is exact, and the quotient without it is nearly whole
    left, right = _REAL
    nearly = f"(({left} - rest) / {right} - CASE WHEN rest <> 0 AND (rest < 0) <> ({right} < 0) THEN 1D ELSE 0D END)"
    none = signed("nearly", f"{is_negative(left)} <> {is_negative(right)}")
    whole = f"{floor('nearly')} + CASE WHEN nearly - {floor('nearly')} > 0.5D THEN 1D ELSE 0D END"
    quotient = let("nearly", nearly, f"CASE WHEN nearly = 0 THEN {none} ELSE {whole} END")
    return present(value.kind, bound(value, args, let("rest", f"({left} % {right})", quotient)))


def _modulo(value: Expr[Any], args: list[str]) -> str:
    if value.kind is Kind.INT:
        return bound(value, args, f"({{0}} % {{1}} + CASE WHEN {_APART} THEN {{1}} ELSE 0L END)")
    left, right = _REAL
    none = signed("rest", f"{right} < 0")
    found = f"CASE WHEN rest = 0 THEN {none} WHEN (rest < 0) <> ({right} < 0) THEN rest + {right} ELSE rest END"
    return present(value.kind, bound(value, args, let("rest", f"({left} % {right})", found)))


def floor(value: str) -> str:
    """A float rounded down, as a float: Spark's own gives a whole number of 64 bits. From 2**52 on every float is whole."""
    return f"CASE WHEN abs({value}) < 4503599627370496D THEN CAST(floor({value}) AS DOUBLE) ELSE {value} END"


def _comparison(symbol: str) -> Rule:
    def rule(value: Expr[Any], args: list[str]) -> str:
        mixed = value.args[0].kind is not value.args[1].kind  # only numbers mix, and as floats
        left, right = (real(arg) if mixed else arg for arg in args)
        return f"({left} {symbol} {right})"

    return rule


def _fill(value: Expr[Any], args: list[str]) -> str:
    return f"coalesce(CAST({args[0]} AS {TYPES[value.kind]}), CAST({args[1]} AS {TYPES[value.kind]}))"


RULES: Mapping[type[Expr[Any]], Rule] = {
    ar.Add: _arithmetic("+"),
    ar.Subtract: _arithmetic("-"),
    ar.Multiply: _arithmetic("*"),
    ar.Divide: _divide,
    ar.FloorDivide: _floor_divide,
    ar.Modulo: _modulo,
    ar.Negate: lambda value, args: f"(-{args[0]})",
    ar.Absolute: lambda value, args: f"abs({args[0]})",
    cp.Less: _comparison("<"),
    cp.LessOrEqual: _comparison("<="),
    cp.Greater: _comparison(">"),
    cp.GreaterOrEqual: _comparison(">="),
    cp.Equal: _comparison("="),
    cd.And: lambda value, args: f"({args[0]} AND {args[1]})",
    cd.Or: lambda value, args: f"({args[0]} OR {args[1]})",
    cd.Not: lambda value, args: f"(NOT {args[0]})",
    cd.Fill: _fill,
    cd.IsNull: lambda value, args: f"({args[0]} IS NULL)",
}

SPARK = Dialect(TYPES, quoted, constant, RULES)
