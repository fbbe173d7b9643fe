"""`schemas.lists` on columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from samestream.schemas import lists as li
from samestream.schemas.expressions import Expr, Kind
from samestream.streams import columns
from samestream.streams.columns import ColumnData
from samestream.streams.engine.evaluation import Rule, both, finished


def _length(expression: li.ListLength, args: list[ColumnData]) -> ColumnData:
    lengths = np.fromiter(map(len, args[0].values.tolist()), np.int64, len(args[0].values))
    return finished(lengths, args[0].valid, Kind.INT)


def _contains(expression: li.ListContains, args: list[ColumnData]) -> ColumnData:
    held, sought = (arg.values.tolist() for arg in args)
    if expression.args[1].kind is Kind.FLOAT:  # whole numbers beside a float are floats
        held = [[None if item is None else float(item) for item in items] for items in held]
    elif expression.args[0].item is Kind.FLOAT:
        sought = [float(value) for value in sought]
    found = np.fromiter((value in items for items, value in zip(held, sought, strict=True)), np.bool_, len(held))
    return finished(found, both(args), Kind.BOOL)


def _at(expression: li.At, args: list[ColumnData]) -> ColumnData:
    index = expression.index
    found = [items[index] if -len(items) <= index < len(items) else None for items in args[0].values.tolist()]
    return _elements(found, args[0], expression.kind)


def _get(expression: li.Get, args: list[ColumnData]) -> ColumnData:
    return _elements([held.get(expression.key) for held in args[0].values.tolist()], args[0], expression.kind)


def _elements(found: Sequence[Any], of: ColumnData, kind: Kind) -> ColumnData:
    column = columns.from_values(found, kind)
    return finished(column.values, column.valid & of.valid, kind)


RULES: Mapping[type[Expr[Any]], Rule] = {
    li.ListLength: _length,
    li.ListContains: _contains,
    li.At: _at,
    li.Get: _get,
}
