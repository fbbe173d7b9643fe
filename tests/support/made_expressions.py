"""Well-typed random expressions over random columns: one maker per operation and kind of result, so that a new one is tested."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any, NamedTuple

from hypothesis import strategies as st

from samestream.schemas import arithmetic as ar
from samestream.schemas import comparisons as cp
from samestream.schemas import conditional as cd
from samestream.schemas.expressions import EPOCH, Column, Expr, Kind, Literal
from samestream.schemas.operation import Operation


class Type(NamedTuple):
    kind: Kind
    item: Kind | None = None


INT, FLOAT, BOOL, TEXT, TIME = map(Type, (Kind.INT, Kind.FLOAT, Kind.BOOL, Kind.STRING, Kind.TIME))
NUMBERS, SCALARS = (INT, FLOAT), (INT, FLOAT, BOOL, TEXT, TIME)

VALUES: dict[Type, list[Any]] = {
    INT: [0, 1, -1, 7, -3, 2**53 + 1, 2**63 - 1, -(2**63), None],
    FLOAT: [
        *(0.0, -0.0, 1.5, -2.25, 0.1, 0.5, 2.5, 1e16, 1.0, 1e308, -1e308, 5e-324),
        *(9007199254740993.0, 9223372036854775808.0, math.inf, -math.inf, None),
    ],
    BOOL: [True, False, None],
    TEXT: ["", "a", "é", "it's", "Z\x00", "ﬀ", "𝄞", None],
    TIME: [0, -1, 1_710_054_000_000_000, 2**63 - 1, -(2**63), None],
}
COLUMNS: dict[str, Type] = {
    f"{type.kind.value}{f'_{type.item.value}' if type.item else ''}_{n}": type for type in VALUES for n in (1, 2)
}
Of = Callable[[Type], st.SearchStrategy[Any]]


class Maker(NamedTuple):
    """How an operation is made that results in a type, from arguments made by ``of``."""

    operation: type[Operation]
    result: Type
    make: Callable[[Of], st.SearchStrategy[Any]]


def makers() -> list[Maker]:
    found = []

    def add(operation: type[Operation], result: Type, *args: Type, **params: st.SearchStrategy[Any]) -> None:
        found.append(Maker(operation, result, lambda of: st.builds(operation, *(of(arg) for arg in args), **params)))

    for two in (ar.Add, ar.Subtract, ar.Multiply, ar.FloorDivide, ar.Modulo, cd.Fill):
        add(two, INT, INT, INT)
        for pair in ((FLOAT, FLOAT), (INT, FLOAT), (FLOAT, INT)):
            add(two, FLOAT, *pair)
    for one in (ar.Negate, ar.Absolute):
        add(one, INT, INT)
        add(one, FLOAT, FLOAT)
    for left in NUMBERS:
        for right in NUMBERS:
            add(ar.Divide, FLOAT, left, right)
    for comparison in (cp.Less, cp.LessOrEqual, cp.Greater, cp.GreaterOrEqual, cp.Equal):
        for type in SCALARS:
            add(comparison, BOOL, type, type)
        add(comparison, BOOL, INT, FLOAT)
        add(comparison, BOOL, FLOAT, INT)
    add(cd.And, BOOL, BOOL, BOOL)
    add(cd.Or, BOOL, BOOL, BOOL)
    add(cd.Not, BOOL, BOOL)
    for type in SCALARS:
        add(cd.IsNull, BOOL, type)
    for type in (BOOL, TEXT, TIME):
        add(cd.Fill, type, type, type)
    return found


MAKERS = makers()


@cache
def leaves(type: Type) -> st.SearchStrategy[Expr[Any]]:
    columns = [Column(name, *of) for name, of in COLUMNS.items() if of == type]
    return st.sampled_from([*columns, *constants(type)])


def constants(type: Type) -> list[Expr[Any]]:
    values = [value for value in VALUES[type] if value is not None]
    if type == TIME:
        values = [EPOCH + timedelta(microseconds=value) for value in values if abs(value) < 2**55]
    return [] if type.item else [Literal(value) for value in values]


@cache
def trees(type: Type, depth: int) -> st.SearchStrategy[Any]:
    """Expressions of a type, at most so many operations deep."""
    if depth == 0:
        return leaves(type)
    fitting = [maker for maker in MAKERS if maker.result == type]
    return st.one_of(
        leaves(type), *(maker.make(lambda of: st.deferred(lambda: trees(of, depth - 1))) for maker in fitting)
    )


def rows() -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(
        st.fixed_dictionaries({name: st.sampled_from(VALUES[type]) for name, type in COLUMNS.items()}),
        min_size=1,
        max_size=12,
    )


def of_columns(operation: type[Operation]) -> st.SearchStrategy[list[Expr[Any]]]:
    """An operation in all its types over plain columns: the first of a type to the left, the second to the right."""
    found = []
    for maker in MAKERS:
        if maker.operation is operation:
            taken: dict[Type, int] = {}

            def column(type: Type, taken: dict[Type, int] = taken) -> st.SearchStrategy[Any]:
                number = taken[type] = taken.get(type, 0) % 2 + 1
                name = next(name for name, of in COLUMNS.items() if of == type and name.endswith(str(number)))
                return st.just(Column(name, *type))

            found.append(maker.make(column))
    return st.tuples(*found).map(list)
