"""Keys come and go: ids are given back when nothing of a key can be reached, and no answer changes."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import window_oracle as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from samestream.schemas.errors import StateLimitError
from samestream.streams.columns import ColumnData
from samestream.streams.engine.key_index import KeyIndex
from samestream.streams.engine.state_limit import StateLimit
from samestream.streams.engine.tiles import QUERY, UPDATE, Cell, CellOp, TileTable, Window

CELLS = [Cell(CellOp.COUNT, 0), Cell(CellOp.SUM_FLOAT, 0), Cell(CellOp.LAST, 0), Cell(CellOp.DECAYED, 0, 7)]
EVERY = [0, 1, 2, 3]
LIFETIME_US = 200 * 365 * 86_400_000_000


class Keyed:
    """A table and the index of its keys, as an engine holds them."""

    def __init__(self, windows, limit=None):
        self.windows, self.index, self.tiles = (
            windows,
            KeyIndex([False], limit),
            TileTable(CELLS, windows, 1, limit),
        )

    def run(self, rows):
        """Rows (kind, key, t, horizon, word); return per window the answers of the queries."""
        kind, key, t, horizon, word = (np.array(column, np.int64) for column in zip(*rows, strict=True))
        there = np.ones(len(rows), np.bool_)
        ids = self.index.ids([ColumnData(key, there)], np.arange(len(rows)))
        starts = np.full((len(rows), sum(window.anchored for window, _ in self.windows)), -(2**55))
        position, values = np.arange(len(rows)), word.reshape(-1, 1)
        return self.tiles.run(kind.astype(np.int8), ids, t, position, horizon, values, there.reshape(-1, 1), starts)

    def sweep(self):
        """Give back what is idle."""
        ids = np.flatnonzero(self.tiles.idle())
        self.tiles.forget(ids)
        self.index.forget(ids)

    def restored(self):
        other = Keyed(self.windows)
        other.index = KeyIndex.restore([False], self.index.snapshot())
        other.tiles = TileTable.restore(CELLS, self.windows, 1, self.tiles.snapshot())
        return other


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_answer_changes_when_idle_keys_are_forgotten(data):
    lengths, tiles = st.sampled_from([1, 20, 60, LIFETIME_US]), st.sampled_from([1, 7, 50])
    windows = [
        (window, EVERY)
        for window in data.draw(st.lists(st.builds(Window, lengths, tiles, st.booleans()), min_size=1, max_size=3))
    ]
    lateness, stride = data.draw(st.sampled_from([0, 30])), data.draw(st.sampled_from([1, 9]))
    keyed, judge, newest = Keyed(windows), oracle.WindowOracle(CELLS, windows), 0
    anchored = sum(window.anchored for window, _ in windows)
    for batch in range(data.draw(st.integers(1, 8))):
        rows, expected = [], []
        for _ in range(data.draw(st.integers(1, 15))):
            key, t = batch // 2 * 3 + data.draw(st.integers(0, 4)), newest + data.draw(st.integers(-30, 10)) * stride
            horizon, word = newest - lateness, oracle.bits(data.draw(st.floats(-1e9, 1e9)))
            if data.draw(st.booleans()):
                rows.append((UPDATE, key, t, horizon, word))
                judge.update(key, t, len(rows) - 1, (word,))
                newest = max(newest, t)
            else:
                rows.append((QUERY, key, max(t, horizon), horizon, 0))
                expected.append(judge.query(key, max(t, horizon), (-(2**55),) * anchored))
        answers = keyed.run(rows)
        assert [part.tolist() for part in answers] == [[answer[w] for answer in expected] for w in range(len(windows))]
        newest += data.draw(st.sampled_from([0, 15, 200]))
        if data.draw(st.booleans()):
            keyed.sweep()
        if data.draw(st.booleans()):
            keyed = keyed.restored()


def _visits(keyed, first, last, step=10):
    """One event of each key, one after the other."""
    keyed.run([(UPDATE, key, key * step, key * step - 5, 0) for key in range(first, last)])


def test_passing_keys_take_no_more_room_than_those_of_one_window():
    keyed = Keyed([(Window(100, 10), EVERY)])
    sizes = []
    for batch in range(50):
        _visits(keyed, batch * 100, (batch + 1) * 100)
        keyed.sweep()
        sizes.append((len(keyed.index), keyed.index.bound, keyed.tiles.keys, keyed.tiles.memory_bytes))
    assert max(live for live, *_ in sizes) <= 12  # those of the last 115 microseconds
    assert max(ids for _, *bounds, _ in sizes for ids in bounds) <= 112
    assert sizes[-1][3] <= 2 * sizes[5][3]


def test_a_key_that_is_only_asked_for_goes_at_once():
    keyed = Keyed([(Window(100, 10), EVERY)])
    keyed.run([(QUERY, key, 5, 0, 0) for key in range(100)] + [(UPDATE, 7, 5, 0, 0)])
    keyed.sweep()
    assert len(keyed.index) == 1


def test_a_lifetime_keeps_every_key():
    keyed = Keyed([(Window(LIFETIME_US, 10, anchored=True), EVERY), (Window(100, 10), EVERY)])
    _visits(keyed, 0, 1000, step=10**9)
    keyed.sweep()
    assert len(keyed.index) == 1000
    (lifetime, recent) = keyed.run([(QUERY, 3, 10**12, 10**12 - 5, 0)])
    assert (lifetime[0, 0], recent[0, 0]) == (1, 0)


def _fill(keyed, limit):
    for batch in range(1000):
        _visits(keyed, batch * 100, (batch + 1) * 100)
        assert limit.held_bytes <= limit.limit_bytes


def test_more_state_than_allowed_is_refused_in_words():
    limit = StateLimit(1_000_000)
    keyed = Keyed([(Window(LIFETIME_US, 10, anchored=True), EVERY)], limit)
    with pytest.raises(StateLimitError) as refused:
        _fill(keyed, limit)
    assert str(refused.value).splitlines()[0].endswith("keys: The state of the features has outgrown its limit.")
    assert "Expected: at most 1,000,000 bytes" in str(refused.value)
    assert "Hint: Nothing is lost: allow more" in str(refused.value)
    assert keyed.tiles.memory_bytes + keyed.index.memory_bytes == limit.held_bytes
    assert limit.held_bytes > 400_000  # refused when it was needed, not long before


def test_tables_share_a_limit_and_one_that_is_gone_holds_nothing():
    limit, whole = StateLimit(400_000), StateLimit(400_000)
    windows = [(Window(LIFETIME_US, 10, anchored=True), EVERY)]
    first, second, only = Keyed(windows, limit), Keyed(windows, limit), Keyed(windows, whole)
    _visits(first, 0, 400)
    alone = limit.held_bytes
    for keyed, its in ((second, limit), (only, whole)):
        with pytest.raises(StateLimitError):
            _fill(keyed, its)
    assert 0 < second.tiles.keys < only.tiles.keys
    del first, second, keyed
    gc.collect()
    assert (alone > 100_000, limit.held_bytes) == (True, 0)
