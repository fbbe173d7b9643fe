"""`schemas.comparisons` and `schemas.conditional` on columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from samestream.schemas import comparisons as cp
from samestream.schemas import conditional as cd
from samestream.schemas.expressions import Expr
from samestream.streams.columns import ColumnData
from samestream.streams.evaluation import Rule, as_kind, finished


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


RULES: Mapping[type[Expr[Any]], Rule] = {
    cp.Less: _comparison(np.less),
    cp.LessOrEqual: _comparison(np.less_equal),
    cp.Greater: _comparison(np.greater),
    cp.GreaterOrEqual: _comparison(np.greater_equal),
    cp.Equal: _comparison(np.equal),
    cd.And: _and,
    cd.Or: _or,
    cd.Not: _not,
    cd.Fill: _fill,
    cd.IsNull: _is_null,
}
