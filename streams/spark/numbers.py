"""`schemas.arithmetic` and `schemas.numbers` as Spark SQL. Whole numbers wrap by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samestream.schemas import arithmetic as ar
from samestream.schemas import numbers as nu
from samestream.schemas.expressions import Expr, Kind
from samestream.streams.spark.terms import TYPES, bound, constant, floor, let, present, real
from samestream.streams.sql.dialect import Rule

_ZERO = "0.0D"


def _is_negative(value: str) -> str:
    """Whether the sign of a float is minus, that of -0.0 too."""
    return f"startswith(CAST({value} AS STRING), '-')"


def _signed(zero: str, negative: str) -> str:
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
    none = _signed("nearly", f"{_is_negative(left)} <> {_is_negative(right)}")
    whole = f"{floor('nearly')} + CASE WHEN nearly - {floor('nearly')} > 0.5D THEN 1D ELSE 0D END"
    quotient = let("nearly", nearly, f"CASE WHEN nearly = 0 THEN {none} ELSE {whole} END")
    return present(value.kind, bound(value, args, let("rest", f"({left} % {right})", quotient)))


def _modulo(value: Expr[Any], args: list[str]) -> str:
    if value.kind is Kind.INT:
        return bound(value, args, f"({{0}} % {{1}} + CASE WHEN {_APART} THEN {{1}} ELSE 0L END)")
    left, right = _REAL
    none = _signed("rest", f"{right} < 0")
    found = f"CASE WHEN rest = 0 THEN {none} WHEN (rest < 0) <> ({right} < 0) THEN rest + {right} ELSE rest END"
    return present(value.kind, bound(value, args, let("rest", f"({left} % {right})", found)))


def _function(body: str) -> Rule:
    return lambda value, args: bound(value, [real(args[0])], body)


def _round(value: nu.Round, args: list[str]) -> str:
    power = constant(Kind.FLOAT, 10.0 ** abs(value.digits))
    scale, back = ("*", "/") if value.digits >= 0 else ("/", "*")
    scaled = f"({{0}} {scale} {power})"
    infinite = f"abs({scaled}) = CAST('Infinity' AS DOUBLE)"
    return bound(value, [real(args[0])], f"CASE WHEN {infinite} THEN {{0}} ELSE rint({scaled}) {back} {power} END")


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
    ar.Negate: lambda value, args: f"(-{args[0]})",
    ar.Absolute: lambda value, args: f"abs({args[0]})",
    nu.Log: _function("ln({0})"),  # null unless above 0
    nu.Exp: _function("exp({0})"),
    nu.SquareRoot: _function("CASE WHEN {0} >= 0 THEN sqrt({0}) END"),
    nu.Floor: _function(floor("{0}")),
    nu.Ceiling: _function(f"(-{floor('(-{0})')})"),
    nu.Round: _round,
    nu.Clip: _clip,
}
