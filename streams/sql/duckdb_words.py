"""DuckDB's `sql_words.Words`."""

from __future__ import annotations

from samestream.streams.sql import aggregates as sql_aggregates
from samestream.streams.sql import duckdb_calendar as sql_duckdb_calendar
from samestream.streams.sql.duckdb import DUCKDB
from samestream.streams.sql.words import Words


def _floored(value: str, step: int) -> str:
    return f"(({value} - ((({value}) % {step} + {step}) % {step})) // {step})"  # DuckDB rounds towards zero


def _midnight(period: str, zone: str) -> str:
    local = f"make_timestamp(instant + {sql_duckdb_calendar.offset(zone)})"
    return f"epoch_us(CAST(date_trunc('{period}', {local}) AS TIMESTAMP))"


WORDS = Words(
    dialect=DUCKDB,
    aggregate=sql_aggregates.rule,
    items=sql_aggregates.items,
    midnight=_midnight,
    floored=_floored,
    key=lambda columns: "CAST(row_number() OVER () AS INTEGER)",  # narrow: it is sorted by; parts have some millions
    place="struct_pack(t := _time, p := _partition, o := _offset)",
    levels=lambda count: f"SELECT range AS level FROM range({count})",
    each=lambda first, end: f"unnest(range({first}, {end}))",
    frames=True,
    in_part=lambda columns, part, parts: f"hash({', '.join(columns)}) % {parts} = {part}",
)
