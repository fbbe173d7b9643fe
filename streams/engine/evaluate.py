"""Expressions run on columns, vectorised: the rules of `engine.evaluate_arithmetic` and its neighbours, one per operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from samestream.schemas.expressions import Column, Expr, Literal
from samestream.streams.columns import DTYPES, ColumnData, Columns
from samestream.streams.engine import (
    evaluate_arithmetic,
    evaluate_calendar,
    evaluate_conditional,
    evaluate_lists,
    evaluate_numbers,
    evaluate_text,
)
from samestream.streams.engine.evaluation import Rule

RULES: Mapping[type[Expr[Any]], Rule] = {
    **evaluate_arithmetic.RULES,
    **evaluate_calendar.RULES,
    **evaluate_conditional.RULES,
    **evaluate_lists.RULES,
    **evaluate_numbers.RULES,
    **evaluate_text.RULES,
}


def evaluate(expression: Expr[Any], columns: Columns, rows: int) -> ColumnData:
    """The value of an expression for each of ``rows`` rows; leaves are looked up by column name.

    Raises KeyError for a column that is not there.
    """
    if isinstance(expression, Column):
        return columns[expression.name]
    if isinstance(expression, Literal):
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
