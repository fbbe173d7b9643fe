"""`schemas.arithmetic` and `schemas.numbers` as DuckDB SQL. Whole numbers are computed in 128 bits and folded back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samestream.schemas import arithmetic as ar
from samestream.schemas import numbers as nu
from samestream.schemas.expressions import Expr, Kind
from samestream.streams.sql.dialect import Rule
from samestream.streams.sql.duckdb_terms import TYPES, bound, constant, let, present, real, wrapped

_ZERO, _MINUS_ZERO = "CAST('0.0' AS DOUBLE)", "CAST('-0.0' AS DOUBLE)"
# the two arguments of a division, which has no value where the divisor is zero
_HUGE = ("CAST({0} AS HUGEINT)", "nullif(CAST({1} AS HUGEINT), 0)")
_REAL = ("CAST({0} AS DOUBLE)", "nullif(CAST({1} AS DOUBLE), 0)")
# a whole number is written into this many bits of a float's 52: the sum is rounded there, a half to the even neighbour
_WHOLE = constant(Kind.FLOAT, 2.0**52)


def _arithmetic(symbol: str) -> Rule:
    def rule(value: Expr[Any], args: list[str]) -> str:
        if value.kind is Kind.INT:
            return wrapped(f"CAST({args[0]} AS HUGEINT) {symbol} CAST({args[1]} AS HUGEINT)")
        return present(value.kind, f"(CAST({args[0]} AS DOUBLE) {symbol} CAST({args[1]} AS DOUBLE))")

    return rule


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


def _function(name: str, domain: str = "") -> Rule:
    def rule(value: Expr[Any], args: list[str]) -> str:
        within = f"CASE WHEN {{0}} {domain} THEN {{0}} END" if domain else "{0}"
        return bound(value, [real(args[0])], f"{name}({within})")

    return rule


def _round(value: nu.Round, args: list[str]) -> str:
    power = constant(Kind.FLOAT, 10.0 ** abs(value.digits))
    scale, back = ("*", "/") if value.digits >= 0 else ("/", "*")
    whole = f"(abs(scaled) + {_WHOLE}) - {_WHOLE}"
    whole = f"CASE WHEN abs(scaled) >= {_WHOLE} THEN scaled WHEN signbit(scaled) THEN -({whole}) ELSE {whole} END"
    rounded = f"CASE WHEN isinf(scaled) THEN {{0}} ELSE ({whole}) {back} {power} END"
    return bound(value, [real(args[0])], let("scaled", f"{{0}} {scale} {power}", rounded))


def _clip(value: nu.Clip, args: list[str]) -> str:
    bounds = (("<", value.low), (">", value.high))
    type = TYPES[value.kind]
    cases = [
        f"WHEN {{0}} {sign} CAST({limit} AS {type}) THEN CAST({limit} AS {type})"
        for sign, limit in ((sign, constant(bound.kind, bound.value)) for sign, bound in bounds if bound is not None)
    ]
    return bound(value, [f"CAST({args[0]} AS {type})"], f"CASE {' '.join(cases)} ELSE {{0}} END")


RULES: Mapping[type[Expr[Any]], Rule] = {
    ar.Add: _arithmetic("+"),
    ar.Subtract: _arithmetic("-"),
    ar.Multiply: _arithmetic("*"),
    ar.Divide: _divide,
    ar.FloorDivide: _floor_divide,
    ar.Modulo: _modulo,
    ar.Negate: _negate,
    ar.Absolute: _absolute,
    nu.Log: _function("ln", "> 0"),
    nu.Exp: _function("exp"),
    nu.SquareRoot: _function("sqrt", ">= 0"),
    nu.Floor: _function("floor"),
    nu.Ceiling: _function("ceil"),
    nu.Round: _round,
    nu.Clip: _clip,
}
