"""The compiled state against the plain oracle: every answer, bit for bit."""

from __future__ import annotations

import math
import os
from itertools import pairwise

import numpy as np
import pytest
import window_oracle as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from samestream.schemas.errors import RecoveryError, SamestreamError
from samestream.streams.engine import cell_kernel, kernel, tiles
from samestream.streams.engine.tiles import BOTH, QUERY, UPDATE, Cell, CellOp, TileTable, Window

INT_OPS = [CellOp.SUM_INT, CellOp.MIN_INT, CellOp.MAX_INT]
FLOAT_OPS = [CellOp.SUM_FLOAT, CellOp.MIN_FLOAT, CellOp.MAX_FLOAT, CellOp.MOMENTS]
BOTH_OPS = [CellOp.COUNT, CellOp.LAST, CellOp.FIRST]
EVERY_CELL = [Cell(op, 0) for op in INT_OPS + BOTH_OPS] + [Cell(op, 1) for op in FLOAT_OPS + BOTH_OPS]
EVERY_CELL += [Cell(CellOp.DECAYED, 1, half_life) for half_life in (1, 3, 60, 10**15)]
LIFETIME_US = 200 * 365 * 86_400_000_000
EMPTY_HEAD = 10  # with tiles of 10, an instant whose head holds nothing


class Ops:
    """Operations being written down, one column each."""

    def __init__(self, inputs=2):
        self.inputs, self.rows = inputs, []

    def update(self, t, *values, key=0, position=0, horizon=oracle.LEAST):
        self.rows.append((UPDATE, key, t, position, horizon, values, ()))

    def query(self, t, *starts, key=0, horizon=oracle.LEAST):
        self.rows.append((QUERY, key, t, 0, horizon, (None,) * self.inputs, starts))

    def both(self, t, starts, *values, key=0, position=0, horizon=oracle.LEAST):
        self.rows.append((BOTH, key, t, position, horizon, values, starts))

    def columns(self):
        kind, key, t, position, horizon, values, starts = zip(*self.rows, strict=True)
        words = np.array([[0 if v is None else v for v in row] for row in values], np.int64)
        valid = np.array([[v is not None for v in row] for row in values])
        numbers = [np.array(column, np.int64) for column in (key, t, position, horizon)]
        begin = np.full((len(kind), max(map(len, starts))), 2**62)  # an update's are never read
        for row, given_starts in zip(begin, starts, strict=True):
            row[: len(given_starts)] = given_starts
        return np.array(kind, np.int8), *numbers, words, valid, begin

    def expected(self, cells, windows):
        judge, answers = oracle.WindowOracle(cells, windows), []
        for kind, key, t, position, _, values, starts in self.rows:
            if kind != UPDATE:
                answers.append(judge.query(key, t, starts))
            if kind != QUERY:
                judge.update(key, t, position, values)
        return [[answer[w] for answer in answers] for w in range(len(windows))]


def run(table, columns, start=0, end=None):
    return table.run(*(column[start:end] for column in columns))


def answer(op, events, at=EMPTY_HEAD, length=10, tile=10, inputs=1):
    """The state of one cell after events (t, word or None), read at ``at``."""
    ops = Ops(inputs)
    for position, (t, word) in enumerate(events):
        ops.update(t, word, position=position)
    ops.query(at)
    table = TileTable([Cell(op, 0, HALF_LIFE_US)], [(Window(length, tile), [0])], inputs)
    return run(table, ops.columns())[0][0].tolist()


def moments(state):
    return [state[0], oracle.real(state[1]), oracle.real(state[2])]


BITS = oracle.bits
TABLE = [
    (CellOp.COUNT, [], [0]),
    (CellOp.COUNT, [7, None, 8], [2]),
    (CellOp.SUM_INT, [], [0]),
    (CellOp.SUM_INT, [None], [0]),
    (CellOp.SUM_INT, [1, None, 2], [3]),
    (CellOp.SUM_INT, [2**63 - 1, 1], [-(2**63)]),  # wraps
    (CellOp.SUM_FLOAT, [], [BITS(-0.0)]),
    (CellOp.SUM_FLOAT, [BITS(-0.0), BITS(-0.0)], [BITS(-0.0)]),
    (CellOp.SUM_FLOAT, [BITS(-0.0), BITS(0.0)], [BITS(0.0)]),
    (CellOp.SUM_FLOAT, [BITS(1e16), BITS(1.0), BITS(-1e16)], [BITS(0.0)]),  # in the order of application
    (CellOp.SUM_FLOAT, [BITS(1e16), BITS(-1e16), BITS(1.0)], [BITS(1.0)]),
    (CellOp.SUM_FLOAT, [BITS(math.inf), BITS(1.0)], [BITS(math.inf)]),
    (CellOp.MIN_INT, [], [2**63 - 1]),
    (CellOp.MIN_INT, [3, None, -4], [-4]),
    (CellOp.MAX_INT, [], [-(2**63)]),
    (CellOp.MAX_INT, [-3, None, -4], [-3]),
    (CellOp.MIN_FLOAT, [None], [BITS(math.inf)]),
    (CellOp.MIN_FLOAT, [BITS(0.5), BITS(-math.inf)], [BITS(-math.inf)]),
    (CellOp.MAX_FLOAT, [], [BITS(-math.inf)]),
    (CellOp.MAX_FLOAT, [BITS(-0.5), None], [BITS(-0.5)]),
    (CellOp.LAST, [], [-(2**63), -(2**63), 0]),
    (CellOp.LAST, [5, 6, None], [1, 1, 6]),
    (CellOp.FIRST, [], [2**63 - 1, 2**63 - 1, 0]),
    (CellOp.FIRST, [None, 5, 6], [1, 1, 5]),
    (CellOp.MOMENTS, [], [0, 0, 0]),
    (CellOp.MOMENTS, [BITS(2.0), None, BITS(4.0)], [2, BITS(3.0), BITS(2.0)]),
    (CellOp.DECAYED, [], [-(2**63), BITS(-0.0), BITS(0.0)]),
    (CellOp.DECAYED, [BITS(-0.0)], [0, BITS(-0.0), BITS(1.0)]),
    (CellOp.DECAYED, [BITS(8.0), None, BITS(2.0), None], [2, BITS(6.0), BITS(1.5)]),  # as of the last event
    (CellOp.DECAYED, [BITS(math.inf), BITS(1.0)], [1, BITS(math.inf), BITS(1 + oracle.weight(1, 2))]),
]
HALF_LIFE_US = 2


@pytest.mark.parametrize(("op", "words", "expected"), TABLE)
@pytest.mark.parametrize("at", [EMPTY_HEAD, 9], ids=["closed tile", "open head"])
def test_values_with_null_and_empty(op, words, expected, at):
    assert answer(op, list(enumerate(words)), at) == expected


@pytest.mark.parametrize(
    ("t", "counted"),
    [
        (-1, 0),  # floor((25 - 20) / 10) = 0: the window is [0, 25)
        (0, 1),  # the tail is floored to its tile
        (24, 1),
        (25, 0),  # exactly at the instant: excluded
        (26, 0),
    ],
)
def test_a_window_floors_its_tail_and_excludes_its_instant(t, counted):
    assert answer(CellOp.COUNT, [(t, 1)], at=25, length=20) == [counted]


def test_negative_times_floor():
    assert answer(CellOp.COUNT, [(-30, 1), (-21, 1), (-20, 1), (-6, 1), (-5, 1)], at=-5, length=10) == [2]  # [-20, -5)


def test_closed_tiles_merge_as_aligned_blocks_not_from_left_to_right():
    events = [(10, BITS(1e16)), (20, BITS(1.0)), (30, BITS(-1e16))]
    # [1, 4) is [1, 2) + [2, 4): 1e16 + (1 - 1e16) = 0, the 1 being rounded away; tiles [0, 4): (0 + 1e16) + (1 - 1e16)
    assert answer(CellOp.SUM_FLOAT, events, at=40, length=30) == [BITS(1e16 + (1.0 - 1e16))]
    # [2, 4) + head: (1 - 1e16) + 1e16
    shifted = [(20, BITS(1.0)), (30, BITS(-1e16)), (40, BITS(1e16))]
    assert answer(CellOp.SUM_FLOAT, shifted, at=41, length=20) == [BITS((1.0 - 1e16) + 1e16)]


def test_the_head_is_added_in_time_order_and_a_tile_in_order_of_application():
    events = [(2, BITS(1.0)), (1, BITS(-1e16)), (0, BITS(1e16))]
    assert answer(CellOp.SUM_FLOAT, events, at=9) == [BITS((1e16 - 1e16) + 1.0)]
    assert answer(CellOp.SUM_FLOAT, events, at=10) == [BITS((1.0 - 1e16) + 1e16)]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([(3, 1.0), (1, -1e16), (2, 1e16)], 1.0),  # by position, not as applied: (-1e16 + 1e16) + 1
        ([(2, 1.0), (1, -1e16), (2, 1e16)], 0.0),  # equal positions stay as applied: (-1e16 + 1) + 1e16
        ([(2, 1e16), (1, -1e16), (2, 1.0)], 1.0),
    ],
)
def test_events_of_one_time_are_added_by_position(events, expected):
    ops = Ops(inputs=1)
    for position, x in events:
        ops.update(5, BITS(x), position=position)
    ops.query(6)
    table = TileTable([Cell(CellOp.SUM_FLOAT, 0)], [(Window(10, 10), [0])], 1)
    assert run(table, ops.columns())[0].tolist() == [[BITS(expected)]]


def lifetime(op, half_life=0):
    return TileTable([Cell(op, 0, half_life)], [(Window(LIFETIME_US, 10, anchored=True), [0])], 1)


def test_a_window_begins_with_the_tile_of_its_start():
    ops = Ops(inputs=1)
    for t in (-(2**54), -(2**52), 19, 20, 34, 35, 40):  # the first is 570 years ago
        ops.update(t, 1)
    for start in (35, 30, 29, -(2**55), 40):
        ops.query(40, start)
    assert run(lifetime(CellOp.COUNT), ops.columns())[0].tolist() == [[2], [2], [3], [5], [0]]


def test_a_window_is_never_longer_than_its_length():
    ops = Ops(inputs=1)
    for t in (0, 39, 40, 41):
        ops.update(t, 1)
    ops.query(100, 0)
    table = TileTable([Cell(CellOp.COUNT, 0)], [(Window(55, 10, anchored=True), [0])], 1)
    assert run(table, ops.columns())[0].tolist() == [[2]]  # from floor(45)


def test_a_new_period_begins_empty_and_an_earlier_one_is_still_answered():
    ops, hour = Ops(inputs=1), 60
    for t in (10, 50, 70):
        ops.update(t, 1)
    for t in (55, 60, 71, 59, 130, 130, 11):
        ops.query(t, t // hour * hour)
    ops.update(5, 1)  # late
    for t in (71, 59):
        ops.query(t, t // hour * hour)
    table = TileTable([Cell(CellOp.COUNT, 0)], [(Window(hour, hour, anchored=True), [0])], 1)
    assert run(table, ops.columns())[0][:, 0].tolist() == [2, 0, 1, 2, 0, 0, 1, 1, 3]


@pytest.mark.parametrize(
    ("halvings", "expected"),
    [(0, 1.0), (1, 0.5), (2, 0.25), (1022, 2.0**-1022), (1023, 0.0), (2**61, 0.0)],
)
def test_whole_half_lives_halve_exactly_and_underflow_to_nothing(halvings, expected):
    assert cell_kernel.weight(halvings, 1) == expected


@settings(deadline=None)
@given(st.integers(0, 2**62), st.integers(1, 2**62))
def test_a_weight_is_a_power_of_two_within_two_ulp(age, half_life):
    assert tiles.weights(np.array([age]), half_life).tolist() == [oracle.weight(age, half_life)]
    expected = 2.0 ** -(age / half_life)
    # the quotient is a float too: beyond some hundred half-lives its rounding is what there is to see
    assert cell_kernel.weight(age, half_life) == pytest.approx(
        expected, rel=5e-16 + 1e-16 * age / half_life, abs=2.0**-1022
    )


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5_000), st.floats(-1e9, 1e9)), min_size=1), st.integers(1, 10**6))
def test_a_decayed_sum_is_the_sum_of_the_weighted_values(events, half_life):
    ops = Ops(inputs=1)
    for position, (t, x) in enumerate(events):
        ops.update(t, BITS(x), position=position)
    ops.query(4_999, -(2**55))
    t, total, count = run(lifetime(CellOp.DECAYED, half_life), ops.columns())[0][0].tolist()
    seen = [(at, x) for at, x in events if at < 4_999]
    assert t == max((at for at, _ in seen), default=oracle.LEAST)
    weights = [2.0 ** -((t - at) / half_life) for at, _ in seen]
    size = sum(abs(x) for _, x in seen)
    expected = math.fsum(x * w for (_, x), w in zip(seen, weights, strict=True))
    assert oracle.real(total) == pytest.approx(expected, rel=0, abs=1e-12 * size)
    assert oracle.real(count) == pytest.approx(math.fsum(weights), rel=1e-12)


@pytest.mark.parametrize("tile", [10, 5_000], ids=["merged", "added"])
def test_what_has_decayed_to_nothing_leaves_no_trace_be_it_infinite(tile):
    table = TileTable([Cell(CellOp.DECAYED, 0, 1)], [(Window(LIFETIME_US, tile, anchored=True), [0])], 1)
    ops = Ops(inputs=1)
    for t, x in ((5, math.inf), (1028, -3.0), (5, -math.inf)):
        ops.update(t, BITS(x))
    ops.query(5_000, 0)
    ops.update(2**60, BITS(4.0))
    ops.query(2**60 + 1, 0)
    assert run(table, ops.columns())[0].tolist() == [[1028, BITS(-3.0), BITS(1.0)], [2**60, BITS(4.0), BITS(1.0)]]


@pytest.mark.parametrize(
    "words",
    [[BITS(1.5), BITS(-0.0)], [-7, 2**63 - 1], [1, 0], [1_700_000_000_000_000, 0]],
    ids=["float", "int", "bool", "time"],
)
def test_first_last_and_how_long_since_of_any_input(words):
    ops = Ops(inputs=1)
    for t, position, word in ((12, 0, words[0]), (31, 1, words[1]), (8, 2, None), (44, 3, None)):
        ops.update(t, word, position=position)
    ops.query(50)
    ops.query(10)
    table = TileTable([Cell(op, 0) for op in BOTH_OPS], [(Window(50, 10), [0, 1, 2])], 1)
    after, before = run(table, ops.columns())[0].tolist()
    assert after == [2, 31, 1, words[1], 12, 0, words[0]]  # 50 - 31 is the time since the last
    assert before == [0, oracle.LEAST, oracle.LEAST, 0, oracle.GREATEST, oracle.GREATEST, 0]


FLOATS = st.sampled_from([0.0, -0.0, 1.0, 0.1, 1e16, -1e16, 1e300, 5e-324, math.inf, -math.inf]) | st.floats(
    allow_nan=False
)
INTS = st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63)]) | st.integers(-(2**63), 2**63 - 1)


STARTS = st.sampled_from(  # of an anchored window, by its instant
    [
        lambda t: max(-(2**61), min(-(2**55), t)),  # a lifetime
        lambda t: t // 60 * 60,
        lambda t: t // 300 * 300 - 5,  # of a period that no tile divides
        lambda t: t,
        lambda t: t - t * 7919 % 90,  # moves back and forth
    ]
)


@st.composite
def scenarios(draw):
    cells = draw(st.lists(st.sampled_from(EVERY_CELL), min_size=1, max_size=6))
    length, tile = st.sampled_from([1, 10, 60, 180, 245, LIFETIME_US]), st.sampled_from([1, 7, 10, 50])
    window = st.builds(Window, length, tile, st.booleans())
    wanted = st.lists(st.integers(0, len(cells) - 1), max_size=4)
    windows = draw(st.lists(st.tuples(window, wanted), min_size=1, max_size=4))
    lateness = draw(st.sampled_from([0, 20, 300, 10**6]))  # 10**6: nothing is ever out of reach
    start_of = [draw(STARTS) for window, _ in windows if window.anchored]
    epoch = draw(st.sampled_from([-200, 2**61 - 6000, 400 - 2**61]))
    step, jitter = draw(st.sampled_from([0, 1, 5, 40])), draw(st.sampled_from([0, 3, 30, 400]))
    ops, newest = Ops(), None
    for i in range(draw(st.integers(1, 120))):
        t = draw(st.integers(-jitter, jitter)) + i * step + epoch
        key = draw(st.integers(0, 2))
        horizon = oracle.LEAST if newest is None else newest - lateness
        if draw(st.booleans()):
            values = draw(st.tuples(st.none() | INTS, st.none() | FLOATS.map(BITS)))
            place = {"key": key, "position": draw(st.integers(-2, 2)), "horizon": horizon}
            if draw(st.booleans()):
                t = max(t, horizon)
                ops.both(t, tuple(start(t) for start in start_of), *values, **place)
            else:
                ops.update(t, *values, **place)
            newest = t if newest is None else max(newest, t)
        else:
            t = max(t, horizon)
            ops.query(t, *(start(t) for start in start_of), key=key, horizon=horizon)
    n = len(ops.rows)
    splits = sorted(draw(st.lists(st.tuples(st.integers(0, n), st.booleans()), max_size=4)))
    return cells, windows, ops, splits


@settings(max_examples=1000 if os.environ.get("LAW") == "long" else 100, deadline=None)
@given(scenarios())
def test_every_answer_equals_the_oracle_however_split_and_restored(scenario):
    cells, windows, ops, splits = scenario
    columns = ops.columns()
    table = TileTable(cells, windows, 2)
    parts, start = [], 0
    for end, restored in [*splits, (len(ops.rows), False)]:
        parts.append(run(table, columns, start, end))
        start = end
        if restored:
            table = TileTable.restore(cells, windows, 2, table.snapshot())
    answers = [np.concatenate([part[w] for part in parts]).tolist() for w in range(len(windows))]
    assert answers == ops.expected(cells, windows)


def stream(seed, events, keys, step, disorder, lateness):
    """Events with a query before each, as a trigger has it, and now and then a query of the past."""
    rng, ops, newest = np.random.default_rng(seed), Ops(), oracle.LEAST
    for i in range(events):
        horizon = newest - lateness if newest > oracle.LEAST else newest
        t, key = i * step - int(rng.integers(0, disorder + 1)), int(rng.integers(0, keys))
        if i % 3 or t < horizon:
            ops.query(max(t, horizon), key=key, horizon=horizon)
        if i % 7 == 0:
            ops.query(max(t - 3 * step, horizon), key=key, horizon=horizon)
        newest = max(newest, t)
        number = None if i % 5 == 0 else BITS(float(rng.normal()) * 10.0 ** int(rng.integers(-8, 9)))
        values = int(rng.integers(-(2**62), 2**62)), number
        if i % 3 or t < horizon:
            ops.update(t, *values, key=key, position=i, horizon=horizon)
        else:
            ops.both(t, (), *values, key=key, position=i, horizon=horizon)
    return ops


@pytest.mark.parametrize(
    ("keys", "step", "disorder", "lateness"),
    [(1, 1, 0, 0), (3, 1, 40, 40), (3, 1, 40, 10**9), (2, 30, 300, 200), (40, 4, 10, 100)],
    ids=["hot key", "disorder", "nothing pruned", "sparse and late", "many keys"],
)
def test_longer_streams_equal_the_oracle(keys, step, disorder, lateness):
    windows = [(Window(60, 10), [0, 3, 6]), (Window(180, 10), [6, 9]), (Window(245, 50), [6, 4]), (Window(640, 1), [6])]
    ops = stream(7, 400, keys, step, disorder, lateness)
    columns = ops.columns()
    table = TileTable(EVERY_CELL, windows, 2)
    assert [answers.tolist() for answers in run(table, columns)] == ops.expected(EVERY_CELL, windows)
    one_by_one = TileTable(EVERY_CELL, windows, 2)
    parts = [run(one_by_one, columns, i, i + 1) for i in range(len(ops.rows))]
    assert [np.concatenate([p[w] for p in parts]).tolist() for w in range(4)] == ops.expected(EVERY_CELL, windows)


def places(table):
    """Check that keys' regions and the places that others have left lie apart; return how many are left."""
    tiers, rooms, left, taken = table._tiers, kernel.ROOMS, 0, []
    for row in table._rows.reshape(-1, table._row_words)[: table.keys]:
        for region, (start, length, capacity) in enumerate(row[1 : 1 + 3 * len(tiers)].reshape(-1, 3).tolist()):
            is_ring = len(tiers) // 2 <= region < len(tiers) - 1
            assert is_ring or (length <= capacity and capacity in (0, *rooms))
            words = (kernel.ring_rows(capacity) if is_ring else capacity) * tiers[region, kernel.STRIDE]
            taken += [(start, start + words)] if capacity else []
    for region, heads in enumerate(table._marks[kernel.FREE :].reshape(len(tiers), -1).tolist()):
        for room, place in zip(rooms, heads, strict=True):
            while place >= 0:
                left += 1
                assert left < 10_000, "a list goes round"
                taken.append((place, place + room * tiers[region, kernel.STRIDE]))
                place = int(table._slab[place])
    taken.sort()
    assert all(before[1] <= after[0] for before, after in pairwise(taken))
    assert taken[-1][1] <= table._marks[kernel.USED]
    return left


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("disorder", "lateness"), [(0, 0), (40, 40), (40, 0), (200, 500)])
def test_dense_keys_equal_the_oracle(seed, disorder, lateness):
    """Tiles enough to keep blocks of them, before and after 1970; runs of events without a query; queries at the very horizon."""
    rng, ops, newest = np.random.default_rng(seed), Ops(), -500
    for i in range(-500, 400):
        t, key = i - int(rng.integers(0, disorder + 1)) + (50 if i > 0 else 0), int(rng.integers(0, 8) == 0)
        newest = max(newest, t)
        horizon = newest - lateness
        ops.update(t, i, BITS(float(rng.normal())), key=key, position=i, horizon=horizon)
        if (i // 100) % 2 and rng.integers(0, 4) == 0:
            t = int(rng.choice([horizon, newest + 1, newest + 90]))
            ops.query(t, t // 128 * 128, -(2**55), key=key, horizon=horizon)
    anchored = [(Window(400, 1, anchored=True), [6, 9, 15]), (Window(LIFETIME_US, 3, anchored=True), [6, 15])]
    windows = [(Window(160, 1), [6, 9, 15]), (Window(61, 1), [6]), (Window(333, 3), [3, 9]), *anchored]
    columns, table, half = ops.columns(), TileTable(EVERY_CELL, windows, 2), len(ops.rows) // 2 + 37 * seed
    left, parts = 0, []
    for first in range(0, half, 50):
        parts.append(run(table, columns, first, min(first + 50, half)))
        left = max(left, places(table))
    assert left > 0, "no region has moved"
    before = [np.concatenate(answers) for answers in zip(*parts, strict=True)]
    lying = {name: words.copy() for name, words in table.held().items()}
    table.snapshot()
    assert places(table) == 0
    after = run(TileTable.restore(EVERY_CELL, windows, 2, table.snapshot()), columns, half)
    taken_up = TileTable.restore(EVERY_CELL, windows, 2, lying)
    assert [part.tolist() for part in run(taken_up, columns, half)] == [part.tolist() for part in after]
    places(taken_up)
    answers = [np.concatenate(parts).tolist() for parts in zip(before, after, strict=True)]
    assert answers == ops.expected(EVERY_CELL, windows)


@pytest.mark.parametrize("seed", range(4))
def test_late_queries_find_what_later_blocks_have_taken_the_place_of(seed):
    """A ring that spans 32 tiles for a window of 20, and queries and events up to 500 tiles behind the newest."""
    rng, ops = np.random.default_rng(seed), Ops()
    for i in range(900):
        ops.update(max(i - int(rng.integers(0, 500)), 0), i, BITS(float(rng.normal())), position=i, horizon=i - 500)
        if i > 300 and i % 3 == 0:
            ops.query(int(rng.integers(i - 500, i + 40)), horizon=i - 500)
    cells, windows = EVERY_CELL, [(Window(20, 1), [3, 6, 9, 15]), (Window(9, 1), [6])]
    assert [answers.tolist() for answers in run(TileTable(cells, windows, 2), ops.columns())] == ops.expected(
        cells, windows
    )


def test_more_inputs_than_bits_in_a_word():
    ops = Ops(inputs=130)
    ops.update(1, *(i if i % 3 else None for i in range(130)))
    ops.query(10)
    cells = [Cell(CellOp.COUNT, i) for i in range(130)]
    table = TileTable(cells, [(Window(10, 10), list(range(130)))], 130)
    assert run(table, ops.columns())[0][0].tolist() == [1 if i % 3 else 0 for i in range(130)]


def test_memory_is_bounded_while_time_advances():
    rng, table = np.random.default_rng(1), TileTable([Cell(CellOp.SUM_FLOAT, 0)], [(Window(600, 10), [0])], 1)
    sizes, n = [], 20_000
    for batch in range(60):
        t = np.repeat(np.arange(batch * n, (batch + 1) * n) // 2, 2)[:n]  # each instant four times
        table.run(
            rng.integers(0, 2, n), rng.integers(0, 50, n), t, np.arange(n), np.maximum.accumulate(t) - 100,
            rng.normal(size=(n, 1)).view(np.int64), np.ones((n, 1), bool),
        )  # fmt: skip
        sizes.append((table.memory_bytes, table.tiles))
    assert max(size for size, _ in sizes[5:]) <= 2 * min(size for size, _ in sizes[5:])
    assert max(held for _, held in sizes) <= 50 * 70 * 4  # 61 tiles a key within reach, and what waits to be dropped


def test_a_key_out_of_reach_costs_only_its_row():
    table = TileTable([Cell(CellOp.COUNT, 0)], [(Window(60, 10), [0])], 1)
    ops = Ops(inputs=1)
    for key in range(1000):
        ops.update(key, 1, key=key, horizon=key - 5)
    run(table, ops.columns())
    snapshot = table.snapshot()
    assert table.keys == 1000
    assert table.tiles <= 80
    assert len(snapshot["slab"]) <= 80 * 2 * 16


def test_one_compiled_version_whatever_memory_the_columns_have():
    ops = stream(3, 20, 2, 5, 10, 50)
    columns = ops.columns()
    for column in columns:
        column.flags.writeable = False
    fortran = [np.asfortranarray(column) for column in columns]
    windows = [(Window(60, 10), [6])]
    expected = ops.expected(EVERY_CELL, windows)
    for given_columns in (columns, fortran):
        assert [a.tolist() for a in run(TileTable(EVERY_CELL, windows, 2), given_columns)] == expected
    tiles.warm()
    assert len(kernel.run.signatures) == 1
    assert len(kernel.pack.signatures) == 1


def test_no_operations_and_no_windows():
    windows = [(Window(60, 10), [0]), (Window(60, 10), [])]
    table = TileTable([Cell(CellOp.MOMENTS, 0)], windows, 1)
    empty = np.zeros(0, np.int64)
    answers = table.run(np.zeros(0, np.int8), empty, empty, empty, empty, empty.reshape(0, 1), np.zeros((0, 1), bool))
    assert [a.shape for a in answers] == [(0, 3), (0, 0)]
    assert (table.keys, table.tiles) == (0, 0)
    ops = Ops(inputs=1)
    ops.update(1, 1)
    ops.query(2)
    assert run(TileTable([], [], 1), ops.columns()) == []


def test_a_snapshot_shares_no_memory_with_the_table():
    windows = [(Window(60, 10), [0])]
    table = TileTable([Cell(CellOp.COUNT, 0)], windows, 1)
    ops = Ops(inputs=1)
    ops.update(1, 1)
    run(table, ops.columns())
    snapshot = table.snapshot()
    run(table, ops.columns())
    later = Ops(inputs=1)
    later.query(20)
    restored = TileTable.restore([Cell(CellOp.COUNT, 0)], windows, 1, snapshot)
    assert run(restored, later.columns())[0].tolist() == [[1]]
    assert run(table, later.columns())[0].tolist() == [[2]]


def test_a_snapshot_of_other_windows_is_refused():
    cells = [Cell(CellOp.COUNT, 0)]
    snapshot = TileTable(cells, [(Window(60, 10), [0])], 1).snapshot()
    with pytest.raises(RecoveryError, match="of another plan"):
        TileTable.restore(cells, [(Window(50, 10), [0])], 1, snapshot)


def _one_query(t, horizon, key=0, kind=1):
    word = np.zeros(1, np.int64)
    return (
        np.array([kind]),
        word + key,
        word + t,
        word,
        word + horizon,
        np.zeros((1, 1), np.int64),
        np.ones((1, 1), bool),
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (_one_query(5, 6), "A query is before the horizon"),
        (_one_query(5, -101), "The horizon falls"),
        (_one_query(5, 0, key=-1), "A key id is negative"),
        (_one_query(5, 0, kind=3), "A kind is unknown"),
        ((*_one_query(5, 0)[:6], np.ones((1, 2), bool)), "Columns differ in shape"),
        (_one_query(5, 0), "Starts differ in shape"),
        ((*_one_query(5, 0), np.zeros((1, 2), np.int64)), "Starts differ in shape"),
        ((*_one_query(5, 0), np.full((1, 1), 6)), "A window begins after its instant"),
    ],
)
def test_wrong_operations_are_refused_before_anything_is_applied(columns, message):
    table = TileTable([Cell(CellOp.COUNT, 0)], [(Window(60, 10), [0]), (Window(60, 10, anchored=True), [0])], 1)
    table.run(*_one_query(-100, -100), np.full((1, 1), -160))
    with pytest.raises(SamestreamError, match=message):
        table.run(*columns)
    assert table.keys == 1


def test_a_wrong_plan_is_refused():
    with pytest.raises(SamestreamError, match="input is no column"):
        TileTable([Cell(CellOp.COUNT, 1)], [], 1)
    with pytest.raises(SamestreamError, match="no half-life"):
        TileTable([Cell(CellOp.DECAYED, 0)], [], 1)
    with pytest.raises(SamestreamError, match="no extent"):
        TileTable([], [(Window(0, 10), [])], 1)
    with pytest.raises(SamestreamError, match="cell does not exist"):
        TileTable([], [(Window(10, 10), [0])], 1)
