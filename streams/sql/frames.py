"""A lookup whose windows are frames of SQL's window functions, or end with the event that an as-of join finds.

Where every event counts from its event time on, whoever asks, a window is a range of one sorted sequence. That is quicker than
putting it together from blocks (`streams.sql.lookup`), which what was known at the time needs. These are the tables:

========  ==============================================================================================================
wide      of each trigger with a key: _row, key, instant, where each window begins: lo_0, lo_1, ...
lookup_.. _row, the values of all windows
========  ==============================================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from samestream.schemas.windows import Window
from samestream.streams.sql import windows as sql_windows
from samestream.streams.sql.aggregates import filled
from samestream.streams.sql.words import Database, Words

_PLACES = "18446744073709551616"  # 2**64: a time and a place in one number, by which ties are broken as everywhere


@dataclass(frozen=True)
class Framed:
    """A column of the lookup: its value over a frame, or by the latest event of one, from the column ``x`` of events.

    constant : what that column holds in every event, "" where it is not always the same
    """

    name: str
    window: Window
    x: str
    constant: str
    text: str
    empty: str
    by_latest: bool


def run(database: Database, name: str, columns: Sequence[Framed]) -> list[str]:
    """Make tables of `_row` and the columns, from `asked` and `kept`; their names, which begin with ``name``."""
    windows = {window: number for number, window in enumerate(dict.fromkeys(column.window for column in columns))}
    _widen(database, windows)
    found = []
    if over := [column for column in columns if not column.by_latest]:
        found.append(f"{name}_frames")
        _frames(database, found[-1], over, windows)
    for x in dict.fromkeys(column.x for column in columns if column.by_latest):
        found.append(f"{name}_latest_{x}")
        _latest(database, found[-1], [column for column in columns if column.by_latest and column.x == x], x, windows)
    return found


def of_latest(database: Database, name: str, columns: Sequence[Framed]) -> str:
    """Make a table of `_row` and the columns, from `asked` and the latest event of each of its rows, `latest`; its name."""
    windows = {window: number for number, window in enumerate(dict.fromkeys(column.window for column in columns))}
    _widen(database, windows)
    chosen = _chosen(database, columns, windows)
    database.make(name, f"SELECT a._row{chosen} FROM wide a LEFT JOIN latest e ON a._row = e._row")
    return name


def _widen(database: Database, windows: Mapping[Window, int]) -> None:
    words, begins, joins = database.words, "", ""
    for window, number in windows.items():
        start = sql_windows.start_of(window, words)
        if start is None:
            start = f"start_{number}"
            query = sql_windows.starts(window, False, words)
            joins += f" JOIN (SELECT _row, start AS {start} FROM ({query})) USING (_row)"
        begins += f", {_floored(start, window, words)} AS lo_{number}"
    database.make("wide", f"SELECT _row, key, instant{begins} FROM asked{joins}")


def _frames(database: Database, name: str, columns: Sequence[Framed], windows: Mapping[Window, int]) -> None:
    words, quoted = database.words, database.words.dialect.quoted
    used = {windows[column.window]: column.window for column in columns}
    # what has to be sorted is kept narrow: where a window begins is computed of the instant, where that can be
    starts = {number: sql_windows.start_of(window, words) for number, window in sorted(used.items())}
    begins = {
        number: f"lo_{number}" if start is None else _floored(start, used[number], words)
        for number, start in starts.items()
    }
    carried = [f"lo_{number}" for number, start in starts.items() if start is None]
    texts = {column.x: f"CASE WHEN _row IS NULL THEN {column.constant} END" for column in columns if column.constant}
    read = [x for x in dict.fromkeys(column.x for column in columns) if x not in texts]
    nothing = "".join(f", NULL AS {x}" for x in read) + "".join(f", {lo}" for lo in carried)
    values = "".join(f", {x}" for x in read) + ", NULL" * len(carried)
    both = f"SELECT _row, key, instant{nothing} FROM wide UNION ALL SELECT NULL, key, t{values} FROM kept"
    # an event asks for nothing, so its frames are empty
    frames = ", ".join(
        f"w{number} AS (PARTITION BY key ORDER BY instant "
        f"RANGE BETWEEN CASE WHEN _row IS NULL THEN 0 ELSE instant - {begin} END PRECEDING AND 1 PRECEDING)"
        for number, begin in begins.items()
    )
    chosen = "".join(
        f", coalesce({filled(column.text, x=texts.get(column.x, column.x), over=f'OVER w{windows[column.window]}')}, "
        f"{column.empty}) AS {quoted(column.name)}"
        for column in columns
    )
    names = "".join(f", {quoted(column.name)}" for column in columns)
    database.make(
        name, f"SELECT _row{names} FROM (SELECT _row{chosen} FROM ({both}) WINDOW {frames}) WHERE _row IS NOT NULL"
    )


def _floored(start: str, window: Window, words: Words) -> str:
    """Where a window begins, floored to its tile."""
    return f"{words.floored(f'({start})', window.tile_us)} * {window.tile_us}"


def _latest(database: Database, name: str, columns: Sequence[Framed], x: str, windows: Mapping[Window, int]) -> None:
    chosen = _chosen(database, columns, windows)
    asking = f"SELECT *, CAST(instant AS HUGEINT) * {_PLACES} AS at FROM wide"
    having = f"SELECT key, t, {x} AS x, CAST(t AS HUGEINT) * {_PLACES} + number AS at FROM kept WHERE {x} IS NOT NULL"
    database.make(
        name, f"SELECT a._row{chosen} FROM ({asking}) a ASOF LEFT JOIN ({having}) e ON a.key = e.key AND a.at > e.at"
    )


def _chosen(database: Database, columns: Sequence[Framed], windows: Mapping[Window, int]) -> str:
    """The columns, from the row `a` that asks and the latest event `e` before it: null where that lies before the window."""
    quoted = database.words.dialect.quoted
    return "".join(
        f", CASE WHEN e.t >= a.lo_{windows[column.window]} "
        f"THEN {filled(column.text, x='e.x', t='e.t', instant='a.instant')} END AS {quoted(column.name)}"
        for column in columns
    )
