"""The index of keys against a Python dict, whatever the keys, the batches, and what was forgotten between them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samestream.schemas.errors import SamestreamError
from samestream.streams.columns import ColumnData
from samestream.streams.engine import key_index
from samestream.streams.engine.key_index import KeyIndex

TEXTS = st.sampled_from(["", "a", "b", "a\x00", "\x00", "12345678", "123456789", "é", "日本", "x" * 40]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=20
)
NUMBERS = st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63), 8]) | st.integers(-(2**63), 2**63 - 1)
SHAPES = {
    "text": [True],
    "number": [False],
    "both": [True, False],
    "two texts": [True, True],
    "two numbers": [False] * 2,
}


def columns(texts, keys):
    found = []
    for part, text in enumerate(texts):
        values = np.empty(len(keys), object if text else np.int64)
        values[:] = [key[part] for key in keys]
        found.append(ColumnData(values, np.ones(len(keys), np.bool_)))
    return found


def ask(index, texts, keys):
    return index.ids(columns(texts, keys), np.arange(len(keys))).tolist()


class Dictionary:
    """What the index is said to be: ids from 0 in order of first use, those given back first, the least of a batch first."""

    def __init__(self):
        self.known, self.free, self.bound = {}, [], 0

    def ids(self, keys):
        for key in keys:
            if key not in self.known:
                if not self.free:
                    self.free.append(self.bound)
                    self.bound += 1
                self.known[key] = self.free.pop()
        return [self.known[key] for key in keys]

    def forget(self, ids):
        self.known = {key: id for key, id in self.known.items() if id not in ids}
        self.free += sorted(ids, reverse=True)


@pytest.mark.parametrize("texts", SHAPES.values(), ids=SHAPES)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_ids_are_those_of_a_dictionary_however_split_forgotten_and_restored(texts, data):
    key = st.tuples(*(TEXTS if text else NUMBERS for text in texts))
    index, judge = KeyIndex(texts), Dictionary()
    pool = data.draw(st.lists(key, min_size=1, max_size=30))
    for keys in data.draw(st.lists(st.lists(st.sampled_from(pool), max_size=30), max_size=6)):
        assert ask(index, texts, keys) == judge.ids(keys)
        if judge.known and data.draw(st.booleans()):
            ids = data.draw(st.lists(st.sampled_from(sorted(judge.known.values())), unique=True))
            judge.forget(ids)
            index.forget(np.array(ids, np.int64))
        if data.draw(st.booleans()):
            index = KeyIndex.restore(texts, index.snapshot())
        assert (len(index), index.bound) == (len(judge.known), judge.bound)


def test_what_is_beside_what_makes_two_keys():
    keys = [("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc"), ("ab", "c"), ("a\x00", "c"), ("a", "\x00c")]
    assert ask(KeyIndex([True, True]), [True, True], keys) == [0, 1, 2, 3, 0, 4, 5]


def test_only_the_rows_asked_for_become_keys():
    index = KeyIndex([True])
    assert index.ids(columns([True], [("a",), ("b",), ("c",), ("b",)]), np.array([3, 2, 1])).tolist() == [0, 1, 0]
    assert len(index) == 2


def test_conditions_and_times_are_numbers_and_zero_has_no_sign():
    there = np.ones(3, np.bool_)
    rows = np.arange(3)
    assert KeyIndex([False]).ids([ColumnData(np.array([True, False, True]), there)], rows).tolist() == [0, 1, 0]
    assert KeyIndex([False]).ids([ColumnData(np.array([0.0, 1.5, -0.0]), there)], rows).tolist() == [0, 1, 0]


def test_keys_of_one_hash_are_told_apart():
    numbers = np.random.default_rng(1).integers(-(2**63), 2**63 - 1, 400_000)
    hashes = np.array([key_index._hash(numbers, i, i + 1) for i in range(len(numbers))])
    order = np.argsort(hashes, kind="stable")
    pairs = np.flatnonzero(np.diff(hashes[order]) == 0)
    twins = np.unique(np.concatenate([order[pairs], order[pairs + 1]]))
    assert len(twins) > 10
    chosen = numbers[twins]
    assert ask(KeyIndex([False]), [False], [(n,) for n in chosen.tolist()]) == list(range(len(chosen)))


def test_many_keys_grow_the_index_and_forgotten_ones_give_the_room_back():
    index, n = KeyIndex([True]), 50_000
    keys = [(f"customer-{i}",) for i in range(n)]
    assert ask(index, [True], keys) == list(range(n))
    assert index.memory_bytes < 100 * n
    index.forget(np.arange(100, n))
    assert len(index) == 100
    assert index.memory_bytes < 40 * n  # what is left is a number an id
    assert ask(index, [True], keys[:100]) == list(range(100))
    assert ask(index, [True], [("new",), ("newer",)]) == [100, 101]


def test_other_kinds_than_declared_are_refused():
    with pytest.raises(SamestreamError, match="of other kinds than before"):
        ask(KeyIndex([True]), [False], [(1,)])


def test_one_compiled_version():
    key_index.warm()
    assert len(key_index._assign.signatures) == 1
    assert len(key_index._place_texts.signatures) == 1
