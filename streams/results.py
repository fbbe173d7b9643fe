"""From merged cells to values: one rule per aggregate of `schemas.aggregates`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from samestream.schemas import aggregates as ag
from samestream.schemas.aggregates import Aggregate
from samestream.schemas.expressions import Kind
from samestream.streams.columns import ColumnData, Int64Array

# A cell's state is int64 slots; float slots hold the bits of a float64 (streams.tiles.CellOp says which).
Slots = list[Int64Array]


def result(aggregate: Aggregate, slots: Slots) -> ColumnData:
    """The value of an aggregate for each query.

    slots : the int64 slots of its cells in order, each of shape (queries,).
    """
    return _RULES[type(aggregate)](aggregate, slots)


def _float(slot: Int64Array) -> Any:
    return np.ascontiguousarray(slot).view(np.float64)


def _number(aggregate: Aggregate, slot: Int64Array) -> Any:
    assert aggregate.input is not None
    if aggregate.input.kind is Kind.FLOAT:
        return _float(slot)
    return slot.astype(np.bool_) if aggregate.input.kind is Kind.BOOL else slot


def _count(aggregate: Aggregate, slots: Slots) -> ColumnData:
    return ColumnData(slots[0].copy(), np.ones(len(slots[0]), np.bool_))


def _value(aggregate: Aggregate, slots: Slots) -> ColumnData:
    return _present(_number(aggregate, slots[1]), slots[0] > 0)


def _mean(aggregate: Aggregate, slots: Slots) -> ColumnData:
    valid = slots[0] > 0
    total = _number(aggregate, slots[1]).astype(np.float64)
    return _present(total / np.maximum(slots[0], 1), valid)


def _std(aggregate: Aggregate, slots: Slots) -> ColumnData:
    return _present(np.sqrt(np.maximum(_float(slots[2]), 0.0) / np.maximum(slots[0], 1)), slots[0] > 0)


def _last(aggregate: Aggregate, slots: Slots) -> ColumnData:
    return _present(_number(aggregate, slots[3]), slots[0] > 0)


def _present(values: Any, valid: Any) -> ColumnData:
    if values.dtype == np.float64:
        valid = valid & ~np.isnan(values)
    return ColumnData(np.where(valid, values, np.zeros(1, values.dtype)), valid)


_RULES: Mapping[type[Aggregate], Callable[[Aggregate, Slots], ColumnData]] = {
    ag.Count: _count,
    ag.Sum: _value,
    ag.Mean: _mean,
    ag.Min: _value,
    ag.Max: _value,
    ag.Std: _std,
    ag.Last: _last,
}
