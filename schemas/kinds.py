"""Kinds: the types of values, and which kind a constant of Python is."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from samestream.schemas.errors import DeclarationError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Kind(Enum):
    """The type of a value: how it is held in a column and written in Avro."""

    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    STRING = "string"
    TIME = "time"
    LIST = "list"
    MAP = "map"

    @property
    def is_number(self) -> bool:
        """Whether arithmetic is defined on it."""
        return self in (Kind.INT, Kind.FLOAT)


def constant(value: Any) -> tuple[Kind, Any]:
    """The kind of a constant, and the constant as columns hold it: times are microseconds since 1970, decimals floats.

    Raises DeclarationError for what no column holds.

    >>> constant(datetime(1970, 1, 2, tzinfo=UTC))
    (<Kind.TIME: 'time'>, 86400000000)
    """
    if isinstance(value, bool):
        return Kind.BOOL, value
    if isinstance(value, int):
        return Kind.INT, _whole(value)
    if isinstance(value, Decimal) and not value.is_nan():
        return Kind.FLOAT, _float(value)
    if isinstance(value, float) and not math.isnan(value):
        return Kind.FLOAT, float(value)
    if isinstance(value, str):
        return Kind.STRING, _text(value)
    if isinstance(value, UUID):
        return Kind.STRING, str(value)
    if isinstance(value, datetime):
        return Kind.TIME, _microseconds(value)
    if isinstance(value, date):
        return Kind.TIME, _microseconds(datetime.combine(value, time(), UTC))
    raise DeclarationError(
        "this constant cannot stand in an expression",
        where=repr(value),
        found=type(value).__name__,
        expected="a bool, int, float, Decimal, str, UUID, date, datetime or a symbol of a StrEnum",
        hint="use is_null() and fill() for missing values.",
    )


def _float(value: Decimal) -> float:
    number = float(value)
    if math.isinf(number) and value.is_finite():
        raise DeclarationError(
            "a Decimal does not fit a float",
            where=repr(value),
            found=f"{value.adjusted() + 1} digits",
            expected="at most 1.8e308 in size",
            hint='write float("inf") where infinity is meant.',
        )
    return number


def _whole(value: int) -> int:
    if not -(2**63) <= value < 2**63:
        raise DeclarationError(
            "a whole number does not fit 64 bits",
            where="a constant",
            found=f"{value.bit_length() + 1} bits" if value.bit_length() > 128 else repr(value),
            expected="from -2**63 to 2**63 - 1",
            hint="write it as a float: it is no exact count.",
        )
    return int(value)


def _text(value: str) -> str:
    plain = str(value.value) if isinstance(value, Enum) else str(value)
    try:
        plain.encode()
    except UnicodeEncodeError as error:
        raise DeclarationError(
            "this text cannot be written as UTF-8",
            where=repr(plain),
            found=f"half of a surrogate pair at {error.start}",
            expected="whole characters",
            hint="write the whole character.",
        ) from error
    return plain


def _microseconds(value: datetime) -> int:
    if value.tzinfo is None:
        raise DeclarationError(
            "a datetime needs a time zone",
            where=repr(value),
            found="no time zone",
            expected="an instant",
            hint="add tzinfo=UTC, or the zone that it is meant in.",
        )
    return (value - EPOCH) // timedelta(microseconds=1)
