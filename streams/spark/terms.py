"""What Spark calls types, names and constants, and what its rules are put together from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samestream.schemas.expressions import Column, Expr, Kind, Literal

TYPES: Mapping[Kind, str] = {
    Kind.INT: "BIGINT",
    Kind.FLOAT: "DOUBLE",
    Kind.BOOL: "BOOLEAN",
    Kind.STRING: "STRING",
    Kind.TIME: "BIGINT",  # microseconds since 1970, as everywhere
    Kind.LIST: "ARRAY<{item}>",
    Kind.MAP: "MAP<STRING, {item}>",
}


def quoted(name: str) -> str:
    """A column or table name as an identifier.

    >>> quoted("0/origin/1")
    '`0/origin/1`'
    """
    return "`" + name.replace("`", "``") + "`"


def text(value: str) -> str:
    """A string as a literal; in Spark a backslash escapes."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0") + "'"


def constant(kind: Kind, value: Any) -> str:
    """A constant; by way of text, since a bare 0.1 would be a DECIMAL."""
    return text(value) if kind is Kind.STRING else f"CAST({text(str(value))} AS {TYPES[kind]})"


def written(kind: Kind, item: Kind | None, value: Any) -> str:
    """A value of any kind, null too, in the type that columns of the kind have.

    >>> written(Kind.LIST, Kind.INT, [1])
    "CAST(array(CAST('1' AS BIGINT)) AS ARRAY<BIGINT>)"
    """
    if value is None:
        found = "NULL"
    elif kind is Kind.LIST and item is not None:
        found = f"array({', '.join(written(item, None, one) for one in value)})"
    elif kind is Kind.MAP and item is not None:
        parts = [part for key, one in dict(value).items() for part in (text(key), written(item, None, one))]
        found = f"map({', '.join(parts)})"
    else:
        return constant(kind, value)
    return f"CAST({found} AS {TYPES[kind].replace('{item}', TYPES[item] if item else '')})"


def present(kind: Kind, value: str) -> str:
    """The value, or null where it is NaN (which equals itself in Spark)."""
    return f"nullif({value}, CAST('NaN' AS DOUBLE))" if kind is Kind.FLOAT else value


def let(name: str, value: str, body: str) -> str:
    """A body that reads a value by a name."""
    return f"element_at(transform(array({value}), {name} -> {body}), 1)"


def bound(value: Expr[Any], args: list[str], body: str) -> str:
    """A body that reads the arguments ``{0}``, ``{1}`` more than once: what is computed is computed once, and written once."""
    if all(isinstance(arg, Column | Literal) for arg in value.args):
        return body.format(*args)
    fields = ", ".join(f"'a{index}', {arg}" for index, arg in enumerate(args))
    return let("args", f"named_struct({fields})", body.format(*(f"args.a{index}" for index in range(len(args)))))


def real(value: str) -> str:
    """A number as a float."""
    return f"CAST({value} AS DOUBLE)"


def floor(value: str) -> str:
    """A float rounded down, as a float and with its sign; Spark's own `floor` gives a whole number of 64 bits."""
    return f"(CASE WHEN rint({value}) > {value} THEN rint({value}) - 1D ELSE rint({value}) END)"
