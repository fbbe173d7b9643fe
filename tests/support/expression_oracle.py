"""docs/language.md, "Expressions", in plain Python: one value at a time, None is null. The judge of every engine."""

from __future__ import annotations

import math
import operator
from typing import Any

from samestream.schemas import arithmetic as ar
from samestream.schemas import comparisons as cp
from samestream.schemas import conditional as cd
from samestream.schemas.expressions import Column, Expr, Kind, Literal

COMPARISONS = {
    cp.Less: operator.lt,
    cp.LessOrEqual: operator.le,
    cp.Greater: operator.gt,
    cp.GreaterOrEqual: operator.ge,
    cp.Equal: operator.eq,
}
ARITHMETIC = {ar.Add: operator.add, ar.Subtract: operator.sub, ar.Multiply: operator.mul}


def evaluate(node: Expr[Any], columns: dict[str, Any]) -> Any:
    """An expression for one row."""
    if isinstance(node, Column):
        return columns[node.name]
    if isinstance(node, Literal):
        return node.value
    return fitting(operation(node, [evaluate(arg, columns) for arg in node.args]), node.kind)


def fitting(value: Any, kind: Kind) -> Any:
    """A whole number of 64 bits; a float beside which whole numbers are floats too; no NaN."""
    if value is None:
        return None
    if kind is Kind.INT:
        return (value + 2**63) % 2**64 - 2**63
    if kind is Kind.FLOAT:
        return None if math.isnan(value) else float(value)
    return value


def operation(node: Expr[Any], args: list[Any]) -> Any:
    """First those that say what they do about nulls; all others give null for one."""
    match node:
        case cd.And():
            return False if False in args else (None if None in args else True)
        case cd.Or():
            return True if True in args else (None if None in args else False)
        case cd.IsNull():
            return args[0] is None
        case cd.Fill():
            return args[1] if args[0] is None else args[0]
    if None in args:
        return None
    if node.kind is Kind.FLOAT or Kind.FLOAT in [arg.kind for arg in node.args]:
        args = [float(arg) for arg in args]
    match node:
        case ar.Add() | ar.Subtract() | ar.Multiply():
            return ARITHMETIC[type(node)](*args)
        case ar.Divide():
            return args[0] / args[1] if args[1] else None
        case ar.FloorDivide():
            return args[0] // args[1] if args[1] else None
        case ar.Modulo():
            return args[0] % args[1] if args[1] else None
        case ar.Negate():
            return -args[0]
        case ar.Absolute():
            return abs(args[0])
        case cp.Comparison():
            return COMPARISONS[type(node)](*args)
        case cd.Not():
            return not args[0]
    raise NotImplementedError(type(node))
