"""What an aggregate over a window is, from nothing but the list of the key's events: the judge of algebras and engines.

`plain` says the value as one would say it to a person. `exact` adds the order of DESIGN section 2, which decides the bits of
floats: tiles in the order of application, canonical blocks, the head last in (time, position) order.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from window_oracle import canonical, wrap

from samestream.schemas.aggregates import Aggregate
from samestream.schemas.kinds import Kind
from samestream.schemas.windows import Calendar, Lifetime, Session, Sliding, Tumbling, Window

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Row:
    """One applied event of a key: ``values`` by input column, None for null."""

    t: int
    position: int
    values: tuple[Any, ...]

    @property
    def at(self) -> tuple[int, int]:
        return self.t, self.position


def begin(window: Window, rows: list[Row], t: int) -> int | None:
    """Where a window starts at t, floored to its tile; None of a session without a row."""
    g = window.tile_us
    match window:
        case Sliding(length_us=length):
            start = t - length
        case Lifetime():
            start = -(2**60)
        case Tumbling(every_us=every):
            start = t - t % every
        case Calendar(zone=zone, period=period):
            start = period_start_us(t, period, zone)
        case Session(gap_us=gap, over_us=over):
            since = t
            for row in sorted(rows, key=lambda row: row.t, reverse=True):
                if row.t < t and row.t >= (t - over) // g * g:
                    if since - row.t > gap:
                        break
                    since = row.t
            if since == t:
                return None
            start = since
    return start // g * g


def period_start_us(t: int, period: str, zone: str) -> int:
    """The first instant of the local day, week or month."""
    day = local(t, zone).date()
    return day_start_us(day - timedelta(days={"day": 0, "week": day.weekday(), "month": day.day - 1}[period]), zone)


@cache
def day_start_us(day: date, zone: str) -> int:
    """Found minute by minute."""
    noon = (datetime(day.year, day.month, day.day, 12, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
    minute = 60_000_000
    return next(us for us in range(noon - 1600 * minute, noon + 1600 * minute, minute) if local(us, zone).date() >= day)


def local(us: int, zone: str) -> datetime:
    return (EPOCH + timedelta(microseconds=us)).astimezone(ZoneInfo(zone))


def exact(aggregate: Aggregate, column: int, window: Window, rows: list[Row], t: int) -> Any:
    """The value to the bit; ``rows`` in the order of application."""
    start, g = begin(window, rows, t), window.tile_us
    tiles: dict[int, Any] = {}
    for row in rows:
        if row.values[column] is not None:
            old = tiles.get(row.t // g, aggregate.zero())
            tiles[row.t // g] = aggregate.add(old, row.values[column], row.at)
    state, first = aggregate.zero(), True
    for lo, size in canonical(start // g, t // g) if start is not None else []:
        if any(lo <= index < lo + size for index in tiles):
            part = block(aggregate, tiles, lo, size)
            state, first = part if first else aggregate.merge(state, part), False
    for row in sorted(rows, key=lambda row: row.at):
        if start is not None and t // g * g <= row.t < t and row.values[column] is not None:
            state = aggregate.add(state, row.values[column], row.at)
    return aggregate.result(state, t)


def block(aggregate: Aggregate, tiles: dict[int, Any], lo: int, size: int) -> Any:
    """Left half + right half, of those in which there is a tile."""
    if size == 1:
        return tiles[lo]
    halves = [
        block(aggregate, tiles, half, size // 2)
        for half in (lo, lo + size // 2)
        if any(half <= index < half + size // 2 for index in tiles)
    ]
    return halves[0] if len(halves) == 1 else aggregate.merge(*halves)


def inside(column: int, window: Window, rows: list[Row], t: int) -> list[tuple[int, int, Any]]:
    """The values of the window, by (time, position)."""
    start = begin(window, rows, t)
    if start is None:
        return []
    found = [(*row.at, row.values[column]) for row in rows if start <= row.t < t and row.values[column] is not None]
    return sorted(found, key=lambda item: item[:2])


def plain(aggregate: Aggregate, found: list[tuple[int, int, Any]], t: int) -> Any:
    """The value of a window's events, for people."""
    values, name = [value for *_, value in found], aggregate.name
    if name == "count":
        return len(values)
    if name == "distinct":
        return distinct(values, aggregate.exact)
    if not values:
        return None
    floats = [float(value) for value in values] if not isinstance(values[0], str | list) else []
    match name:
        case "sum":
            return total(values) if aggregate.kind is Kind.FLOAT else wrap(sum(values))
        case "mean" | "share":
            whole = aggregate.input.kind is not Kind.FLOAT
            return number((float(wrap(sum(values))) if whole else total(values)) / len(values))
        case "variance" | "std":
            mean = total(floats) / len(floats)
            variance = total([(x - mean) * (x - mean) for x in floats]) / len(floats)
            return number(variance if name == "variance" else variance**0.5)
        case "min":
            return min(values)
        case "max":
            return max(values)
        case "first":
            return values[0]
        case "last":
            return values[-1]
        case "last_n":
            return values[-aggregate.n :]
        case "quantile":
            rank = max(1, math.ceil(Decimal(repr(aggregate.q)) * len(values)))
            return lower_end(sorted(floats)[rank - 1])
        case "most_frequent":
            ranked = sorted(Counter(values).items(), key=lambda pair: pair[0])
            ranked.sort(key=lambda pair: pair[1], reverse=True)
            return [value for value, _ in ranked[: aggregate.k]] if aggregate.k is not None else ranked[0][0]
        case "decayed_sum" | "decayed_mean":
            half = aggregate.half_life_us
            # the mean fades alike above and below: of the latest event's instant, so that it never fades away
            as_of = t if name == "decayed_sum" else found[-1][0]
            shares = [2.0 ** -((as_of - at) / half) if as_of - at < 1023 * half else 0.0 for at, *_ in found]
            faded = total([x * share for x, share in zip(floats, shares, strict=True) if share])
            return number(faded if name == "decayed_sum" else faded / total(shares))
        case "time_since_last":
            return (t - found[-1][0]) / 1e6
    raise AssertionError(f"no plain meaning of {name}")


def distinct(values: list[Any], bound: int) -> int:
    """Counted to the bound; above it the estimate of the set, from its registers."""
    different = set(values)
    if len(different) <= bound:
        return len(different)
    registers: dict[int, int] = {}
    for value in different:
        text = str(value).lower() if isinstance(value, bool) else str(value)
        bits = bin(int(hashlib.md5(text.encode()).hexdigest()[:15], 16))[2:].zfill(60)
        register, rank = int(bits[:12], 2), (bits[12:] + "1").index("1") + 1
        registers[register] = max(registers.get(register, 0), rank)
    empty = 4096 - len(registers)
    found = 0.7213 / (1 + 1.079 / 4096) * 4096**2 / (empty + math.fsum(2.0**-rank for rank in registers.values()))
    if found <= 2.5 * 4096 and empty:
        found = 4096 * math.log(4096 / empty)
    return max(bound + 1, math.floor(found + 0.5))


def lower_end(value: float) -> float:
    """The value with seven bits after the first."""
    if value == 0 or math.isinf(value):
        return value + 0.0  # of -0.0, 0.0
    fraction, exponent = math.frexp(value)
    return math.ldexp(math.trunc(fraction * 256), exponent - 8)


def total(values: list[float]) -> float:
    """The sum, rounded once where it is finite."""
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):
        return sum(values)


def number(value: float) -> float | None:
    """The value, or None for NaN."""
    return None if math.isnan(value) else value
