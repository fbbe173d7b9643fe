"""From merged cells to values: one rule per aggregate of `schemas.aggregates` that the kernel can hold.

Each gives the bits that the aggregate's own ``result`` gives for the same state; the laws compare them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from samestream.schemas import aggregates as ag
from samestream.schemas.aggregates import Aggregate
from samestream.schemas.expressions import Kind
from samestream.schemas.sums import HALVING
from samestream.streams.columns import ColumnData, Int64Array

# A cell's state is int64 slots; float slots hold the bits of a float64 (streams.engine.tiles.CellOp says which).
Slots = list[Int64Array]
Rule = Callable[[Aggregate, Slots, Int64Array], ColumnData]


def result(aggregate: Aggregate, slots: Slots, t_us: Int64Array) -> ColumnData:
    """The value of an aggregate for each query.

    slots : the int64 slots of its cells in order, each of shape (queries,).
    t_us : the instants, shape (queries,).
    """
    return _RULES[type(aggregate)](aggregate, slots, t_us)


def _float(slot: Int64Array) -> Any:
    return np.ascontiguousarray(slot).view(np.float64)


def _number(aggregate: Aggregate, slot: Int64Array) -> Any:
    assert aggregate.input is not None
    if aggregate.input.kind is Kind.FLOAT:
        return _float(slot)
    return slot.astype(np.bool_) if aggregate.kind is Kind.BOOL else slot


def _count(aggregate: Aggregate, slots: Slots, t_us: Int64Array) -> ColumnData:
    return ColumnData(slots[0].copy(), np.ones(len(slots[0]), np.bool_))


def _value(aggregate: Aggregate, slots: Slots, t_us: Int64Array) -> ColumnData:
    return _present(_number(aggregate, slots[1]), slots[0] > 0)


def _mean(aggregate: Aggregate, slots: Slots, t_us: Int64Array) -> ColumnData:
    total = _number(aggregate, slots[1]).astype(np.float64)
    return _present(total / np.maximum(slots[0], 1), slots[0] > 0)


def _variance(aggregate: Aggregate, slots: Slots, t_us: Int64Array) -> ColumnData:
    squares = _float(slots[2])
    return _present(np.where(squares <= 0.0, 0.0, squares / np.maximum(slots[0], 1)), slots[0] > 0)


def _std(aggregate: Aggregate, slots: Slots, t_us: Int64Array) -> ColumnData:
    variance = _variance(aggregate, slots, t_us)
    return ColumnData(np.sqrt(variance.values), variance.valid)


def _placed(aggregate: Aggregate, slots: Slots, t_us: Int64Array) -> ColumnData:
    return _present(_number(aggregate, slots[3]), slots[0] > 0)


def _time_since(aggregate: Aggregate, slots: Slots, t_us: Int64Array) -> ColumnData:
    there = slots[0] > 0
    return _present((t_us - np.where(there, slots[1], t_us)) / 1e6, there)


def _decayed_sum(aggregate: Aggregate, slots: Slots, t_us: Int64Array) -> ColumnData:
    assert isinstance(aggregate, ag.DecayedSum)
    latest, total, count = slots[0], _float(slots[1]), _float(slots[2])
    there = count > 0
    share = weights(t_us - np.where(there, latest, t_us), aggregate.half_life_us)
    with np.errstate(invalid="ignore"):  # infinity times 0
        return _present(np.where(share > 0, total * share, 0.0), there)


def _decayed_mean(aggregate: Aggregate, slots: Slots, t_us: Int64Array) -> ColumnData:
    total, count = _float(slots[1]), _float(slots[2])
    there = count > 0
    return _present(total / np.where(there, count, 1.0), there)


def weights(age_us: Int64Array, half_life_us: int) -> Any:
    """`schemas.sums.weight` of every age: the same operations in the same order."""
    halvings = age_us // half_life_us
    x = (age_us - halvings * half_life_us).astype(np.float64) / np.float64(half_life_us)
    total: Any = np.full(len(x), HALVING[17])
    for term in range(16, -1, -1):
        total = total * x + HALVING[term]
    return np.where(halvings >= 1023, 0.0, total * np.ldexp(1.0, -np.minimum(halvings, 1023)))


def _present(values: Any, valid: Any) -> ColumnData:
    if values.dtype == np.float64:
        valid = valid & ~np.isnan(values)
    return ColumnData(np.where(valid, values, np.zeros(1, values.dtype)), valid)


_RULES: Mapping[type[Aggregate], Rule] = {
    ag.Count: _count,
    ag.Sum: _value,
    ag.Mean: _mean,
    ag.Variance: _variance,
    ag.Std: _std,
    ag.Min: _value,
    ag.Max: _value,
    ag.First: _placed,
    ag.Last: _placed,
    ag.Share: _mean,
    ag.DecayedSum: _decayed_sum,
    ag.DecayedMean: _decayed_mean,
    ag.TimeSinceLast: _time_since,
}
