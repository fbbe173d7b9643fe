"""Expressions run on columns: one rule per operation of `schemas.expressions`, vectorised, with its null rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from samestream.schemas import expressions as ex
from samestream.schemas.expressions import Expr
from samestream.streams.columns import DTYPES, ColumnData, Columns

Rule = Callable[[Expr[Any], list[ColumnData]], ColumnData]


def evaluate(expression: Expr[Any], columns: Columns, rows: int) -> ColumnData:
    """The value of an expression for each of ``rows`` rows; leaves are looked up by column name.

    Raises KeyError for a column that is not there.
    """
    if isinstance(expression, ex.Column):
        return columns[expression.name]
    if isinstance(expression, ex.Literal):
        values = np.empty(rows, DTYPES[expression.kind])
        values[:] = expression.value
        return ColumnData(values, np.ones(rows, np.bool_))
    arguments = [evaluate(argument, columns, rows) for argument in expression.args]
    return RULES[type(expression)](expression, arguments)


def condition(expression: Expr[Any] | None, columns: Columns, rows: int) -> Any:
    """Where a condition is true, as a mask of shape (rows,); a null counts as false, no condition as true."""
    if expression is None:
        return np.ones(rows, np.bool_)
    found = evaluate(expression, columns, rows)
    return found.values & found.valid


def _arithmetic(operation: Callable[[Any, Any], Any]) -> Rule:
    def rule(expression: Expr[Any], args: list[ColumnData]) -> ColumnData:
        left, right = (arg.values.astype(DTYPES[expression.kind], copy=False) for arg in args)
        with np.errstate(all="ignore"):
            values = operation(left, right)
        return _finished(values, args[0].valid & args[1].valid)

    return rule


def _divide(expression: Expr[Any], args: list[ColumnData]) -> ColumnData:
    left, right = (arg.values.astype(np.float64, copy=False) for arg in args)
    valid = args[0].valid & args[1].valid & (right != 0)
    with np.errstate(all="ignore"):
        values = np.divide(left, right, out=np.zeros(len(left)), where=valid)
    return _finished(values, valid)


def _absolute(expression: Expr[Any], args: list[ColumnData]) -> ColumnData:
    return ColumnData(np.abs(args[0].values), args[0].valid)


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
    first, second = (arg.values.astype(DTYPES[expression.kind], copy=False) for arg in args)
    return ColumnData(np.where(args[0].valid, first, second), args[0].valid | args[1].valid)


def _is_null(expression: Expr[Any], args: list[ColumnData]) -> ColumnData:
    return ColumnData(~args[0].valid, np.ones(len(args[0].valid), np.bool_))


def _finished(values: Any, valid: Any) -> ColumnData:
    """Infinity minus infinity and the like give NaN, which is read as null; zeros stand where there is no value."""
    if values.dtype == np.float64:
        valid = valid & ~np.isnan(values)
    return ColumnData(np.where(valid, values, np.zeros(1, values.dtype)), valid)


RULES: Mapping[type[Expr[Any]], Rule] = {
    ex.Add: _arithmetic(np.add),
    ex.Subtract: _arithmetic(np.subtract),
    ex.Multiply: _arithmetic(np.multiply),
    ex.Divide: _divide,
    ex.Absolute: _absolute,
    ex.Less: _comparison(np.less),
    ex.LessOrEqual: _comparison(np.less_equal),
    ex.Greater: _comparison(np.greater),
    ex.GreaterOrEqual: _comparison(np.greater_equal),
    ex.Equal: _comparison(np.equal),
    ex.And: _and,
    ex.Or: _or,
    ex.Not: _not,
    ex.Fill: _fill,
    ex.IsNull: _is_null,
}
