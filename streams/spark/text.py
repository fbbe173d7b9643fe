"""`schemas.text` and `schemas.casts` as Spark SQL."""

from __future__ import annotations

from collections.abc import Mapping
from string import ascii_lowercase, ascii_uppercase
from typing import Any

from samestream.schemas import casts
from samestream.schemas import text as tx
from samestream.schemas.expressions import Expr, Kind
from samestream.streams.spark.terms import TYPES, bound, constant, real, text
from samestream.streams.sql.dialect import Rule

# \z, since a $ also matches before a newline at the end
WHOLE = text(r"\A[+-]?0*[0-9]{{1,19}}\z")
DECIMAL = text(r"\A[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\z")


def _read(pattern: str, kind: Kind) -> Rule:
    """Text that has a form, read as a kind; Spark's own casts also take spaces, `1e3` for a whole number, and `1d`."""
    return lambda value, args: bound(
        value, args, f"CASE WHEN {{0}} RLIKE {pattern} THEN CAST({{0}} AS {TYPES[kind]}) END"
    )


def _to_int(value: casts.ToInt, args: list[str]) -> str:
    match value.args[0].kind:
        case Kind.STRING:
            return _read(WHOLE, Kind.INT)(value, args)
        case Kind.FLOAT:
            fits = f"{{0}} >= {constant(Kind.FLOAT, -(2.0**63))} AND {{0}} < {constant(Kind.FLOAT, 2.0**63)}"
            return bound(value, args, f"CASE WHEN {fits} THEN CAST({{0}} AS BIGINT) END")
    return f"CAST({args[0]} AS BIGINT)"


def _to_float(value: casts.ToFloat, args: list[str]) -> str:
    return _read(DECIMAL, Kind.FLOAT)(value, args) if value.args[0].kind is Kind.STRING else real(args[0])


def _to_bool(value: casts.ToBool, args: list[str]) -> str:
    return args[0] if value.args[0].kind is Kind.BOOL else f"({args[0]} <> 0)"


RULES: Mapping[type[Expr[Any]], Rule] = {
    tx.Lower: lambda value, args: f"translate({args[0]}, '{ascii_uppercase}', '{ascii_lowercase}')",
    tx.Upper: lambda value, args: f"translate({args[0]}, '{ascii_lowercase}', '{ascii_uppercase}')",
    tx.Concat: lambda value, args: f"concat({', '.join(args)})",
    tx.Contains: lambda value, args: f"contains({args[0]}, {args[1]})",
    tx.StartsWith: lambda value, args: f"startswith({args[0]}, {args[1]})",
    tx.Length: lambda value, args: f"CAST(char_length({args[0]}) AS BIGINT)",
    tx.HashBucket: lambda value, args: (
        f"(CAST(conv(substr(md5(CAST({args[0]} AS STRING)), 1, 15), 16, 10) AS BIGINT) % {value.n}L)"
    ),
    casts.ToInt: _to_int,
    casts.ToFloat: _to_float,
    casts.ToText: lambda value, args: f"CAST({args[0]} AS STRING)",
    casts.ToBool: _to_bool,
}
