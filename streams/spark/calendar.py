"""`schemas.calendar` as Spark SQL. A zone's offsets are written into the query (`streams.zones` says why)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from samestream.schemas import calendar as ca
from samestream.schemas.expressions import Expr
from samestream.schemas.kinds import EPOCH
from samestream.streams import zones
from samestream.streams.spark.terms import let
from samestream.streams.sql.dialect import Rule

DAY_US = zones.DAY_S * zones.SECOND_US


def _field(read: str) -> Rule:
    def rule(value: ca.CalendarField, args: list[str]) -> str:
        near = f"instant BETWEEN {zones.EARLIEST_US - DAY_US}L AND {zones.LATEST_US + DAY_US}L"
        local = let("instant", args[0], f"CASE WHEN {near} THEN instant + {offset(value.zone)} END")
        shown = f"local >= {zones.EARLIEST_US}L AND local < {zones.LATEST_US}L"
        return let("local", local, f"CASE WHEN {shown} THEN CAST({read}(timestamp_micros(local)) AS BIGINT) END")

    return rule


@cache
def offset(zone: str) -> str:
    """What is added to ``instant`` for the local time of a zone: by its year, then among the clock changes of that year."""
    if zone == "UTC":
        return "0L"
    starts, offsets = zones.offsets(zone)
    years = []
    for year in range(zones.FIRST.year, zones.LAST.year):
        begin, end = (
            round((zones.FIRST.replace(year=y) - EPOCH).total_seconds()) * zones.SECOND_US for y in (year, year + 1)
        )
        first = max(i for i, start in enumerate(starts) if start <= begin)
        last = max(i for i, start in enumerate(starts) if start < end)
        years.append(f"array({', '.join(f'array({starts[i]}L, {offsets[i]}L)' for i in range(first, last + 1))})")
    ends = (round((end - EPOCH).total_seconds()) * zones.SECOND_US for end in (zones.FIRST, zones.LAST))
    first_us, last_us = ends
    known = f"greatest(least(instant, {last_us - 1}L), {first_us}L)"
    changes = f"get(array({', '.join(years)}), year(timestamp_micros(known)) - {zones.FIRST.year})"
    return let("known", known, f"element_at(filter({changes}, change -> change[0] <= known), -1)[1]")


RULES: Mapping[type[Expr[Any]], Rule] = {
    ca.Year: _field("year"),
    ca.Month: _field("month"),
    ca.Day: _field("day"),
    ca.Hour: _field("hour"),
    ca.Minute: _field("minute"),
    ca.Weekday: _field("weekday"),
    ca.DayOfYear: _field("dayofyear"),
    ca.SecondsBetween: lambda value, args: f"(CAST({args[0]} - {args[1]} AS DOUBLE) / 1e6D)",
}
