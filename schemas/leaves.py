"""The leaves of expressions: constants, and the columns of a batch. Fields and aggregates are leaves, too."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from samestream.schemas.aggregable import T_co
from samestream.schemas.expressions import Expr
from samestream.schemas.kinds import EPOCH, Kind, constant


class Literal(Expr[T_co]):
    """A constant written in the declaration; its value is as columns hold it (`kinds.constant`)."""

    def __init__(self, value: Any) -> None:
        self.kind, self.value = constant(value)

    def meaning(self) -> list[Any]:
        """See `Expr.meaning`."""
        return ["Literal", self.kind.value, self.value]

    def __repr__(self) -> str:
        if self.kind is Kind.TIME:
            return repr(EPOCH + timedelta(microseconds=self.value))
        return repr(self.value)


class Column(Expr[T_co]):
    """A named column of a batch: what plans put in place of fields and windowed aggregates."""

    def __init__(self, name: str, kind: Kind, item: Kind | None = None) -> None:
        self.name, self.kind, self.item = name, kind, item

    def meaning(self) -> list[Any]:
        """See `Expr.meaning`."""
        of = [self.item.value] if self.item is not None else []
        return ["Column", self.name, self.kind.value, *of]

    def __repr__(self) -> str:
        return self.name
