"""Every aggregate over every window, on both paths, is what a plain reading of the list of events says, to the bit.

Random events of several keys, out of order within the lateness, in batches split anywhere, some through a snapshot.
"""

from __future__ import annotations

import pickle
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from aggregate_oracle import Row, exact, inside, plain
from hypothesis import given, settings
from hypothesis import strategies as st
from made_aggregates import NAMES, bound, cases, close

from samestream.schemas import windows
from samestream.schemas.errors import RecoveryError
from samestream.schemas.expressions import Column, Kind
from samestream.schemas.windows import Session, Window
from samestream.streams import columns as cols
from samestream.streams.engine.algebra_table import AlgebraTable, Sessions
from samestream.streams.engine.period_starts import PeriodStarts
from samestream.streams.engine.table_state import Compiled, General, Operations
from samestream.streams.plan import AggregatePlan, CellPlan, Table, TableInput, WindowPlan

SECOND_US = 1_000_000
AGGREGATES = cases()
INPUTS = (None, *NAMES)
WINDOWS: dict[str, tuple[Window, int]] = {  # with the instant around which events happen
    "sliding": (windows.parse("", over="90s", tile="7s"), 1_700_000_000),
    "lifetime": (windows.parse("", over="lifetime", tile="1m"), 1_700_000_000),
    "tumbling": (windows.parse("", every="5m", tile="5s"), 1_700_000_000),
    "spring": (windows.parse("", every="1d", zone="America/New_York"), 1_710_054_000),  # 2024-03-10, 23 hours long
    "autumn": (windows.parse("", every="1d", zone="America/New_York"), 1_730_606_400),  # 2024-11-03, 25 hours long
    "weeks": (windows.parse("", every="1w", zone="Asia/Kolkata"), 1_700_418_600),  # a Monday
    "months": (windows.parse("", every="1mo"), 1_706_745_600),  # 2024-02-01
    "session": (windows.parse("", session="20s", over="3m"), 1_700_000_000),
    "session, fine": (windows.parse("", session="20s", over="1m", tile="2s"), 1_700_000_000),
}


def table(window: Window, compiled: bool) -> Table:
    """A table of every aggregate over every kind."""
    inputs = [TableInput(None if kind is None else Column(NAMES[kind], kind), None) for kind in INPUTS]
    cells: dict[CellPlan, int] = {}
    parts = []
    for aggregate in AGGREGATES:
        column = INPUTS.index(aggregate.input.kind if aggregate.input is not None else None)
        if aggregate.as_floats and aggregate.input is not None and aggregate.input.kind is Kind.INT:
            inputs.append(TableInput(Column("floated", Kind.FLOAT), None)) if len(inputs) == len(INPUTS) else None
            column = len(INPUTS)
        wanted = aggregate.cells() if compiled else ()
        used = tuple(cells.setdefault(CellPlan(op, column, param), len(cells)) for op, param in wanted)
        parts.append(AggregatePlan(aggregate, column, 0, used))
    return Table(
        "E",
        ("k",),
        (Kind.INT,),
        tuple(inputs),
        tuple(cells),
        (WindowPlan(window, tuple(cells.values())),),
        tuple(parts),
    )


def made(
    window: Window, around_s: int, draw: random.Random, count: int, spread_s: float
) -> tuple[Operations, list[Any]]:
    """Updates and queries of three keys with rising times, up to 30 seconds out of order, and the rows' values."""
    rows: list[tuple[Any, ...]] = []
    ops: list[tuple[int, int, int, int, int, int, int]] = []
    examples = {kind: EXAMPLES[kind] for kind in NAMES}
    now, greatest = (around_s - 20) * SECOND_US, 0
    for position in range(count):
        # whole seconds, and the session's gap and one more, so that ends are met exactly
        now += round(draw.choice([0, 0, 0.5, 7, 10, 20, 21, draw.random() * spread_s]) * SECOND_US)
        t = now - round(draw.choice([0, 0, 1, 20, draw.random() * 30]) * SECOND_US)
        if draw.random() < 0.1:
            t = around_s * SECOND_US
        greatest = max(greatest, t)
        horizon = greatest - 30 * SECOND_US
        t, key = max(t, horizon), draw.choice([0, 0, 0, 1, 2])
        asks = draw.random() < 0.6
        if asks and draw.random() < 0.5:
            ops.append((1, 0, 0, key, t, position, horizon))
        else:
            values = [draw.choice([None, draw.choice(examples[kind]), draw.choice(examples[kind])]) for kind in NAMES]
            rows.append((True, *values, None if values[0] is None else float(values[0])))
            ops.append((int(asks), 1, len(rows) - 1, key, t, position, horizon))
    assert next(iter(NAMES)) is Kind.INT
    return Operations(*(np.array(column, np.int64) for column in zip(*ops, strict=True))), rows


EXAMPLES: dict[Kind, list[Any]] = {
    Kind.INT: [0, 1, 7, 255, 1000, -5, 2**53 + 1, -(2**63), 2**63 - 1],
    Kind.FLOAT: [0.0, -0.0, 1.0, 0.1, -2.5, 1e16, -1e16, 5e-324, 1e308, float("inf")],
    Kind.BOOL: [True, False],
    Kind.TIME: [0, 5, 1_700_000_000_000_000, 2**50],
    Kind.STRING: ["", "a", "b", "é", "𝄞", "A"],
    Kind.LIST: [[], [1], [1, 2]],
}


def taken(operations: Operations, chosen: slice) -> Operations:
    return Operations(*(getattr(operations, name)[chosen] for name in operations.__dataclass_fields__))


def answers(window: Window, path: Any, operations: Operations, rows: list[Any], ends: list[int]) -> list[list[Any]]:
    """Per aggregate the results of all queries; None where this path has no such aggregate."""
    kinds = [Kind.BOOL, *NAMES, Kind.FLOAT]
    inputs = [cols.from_values([row[at] for row in rows], kind) for at, kind in enumerate(kinds)]
    begins = None if isinstance(window, Session) else PeriodStarts(window)
    found: dict[int, list[Any]] = {}
    for first, last in zip([0, *ends], [*ends, len(operations.row)], strict=True):
        part = taken(operations, slice(first, last))
        starts = [begins(part.t_us) if begins is not None else None]
        if isinstance(path, General) and first % 2:
            path.table = AlgebraTable.restore(path.table._asked, pickle.loads(pickle.dumps(path.table.snapshot())))
        for number, column in path.run(part, inputs, starts, [("x",) * len(AGGREGATES)]).items():
            found.setdefault(number, []).extend(cols.to_python(column))
    return [found.get(number, []) for number in range(len(AGGREGATES))]


@pytest.mark.parametrize("name", WINDOWS)
@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(2, 60),
    spread=st.sampled_from([1, 15, 60, 4_000, 40_000]),
    data=st.data(),
)
def test_both_paths_are_what_the_list_of_events_says(
    name: str, seed: int, count: int, spread: int, data: st.DataObject
) -> None:
    window, around = WINDOWS[name]
    operations, rows = made(window, around, random.Random(seed), count, spread)
    ends = sorted(data.draw(st.lists(st.integers(0, count), max_size=3)))
    general = answers(window, General(table(window, False)), operations, rows, ends)
    compiled = answers(window, Compiled(table(window, not isinstance(window, Session)), None), operations, rows, ends)
    plan = table(window, False)
    applied: dict[int, list[Row]] = {}
    query = 0
    apart, _ = operations.apart()
    for reader, row, key, t, position in zip(
        *(getattr(apart, part).tolist() for part in ("reader", "row", "key", "t_us", "position")), strict=True
    ):
        mine = applied.setdefault(key, [])
        if reader == 0:
            mine.append(Row(t, position, rows[row]))
            continue
        for number, part in enumerate(plan.aggregates):
            expected = exact(part.aggregate, part.input, window, mine, t)
            assert repr(general[number][query]) == repr(expected), (part.aggregate, mine, t)
            if compiled[number]:
                assert repr(compiled[number][query]) == repr(expected), (part.aggregate.name, mine, t)
            told = inside(part.input, window, mine, t)
            said = plain(part.aggregate, told, t)
            if not (isinstance(said, float) and said == expected == 0):  # of 0.0 and -0.0 the first applied
                assert close(expected, said, bound(part.aggregate, [value for *_, value in told])), part.aggregate.name
        query += 1


def test_what_the_kernel_can_hold_runs_there() -> None:
    compiled = {part.aggregate.name for part in table(WINDOWS["sliding"][0], True).aggregates if part.is_compiled}
    expected = "count sum mean variance std min max first last share decayed_sum decayed_mean time_since_last"
    assert compiled == set(expected.split())


def test_a_snapshot_of_other_aggregates_is_refused() -> None:
    one, other = (General(table(WINDOWS[name][0], False)).table for name in ("sliding", "tumbling"))
    with pytest.raises(RecoveryError, match="another plan"):
        AlgebraTable.restore(one._asked, other.snapshot())


def test_old_tiles_and_idle_keys_are_dropped() -> None:
    window = windows.parse("", over="90s", tile="5s")
    path = General(table(window, False))
    operations, rows = made(window, 1_700_000_000, random.Random(1), 2_000, 40)
    answers(window, path, operations, rows, [])
    held = path.table.snapshot()["keys"]
    assert sum(len(states) for tiles, _, _ in held.values() for states in tiles) < 3 * len(AGGREGATES) * 26
    late = replace(
        operations, t_us=operations.t_us + 10**12, horizon_us=operations.horizon_us + 10**12, key=operations.key + 7
    )
    answers(window, path, late, rows, [])
    assert set(path.table.snapshot()["keys"]) <= {7, 8, 9}


@given(steps=st.lists(st.integers(1, 9), min_size=1, max_size=20), data=st.data())
def test_sessions_may_be_merged_in_any_grouping(steps: list[int], data: st.DataObject) -> None:
    gap, times = 5, [sum(steps[: end + 1]) for end in range(len(steps))]
    sessions = Sessions(gap)
    parts = [sessions.add(None, True, (t, 0)) for t in times]
    while len(parts) > 1:
        at = data.draw(st.integers(0, len(parts) - 2))
        parts[at : at + 2] = [sessions.merge(*parts[at : at + 2])]
    since = times[-1]
    for t in reversed(times):
        since = t if since - t <= gap else since
        if since != t:
            break
    assert parts[0] == (times[0], times[-1], since)
    in_order = None
    for t in times:
        in_order = sessions.add(in_order, True, (t, 0))
    assert in_order == parts[0]
