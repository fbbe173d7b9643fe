"""Lookups on Spark against the oracle: windows, reference tables and chains; aggregates of all inputs are in the grid."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import fleet
import harness
import pytest
from engines import check, on_spark
from harness import SECOND_US, START_US
from hours import HOURS, hour_log

from samestream.schemas.app import app_of
from samestream.schemas.errors import FeatureLogError
from samestream.streams.lowering import compile_app
from samestream.streams.plan import Plan
from samestream.streams.spark import aggregates as spark_aggregates
from samestream.streams.spark import point_in_time as spark_point_in_time
from samestream.streams.sql import aggregates as sql_aggregates
from samestream.streams.transport import Outgoing


@pytest.fixture
def engine(spark: Any) -> Any:
    return partial(on_spark, session=spark), 1e-9


def test_spark_has_a_rule_for_every_aggregate() -> None:
    assert set(spark_aggregates.RULES) == set(sql_aggregates.RULES)


def test_every_window_begins_where_it_should(engine: Any, tmp_path: Path) -> None:
    plan = compile_app(HOURS)
    check(hour_log(plan), engine, tmp_path, HOURS, plan)


def fleet_log(plan: Plan) -> list[Outgoing]:
    def us(second: float) -> int:
        return START_US + round(second * SECOND_US)

    def plane(tail: str, second: float, year: int | None, maker: str, weight: float) -> Outgoing:
        return harness.encode(plan, "Plane", tail, us(second), tail=tail, year=year, maker=maker, weight=weight)

    def flight(number: int, second: float, tail: str | None, delay: float | None, at: float | None = None) -> Outgoing:
        time_us = us(second if at is None else at)
        return harness.encode(plan, "Flight", number, us(second), flight=number, tail=tail, delay=delay, at=time_us)

    return [
        flight(1, 0, "n1", 5.0),
        plane("n1", 1, 1990, "a", 60.0),
        harness.encode(plan, "Maker", "a", us(2), name="a", is_big=True, since=us(-1e6)),
        flight(2, 3, "n1", 10.0),
        flight(3, 4, "n1", None),
        plane("n1", 5, None, "b", 40.0),  # sold, and its year forgotten
        flight(4, 6, "n1", 20.0),
        flight(5, 7, None, 1.0),
        flight(6, 8, "n1", 2.0, at=4.5),  # as of its own time
        Outgoing(plan.events["Plane"].topic, b"n1", None, us(9)),
        flight(7, 10, "n1", 3.0),
    ]


def test_tables_and_chains(engine: Any, tmp_path: Path) -> None:
    app = app_of(fleet)
    plan = compile_app(app)
    check(fleet_log(plan), engine, tmp_path, app, plan)


def test_a_column_that_is_missing_is_named(spark: Any) -> None:
    app = app_of(fleet)
    plan = compile_app(app)
    (model,) = plan.models.values()
    with pytest.raises(FeatureLogError, match="a column is missing"):
        spark_point_in_time.point_in_time(plan, model, spark.range(0), {}, spark)
