"""`schemas.calendar` as DuckDB SQL. A zone's offsets are written into the query (`streams.zones` says why)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from samestream.schemas import calendar as ca
from samestream.schemas.expressions import Expr
from samestream.streams import zones
from samestream.streams.sql.dialect import Rule
from samestream.streams.sql.duckdb_terms import let, wrapped

DAY_US = zones.DAY_S * zones.SECOND_US


def _field(read: str) -> Rule:
    def rule(value: ca.CalendarField, args: list[str]) -> str:
        near = f"instant BETWEEN {zones.EARLIEST_US - DAY_US} AND {zones.LATEST_US + DAY_US}"
        local = let("instant", args[0], f"CASE WHEN {near} THEN instant + {offset(value.zone)} END")
        shown = f"local >= {zones.EARLIEST_US} AND local < {zones.LATEST_US}"
        return let("local", local, f"CASE WHEN {shown} THEN CAST({read} AS BIGINT) END")

    return rule


@cache
def offset(zone: str) -> str:
    """What is added to ``instant`` for the local time of a zone: found by halving its clock changes."""
    starts, offsets = zones.offsets(zone) if zone != "UTC" else ((0,), (0,))

    def within(first: int, end: int) -> str:
        if end - first == 1:
            return str(offsets[first])
        middle = (first + end) // 2
        return f"CASE WHEN instant < {starts[middle]} THEN {within(first, middle)} ELSE {within(middle, end)} END"

    return within(0, len(starts))


def _seconds_between(value: ca.SecondsBetween, args: list[str]) -> str:
    apart = wrapped(f"CAST({args[0]} AS HUGEINT) - CAST({args[1]} AS HUGEINT)")
    return f"(CAST({apart} AS DOUBLE) / CAST('1e6' AS DOUBLE))"


RULES: Mapping[type[Expr[Any]], Rule] = {
    ca.Year: _field("year(make_timestamp(local))"),
    ca.Month: _field("month(make_timestamp(local))"),
    ca.Day: _field("day(make_timestamp(local))"),
    ca.Hour: _field("hour(make_timestamp(local))"),
    ca.Minute: _field("minute(make_timestamp(local))"),
    ca.Weekday: _field("isodow(make_timestamp(local)) - 1"),
    ca.DayOfYear: _field("dayofyear(make_timestamp(local))"),
    ca.SecondsBetween: _seconds_between,
}
