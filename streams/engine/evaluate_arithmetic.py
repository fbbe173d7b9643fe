"""`schemas.arithmetic` on columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from samestream.schemas import arithmetic as ar
from samestream.schemas.expressions import Expr
from samestream.streams.columns import ColumnData
from samestream.streams.engine.evaluation import Rule, as_kind, both, finished


def _arithmetic(operation: Callable[..., Any]) -> Rule:
    def rule(expression: Expr[Any], args: list[ColumnData]) -> ColumnData:
        with np.errstate(all="ignore"):
            values = operation(*(as_kind(arg, expression.kind) for arg in args))
        return finished(values, both(args), expression.kind)

    return rule


def _division(operation: Callable[..., Any]) -> Rule:
    def rule(expression: Expr[Any], args: list[ColumnData]) -> ColumnData:
        left, right = (as_kind(arg, expression.kind) for arg in args)
        valid = args[0].valid & args[1].valid & (right != 0)
        with np.errstate(all="ignore"):
            values = operation(left, np.where(valid, right, np.ones(1, right.dtype)))
        return finished(values, valid, expression.kind)

    return rule


RULES: Mapping[type[Expr[Any]], Rule] = {
    ar.Add: _arithmetic(np.add),
    ar.Subtract: _arithmetic(np.subtract),
    ar.Multiply: _arithmetic(np.multiply),
    ar.Divide: _division(np.divide),
    ar.FloorDivide: _division(np.floor_divide),
    ar.Modulo: _division(np.remainder),
    ar.Negate: _arithmetic(np.negative),
    ar.Absolute: _arithmetic(np.abs),
}
