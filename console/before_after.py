"""A stretch of the log before an incident and after it, side by side: counts by interval, values, and the first rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from samestream.console.reading import instant
from samestream.streams import columns as cols
from samestream.streams.columns import Int64Array

INTERVALS = 13
PARTITIONS = 8
COMMONEST = 5
FIRST = 10
_STEPS = (1, 5, 10, 15, 20, 30, 60, 120, 240, 480, 1440)
"""Minutes that an interval may have."""
_COMMON = 0.01
"""A number that holds less than that of the rows is no common one."""
_QUANTILES = {"least": 0.0, "10 %": 0.1, "median": 0.5, "90 %": 0.9, "greatest": 1.0}
_WIDTH = 28


def known_us(table: pa.Table) -> Int64Array:
    """When the log learned of each row, microseconds UTC."""
    return np.asarray(table["_known"].cast(pa.int64()).to_numpy(), np.int64)


def counts(table: pa.Table, from_us: int, at_us: int, to_us: int, what: str) -> Iterator[str]:
    """How many rows became known in each interval, by partition; the interval in which the incident opened is marked."""
    step_us = next(
        (step * 60_000_000 for step in _STEPS if (to_us - from_us) / INTERVALS <= step * 6e7), to_us - from_us
    )
    known, partition = known_us(table), table["_partition"].to_numpy()
    names = sorted(set(partition.tolist()))[:PARTITIONS]
    by = "" if len(names) < 2 else "   of partition " + "".join(f"{name:>8}" for name in names)
    yield f"{what} by {step_us / 60e6:g} minutes of known time:{by}"
    for start_us in range(from_us // step_us * step_us, to_us, step_us):
        inside = (known >= start_us) & (known < start_us + step_us)
        parts = "" if not by else "".join(f"{int((partition[inside] == name).sum()):>8,}" for name in names)
        mark = "  <- opened" if start_us <= at_us < start_us + step_us else ""
        gap = " " * (len(by) - 8 * len(names)) if by else ""
        yield f"  {instant(start_us)}{int(inside.sum()):>10,}{gap}{parts}{mark}"


def column(name: str, before: pa.ChunkedArray[Any], after: pa.ChunkedArray[Any]) -> Iterator[str]:
    """Two samples of one column: how many, null, zero, quantiles of numbers and times, the commonest values."""
    yield f"{name:<14}{'before':>{_WIDTH}}{'after':>{_WIDTH}}"
    for title, *sides in zip(_TITLES, _figures(before), _figures(after), strict=True):
        if any(side for side in sides):
            yield f"  {title:<12}{sides[0] or '-':>{_WIDTH}}{sides[1] or '-':>{_WIDTH}}"


_TITLES = ("rows", "null", "zero", "different", *_QUANTILES, *(f"commonest {n}" for n in range(1, COMMONEST + 1)))


def _figures(values: pa.ChunkedArray[Any]) -> list[str]:
    """What `column` says of one side, in the order of its titles; empty where it says nothing."""
    rows = len(values)
    there = cols.plain(values).drop_null()
    if pa.types.is_boolean(there.type):
        there = there.cast(pa.string())
    is_time, is_number = pa.types.is_timestamp(there.type), _is_number(there.type)
    told = [f"{rows:,}", f"{values.null_count / rows:.1%}" if rows else ""]
    zeros = int((there.cast(pa.float64(), safe=False).to_numpy() == 0).sum()) if is_number else 0
    told.append(f"{zeros / rows:.1%}" if rows and is_number else "")
    shown = Counter(_shown(one) for one in there.to_pylist())
    told.append(f"{len(shown):,}" if len(there) else "")
    if len(there) and (is_time or is_number):
        numbers = (
            there.cast(pa.int64()).cast(pa.float64(), safe=False) if is_time else there.cast(pa.float64(), safe=False)
        )
        found = np.quantile(numbers.to_numpy(), list(_QUANTILES.values()), method="nearest")
        told += [instant(round(one)) if is_time else f"{one:.6g}" for one in found.tolist()]
    else:
        told += [""] * len(_QUANTILES)
    # of values that hardly ever come again none is common
    least = max(2, _COMMON * rows if is_number else 2)
    common = [one for one in shown.most_common(COMMONEST) if one[1] >= least]
    told += [f"{text[: _WIDTH - 9]} {count / rows:.1%}" for text, count in common]
    return told + [""] * (COMMONEST - len(common))


def _is_number(type_: pa.DataType) -> bool:
    return pa.types.is_integer(type_) or pa.types.is_floating(type_)


def _shown(value: Any) -> str:
    """A value as a cell shows it."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def first(table: pa.Table, at_us: int, key: str, time: str, names: Sequence[str]) -> Iterator[str]:
    """The first rows known from an instant on: key, times, some columns, and where each lies."""
    known = known_us(table)
    order = np.argsort(known, kind="stable")
    for row in order[known[order] >= at_us][:FIRST].tolist():
        cells: Mapping[str, Any] = {
            name: table[name].slice(row, 1).to_pylist()[0]
            for name in dict.fromkeys([key, time, *names])
            if name in table.column_names
        }
        told = "  ".join(f"{name}={_shown(value)}" for name, value in cells.items())
        yield f"  {table['_partition'][row]}@{table['_offset'][row]}  known {instant(int(known[row]))}  {told}"


def sides(table: pa.Table, at_us: int) -> tuple[pa.Table, pa.Table]:
    """The rows known before an instant, and those from it on."""
    later = pa.array(known_us(table) >= at_us)
    return table.filter(pc.invert(later)), table.filter(later)
