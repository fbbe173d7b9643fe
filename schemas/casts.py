"""Casts: a value of one kind as another. What cannot be read as that kind is null."""

from __future__ import annotations

from typing import Any, ClassVar

from samestream.schemas.errors import DeclarationError
from samestream.schemas.expressions import Expr
from samestream.schemas.kinds import Kind
from samestream.schemas.operation import Operation


class Cast(Operation[Any]):
    """A value as another kind."""

    target: ClassVar[type]
    kind: Kind
    takes: ClassVar[tuple[Kind, ...]]
    hint: ClassVar[str]

    def result_kind(self, *kinds: Kind) -> Kind:
        """See `Operation.result_kind`."""
        if kinds[0] not in self.takes:
            raise self.refuse(", ".join(kind.value for kind in self.takes), self.hint)
        return type(self).kind

    def written_arguments(self) -> list[str]:
        """See `Operation.written_arguments`."""
        return [self.target.__name__]


class ToInt(Cast):
    """A whole number: of a float towards zero, of text that is one, of a condition 0 or 1, of a time its microseconds."""

    written, target, kind = "cast", int, Kind.INT
    takes = (Kind.INT, Kind.FLOAT, Kind.BOOL, Kind.STRING, Kind.TIME)
    hint = "of a list or map take the length or an element first."


class ToFloat(Cast):
    """A float: of text that is a decimal number, of a condition 0 or 1."""

    written, target, kind = "cast", float, Kind.FLOAT
    takes = (Kind.INT, Kind.FLOAT, Kind.BOOL, Kind.STRING)
    hint = "subtract two times for seconds, or cast a time to int for microseconds."


class ToText(Cast):
    """Text: of a whole number its decimal digits, of a condition ``true`` or ``false``."""

    written, target, kind = "cast", str, Kind.STRING
    takes = (Kind.INT, Kind.BOOL, Kind.STRING)
    hint = "engines write floats and times differently: round and cast to int first, or take calendar fields."


class ToBool(Cast):
    """A condition: whether a number is not 0."""

    written, target, kind = "cast", bool, Kind.BOOL
    takes = (Kind.INT, Kind.FLOAT, Kind.BOOL)
    hint = "compare it: field == 'yes'."


CASTS = {cast.target: cast for cast in (ToInt, ToFloat, ToText, ToBool)}


def cast(value: Expr[Any], target: type) -> Cast:
    """The cast to a type of Python. Raises DeclarationError where there is none."""
    if not isinstance(target, type) or target not in CASTS:
        raise DeclarationError(
            "there is no cast to this",
            where=f"{value!r}.cast({getattr(target, '__name__', target)})",
            found=repr(target),
            expected="int, float, str or bool",
            hint="times are declared as fields, Field[datetime]: none is made of text.",
        )
    return CASTS[target](value)
