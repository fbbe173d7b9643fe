"""docs/language.md, "Expressions", in plain Python: one value at a time, None is null. The judge of every engine."""

from __future__ import annotations

import hashlib
import math
import operator
import re
from datetime import UTC, datetime, timedelta
from string import ascii_lowercase, ascii_uppercase
from typing import Any
from zoneinfo import ZoneInfo

from samestream.schemas import arithmetic as ar
from samestream.schemas import calendar as ca
from samestream.schemas import casts
from samestream.schemas import comparisons as cp
from samestream.schemas import conditional as cd
from samestream.schemas import lists as li
from samestream.schemas import numbers as nu
from samestream.schemas import text as tx
from samestream.schemas.expressions import Column, Expr, Kind, Literal

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COMPARISONS = {
    cp.Less: operator.lt,
    cp.LessOrEqual: operator.le,
    cp.Greater: operator.gt,
    cp.GreaterOrEqual: operator.ge,
    cp.Equal: operator.eq,
}


def evaluate(node: Expr[Any], columns: dict[str, Any]) -> Any:
    """An expression for one row."""
    if isinstance(node, Column):
        return columns[node.name]
    if isinstance(node, Literal):
        return node.value
    return fitting(operation(node, [evaluate(arg, columns) for arg in node.args]), node.kind)


def fitting(value: Any, kind: Kind) -> Any:
    """A whole number wraps at 64 bits; a NaN is null."""
    if value is None:
        return None
    if kind is Kind.INT:
        return wrapped(value)
    if kind is Kind.FLOAT:
        return None if math.isnan(value) else float(value)
    return value


def wrapped(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63


def operation(node: Expr[Any], args: list[Any]) -> Any:
    """First the operations that say what they do about nulls; all others give null for one."""
    match node:
        case cd.And():
            return False if False in args else (None if None in args else True)
        case cd.Or():
            return True if True in args else (None if None in args else False)
        case cd.IsNull():
            return args[0] is None
        case cd.Fill():
            return args[1] if args[0] is None else args[0]
        case cd.When():
            for condition, value in zip(args[:-1:2], args[1::2], strict=False):
                if condition is True:
                    return value
            return args[-1] if len(args) % 2 else None
    if None in args:
        return None
    if all(arg.kind.is_number for arg in node.args) and Kind.FLOAT in [node.kind, *(arg.kind for arg in node.args)]:
        args = [float(arg) for arg in args]
    return (number if isinstance(node, ar.Arithmetic) else calendar if isinstance(node, ca.CalendarField) else other)(
        node, *args
    )


def number(node: Expr[Any], a: Any, b: Any = None) -> Any:
    match node:
        case ar.Add():
            return a + b
        case ar.Subtract():
            return a - b
        case ar.Multiply():
            return a * b
        case ar.Divide():
            return a / b if b else None
        case ar.FloorDivide():
            return a // b if b else None
        case ar.Modulo():
            return a % b if b else None
        case ar.Negate():
            return -a
        case ar.Absolute():
            return abs(a)
        case nu.Log():
            return math.log(a) if a > 0 else None
        case nu.Exp():
            return math.exp(a) if a <= 709.782712893384 else math.inf
        case nu.SquareRoot():
            return math.sqrt(a) if a >= 0 else None
        case nu.Floor():
            return math.copysign(math.floor(a), a) if math.isfinite(a) else a
        case nu.Ceiling():
            return math.copysign(math.ceil(a), a) if math.isfinite(a) else a
        case nu.Round():
            power = float(10 ** abs(node.digits))
            scaled = a / power if node.digits < 0 else a * power
            if math.isinf(scaled):
                return a
            even = math.copysign(round(scaled), a)
            return even * power if node.digits < 0 else even / power
        case nu.Clip():
            if node.low is not None and a < node.low.value:
                return node.low.value
            return node.high.value if node.high is not None and a > node.high.value else a
    raise NotImplementedError(type(node))


def calendar(node: ca.CalendarField, instant: int) -> int | None:
    first, last = datetime(1900, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    since = timedelta(microseconds=max(min(instant, 2**60), -(2**60)))
    known = min(max(since, first - EPOCH), last - EPOCH)  # clocks change in these years only
    offset = (EPOCH + known).astimezone(ZoneInfo(node.zone)).utcoffset()
    try:
        local = EPOCH.replace(tzinfo=None) + (since + offset)
    except OverflowError:
        return None  # outside the years 1 to 9999
    return {
        ca.Year: local.year,
        ca.Month: local.month,
        ca.Day: local.day,
        ca.Hour: local.hour,
        ca.Minute: local.minute,
        ca.Weekday: local.weekday(),
        ca.DayOfYear: local.timetuple().tm_yday,
    }[type(node)]


def other(node: Expr[Any], a: Any, *more: Any) -> Any:
    b = more[0] if more else None
    match node:
        case cp.Comparison():
            return COMPARISONS[type(node)](a, b)
        case cp.IsIn():
            return any(same(a, option.value) for option in node.options)
        case cd.Not():
            return not a
        case tx.Lower():
            return "".join(ascii_lowercase[ascii_uppercase.index(c)] if c in ascii_uppercase else c for c in a)
        case tx.Upper():
            return "".join(ascii_uppercase[ascii_lowercase.index(c)] if c in ascii_lowercase else c for c in a)
        case tx.Concat():
            return a + "".join(more)
        case tx.Contains():
            return b in a
        case tx.StartsWith():
            return a.startswith(b)
        case tx.Length() | li.ListLength():
            return len(a)
        case tx.HashBucket():
            text = {True: "true", False: "false"}[a] if isinstance(a, bool) else str(a)
            return int(hashlib.md5(text.encode()).hexdigest()[:15], 16) % node.n
        case ca.SecondsBetween():
            return wrapped(a - b) / 1e6
        case casts.ToInt():
            return to_int(a)
        case casts.ToFloat():
            decimal = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"
            return float(a) if not isinstance(a, str) or re.fullmatch(decimal, a) else None
        case casts.ToText():
            return {True: "true", False: "false"}[a] if isinstance(a, bool) else str(a)
        case casts.ToBool():
            return bool(a)
        case li.ListContains():
            return any(item is not None and same(item, b) for item in a)
        case li.At():
            found = a[node.index] if -len(a) <= node.index < len(a) else None
            return None if found != found else found
        case li.Get():
            return None if a.get(node.key) != a.get(node.key) else a.get(node.key)
    raise NotImplementedError(type(node))


def same(a: Any, b: Any) -> bool:
    """Whole numbers beside floats are floats."""
    return float(a) == float(b) if isinstance(a, float) != isinstance(b, float) else a == b


def to_int(value: Any) -> int | None:
    if isinstance(value, str):
        value = int(value) if re.fullmatch("[+-]?[0-9]{1,999}", value) else None
    elif isinstance(value, float):
        value = math.trunc(value) if math.isfinite(value) else None
    return int(value) if value is not None and -(2**63) <= value < 2**63 else None
