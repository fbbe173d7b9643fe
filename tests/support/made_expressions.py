"""Well-typed random expressions: a maker for every operation and kind of result, so that a new operation is tested."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from hypothesis import strategies as st
from made_columns import (
    BOOL,
    COLUMNS,
    FLOAT,
    INT,
    LISTS,
    MAPS,
    NUMBERS,
    ROUGH,
    SCALARS,
    TEXT,
    TIME,
    TYPES,
    ZONES,
    Type,
    constants,
)

from samestream.schemas import arithmetic as ar
from samestream.schemas import calendar as ca
from samestream.schemas import casts
from samestream.schemas import comparisons as cp
from samestream.schemas import conditional as cd
from samestream.schemas import lists as li
from samestream.schemas import numbers as nu
from samestream.schemas import text as tx
from samestream.schemas.expressions import Column, Expr, Literal
from samestream.schemas.operation import Operation

Of = Callable[[Type], st.SearchStrategy[Any]]
NOTHING = st.just(())


class Maker(NamedTuple):
    """How an operation is made that results in a type, from arguments made by ``of``."""

    operation: type[Operation[Any]]
    result: Type
    make: Callable[[Of], st.SearchStrategy[Any]]


def maker(
    operation: type[Operation[Any]], result: Type, *args: Type, more: st.SearchStrategy[Any] = NOTHING, **params: Any
) -> Maker:
    """Of arguments of these types, then ``more`` of what are no expressions, and parameters by name."""

    def make(of: Of) -> st.SearchStrategy[Any]:
        drawn = st.tuples(*map(of, args)), more, st.fixed_dictionaries(params)
        return st.builds(lambda args, more, params: operation(*args, *more, **params), *drawn)

    return Maker(operation, result, make)


def arithmetic() -> list[Maker]:
    found = [maker(cls, INT, INT, INT) for cls in (ar.Add, ar.Subtract, ar.Multiply, ar.FloorDivide, ar.Modulo)]
    for cls in (ar.Add, ar.Subtract, ar.Multiply, ar.Divide, ar.FloorDivide, ar.Modulo):
        found += [maker(cls, FLOAT, *pair) for pair in ((FLOAT, FLOAT), (INT, FLOAT), (FLOAT, INT))]
    found.append(maker(ar.Divide, FLOAT, INT, INT))
    return found + [maker(cls, type, type) for cls in (ar.Negate, ar.Absolute) for type in NUMBERS]


def numbers() -> list[Maker]:
    found = [maker(cls, ROUGH, type) for cls in (nu.Log, nu.Exp) for type in NUMBERS]
    found += [maker(cls, FLOAT, type) for cls in (nu.SquareRoot, nu.Floor, nu.Ceiling) for type in NUMBERS]
    digits = st.integers(-2, 3) | st.integers(-nu.MOST_DIGITS, nu.MOST_DIGITS)
    found += [maker(nu.Round, FLOAT, type, digits=digits) for type in NUMBERS]
    whole, real = (st.sampled_from(constants(type)) for type in NUMBERS)
    for type, result, bound in ((INT, INT, whole), (FLOAT, FLOAT, real), (FLOAT, FLOAT, whole), (INT, FLOAT, real)):
        found += [maker(nu.Clip, result, type, low=bound), maker(nu.Clip, result, type, high=bound)]
        found.append(maker(nu.Clip, result, type, more=st.tuples(bound, bound).map(sorted)))
    return found


def conditions() -> list[Maker]:
    found = [maker(cls, BOOL, BOOL, BOOL) for cls in (cd.And, cd.Or)]
    found.append(maker(cd.Not, BOOL, BOOL))
    for cls in (cp.Less, cp.LessOrEqual, cp.Greater, cp.GreaterOrEqual, cp.Equal):
        found += [maker(cls, BOOL, type, type) for type in SCALARS]
        found += [maker(cls, BOOL, INT, FLOAT), maker(cls, BOOL, FLOAT, INT)]
    numbers = [*constants(INT), *constants(FLOAT)]
    for type in SCALARS:
        for options in (constants(type), *([numbers] if type in NUMBERS else [])):
            some = st.lists(st.sampled_from(options), min_size=1, max_size=4, unique_by=repr)
            # they are a set: in one order, equal ones are written alike
            found.append(maker(cp.IsIn, BOOL, type, more=some.map(lambda values: sorted(values, key=repr))))
    return found


def choices() -> list[Maker]:
    found = [maker(cd.IsNull, BOOL, type) for type in (*TYPES, *MAPS)]
    for type in TYPES:
        found += [maker(cd.Fill, type, type, type), maker(cd.When, type, BOOL, type)]
        found += [maker(cd.When, type, BOOL, type, type), maker(cd.When, type, BOOL, type, BOOL, type, type)]
    found += [maker(cd.Fill, FLOAT, INT, FLOAT), maker(cd.Fill, FLOAT, FLOAT, INT)]
    return [*found, maker(cd.When, FLOAT, BOOL, INT, FLOAT), maker(cd.When, FLOAT, BOOL, FLOAT, BOOL, INT)]


def texts() -> list[Maker]:
    found = [maker(cls, TEXT, TEXT) for cls in (tx.Lower, tx.Upper)]
    found += [maker(tx.Concat, TEXT, *[TEXT] * count) for count in (1, 2, 3)]
    found += [maker(cls, BOOL, TEXT, TEXT) for cls in (tx.Contains, tx.StartsWith)]
    found.append(maker(tx.Length, INT, TEXT))
    n = st.sampled_from([1, 2, 7, 1000, 2**31])
    found += [maker(tx.HashBucket, INT, type, n=n) for type in (TEXT, INT, BOOL, TIME)]
    for cast, result in ((casts.ToInt, INT), (casts.ToFloat, FLOAT), (casts.ToText, TEXT), (casts.ToBool, BOOL)):
        found += [maker(cast, result, type) for type in SCALARS if type.kind in cast.takes]
    return found


def times() -> list[Maker]:
    fields = (ca.Year, ca.Month, ca.Day, ca.Hour, ca.Minute, ca.Weekday, ca.DayOfYear)
    found = [maker(cls, INT, TIME, zone=st.sampled_from(ZONES)) for cls in fields]
    return [*found, maker(ca.SecondsBetween, FLOAT, TIME, TIME)]


def lists() -> list[Maker]:
    index = st.integers(-4, 4) | st.sampled_from([-(2**31), 2**31 - 1])
    found = [maker(li.ListContains, BOOL, LISTS[0], FLOAT), maker(li.ListContains, BOOL, LISTS[1], INT)]
    for type, of in zip(LISTS, SCALARS, strict=True):
        found += [maker(li.ListLength, INT, type), maker(li.ListContains, BOOL, type, of)]
        found.append(maker(li.At, of, type, index=index))
    key = st.sampled_from(["", "a", "b", "it's"])
    return found + [maker(li.Get, of, type, key=key) for type, of in zip(MAPS, NUMBERS, strict=True)]


MAKERS = [*arithmetic(), *numbers(), *conditions(), *choices(), *texts(), *times(), *lists()]


@cache
def leaves(type: Type) -> st.SearchStrategy[Expr[Any]]:
    columns = [Column(name, of.kind, of.item) for name, of in COLUMNS.items() if of == type]
    return st.sampled_from([*columns, *map(Literal, constants(type))])


@cache
def trees(type: Type, depth: int) -> st.SearchStrategy[Any]:
    """Expressions of a type, at most so many operations deep."""
    if depth == 0:
        return leaves(type)
    below = [
        maker.make(lambda of: st.deferred(lambda: trees(of, depth - 1))) for maker in MAKERS if maker.result == type
    ]
    return st.one_of(below if type.rough else [leaves(type), *below])


def of_columns(operation: type[Operation[Any]]) -> st.SearchStrategy[list[Expr[Any]]]:
    """An operation in all its types over plain columns: the first of a type to the left, the second to the right."""

    def over_columns(maker: Maker) -> st.SearchStrategy[Any]:
        taken: dict[Type, int] = {}

        def column(type: Type) -> st.SearchStrategy[Any]:
            names = [name for name, of in COLUMNS.items() if of == type]
            taken[type] = taken.get(type, -1) + 1
            return st.just(Column(names[taken[type] % 2], type.kind, type.item))

        return maker.make(column)

    return st.tuples(*(over_columns(maker) for maker in MAKERS if maker.operation is operation)).map(list)
