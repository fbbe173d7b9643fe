"""`schemas.numbers` on columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from samestream.schemas import numbers as nu
from samestream.schemas.expressions import Expr, Kind
from samestream.streams.columns import DTYPES, ColumnData
from samestream.streams.engine.evaluation import Rule, finished, floats


def _function(function: Callable[..., Any], defined: Callable[[Any], Any] = lambda values: np.True_) -> Rule:
    def rule(expression: Expr[Any], args: list[ColumnData]) -> ColumnData:
        values = floats(args[0])
        valid = args[0].valid & defined(values)
        with np.errstate(over="ignore", under="ignore"):
            return finished(function(np.where(valid, values, 1.0)), valid, Kind.FLOAT)

    return rule


def _round(expression: nu.Round, args: list[ColumnData]) -> ColumnData:
    values, power = floats(args[0]), 10.0 ** abs(expression.digits)
    with np.errstate(over="ignore", under="ignore"):
        if expression.digits < 0:
            return finished(np.rint(values / power) * power, args[0].valid, Kind.FLOAT)
        scaled = values * power
        return finished(np.where(np.isinf(scaled), values, np.rint(scaled) / power), args[0].valid, Kind.FLOAT)


def _clip(expression: nu.Clip, args: list[ColumnData]) -> ColumnData:
    values = args[0].values.astype(DTYPES[expression.kind], copy=False)
    within = values
    if expression.high is not None:
        within = np.where(values > expression.high.value, values.dtype.type(expression.high.value), within)
    if expression.low is not None:
        within = np.where(values < expression.low.value, values.dtype.type(expression.low.value), within)
    return finished(within, args[0].valid, expression.kind)


RULES: Mapping[type[Expr[Any]], Rule] = {
    nu.Log: _function(np.log, lambda values: values > 0),
    nu.Exp: _function(np.exp),
    nu.SquareRoot: _function(np.sqrt, lambda values: values >= 0),
    nu.Floor: _function(np.floor),
    nu.Ceiling: _function(np.ceil),
    nu.Round: _round,
    nu.Clip: _clip,
}
