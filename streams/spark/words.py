"""Spark's `sql_words.Words`."""

from __future__ import annotations

from samestream.streams.spark import aggregates as spark_aggregates
from samestream.streams.spark import calendar as spark_calendar
from samestream.streams.spark.expressions import SPARK
from samestream.streams.sql.words import Words


def _floored(value: str, step: int) -> str:
    return f"((({value}) - pmod({value}, {step}L)) div {step}L)"  # Spark rounds towards zero


def _midnight(period: str, zone: str) -> str:
    local = f"timestamp_micros(instant + {spark_calendar.offset(zone)})"
    return f"unix_micros(date_trunc('{period}', {local}))"


WORDS = Words(
    dialect=SPARK,
    aggregate=spark_aggregates.rule,
    items=spark_aggregates.items,
    midnight=_midnight,
    floored=_floored,
    key=lambda columns: "monotonically_increasing_id()",  # of a table that is made once
    place="named_struct('t', _time, 'p', _partition, 'o', _offset)",
    levels=lambda count: f"SELECT CAST(id AS INT) AS level FROM range({count})",
    each=lambda first, end: f"explode(sequence({first}, {end} - 1))",
)
