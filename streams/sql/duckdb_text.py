"""`schemas.text` and `schemas.casts` as DuckDB SQL."""

from __future__ import annotations

from collections.abc import Mapping
from string import ascii_lowercase, ascii_uppercase
from typing import Any

from samestream.schemas import casts
from samestream.schemas import text as tx
from samestream.schemas.expressions import Expr, Kind
from samestream.streams.sql.dialect import Rule
from samestream.streams.sql.duckdb_terms import TYPES, bound, constant

WHOLE = "[+-]?0*[0-9]{{1,19}}"
DECIMAL = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"


def _read(pattern: str, kind: Kind) -> Rule:
    """Text that has a form, read as a kind; DuckDB's own casts also take spaces, underscores, and `1e3` for a whole number."""
    return lambda value, args: bound(
        value, args, f"CASE WHEN regexp_full_match({{0}}, '{pattern}') THEN TRY_CAST({{0}} AS {TYPES[kind]}) END"
    )


def _to_int(value: casts.ToInt, args: list[str]) -> str:
    match value.args[0].kind:
        case Kind.STRING:
            return _read(WHOLE, Kind.INT)(value, args)
        case Kind.FLOAT:
            fits = f"{{0}} >= {constant(Kind.FLOAT, -(2.0**63))} AND {{0}} < {constant(Kind.FLOAT, 2.0**63)}"
            return bound(value, args, f"CASE WHEN {fits} THEN TRY_CAST(trunc({{0}}) AS BIGINT) END")
    return f"CAST({args[0]} AS BIGINT)"


def _to_float(value: casts.ToFloat, args: list[str]) -> str:
    return (
        _read(DECIMAL, Kind.FLOAT)(value, args) if value.args[0].kind is Kind.STRING else f"CAST({args[0]} AS DOUBLE)"
    )


def _to_bool(value: casts.ToBool, args: list[str]) -> str:
    return args[0] if value.args[0].kind is Kind.BOOL else f"({args[0]} <> 0)"


def _hash_bucket(value: tx.HashBucket, args: list[str]) -> str:
    first = f"CAST('0x' || substr(md5(CAST({args[0]} AS VARCHAR)), 1, 15) AS BIGINT)"
    return f"({first} % {value.n})"


RULES: Mapping[type[Expr[Any]], Rule] = {
    tx.Lower: lambda value, args: f"translate({args[0]}, '{ascii_uppercase}', '{ascii_lowercase}')",
    tx.Upper: lambda value, args: f"translate({args[0]}, '{ascii_lowercase}', '{ascii_uppercase}')",
    tx.Concat: lambda value, args: f"({' || '.join(args)})",
    tx.Contains: lambda value, args: f"contains({args[0]}, {args[1]})",
    tx.StartsWith: lambda value, args: f"starts_with({args[0]}, {args[1]})",
    tx.Length: lambda value, args: f"length({args[0]})",
    tx.HashBucket: _hash_bucket,
    casts.ToInt: _to_int,
    casts.ToFloat: _to_float,
    casts.ToText: lambda value, args: f"CAST({args[0]} AS VARCHAR)",
    casts.ToBool: _to_bool,
}
