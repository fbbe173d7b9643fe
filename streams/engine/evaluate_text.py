"""`schemas.text` and `schemas.casts` on columns."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from string import ascii_lowercase, ascii_uppercase
from typing import Any

import numpy as np

from samestream.schemas import casts
from samestream.schemas import text as tx
from samestream.schemas.expressions import Expr, Kind
from samestream.streams.columns import DTYPES, ColumnData
from samestream.streams.engine.evaluation import Rule, both, finished

WHOLE = re.compile(r"[+-]?0*[0-9]{1,19}")
DECIMAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
_UPPER = str.maketrans(ascii_lowercase, ascii_uppercase)


def _each(read: Callable[..., Any]) -> Rule:
    """A function of text, value by value; where it gives None there is no value."""

    def rule(expression: Expr[Any], args: list[ColumnData]) -> ColumnData:
        found = [read(*values) for values in zip(*(arg.values.tolist() for arg in args), strict=True)]
        there = np.fromiter((value is not None for value in found), np.bool_, len(found))
        held = np.zeros(len(found), DTYPES[expression.kind])
        held[there] = [value for value in found if value is not None]
        return finished(held, both(args) & there, expression.kind)

    return rule


def whole(text: str) -> int | None:
    """The decimal whole number that a text is, if it fits 64 bits."""
    if not WHOLE.fullmatch(text):
        return None
    value = int(text)
    return value if -(2**63) <= value < 2**63 else None


def decimal(text: str) -> float | None:
    """The decimal number that a text is."""
    return float(text) if DECIMAL.fullmatch(text) else None


def _to_int(expression: Expr[Any], args: list[ColumnData]) -> ColumnData:
    kind, (values, valid) = expression.args[0].kind, args[0]
    if kind is Kind.STRING:
        return _each(whole)(expression, args)
    if kind is Kind.FLOAT:
        values = np.trunc(values)
        valid = valid & (values >= -(2.0**63)) & (values < 2.0**63)
        values = np.where(valid, values, 0.0)
    return finished(values.astype(np.int64), valid, Kind.INT)


def _to_float(expression: Expr[Any], args: list[ColumnData]) -> ColumnData:
    if expression.args[0].kind is Kind.STRING:
        return _each(decimal)(expression, args)
    return ColumnData(args[0].values.astype(np.float64), args[0].valid)


def _to_bool(expression: Expr[Any], args: list[ColumnData]) -> ColumnData:
    return finished(args[0].values != 0, args[0].valid, Kind.BOOL)


def written(value: Any) -> str:
    """The text of a whole number or a condition; text is its own."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _hash_bucket(expression: tx.HashBucket, args: list[ColumnData]) -> ColumnData:
    buckets: dict[Any, int] = {}
    for value in set(args[0].values.tolist()):
        digest = hashlib.md5(written(value).encode(), usedforsecurity=False).hexdigest()
        buckets[value] = int(digest[:15], 16) % expression.n
    found = np.fromiter((buckets[value] for value in args[0].values.tolist()), np.int64, len(args[0].values))
    return finished(found, args[0].valid, Kind.INT)


RULES: Mapping[type[Expr[Any]], Rule] = {
    tx.Lower: _each(lambda text: text.translate(_LOWER)),
    tx.Upper: _each(lambda text: text.translate(_UPPER)),
    tx.Concat: _each(lambda *texts: "".join(texts)),
    tx.Contains: _each(lambda text, part: part in text),
    tx.StartsWith: _each(str.startswith),
    tx.Length: _each(len),
    tx.HashBucket: _hash_bucket,
    casts.ToInt: _to_int,
    casts.ToFloat: _to_float,
    casts.ToText: _each(written),
    casts.ToBool: _to_bool,
}
