"""Columns of every kind, with the values at which engines part: extremes, clock changes, letters and numbers written oddly."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import strategies as st

from samestream.schemas.expressions import EPOCH, Kind


class Type(NamedTuple):
    kind: Kind
    item: Kind | None = None
    rough: bool = False
    """Of functions whose last bits differ between engines."""


INT, FLOAT, BOOL, TEXT, TIME = map(Type, (Kind.INT, Kind.FLOAT, Kind.BOOL, Kind.STRING, Kind.TIME))
ROUGH = Type(Kind.FLOAT, rough=True)
NUMBERS, SCALARS = (INT, FLOAT), (INT, FLOAT, BOOL, TEXT, TIME)
LISTS = [Type(Kind.LIST, type.kind) for type in SCALARS]
MAPS = [Type(Kind.MAP, Kind.INT), Type(Kind.MAP, Kind.FLOAT)]
TYPES = [*SCALARS, *LISTS]
ZONES = [
    *("UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe"),
    *("America/Vancouver", "Africa/Casablanca"),  # of whose future clocks editions of the database differ
]


def around(*instants: str) -> list[int]:
    """Just before, at and an hour after each, in microseconds since 1970."""
    at = [(datetime.fromisoformat(f"{instant}+00:00") - EPOCH) // timedelta(microseconds=1) for instant in instants]
    return [instant + apart for instant in at for apart in (-1, 0, 3_600_000_000)]


VALUES: dict[Type, list[Any]] = {
    INT: [0, 1, -1, 7, -3, 12345, 2**53 + 1, 2**63 - 1, -(2**63), None],
    FLOAT: [
        *(0.0, -0.0, 1.5, -2.25, 0.1, 0.5, 2.5, -0.3, 2.675, 1e16, 1.0, 1e308, -1e308, 5e-324, 0.49999999999999994),
        *(4503599627370497.5, 9007199254740993.0, 9223372036854775808.0, -9223372036854775808.0, math.inf, -math.inf),
        None,
    ],
    BOOL: [True, False, None],
    TEXT: [
        *("", "a", "é", "É", "it's", "Z\x00z", "ﬀ", "𝄞", "Straße{0}", "e\u0301", "true"),
        *(
            "12",
            "-0",
            "+7",
            " 7",
            "7\n",
            "1e3",
            "1_0",
            "٣",
            ".5",
            "5.",
            "3.14",
            "1E+2",
            "1e999",
            "-1e-999",
            "nan",
            "inf",
            "0x10",
        ),
        *("-9223372036854775808", "9223372036854775808", "0" * 40 + "1", "9" * 400),
        None,
    ],
    TIME: [
        *around("1969-12-31T23:59:59", "1970-01-01T00:00:00", "2024-02-29T00:00:00", "2024-03-10T07:00:00"),
        *around("2024-11-03T06:00:00", "2027-03-14T10:00:00", "1883-11-18T17:00:00", "1900-01-01T00:00:00"),
        *around("2099-06-30T23:00:00", "2100-01-01T00:00:00", "2150-07-01T00:00:00"),
        *(-62135596800000000, -62135596800000001, 253402300799999999, 253402300800000000, 2**63 - 1, -(2**63)),
        None,
    ],
}
VALUES |= {
    Type(Kind.LIST, type.kind): [[], [None], values[:1], values[1:2], values[:3], values[::-1], None]
    for type, values in list(VALUES.items())
}
VALUES[Type(Kind.LIST, Kind.FLOAT)].append([math.nan, 0.0])
VALUES |= {
    type: [{}, {"": VALUES[of][0]}, {"a": None}, {"a": VALUES[of][1], "it's": VALUES[of][2]}, None]
    for type, of in zip(MAPS, NUMBERS, strict=True)
}
COLUMNS: dict[str, Type] = {
    f"{type.kind.value}{f'_{type.item.value}' if type.item else ''}_{n}": type for type in VALUES for n in (1, 2)
}


def constants(type: Type) -> list[Any]:
    """Values that can be written into an expression: of times, those that a datetime reaches."""
    values = [value for value in VALUES.get(type, []) if value is not None and type.item is None]
    if type != TIME:
        return values
    least, most = (instant.replace(tzinfo=UTC) - EPOCH for instant in (datetime.min, datetime.max))
    return [EPOCH + since for since in (timedelta(microseconds=value) for value in values) if least < since < most]


def rows() -> st.SearchStrategy[list[dict[str, Any]]]:
    columns = {name: st.sampled_from(VALUES[type]) for name, type in COLUMNS.items()}
    return st.lists(st.fixed_dictionaries(columns), min_size=1, max_size=12)


def every_pair() -> list[dict[str, Any]]:
    """Rows in which every value of a first column meets every one of a second."""
    size = max(map(len, VALUES.values()))
    return [
        {name: VALUES[type][(i if name.endswith("1") else j) % len(VALUES[type])] for name, type in COLUMNS.items()}
        for i in range(size)
        for j in range(size)
    ]
