"""`schemas.calendar` on columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from samestream.schemas import calendar as ca
from samestream.schemas.expressions import Expr
from samestream.streams import zones
from samestream.streams.columns import ColumnData, Int64Array
from samestream.streams.engine.evaluation import Rule, finished

DAY_US, HOUR_US, MINUTE_US = 86_400_000_000, 3_600_000_000, 60_000_000


def _local(zone: str, instants: Int64Array) -> Int64Array:
    """What clocks in a zone show, in microseconds since 1970 there."""
    if zone == "UTC":
        return instants
    starts, offsets = map(np.array, zones.offsets(zone))
    offset: Int64Array = offsets[np.maximum(np.searchsorted(starts, instants, side="right") - 1, 0)]
    with np.errstate(over="ignore"):  # at the ends of 64 bits: it wraps to where no field is read
        return instants + offset


def _field(read: Callable[[Int64Array], Any]) -> Rule:
    def rule(expression: ca.CalendarField, args: list[ColumnData]) -> ColumnData:
        instants, valid = args[0]
        local = _local(expression.zone, instants)
        valid = valid & (local >= zones.EARLIEST_US) & (local < zones.LATEST_US)
        return finished(read(np.where(valid, local, 0)).astype(np.int64), valid, expression.kind)

    return rule


def _days(local: Int64Array) -> Any:
    return (local // DAY_US).astype("datetime64[D]")


def _months(local: Int64Array) -> Any:
    return _days(local).astype("datetime64[M]")


def _year_start(local: Int64Array) -> Any:
    return _days(local).astype("datetime64[Y]").astype("datetime64[D]")


def _seconds_between(expression: Expr[Any], args: list[ColumnData]) -> ColumnData:
    with np.errstate(over="ignore"):
        apart = args[0].values - args[1].values
    return finished(apart / 1e6, args[0].valid & args[1].valid, expression.kind)


RULES: Mapping[type[Expr[Any]], Rule] = {
    ca.Year: _field(lambda local: _days(local).astype("datetime64[Y]").astype(np.int64) + 1970),
    ca.Month: _field(lambda local: _months(local).astype(np.int64) % 12 + 1),
    ca.Day: _field(lambda local: (_days(local) - _months(local).astype("datetime64[D]")).astype(np.int64) + 1),
    ca.Hour: _field(lambda local: local % DAY_US // HOUR_US),
    ca.Minute: _field(lambda local: local % HOUR_US // MINUTE_US),
    ca.Weekday: _field(lambda local: (local // DAY_US + 3) % 7),  # 1970 began on a Thursday
    ca.DayOfYear: _field(lambda local: (_days(local) - _year_start(local)).astype(np.int64) + 1),
    ca.SecondsBetween: _seconds_between,
}
