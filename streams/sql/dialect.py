"""SQL dialects: how an engine writes columns, constants and operations. One file per engine holds its `Dialect`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from samestream.schemas.expressions import Column, Expr, Literal
from samestream.schemas.kinds import Kind

# From an operation and its arguments as SQL to its SQL.
Rule = Callable[[Any, list[str]], str]


@dataclass(frozen=True)
class Dialect:
    """What one engine calls things.

    types : the type of a column of each kind; of lists and maps, with ``{item}`` for that of their elements
    quoted : a column's name as an identifier
    constant : a constant, as `schemas.kinds.constant` holds it, as SQL
    rules : one per operation
    """

    types: Mapping[Kind, str]
    quoted: Callable[[str], str]
    constant: Callable[[Kind, Any], str]
    rules: Mapping[type[Expr[Any]], Rule]

    def expression(self, value: Expr[Any]) -> str:
        """An expression as SQL over columns named as its leaves are.

        Raises KeyError for a class without a rule, as for leaves that a plan has not lowered to columns.
        """
        if isinstance(value, Column):
            return self.quoted(value.name)
        if isinstance(value, Literal):
            return self.constant(value.kind, value.value)
        return self.rules[type(value)](value, [self.expression(argument) for argument in value.args])

    def type_of(self, kind: Kind, item: Kind | None = None) -> str:
        """The type of a column; of a list or map, ``item`` is the kind of its elements."""
        return self.types[kind].replace("{item}", self.types[item] if item is not None else "")
