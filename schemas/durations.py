"""Lengths of time as people write them (``"3h"``), held as whole microseconds."""

from __future__ import annotations

import re
from datetime import timedelta

from samestream.schemas.errors import DeclarationError

UNITS_US = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}

LONGEST_US = 100 * 366 * UNITS_US["d"]  # so that times and windows together stay far inside 64 bits

Duration = str | timedelta


def parse(text: Duration, where: str = "") -> int:
    """Microseconds in a duration: a number and a unit (us, ms, s, m, h, d, w), or a ``timedelta``.

    Raises DeclarationError for anything else, and for a negative length.

    >>> parse("3h")
    10800000000
    """
    if isinstance(text, timedelta):
        length_us = text // timedelta(microseconds=1)
    else:
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d|w)\s*", text) if isinstance(text, str) else None
        if not found:
            raise DeclarationError(
                "a duration was not understood",
                where=where,
                found=repr(text),
                expected="a number and a unit, one of us ms s m h d w",
                hint='write for example "90s", "10m", "3h" or "30d".',
            )
        exact_us = float(found[1]) * UNITS_US[found[2]]
        length_us = round(min(exact_us, 2.0 * LONGEST_US))  # a number of hundreds of digits is an infinite float
    if length_us > LONGEST_US:
        raise DeclarationError(
            "a duration is too long",
            where=where,
            found=repr(text),
            expected="at most 100 years",
            hint="use a shorter one.",
        )
    if length_us < 0:
        raise DeclarationError(
            "a duration cannot be negative", where=where, found=repr(text), expected="0 or more", hint="drop the sign."
        )
    return length_us


def text(length_us: int) -> str:
    """The shortest exact way to write a duration; the inverse of `parse`.

    >>> text(10_800_000_000)
    '3h'
    """
    for unit in ("w", "d", "h", "m", "s", "ms"):
        if length_us and length_us % UNITS_US[unit] == 0 and (unit != "w" or length_us >= 4 * UNITS_US["w"]):
            return f"{length_us // UNITS_US[unit]}{unit}"
    return f"{length_us}us"
