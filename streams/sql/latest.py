"""The latest event before each instant, from events that are read once, in whatever order; nothing of them is kept.

Those who ask are sorted by key and instant. Every event looks up the first of its key that asks after it, and stays there if it is
the latest so far; in the end each takes over from the one before it what is later. So memory follows the instants, not the log.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

Int64Array = npt.NDArray[np.int64]
_NEVER = -(2**63)


def latest(
    asked: pa.Table, keys: pa.Array[Any], events: Iterable[pa.Table], by: str, time: str, value: str
) -> pa.Table:
    """`_row`, `t` and `x` of each row that asks: the time of the latest event of its key before its instant, and its value.

    Only events with a value count.

    asked : `_row`, `key`, the place of its key in ``keys`` and one, and `instant`, in microseconds
    events : `_partition`, `_offset` and the columns that are named; of two at one time, the later place counts
    Rows for which there is no such event are left out.
    """
    codes, instants = asked["key"].to_numpy().astype(np.int64) - 1, asked["instant"].to_numpy()
    if np.all(instants[1:] >= instants[:-1]):
        order, starts = _grouped(codes, len(keys))
    else:
        order = np.lexsort((instants, codes))
        starts = np.searchsorted(codes[order], np.arange(len(keys) + 1))
    instants = instants[order]
    times, places = np.full(len(order), _NEVER), np.full(len(order), -1, np.int64)
    values: npt.NDArray[Any] | None = None
    type_: pa.DataType | None = None
    changed = np.empty(len(order), np.int64)
    source = np.full(len(order), -1, np.int64)
    for table in events:
        if not len(table):
            continue
        held = table[value].combine_chunks()
        type_ = held.type
        code = pc.index_in(table[by].combine_chunks(), value_set=keys)
        valid = held.is_valid()
        if pa.types.is_floating(held.type):
            valid = np.asarray(valid) & ~np.isnan(_plain(held))
        given = _plain(held)
        if values is None:
            values = np.zeros(len(order), given.dtype)
        count = _place(
            code.fill_null(-1).to_numpy(zero_copy_only=False),
            table[time].to_numpy(),
            table["_partition"].to_numpy(),
            table["_offset"].to_numpy(),
            np.asarray(valid),
            starts,
            instants,
            times,
            places,
            source,
            changed,
        )
        these = changed[:count]
        values[these] = given[source[these]]
        source[these] = -1
    if values is None or type_ is None:
        return pa.table({"_row": pa.array([], pa.int64()), "t": pa.array([], pa.int64()), "x": pa.nulls(0)})
    _carry(starts, times, places, source)
    there = places >= 0
    taken = np.where(source >= 0, source, np.arange(len(order)))[there]
    rows = asked["_row"].to_numpy()[order][there]
    columns: dict[str, Any] = {"_row": rows, "t": times[there], "x": pa.array(values[taken], type_)}
    return pa.table(columns)


def warm() -> None:
    """Compile, or load what was compiled, before time counts."""
    asked = pa.table({"_row": [0], "key": [1], "instant": [2]})
    types = {
        "by": pa.int64(),
        "time": pa.int64(),
        "_partition": pa.int32(),
        "_offset": pa.int64(),
        "value": pa.float64(),
    }
    events = pa.table({name: pa.array([1], type_) for name, type_ in types.items()})
    latest(asked, pa.array([1]), [events], "by", "time", "value")


def _plain(column: pa.Array[Any]) -> npt.NDArray[Any]:
    """Values as numpy has them; of null, any."""
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type):
        whole = column.fill_null(False if pa.types.is_boolean(column.type) else 0) if column.null_count else column
        return np.asarray(whole.to_numpy(zero_copy_only=False))
    return np.asarray(column.to_numpy(zero_copy_only=False), object)


@njit(cache=True, nogil=True)
def _grouped(codes, count):  # type: ignore[no-untyped-def]
    """The order by code, rows of one as they come, and where each begins in it."""
    starts = np.zeros(count + 1, np.int64)
    for code in codes:
        starts[code + 1] += 1
    for code in range(count):
        starts[code + 1] += starts[code]
    at, order = starts[:-1].copy(), np.empty(len(codes), np.int64)
    for row in range(len(codes)):
        order[at[codes[row]]] = row
        at[codes[row]] += 1
    return order, starts


@njit(cache=True, nogil=True)
def _place(code, time, partition, offset, valid, starts, instants, times, places, source, changed):  # type: ignore[no-untyped-def]
    """Put events where they are the latest; which places that changed, and how many: each once."""
    count = 0
    for row in range(len(code)):
        key = code[row]
        if key < 0 or not valid[row]:
            continue
        low, high, t = starts[key], starts[key + 1], time[row]
        end = high
        while low < high:
            middle = (low + high) >> 1
            if instants[middle] > t:
                high = middle
            else:
                low = middle + 1
        if low == end:
            continue
        place = (np.int64(partition[row]) << 48) + offset[row]
        if t > times[low] or (t == times[low] and place > places[low]):
            times[low], places[low] = t, place
            if source[low] < 0:
                changed[count] = low
                count += 1
            source[low] = row
    return count


@njit(cache=True, nogil=True)
def _carry(starts, times, places, source):  # type: ignore[no-untyped-def]
    """Let every row take over from the one before it, of the same key, what is later; source : of which row that is."""
    for key in range(len(starts) - 1):
        for row in range(starts[key] + 1, starts[key + 1]):
            before = row - 1
            if places[before] < 0:
                continue
            if times[before] > times[row] or (times[before] == times[row] and places[before] > places[row]):
                times[row], places[row] = times[before], places[before]
                source[row] = source[before] if source[before] >= 0 else before
