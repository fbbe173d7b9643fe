"""Expressions as DuckDB SQL: one rule per operation, with its null rule. The twin of `streams.evaluate`.

Text rendered here reads columns of the types in `TYPES`, in which a NaN has already become a null (`present`). Whole numbers
wrap at 64 bits as they do online: they are computed in 128 bits and folded back.
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
    Kind.STRING: "VARCHAR",
    Kind.TIME: "BIGINT",  # microseconds since 1970: needs no time zone and compares exactly
    Kind.LIST: "{item}[]",
    Kind.MAP: "MAP(VARCHAR, {item})",
}
_RANGE, _HALF = "CAST('18446744073709551616' AS HUGEINT)", "CAST('9223372036854775808' AS HUGEINT)"
_ZERO, _MINUS_ZERO = "CAST('0.0' AS DOUBLE)", "CAST('-0.0' AS DOUBLE)"
# the two arguments of a division, which has no value where the divisor is zero
_HUGE = ("CAST({0} AS HUGEINT)", "nullif(CAST({1} AS HUGEINT), 0)")
_REAL = ("CAST({0} AS DOUBLE)", "nullif(CAST({1} AS DOUBLE), 0)")


def quoted(name: str) -> str:
    """A column or table name as an identifier.

    >>> quoted('0/origin/1')
    '"0/origin/1"'
    """
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A string as a literal."""
    return "'" + value.replace("'", "''") + "'"


def constant(kind: Kind, value: Any) -> str:
    """A constant; by way of text, since a bare 0.1 would be a DECIMAL."""
    return f"CAST({text(str(value))} AS {TYPES[kind]})"


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


def bound(value: Expr[Any], args: list[str], body: str) -> str:
    """A body that reads the arguments ``{0}``, ``{1}`` more than once: what is computed is computed once, and written once."""
    if all(isinstance(arg, Column | Literal) for arg in value.args):
        return body.format(*args)
    fields = ", ".join(f"a{index} := {arg}" for index, arg in enumerate(args))
    return let("args", f"struct_pack({fields})", body.format(*(f"args.a{index}" for index in range(len(args)))))


def let(name: str, value: str, body: str) -> str:
    """A body that reads a value by a name."""
    return f"list_extract(list_transform([{value}], lambda {name}: {body}), 1)"


def _divide(value: Expr[Any], args: list[str]) -> str:
    return present(value.kind, f"(CAST({args[0]} AS DOUBLE) / nullif(CAST({args[1]} AS DOUBLE), 0))")


def _floor_divide(value: Expr[Any], args: list[str]) -> str:
    if value.kind is Kind.INT:
        left, right = _HUGE
        modulo = f"(({left} % {right} + {right}) % {right})"
        return bound(value, args, wrapped(f"({left} - {modulo}) // {right}"))
    # as Python's floats divide: what is left is exact, and the quotient without it is nearly whole
    left, right = _REAL
    nearly = f"(({left} - rest) / {right} - CASE WHEN rest <> 0 AND (rest < 0) <> ({right} < 0) THEN 1 ELSE 0 END)"
    none = f"CASE WHEN signbit({left} / {right}) THEN {_MINUS_ZERO} ELSE {_ZERO} END"
    whole = "floor(nearly) + CASE WHEN nearly - floor(nearly) > 0.5 THEN 1 ELSE 0 END"
    quotient = let("nearly", nearly, f"CASE WHEN nearly = 0 THEN {none} ELSE {whole} END")
    return present(value.kind, bound(value, args, let("rest", f"{left} % {right}", quotient)))


def _modulo(value: Expr[Any], args: list[str]) -> str:
    if value.kind is Kind.INT:
        left, right = _HUGE
        return bound(value, args, f"CAST(({left} % {right} + {right}) % {right} AS BIGINT)")
    left, right = _REAL
    none = f"CASE WHEN {right} < 0 THEN {_MINUS_ZERO} ELSE {_ZERO} END"
    signed = f"CASE WHEN rest = 0 THEN {none} WHEN (rest < 0) <> ({right} < 0) THEN rest + {right} ELSE rest END"
    return present(value.kind, bound(value, args, let("rest", f"{left} % {right}", signed)))


def _negate(value: Expr[Any], args: list[str]) -> str:
    return wrapped(f"-CAST({args[0]} AS HUGEINT)") if value.kind is Kind.INT else f"(-{args[0]})"


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
    ar.Add: _arithmetic("+"),
    ar.Subtract: _arithmetic("-"),
    ar.Multiply: _arithmetic("*"),
    ar.Divide: _divide,
    ar.FloorDivide: _floor_divide,
    ar.Modulo: _modulo,
    ar.Negate: _negate,
    ar.Absolute: _absolute,
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

DUCKDB = Dialect(TYPES, quoted, constant, RULES)
