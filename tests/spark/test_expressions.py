"""Every expression means the same in Spark as in plain Python: the same values, bit for bit."""

from __future__ import annotations

import math
import struct
from typing import Any

import agreement
import expression_oracle
import made_columns
import made_expressions as made
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samestream.schemas.expressions import Expr, Kind
from samestream.schemas.numbers import Exp, Log
from samestream.streams import columns as cols
from samestream.streams.spark.expressions import SPARK
from samestream.streams.sql.duckdb import DUCKDB

CODE = {"spark.sql.codegen.wholeStage": "true", "spark.sql.codegen.factoryMode": "FALLBACK"}
"""Expressions are compiled here, as they are for users."""
OPERATIONS = sorted({maker.operation for maker in made.MAKERS}, key=lambda cls: cls.__name__)
AT_ONCE = 9  # operations in one query: Spark takes longer to compile it than to run it


def test_spark_has_a_rule_for_every_operation() -> None:
    assert set(SPARK.rules) == set(DUCKDB.rules)


def bits(value: Any) -> Any:
    """A value such that two are equal only if they are the same: -0.0 is not 0.0, and 1 is neither 1.0 nor True."""
    if isinstance(value, float):
        return "float", struct.pack("<d", value)
    return type(value).__name__, [bits(part) for part in value] if isinstance(value, list) else value


def same(tree: Expr[Any], value: Any, right: Any) -> bool:
    """Libraries for logarithms and exponentials round the last bits differently."""
    if type(tree) in (Log, Exp) and value is not None and right is not None:
        return value == right or abs(value - right) <= 4 * math.ulp(right)
    return bits(value) == bits(right)


@pytest.fixture(scope="module")
def compiling(spark: Any) -> Any:
    session = spark.newSession()
    for name, value in CODE.items():
        session.conf.set(name, value)
    return session


def check(spark: Any, trees: list[Expr[Any]], rows: list[dict[str, Any]], of: list[type] | None = None) -> None:
    def arrow(type: made_columns.Type) -> pa.DataType:
        kind, item = (Kind.INT if part is Kind.TIME else part for part in type[:2])
        return cols.arrow_type(kind, item)

    table = {name: pa.array([row[name] for row in rows], arrow(type)) for name, type in made_columns.COLUMNS.items()}
    spark.createDataFrame(pa.table(table)).createOrReplaceTempView("t")
    chosen = ", ".join(f"{SPARK.expression(tree)} AS c{i}" for i, tree in enumerate(trees))
    answered = spark.sql(f"SELECT {chosen} FROM t").toArrow().to_pydict()
    for i, tree in enumerate(trees):
        wrong = []
        for row, value in zip(rows, answered[f"c{i}"], strict=True):
            right = expression_oracle.evaluate(tree, row)
            if not same(tree, value, right):
                read = {leaf.name: row[leaf.name] for leaf in tree.leaves() if hasattr(leaf, "name")}
                wrong.append(f"{tree!r} of {read} is {value!r}, not {right!r}")
        if of is not None:
            agreement.note(of[i], "spark", len(wrong), len(rows))
        assert not wrong, wrong[0]


@pytest.mark.parametrize("first", range(0, len(OPERATIONS), AT_ONCE))
@given(data=st.data())
@settings(max_examples=1, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_operation_is_the_same_on_every_value(compiling: Any, first: int, data: st.DataObject) -> None:
    rows = made_columns.every_pair()
    made_of = [(tree, op) for op in OPERATIONS[first : first + AT_ONCE] for tree in data.draw(made.of_columns(op))]
    check(compiling, [tree for tree, _ in made_of], rows, [op for _, op in made_of])
    assert all(agreement.TRIED[op.__name__, "spark"] for op in OPERATIONS[first : first + AT_ONCE])


@given(
    st.lists(st.sampled_from(made_columns.TYPES).flatmap(lambda type: made.trees(type, 3)), min_size=12, max_size=12),
    made_columns.rows(),
)
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_expressions_are_the_same(compiling: Any, trees: list[Expr[Any]], rows: list[dict[str, Any]]) -> None:
    check(compiling, trees, rows)
