"""From the annotation of a field to its type: ``Field[list[Decimal | None]]``."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any
from uuid import UUID

from samestream.schemas.errors import DeclarationError
from samestream.schemas.field_types import (
    MOST_DIGITS,
    Condition,
    Day,
    FieldType,
    Instant,
    ListOf,
    MapOf,
    Money,
    Real,
    Symbol,
    Text,
    Uuid,
    Whole,
)

_PLAIN: dict[Any, type[FieldType]] = {str: Text, int: Whole, float: Real, bool: Condition, date: Day, UUID: Uuid}
EXPECTED = (
    "str, int, float, bool, datetime, date, Decimal, UUID, a StrEnum, list[...] or dict[str, ...] of one of these, "
    "and any of them | None"
)


def field_type(hint: Any, options: Mapping[str, Any], where: str) -> tuple[FieldType, bool]:
    """The type that an annotation names, and whether it may be null.

    options : ``precision``, ``digits`` and ``scale`` of the field, where they were given
    Raises DeclarationError naming ``where`` for what Avro does not know, and for options that mean nothing here.
    """
    used: set[str] = set()
    found, nullable = _resolved(hint, options, where, used, nested=False)
    if unused := sorted(name for name, value in options.items() if value is not None and name not in used):
        raise DeclarationError(
            "an option means nothing for this type",
            where=where,
            found=f"{', '.join(unused)} on {found.written}",
            expected='precision="ms" on a datetime; digits= and scale= on a Decimal',
            hint="leave it out.",
        )
    return found, nullable


def _resolved(
    hint: Any, options: Mapping[str, Any], where: str, used: set[str], nested: bool
) -> tuple[FieldType, bool]:
    nullable = False
    if typing.get_origin(hint) in (typing.Union, UnionType):
        members = [member for member in typing.get_args(hint) if member is not NoneType]
        nullable = len(members) < len(typing.get_args(hint))
        if len(members) == 1:
            hint = members[0]
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint in _PLAIN:
        return _PLAIN[hint](), nullable
    if hint is datetime:
        used.add("precision")
        return Instant(_unit_us(options.get("precision"), where)), nullable
    if hint is Decimal:
        used.update(("digits", "scale"))
        return _money(options.get("digits"), options.get("scale"), where), nullable
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return Symbol(hint, where), nullable
    if origin is list and not nested:
        return ListOf(*_resolved(parts[0], options, where, used, nested=True)), nullable
    if origin is dict and not nested and parts[0] is str:
        return MapOf(*_resolved(parts[1], options, where, used, nested=True)), nullable
    raise DeclarationError(
        "a field needs a type that Avro knows",
        where=where,
        found="no annotation" if hint is None else getattr(hint, "__name__", str(hint)) if not parts else str(hint),
        expected=EXPECTED,
        hint=f"{where.split('.')[-1]}: Field[float] = field().",
    )


def _unit_us(precision: Any, where: str) -> int:
    if precision not in (None, "us", "ms"):
        raise DeclarationError(
            "no such precision", where=where, found=repr(precision), expected='"us" or "ms"', hint='precision="ms".'
        )
    return 1000 if precision == "ms" else 1


def _money(digits: Any, scale: Any, where: str) -> Money:
    whole = type(digits) is int and type(scale) is int
    if not whole or not 0 < digits <= MOST_DIGITS or not 0 <= scale <= digits:
        raise DeclarationError(
            "a Decimal needs its digits",
            where=where,
            found=f"digits={digits!r}, scale={scale!r}",
            expected=f"digits= from 1 to {MOST_DIGITS}, of which scale= are after the point",
            hint="field(digits=12, scale=2) holds up to 9999999999.99.",
        )
    return Money(digits, scale)
