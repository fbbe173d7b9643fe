"""`schemas.comparisons` and `schemas.conditional` on columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from samestream.schemas import comparisons as cp
from samestream.schemas import conditional as cd
from samestream.schemas.expressions import Expr, Kind
from samestream.streams import columns
from samestream.streams.columns import ColumnData
from samestream.streams.engine.evaluation import Rule, as_kind, finished


def _comparison(operation: Callable[[Any, Any], Any]) -> Rule:
    def rule(expression: Expr[Any], args: list[ColumnData]) -> ColumnData:
        valid = args[0].valid & args[1].valid
        return ColumnData(np.asarray(operation(args[0].values, args[1].values), np.bool_) & valid, valid)

    return rule


def _and(expression: Expr[Any], args: list[ColumnData]) -> ColumnData:
    left, right = args
    is_false = (left.valid & ~left.values) | (right.valid & ~right.values)
    valid = (left.valid & right.valid) | is_false
    return ColumnData(valid & ~is_false, valid)


def _or(expression: Expr[Any], args: list[ColumnData]) -> ColumnData:
    left, right = args
    is_true = (left.valid & left.values) | (right.valid & right.values)
    return ColumnData(is_true, (left.valid & right.valid) | is_true)


def _not(expression: Expr[Any], args: list[ColumnData]) -> ColumnData:
    return ColumnData(~args[0].values & args[0].valid, args[0].valid)


def _fill(expression: Expr[Any], args: list[ColumnData]) -> ColumnData:
    first, second = (as_kind(arg, expression.kind) for arg in args)
    return finished(np.where(args[0].valid, first, second), args[0].valid | args[1].valid, expression.kind)


def _is_null(expression: Expr[Any], args: list[ColumnData]) -> ColumnData:
    return ColumnData(~args[0].valid, np.ones(len(args[0].valid), np.bool_))


def _is_in(expression: cp.IsIn, args: list[ColumnData]) -> ColumnData:
    values, valid = args[0]
    if expression.args[0].kind is Kind.STRING:
        options = {option.value for option in expression.options}
        return finished(
            np.fromiter((value in options for value in values.tolist()), np.bool_, len(values)), valid, Kind.BOOL
        )
    found = np.zeros(len(values), np.bool_)
    for option in expression.options:
        found |= values == option.value
    return finished(found, valid, Kind.BOOL)


def _when(expression: cd.When[Any], args: list[ColumnData]) -> ColumnData:
    """From the last branch to the first, which wins."""
    branches, otherwise = expression.branches(args)
    rows = len(args[0].valid)
    if otherwise is None:
        otherwise = columns.from_values([None] * rows, expression.kind)
    values, valid = as_kind(otherwise, expression.kind), otherwise.valid
    for condition, chosen in reversed(branches):
        holds = condition.valid & condition.values
        values = np.where(holds, as_kind(chosen, expression.kind), values)
        valid = np.where(holds, chosen.valid, valid)
    return finished(values, valid, expression.kind)


RULES: Mapping[type[Expr[Any]], Rule] = {
    cp.Less: _comparison(np.less),
    cp.LessOrEqual: _comparison(np.less_equal),
    cp.Greater: _comparison(np.greater),
    cp.GreaterOrEqual: _comparison(np.greater_equal),
    cp.Equal: _comparison(np.equal),
    cp.IsIn: _is_in,
    cd.And: _and,
    cd.Or: _or,
    cd.Not: _not,
    cd.Fill: _fill,
    cd.IsNull: _is_null,
    cd.When: _when,
}
