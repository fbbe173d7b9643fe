"""Where windows begin, in SQL: one rule per class of `schemas.windows`.

Starts are in microseconds and not yet floored to the tile. A rule reads the table `asked` (_row, key, instant), for sessions
also `kept` (key, t), both with a rank if what was known decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from samestream.schemas import windows as wi
from samestream.schemas.windows import Window
from samestream.streams import zones
from samestream.streams.sql.words import Words

NEVER_US = 2**62

Rule = Callable[[Any, bool, Words], str]


def starts(window: Window, ranked: bool, words: Words) -> str:
    """A query for the rows of `asked` with their `start`; raises KeyError for a class without a rule."""
    return RULES[type(window)](window, ranked, words)


def start_of(window: Window, words: Words) -> str | None:
    """Where a window begins, as an expression of the column `instant`; None where more decides."""
    rule = OF_INSTANT.get(type(window))
    return rule(window, words) if rule else None


def _instant(window: Window, ranked: bool, words: Words) -> str:
    return f"SELECT *, {start_of(window, words)} AS start FROM asked"


def _calendar(window: wi.Calendar, ranked: bool, words: Words) -> str:
    """The first instant at which the local clock shows the period's first midnight, or more if it jumped over it.

    Between two changes of the clocks local time is ahead of UTC by the same; of every such stretch that reaches that
    midnight, it is the first instant that does, and of these the first. The zone's changes come from `streams.zones`.
    """
    since, ahead = zones.offsets(window.zone)
    stretches = [(-NEVER_US, since[0], ahead[0]), *zip(since, (*since[1:], NEVER_US), ahead, strict=True)]
    rows = ", ".join(f"({first}, {end}, {offset})" for first, end, offset in stretches)
    begins = "greatest(CAST(since AS BIGINT), midnight - ahead)"
    return f"""
        WITH placed AS (SELECT *, {words.midnight(window.period, window.zone)} AS midnight FROM asked), periods AS (
            SELECT midnight, min({begins}) AS start
            FROM (SELECT DISTINCT midnight FROM placed), (VALUES {rows}) AS stretches(since, until, ahead)
            WHERE {begins} < until GROUP BY midnight
        )
        SELECT placed.*, start FROM placed JOIN periods USING (midnight)"""


def _session(window: wi.Session, ranked: bool, words: Words) -> str:
    """Where the chain of rows that ends at the instant begins, if that is not longer ago than a session may be.

    Rows are cut into islands once. That answers every trigger that knew all rows of its island so far; for the others,
    the rows that each of them knew are cut anew.
    """
    gap_us, order = window.gap_us, "ORDER BY t, is_row ROWS BETWEEN UNBOUNDED PRECEDING AND"
    oldest = f"{words.floored(f'instant - {window.longest_us}', window.tile_us)} * {window.tile_us}"
    row_rank, rank = (", max(rank) AS rank", ", rank") if ranked else ("", "")
    both = (  # an event at the very instant comes after it
        f"SELECT key, t, 1 AS is_row, NULL AS _row{row_rank} FROM kept GROUP BY key, t "
        f"UNION ALL SELECT key, instant, 0, _row{rank} FROM asked"
    )
    row_time = "CASE WHEN is_row = 1 THEN t END"
    placed = f"SELECT *, max({row_time}) OVER (PARTITION BY key {order} 1 PRECEDING) AS before FROM ({both})"
    begun = f"CASE WHEN is_row = 1 AND coalesce(t - before > {gap_us}, true) THEN t END"
    islands = f"SELECT *, max({begun}) OVER (PARTITION BY key {order} CURRENT ROW) AS island FROM ({placed})"
    start = f"CASE WHEN t - before <= {gap_us} THEN island ELSE t END"
    if not ranked:
        found = f"SELECT _row, key, t AS instant, {start} AS start FROM ({islands}) WHERE is_row = 0"
        return f"SELECT _row, key, instant, greatest(start, {oldest}) AS start FROM ({found})"
    row_rank = "max(CASE WHEN is_row = 1 THEN rank END)"
    known = f"coalesce({row_rank} OVER (PARTITION BY key, island {order} CURRENT ROW) < rank, true)"
    return f"""
        WITH found AS (
            SELECT * FROM (SELECT _row, key, t AS instant, rank, {start} AS start, {known} AS known FROM ({islands}))
            WHERE _row IS NOT NULL
        ), neighbours AS (
            SELECT a._row, e.t, lead(e.t, 1, a.instant) OVER (PARTITION BY a._row ORDER BY e.t) AS next
            FROM found a JOIN kept e ON a.key = e.key AND e.t >= {oldest} AND e.t < a.instant
            WHERE NOT known AND e.rank < a.rank
        ), chains AS (
            SELECT _row, coalesce(max(next) FILTER (WHERE next - t > {gap_us}), min(t)) AS start
            FROM neighbours GROUP BY _row
        )
        SELECT _row, key, instant, rank,
            greatest({oldest}, CASE WHEN known THEN found.start ELSE coalesce(chains.start, instant) END) AS start
        FROM found LEFT JOIN chains USING (_row)"""


OF_INSTANT: Mapping[type[Window], Callable[[Any, Words], str]] = {
    wi.Sliding: lambda window, words: f"instant - {window.length_us}",
    wi.Lifetime: lambda window, words: str(-NEVER_US),
    wi.Tumbling: lambda window, words: f"{words.floored('instant', window.every_us)} * {window.every_us}",
}
RULES: Mapping[type[Window], Rule] = {
    **dict.fromkeys(OF_INSTANT, _instant),
    wi.Calendar: _calendar,
    wi.Session: _session,
}
