"""What DuckDB calls types, names and constants, and what its rules are put together from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samestream.schemas.expressions import Column, Expr, Kind, Literal

TYPES: Mapping[Kind, str] = {
    Kind.INT: "BIGINT",
    Kind.FLOAT: "DOUBLE",
    Kind.BOOL: "BOOLEAN",
    Kind.STRING: "VARCHAR",
    Kind.TIME: "BIGINT",  # microseconds since 1970: needs no time zone and compares exactly
    Kind.LIST: "{item}[]",
    Kind.MAP: "MAP(VARCHAR, {item})",
}
_RANGE, _HALF = "CAST('18446744073709551616' AS HUGEINT)", "CAST('9223372036854775808' AS HUGEINT)"


def quoted(name: str) -> str:
    """A column or table name as an identifier.

    >>> quoted('0/origin/1')
    '"0/origin/1"'
    """
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A string as a literal; no query may hold the character 0."""
    return " || chr(0) || ".join("'" + part.replace("'", "''") + "'" for part in value.split("\0"))


def constant(kind: Kind, value: Any) -> str:
    """A constant; by way of text, since a bare 0.1 would be a DECIMAL."""
    return f"CAST({text(str(value))} AS {TYPES[kind]})"


def present(kind: Kind, value: str) -> str:
    """The value, or null where it is NaN."""
    return f"nullif({value}, CAST('nan' AS DOUBLE))" if kind is Kind.FLOAT else value


def wrapped(value: str) -> str:
    """A HUGEINT folded to 64 bits, as two's complement wraps."""
    return f"CAST(((({value}) % {_RANGE} + {_RANGE} + {_HALF}) % {_RANGE}) - {_HALF} AS BIGINT)"


def bound(value: Expr[Any], args: list[str], body: str) -> str:
    """A body that reads the arguments ``{0}``, ``{1}`` more than once: what is computed is computed once, and written once."""
    if all(isinstance(arg, Column | Literal) for arg in value.args):
        return body.format(*args)
    fields = ", ".join(f"a{index} := {arg}" for index, arg in enumerate(args))
    return let("args", f"struct_pack({fields})", body.format(*(f"args.a{index}" for index in range(len(args)))))


def let(name: str, value: str, body: str) -> str:
    """A body that reads a value by a name."""
    return f"list_extract(list_transform([{value}], lambda {name}: {body}), 1)"


def real(value: str) -> str:
    """A number as a float."""
    return f"CAST({value} AS DOUBLE)"
