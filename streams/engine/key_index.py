"""Dense ids of keys: from text, whole numbers, or several of them together, to the numbers 0, 1, 2, ...

A key is written as int64 words: a number is one, a text its length in bytes and then its UTF-8, eight bytes a word, the
last filled up with zeros. So no two keys have the same words, and a key is compared word by word, never by hash alone.

* ``pool``: the words of all keys, one after the other; those of id i are ``pool[starts[i] : starts[i] + sizes[i]]``.
* ``slots``: an open-addressing table of a power of two, at most three quarters full. A slot is 0 if free, else the
  upper 32 bits of the key's hash and, below, its id plus 1.
* ``free``: ids given back, the next one to be given out last.

The compiled functions are here, beside what calls them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samestream.schemas.errors import SamestreamError
from samestream.streams import columns as cols
from samestream.streams.columns import CodedText, ColumnData, Int64Array
from samestream.streams.engine.compiling import lean
from samestream.streams.engine.state_limit import StateLimit

LOW = 2**32 - 1
_LARGE = 1 << 20
POOL, IDS, FREE, USED = range(4)  # words of `marks`: words of the pool, ids so far, ids given back, slots in use


class KeyIndex:
    """The ids of keys, from 0 in order of first use; ids given back by :meth:`forget` are given out again first.

    texts : for each part of a key whether it is text; the others are numbers, conditions or times.
    limit : what all state may take together; without one, as much as there is.
    """

    def __init__(self, texts: Sequence[bool], limit: StateLimit | None = None) -> None:
        self._texts, self._limit = tuple(texts), limit or StateLimit()
        self._marks = np.zeros(4, np.int64)
        self._slots = np.zeros(1024, np.int64)
        self._pool = np.zeros(1024, np.int64)
        self._starts = np.zeros(256, np.int64)
        self._sizes = np.zeros(256, np.int32)
        self._free = np.zeros(0, np.int64)
        self._limit.note(self, self.memory_bytes)

    def ids(self, columns: Sequence[ColumnData], rows: Int64Array) -> Int64Array:
        """Return the ids of the keys in some rows; a key that is not yet known gets one.

        columns : one per part of the key; none of the rows is null.
        Raises StateLimitError if the index outgrows the limit; the keys before that one then have their ids.
        """
        if len(columns) == 1 and isinstance(columns[0], CodedText):
            return self._ids_of_texts(columns[0].codes[rows], columns[0].texts)
        every = len(rows) == len(columns[0].valid) and bool((np.diff(rows) == 1).all())
        return self._ids([column if every else column.take(rows) for column in columns])

    def _ids_of_texts(self, codes: NDArray[np.int32], texts: NDArray[Any]) -> Int64Array:
        """Return the ids of coded texts: each text that occurs is looked up once."""
        occur = np.zeros(len(texts), np.bool_)
        occur[codes] = True
        chosen = np.flatnonzero(occur)
        ids = np.zeros(len(texts), np.int64)
        ids[chosen] = self._ids([ColumnData(texts[chosen], np.ones(len(chosen), np.bool_))])
        return ids[codes]

    def _ids(self, parts: Sequence[ColumnData]) -> Int64Array:
        words, ends = self._words(parts)
        found = np.empty(len(ends), np.int64)
        row = 0
        while True:
            row = _assign(
                words, ends, row, self._slots, self._pool, self._starts, self._sizes, self._free, self._marks, found
            )
            if row == len(ends):
                return found
            self._grow(int(ends[row] - (ends[row - 1] if row else 0)))

    def __len__(self) -> int:
        """How many keys have an id."""
        return int(self._marks[IDS] - self._marks[FREE])

    @property
    def bound(self) -> int:
        """One more than the greatest id ever given."""
        return int(self._marks[IDS])

    @property
    def memory_bytes(self) -> int:
        """The bytes set aside."""
        arrays = (self._slots, self._pool, self._starts, self._sizes, self._free)
        return sum(array.nbytes for array in arrays)

    def forget(self, ids: Int64Array) -> None:
        """Give some ids back; their keys are new when they are next seen. An id that has no key is passed over."""
        given = np.unique(ids[self._sizes[ids] > 0])[::-1]
        self._free = np.concatenate([self._free[: self._marks[FREE]], given])
        self._sizes[given] = 0
        self._rebuild()

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Return the index as arrays that share no memory with it; :meth:`restore` takes them."""
        return {name: array.copy() for name, array in self.held().items()}

    def held(self) -> dict[str, NDArray[Any]]:
        """Return the index as it lies there: arrays that change when it does."""
        return {
            "pool": self._pool[: self._marks[POOL]],
            "sizes": self._sizes[: self._marks[IDS]],
            "starts": self._starts[: self._marks[IDS]],
            "free": self._free[: self._marks[FREE]],
        }

    @classmethod
    def restore(
        cls, texts: Sequence[bool], snapshot: Mapping[str, NDArray[Any]], limit: StateLimit | None = None
    ) -> KeyIndex:
        """Return the index a snapshot was taken of."""
        index = cls(texts, limit)
        index._pool = np.array(snapshot["pool"], np.int64)
        index._sizes = np.array(snapshot["sizes"], np.int32)
        index._starts = np.array(snapshot["starts"], np.int64)
        index._free = np.array(snapshot["free"], np.int64)
        index._marks[IDS] = len(index._sizes)
        index._rebuild()
        return index

    def _words(self, parts: Sequence[ColumnData]) -> tuple[Int64Array, Int64Array]:
        """Return the words of some keys, one after the other, and where those of each end."""
        found = tuple(column.is_object for column in parts)
        if found != self._texts:
            raise SamestreamError(
                "The parts of a key are of other kinds than before.",
                where="KeyIndex",
                found=["text" if text else "numbers" for text in found],
                expected=["text" if text else "numbers" for text in self._texts],
                hint="This is a fault of the engine that asks, not of the data.",
            )
        if not any(self._texts):
            words = np.stack([_number(column.values) for column in parts], axis=1).reshape(-1)
            return words, np.arange(len(parts), len(words) + 1, len(parts))
        encoded = [_text(part) if text else _number(part.values) for part, text in zip(parts, self._texts, strict=True)]
        sizes = [
            1 + ((np.diff(part[0]) + 7) >> 3) if isinstance(part, tuple) else np.ones(len(part), np.int64)
            for part in encoded
        ]
        ends = np.cumsum(np.sum(sizes, axis=0))
        words, cursor = np.zeros(int(ends[-1]) if len(ends) else 0, np.int64), ends - np.sum(sizes, axis=0)
        for part in encoded:
            if isinstance(part, tuple):
                _place_texts(part[0], part[1], words, words.view(np.uint8), cursor)
            else:
                words[cursor] = part
                cursor += 1
        return words, ends

    def _grow(self, words: int) -> None:
        """Make room for one more key of so many words, doubling what is full."""
        if self._marks[POOL] + words > len(self._pool):
            self._pool = self._longer(self._pool, int(self._marks[POOL]) + words)
        if self._marks[IDS] == len(self._sizes):
            self._starts, self._sizes = self._longer(self._starts, 256), self._longer(self._sizes, 256)
        if 4 * (self._marks[USED] + 1) > 3 * len(self._slots):
            slots = self._zeros(2 * len(self._slots), self._slots.dtype)
            _rehash(self._slots, slots)
            self._slots = slots
        self._limit.note(self, self.memory_bytes)

    def _longer(self, array: NDArray[Any], least: int) -> NDArray[Any]:
        # of what is large half as much again: memory counts there
        size = 2 * len(array) if len(array) < _LARGE else len(array) + (len(array) >> 1)
        longer = self._zeros(max(size, least), array.dtype)
        longer[: len(array)] = array
        return longer

    def _zeros(self, size: int, dtype: Any) -> NDArray[Any]:
        needed = size * np.dtype(dtype).itemsize
        self._limit.more(needed, needed, f"the index of {len(self):,} keys")
        return np.zeros(size, dtype)

    def _rebuild(self) -> None:
        """Lay out pool and slots anew, with the ids that have a key."""
        kept, words = int(np.count_nonzero(self._sizes)), int(self._sizes.sum())
        size = 1024
        while 2 * size < 3 * kept:  # two thirds full at most, so that there is room to grow
            size *= 2
        pool, slots = np.zeros(max(1024, words + (words >> 1)), np.int64), np.zeros(size, np.int64)
        _collect(self._pool, self._starts, self._sizes, self._marks[IDS], pool, slots)
        self._pool, self._slots = pool, slots
        self._marks[POOL], self._marks[FREE], self._marks[USED] = words, len(self._free), kept
        self._limit.note(self, self.memory_bytes)


def warm() -> None:
    """Compile the index, or load it from numba's cache, before anything waits for it."""
    for texts, values in (([True], np.array(["a"], object)), ([False], np.ones(1, np.int64))):
        index = KeyIndex(texts)
        index.ids([ColumnData(values, np.ones(1, np.bool_))], np.zeros(1, np.int64))
        index._grow(len(index._pool))
        index.forget(np.zeros(1, np.int64))


def _number(values: NDArray[Any]) -> Int64Array:
    """Return numbers as words, a float by its bits; -0.0 is 0.0."""
    if values.dtype == np.float64:
        return (values + 0.0).view(np.int64)
    return np.ascontiguousarray(values, np.int64)


def _text(column: ColumnData) -> tuple[Int64Array, NDArray[np.uint8]]:
    """Return where each text begins in the bytes of all, and where the last one ends; and the bytes."""
    packed = cols.utf8(column)
    return packed.bounds, packed.data


@lean
def _hash(words: Int64Array, start: int, end: int) -> int:
    """Return 32 well mixed bits, in the upper half of a word."""
    h = np.uint64(0x9E3779B97F4A7C15)
    for i in range(start, end):
        h = (h ^ np.uint64(words[i])) * np.uint64(0xBF58476D1CE4E5B9)
        h ^= h >> np.uint64(29)
    h = (h ^ (h >> np.uint64(32))) * np.uint64(0x94D049BB133111EB)
    h ^= h >> np.uint64(31)
    return int(np.int64(h & np.uint64(0xFFFFFFFF00000000)))


@lean
def _home(slot: int, slots: Int64Array) -> int:
    """Return where the search for a hash begins."""
    return int((slot >> 32) & (slots.shape[0] - 1))


@lean
def _assign(
    words: Int64Array, ends: Int64Array, row: int, slots: Int64Array, pool: Int64Array, starts: Int64Array,
    sizes: NDArray[np.int32], free: Int64Array, marks: Int64Array, found: Int64Array,
) -> int:  # fmt: skip
    """Find the ids of the keys from number ``row`` on; return the first for which there may be no room, or their count."""
    mask = slots.shape[0] - 1
    while row < ends.shape[0]:
        start, end = ends[row - 1] if row > 0 else 0, ends[row]
        size, hashed = end - start, _hash(words, start, end)
        at, id = _home(hashed, slots), -1
        while slots[at] != 0:
            if (slots[at] ^ hashed) & ~LOW == 0:
                id = (slots[at] & LOW) - 1
                same = sizes[id] == size
                word = 0
                while same and word < size:
                    same = pool[starts[id] + word] == words[start + word]
                    word += 1
                if same:
                    break
            id = -1
            at = (at + 1) & mask
        if id < 0:
            full = 4 * (marks[USED] + 1) > 3 * slots.shape[0] or marks[POOL] + size > pool.shape[0]
            if full or (marks[FREE] == 0 and marks[IDS] == sizes.shape[0]):
                return row
            if marks[FREE] > 0:
                marks[FREE] -= 1
                id = free[marks[FREE]]
            else:
                id = marks[IDS]
                marks[IDS] += 1
            starts[id], sizes[id] = marks[POOL], size
            for word in range(size):
                pool[marks[POOL] + word] = words[start + word]
            marks[POOL] += size
            marks[USED] += 1
            slots[at] = hashed | (id + 1)
        found[row] = id
        row += 1
    return row


@lean
def _place_texts(
    bounds: Int64Array, data: NDArray[np.uint8], words: Int64Array, bytes: NDArray[np.uint8], cursor: Int64Array
) -> None:
    """Write every text at its cursor, which moves on; ``bytes`` are those of ``words``."""
    for row in range(cursor.shape[0]):
        size, at = bounds[row + 1] - bounds[row], cursor[row]
        words[at] = size
        for i in range(size):
            bytes[8 * (at + 1) + i] = data[bounds[row] + i]
        cursor[row] = at + 1 + ((size + 7) >> 3)


@lean
def _rehash(slots: Int64Array, to: Int64Array) -> None:
    """Move every slot to a larger table."""
    for i in range(slots.shape[0]):
        if slots[i] != 0:
            at = _home(slots[i], to)
            while to[at] != 0:
                at = (at + 1) & (to.shape[0] - 1)
            to[at] = slots[i]


@lean
def _collect(
    pool: Int64Array, starts: Int64Array, sizes: NDArray[np.int32], ids: int, to: Int64Array, slots: Int64Array
) -> None:
    """Copy the keys to the pool ``to``, side by side in the order of their ids, and enter them in empty slots."""
    used = 0
    for id in range(ids):
        if sizes[id] > 0:
            for word in range(sizes[id]):
                to[used + word] = pool[starts[id] + word]
            starts[id] = used
            used += sizes[id]
            hashed = _hash(to, starts[id], used)
            at = _home(hashed, slots)
            while slots[at] != 0:
                at = (at + 1) & (slots.shape[0] - 1)
            slots[at] = hashed | (id + 1)
