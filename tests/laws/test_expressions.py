"""Every expression means the same on columns, in DuckDB and in plain Python: the same values, bit for bit."""

from __future__ import annotations

import json
import math
import pickle
import struct
from typing import Any

import agreement
import duckdb
import expression_oracle
import made_columns
import made_expressions as made
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from samestream.schemas.expressions import Expr, Kind
from samestream.schemas.numbers import Exp, Log
from samestream.schemas.operation import Operation
from samestream.streams import columns as cols
from samestream.streams.engine import evaluate
from samestream.streams.sql.duckdb import DUCKDB


def stored(type: made_columns.Type) -> pa.DataType:
    """The Arrow type of a column as SQL reads it: a time is its microseconds."""
    kind, item = (Kind.INT if part is Kind.TIME else part for part in type[:2])
    return cols.arrow_type(kind, item)


OPERATIONS = sorted({maker.operation for maker in made.MAKERS}, key=lambda cls: cls.__name__)


@pytest.fixture(scope="module")
def database():
    with duckdb.connect(config={"threads": 1}) as connection:
        yield connection


def operations(of: type[Operation] = Operation) -> list[type[Operation]]:
    """Every class that is an operation itself: those that only hold what some have in common have no method."""
    below = [found for cls in of.__subclasses__() for found in operations(cls)]
    return [*below, of] if "written" in vars(of) else below


def test_every_operation_is_made_and_has_a_rule_in_every_engine():
    declared = set(operations())
    assert declared - {maker.operation for maker in made.MAKERS} == set()
    assert set(evaluate.RULES) == declared
    assert set(DUCKDB.rules) == declared


def bits(value: Any) -> Any:
    """A value such that two are equal only if they are the same: -0.0 is not 0.0, and 1 is neither 1.0 nor True."""
    if isinstance(value, float):
        return "float", struct.pack("<d", value)
    return type(value).__name__, [bits(part) for part in value] if isinstance(value, list) else value


def apart(value: float | None, other: float | None) -> float:
    """How many floats lie between two."""
    if value is None or other is None or value == other:
        return 0 if value == other else math.inf
    return abs(value - other) / math.ulp(other)


def check(
    database: Any, trees: list[Expr[Any]], rows: list[dict[str, Any]], ulps: int = 0, of: type | None = None
) -> None:
    data = {name: [row[name] for row in rows] for name in made_columns.COLUMNS}
    held = {name: cols.from_values(data[name], type.kind) for name, type in made_columns.COLUMNS.items()}
    table = pa.table({name: pa.array(data[name], stored(type)) for name, type in made_columns.COLUMNS.items()})
    database.register("t", table)
    for tree in trees:
        expected = [expression_oracle.evaluate(tree, row) for row in rows]
        found = evaluate.evaluate(tree, held, len(rows))
        assert found.values.dtype == cols.DTYPES[tree.kind]
        in_sql = [value for (value,) in database.execute(f"SELECT {DUCKDB.expression(tree)} FROM t").fetchall()]
        for engine, values in (("numpy", cols.to_python(found)), ("duckdb", in_sql)):
            wrong = []
            for row, value, right in zip(rows, values, expected, strict=True):
                if not (apart(value, right) <= ulps if ulps else bits(value) == bits(right)):
                    read = {leaf.name: row[leaf.name] for leaf in tree.leaves() if hasattr(leaf, "name")}
                    wrong.append(f"{engine}: {tree!r} of {read} is {value!r}, not {right!r}")
            if of is not None:
                agreement.note(of, engine, len(wrong), len(rows))
            assert not wrong, wrong[0]


@given(
    st.lists(st.sampled_from(made.TYPES).flatmap(lambda type: made.trees(type, 3)), min_size=1, max_size=6),
    made_columns.rows(),
)
@settings(max_examples=100, deadline=None)
def test_random_expressions_are_the_same_everywhere(database, trees, rows):
    check(database, trees, rows)


def ulps(operation: type[Operation[Any]]) -> int:
    """By how much engines may differ: libraries for logarithms and exponentials round the last bits differently."""
    return 4 if operation in (Log, Exp) else 0


@given(made.trees(made_columns.ROUGH, 3), made_columns.rows())
@settings(max_examples=30, deadline=None)
def test_logarithms_and_exponentials_are_nearly_the_same_everywhere(database, tree, rows):
    check(database, [tree], rows, ulps(type(tree)))


@pytest.mark.parametrize("operation", OPERATIONS)
@given(data=st.data())
@settings(max_examples=5, deadline=None, phases=[Phase.generate])
def test_every_operation_is_the_same_everywhere_on_every_value(database, operation, data):
    check(database, data.draw(made.of_columns(operation)), made_columns.every_pair(), ulps(operation), operation)


def test_no_operation_is_without_a_cell(request):
    """Of those that this run has chosen: all, unless it was asked for some by name."""
    held = test_every_operation_is_the_same_everywhere_on_every_value.__name__
    chosen = [item for item in request.session.items if getattr(item, "originalname", "") == held]
    for operation in (item.callspec.params["operation"] for item in chosen):
        assert min(agreement.TRIED[operation.__name__, engine] for engine in ("numpy", "duckdb")) > 0, operation


def as_json(tree: Expr[Any]) -> str:
    """The meaning as it reaches a fingerprint."""
    return json.dumps(tree.meaning(), sort_keys=True)


@given(st.sampled_from(made.TYPES).flatmap(lambda type: made.trees(type, 3)))
@settings(max_examples=100, deadline=None)
def test_an_expression_is_a_value(tree):
    for same in (pickle.loads(pickle.dumps(tree)), tree.replace_leaves(lambda leaf: leaf)):
        assert (as_json(same), repr(same), same.kind, same.item) == (as_json(tree), repr(tree), tree.kind, tree.item)


@pytest.mark.parametrize("operation", OPERATIONS)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_its_parameters_are_part_of_what_an_operation_means(operation, data):
    one, other = (data.draw(made.of_columns(operation)) for _ in range(2))
    for left, right in zip(one, other, strict=True):
        assert (as_json(left) == as_json(right)) == (repr(left) == repr(right))


def test_no_two_operations_have_one_name():
    names = [operation.__name__ for operation in operations()]
    assert sorted(names) == sorted(set(names))
