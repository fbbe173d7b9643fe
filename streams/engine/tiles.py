"""The window state of one event source under one grouping key: tiles per key, and the raw events of the open heads.

What a window holds, and in which order it is added up, is DESIGN section 2; that is done in :mod:`kernel`, and the arithmetic
in :mod:`cell_kernel`. This file lays the state out, gives it room and takes it to disk and back. It knows nothing of
declarations, Kafka or Avro.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samestream.schemas.errors import RecoveryError, SamestreamError
from samestream.streams.engine import cell_kernel, kernel
from samestream.streams.engine.compiling import Words
from samestream.streams.engine.state_limit import StateLimit

UPDATE, QUERY, BOTH = 0, 1, 2
_LARGE = 1 << 21  # words: 16 MB


class CellOp(IntEnum):
    """What a cell accumulates, and the int64 slots of its state."""

    COUNT = cell_kernel.COUNT
    """Valid inputs: ``count``."""
    SUM_INT = cell_kernel.SUM_INT
    """``sum``, wrapping at 64 bits."""
    SUM_FLOAT = cell_kernel.SUM_FLOAT
    """``sum`` (float64 bits); -0.0 if there is nothing to add."""
    MIN_INT = cell_kernel.MIN_INT
    """``least``; the greatest int64 of nothing."""
    MAX_INT = cell_kernel.MAX_INT
    """``greatest``; the least int64 of nothing."""
    MIN_FLOAT = cell_kernel.MIN_FLOAT
    """``least`` (float64 bits); +inf of nothing. Of -0.0 and 0.0 the first stays."""
    MAX_FLOAT = cell_kernel.MAX_FLOAT
    """``greatest`` (float64 bits); -inf of nothing. Of -0.0 and 0.0 the first stays."""
    LAST = cell_kernel.LAST
    """``t, position, value bits`` of the greatest (t, position); t and position are the least int64 of nothing."""
    FIRST = cell_kernel.FIRST
    """``t, position, value bits`` of the smallest (t, position); t and position are the greatest int64 of nothing."""
    MOMENTS = cell_kernel.MOMENTS
    """``count, mean, m2`` (the last two float64 bits), m2 being the sum of squared deviations from the mean."""
    DECAYED = cell_kernel.DECAYED
    """``t, sum, weight`` (the last two float64 bits): an event of age ``a`` counts ``2 ** -(a / param)``, its age being
    that at t, the greatest event time; of nothing t is the least int64 and the weight 0."""

    @property
    def slots(self) -> int:
        """How many int64 words the state takes."""
        return 3 if self in (CellOp.LAST, CellOp.FIRST, CellOp.MOMENTS, CellOp.DECAYED) else 1


@dataclass(frozen=True)
class Cell:
    """One accumulator, fed by input column ``input`` (from 0); ``param`` is a decayed one's half-life in microseconds."""

    op: CellOp
    input: int
    param: int = 0


@dataclass(frozen=True)
class Window:
    """The events of ``[floor(t - length_us, tile_us), t)``, both in microseconds and positive.

    An *anchored* window begins where each query says, or at ``t - length_us`` if that is later: ``length_us`` is how
    far back any of them may reach, and with that how long tiles are kept.
    """

    length_us: int
    tile_us: int
    anchored: bool = False


class TileTable:
    """The state of many keys, advanced by operations in their merged order.

    cells : the accumulators that windows may ask for.
    windows : every window with the cells it answers, as indices into ``cells``.
    inputs : the number of input columns, at least 1.
    limit : what all state may take together; without one, as much as there is.

    How the operations are split into calls of :meth:`run`, and when state is pruned, moved or taken through a snapshot,
    changes no bit of any answer.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        windows: Sequence[tuple[Window, Sequence[int]]],
        inputs: int,
        limit: StateLimit | None = None,
    ) -> None:
        self._inputs, self._limit = inputs, limit or StateLimit()
        self._check(cells, windows)
        self._tiers, self._windows, self._cells = _plan(cells, windows, inputs)
        regions = len(self._tiers)
        self._anchored = sum(window.anchored for window, _ in windows)
        self._row_words = _row_words(self._tiers, self._windows)
        self._keys, self._horizon_us = 0, int(cell_kernel.LOWEST)
        self._rows = np.zeros(0, np.int64)
        self._slab = np.zeros(1024, np.int64)
        self._marks = np.zeros(kernel.FREE + regions * len(kernel.ROOMS), np.int64)
        self._marks[kernel.FREE :] = -1
        self._event = np.zeros(int(self._tiers[-1, kernel.STRIDE]), np.int64)
        widest = int(max(self._tiers[:, kernel.STRIDE].max(), self._windows[:, kernel.SLOTS].max(initial=0)))
        self._stack = np.zeros(66 * widest, np.int64)  # one entry per bit of a tile index, and the accumulator
        self._joins = np.zeros(66, np.int64)
        self._limit.note(self, self.memory_bytes)

    def run(
        self,
        kind: NDArray[np.int8],
        key: NDArray[np.int64],
        t_us: NDArray[np.int64],
        position: NDArray[np.int64],
        horizon_us: NDArray[np.int64],
        values: NDArray[np.int64],
        valid: NDArray[np.bool_],
        starts_us: Words | None = None,
    ) -> list[Words]:
        """Apply operations in order, and return the answers of the queries among them.

        kind : shape (n,); 0 adds the event, 1 reads all windows at instant ``t_us``, 2 reads them and then adds the event.
        key : shape (n,); dense ids from 0; a new id may appear at any time.
        t_us : shape (n,); event time in microseconds, within +-2**61; ties are allowed.
        position : shape (n,); orders events of equal time; not read for queries.
        horizon_us : shape (n,); never falls, also across calls; no query here or later is at an instant before it.
        values : shape (n, inputs); int64, or the bits of a float64 (``floats.view(np.int64)``); not read for queries.
        valid : shape (n, inputs); False where the input is null or NaN.
        starts_us : shape (n, anchored windows), in their order; where each begins, at the latest at ``t_us``; not read
            for updates. May be None if there are no anchored windows or no queries. Any start is answered; one that
            stays the same from query to query is answered fast.

        Returns per window an array of shape (queries, slots of its cells in their order).
        Raises SamestreamError, with no operation applied, on a wrong shape, kind, key, horizon or start; StateLimitError
        if the state outgrows its limit: some operations are then applied, and the table is of no more use.
        """
        kind, valid_bytes = _own(kind, np.int8), _own(np.asarray(valid, np.bool_), np.bool_).view(np.uint8)
        key, t_us, position, horizon_us, values = (
            _own(column, np.int64) for column in (key, t_us, position, horizon_us, values)
        )
        n = len(kind)
        self._check_columns(n, kind, key, t_us, position, horizon_us, values, valid_bytes)
        queries = int(np.count_nonzero(kind))
        starts = self._starts(kind, t_us, starts_us)
        slots = self._windows[:, kernel.SLOTS].tolist()
        out = np.empty(queries * sum(slots), np.int64)
        if n:
            self._admit(int(key.max()) + 1)
        self._marks[kernel.QUERIES] = 0
        op = 0
        while True:
            op = kernel.run(
                kind, key, t_us, position, horizon_us, values, valid_bytes, starts, op, self._row_words,
                self._tiers, self._windows, self._cells, self._rows, self._slab, self._marks, self._event, self._stack,
                self._joins, out, queries,
            )  # fmt: skip
            if op == n:
                break
            self._repack(int(horizon_us[op]), int(self._marks[kernel.NEED]))
        if n:
            self._horizon_us = int(horizon_us[-1])
        parts = np.split(out, np.cumsum([queries * s for s in slots])[:-1]) if slots else []
        return [part.reshape(queries, s) for part, s in zip(parts, slots, strict=True)]

    @property
    def keys(self) -> int:
        """How many key ids there are."""
        return self._keys

    @property
    def tiles(self) -> int:
        """How many tiles are held, of all keys and tiers; some may already be out of reach."""
        lengths = self._rows.reshape(-1, self._row_words)[: self._keys, 2 : 3 * (len(self._tiers) // 2) + 1 : 3]
        return int(lengths.sum())

    @property
    def memory_bytes(self) -> int:
        """The bytes set aside for the state of all keys."""
        return int(self._rows.nbytes + self._slab.nbytes)

    @property
    def events_bytes(self) -> int:
        """The bytes of them that are for the raw events of the open heads, of all keys."""
        rooms = self._rows.reshape(-1, self._row_words)[: self._keys, 3 * len(self._tiers)]
        return int(8 * rooms.sum() * self._tiers[-1, kernel.STRIDE])

    def idle(self) -> NDArray[np.bool_]:
        """Return for every key id whether nothing that it holds can be reached any more, by any later query."""
        found = np.empty(self._keys, np.int64)
        state = (self._horizon_us, self._keys, self._row_words, self._tiers, self._rows, self._slab)
        kernel.idle(*state, found)
        return found.astype(np.bool_)

    def forget(self, ids: Words) -> None:
        """Make some ids as new, to be used for other keys; nothing is told of what they held."""
        rows = self._rows.reshape(-1, self._row_words)
        rows[ids] = 0
        rows[ids, 0] = cell_kernel.NEVER

    def snapshot(self) -> dict[str, Words]:
        """Return the state as int64 arrays that share no memory with the table; :meth:`restore` takes them."""
        self._repack(self._horizon_us, 0)
        return {name: array.copy() for name, array in self.held().items()}

    def held(self) -> dict[str, Words]:
        """Return the state as it lies there, garbage included: arrays that change when the table does."""
        return {
            "tiers": self._tiers,
            "windows": self._windows,
            "cells": self._cells,
            "rows": self._rows[: self._keys * self._row_words],
            "slab": self._slab[: self._marks[kernel.USED]],
            "horizon_us": np.array([self._horizon_us]),
        }

    @classmethod
    def restore(
        cls,
        cells: Sequence[Cell],
        windows: Sequence[tuple[Window, Sequence[int]]],
        inputs: int,
        snapshot: Mapping[str, Words],
        limit: StateLimit | None = None,
    ) -> TileTable:
        """Return the table a snapshot was taken of.

        Raises RecoveryError if the snapshot is of other cells, windows or inputs.
        """
        table = cls(cells, windows, inputs, limit)
        for part, own in (("tiers", table._tiers), ("windows", table._windows), ("cells", table._cells)):
            if part not in snapshot or not np.array_equal(snapshot[part], own):
                raise RecoveryError(
                    f"A snapshot of window state is of another plan: other {part}.",
                    found=snapshot[part].tolist() if part in snapshot else "nothing",
                    expected=own.tolist(),
                    hint="Replay the log instead; a snapshot only shortens that.",
                )
        rows = np.array(snapshot["rows"], np.int64)
        table._admit(len(rows) // table._row_words)
        table._rows[: len(rows)] = rows
        table._slab = np.array(snapshot["slab"], np.int64)
        table._limit.note(table, table.memory_bytes)
        table._marks[kernel.USED] = len(table._slab)
        table._horizon_us = int(snapshot["horizon_us"][0])
        return table

    def _admit(self, keys: int) -> None:
        """Make rows for the ids below ``keys``."""
        if keys * self._row_words > len(self._rows):
            words = self._row_words
            room = self._room(max(keys, grown(self._keys, words), 16) * words, (keys + (keys >> 3)) * words)
            longer = np.zeros(room // words * words, np.int64)
            longer[:: self._row_words] = cell_kernel.NEVER
            longer[: len(self._rows)] = self._rows
            self._rows = longer
            self._limit.note(self, self.memory_bytes)
        self._keys = max(self._keys, keys)

    def _repack(self, horizon_us: int, need: int) -> None:
        """Drop what is out of reach and garbage, into a slab with a quarter to spare and room for ``need`` words."""
        state = (horizon_us, self._keys, self._row_words, self._tiers, self._rows, self._slab)
        size = kernel.pack(*state, np.zeros(0, np.int64))
        slab = np.zeros(self._room(max(1024, size + (size >> 2) + need), size + (size >> 3) + need), np.int64)
        self._marks[kernel.USED] = kernel.pack(*state, slab)
        self._marks[kernel.FREE :] = -1
        self._slab = slab
        self._limit.note(self, self.memory_bytes)

    def _room(self, wished: int, needed: int) -> int:
        """Return how many words to make room for, beside what is there until it has been copied.

        Raises StateLimitError if not even ``needed`` words are allowed.
        """
        return self._limit.more(8 * wished, 8 * needed, f"{self._keys:,} keys") // 8

    def _check(self, cells: Sequence[Cell], windows: Sequence[tuple[Window, Sequence[int]]]) -> None:
        for cell in cells:
            _expect(0 <= cell.input < self._inputs, "A cell's input is no column.", cell, f"0 to {self._inputs - 1}")
            decays = cell.op is CellOp.DECAYED
            _expect(cell.param > 0 or not decays, "A decayed cell has no half-life.", cell, "positive microseconds")
        for window, wanted in windows:
            _expect(window.length_us > 0 < window.tile_us, "A window has no extent.", window, "positive microseconds")
            for c in wanted:
                _expect(0 <= c < len(cells), "A window's cell does not exist.", c, f"0 to {len(cells) - 1}")

    def _starts(self, kind: NDArray[np.int8], t_us: Words, starts_us: Words | None) -> Words:
        """Return the starts as the kernel reads them; it reads none without an anchored window or a query."""
        asked = (kind == QUERY) | (kind == BOTH)
        if not self._anchored or (not asked.any() and (starts_us is None or np.size(starts_us) == 0)):
            return np.zeros((0, self._anchored), np.int64)
        starts: Words = _own([] if starts_us is None else starts_us, np.int64)
        shape = (len(kind), self._anchored)
        _expect(starts.shape == shape, "Starts differ in shape.", starts.shape, shape)
        late = asked[:, np.newaxis] & (starts > t_us[:, np.newaxis])
        _expect(not late.any(), "A window begins after its instant.", starts[late.any(axis=1)][:1], "at most t_us")
        return starts

    def _check_columns(self, n: int, kind: Any, *columns: Any) -> None:
        key, t_us, _, horizon_us = columns[:4]
        shapes = [column.shape for column in (kind, *columns)]
        _expect(shapes == [(n,)] * 5 + [(n, self._inputs)] * 2, "Columns differ in shape.", shapes, f"{n} rows")
        if n == 0 or kernel.checked(kind, key, t_us, horizon_us, self._horizon_us):
            return
        _expect(bool(np.isin(kind, (UPDATE, QUERY, BOTH)).all()), "A kind is unknown.", np.unique(kind), "0, 1 or 2")
        _expect(bool(key.min() >= 0), "A key id is negative.", int(key.min()), "0 or more")
        rises = horizon_us[0] >= self._horizon_us and bool((horizon_us[1:] >= horizon_us[:-1]).all())
        _expect(rises, "The horizon falls.", int(horizon_us[0]), f"never below {self._horizon_us}")
        early = (kind != UPDATE) & (t_us < horizon_us)
        _expect(not early.any(), "A query is before the horizon.", t_us[early][:1], horizon_us[early][:1])


def weights(age_us: Words, half_life_us: int) -> NDArray[np.float64]:
    """What an event of each age counts in a decayed cell: ``2 ** -(age_us / half_life_us)``, to the bit as there."""
    return cell_kernel.weights(_own(age_us, np.int64), half_life_us)


def key_bytes(cells: Sequence[Cell], windows: Sequence[tuple[Window, Sequence[int]]]) -> int:
    """Return about how many bytes a key takes with every tile there: its row, tiles, kept blocks of them, and room to grow.

    Its raw events come on top.
    """
    if not windows:
        return 0
    tiers, laid, _ = _plan(cells, windows, 1)
    words = 2 * _row_words(tiers, laid)  # there are rows for keys to come
    for tier, ring in zip(tiers[: len(tiers) // 2], tiers[len(tiers) // 2 : -1], strict=True):
        most = tier[kernel.KEPT_US] // tier[kernel.TILE_US] + 2  # both ends are begun only
        room = kernel.ROOMS[np.searchsorted(kernel.ROOMS, -(-8 * most // 7))]  # one with less would have been left
        span = int(ring[kernel.RING])
        blocks = kernel.ring_rows(span) if room >= kernel.dense(span) else 0
        words += int(tier[kernel.STRIDE]) * (int(room) + blocks) * 5 // 4
    return 8 * words


def warm() -> None:
    """Compile the kernel, or load it from numba's cache, before anything waits for it."""
    table = TileTable([Cell(CellOp.COUNT, 0)], [(Window(1, 1), [0])], 1)
    one = np.zeros(1, np.int64)
    table.run(np.zeros(1, np.int8), one, one, one, one, one.reshape(1, 1), np.ones((1, 1), np.bool_))
    table.snapshot()
    weights(one, 1)


def grown(size: int, words: int = 1) -> int:
    """Return the size after growing: twice as much, but of what is large half as much again, since memory counts there."""
    return 2 * size if size * words < _LARGE else size + (size >> 1)


def _expect(holds: bool, what: str, found: object, expected: object) -> None:
    if not holds:
        hint = "This is a fault of the engine that calls the table, not of the data."
        raise SamestreamError(what, where="TileTable", found=found, expected=expected, hint=hint)


def _own(column: Any, dtype: Any) -> Any:
    """Return the column as numba knows it: a read-only or strided one would compile a second version of the kernel."""
    return np.require(column, dtype, ["C", "A", "W"])


def _plan(
    cells: Sequence[Cell], windows: Sequence[tuple[Window, Sequence[int]]], inputs: int
) -> tuple[Words, Words, Words]:
    """Lay out tiers, windows and their cells as the kernel reads them (columns: see there)."""
    table: list[tuple[int, int, int, int, int, int]] = []
    tiers: list[tuple[int, int, int, int, int, int]] = []
    tile_slots: list[dict[int, int]] = []  # per tier: the cell's first slot in a tile's row
    sizes = sorted({window.tile_us for window, _ in windows})
    for size in sizes:
        tier = [(window, wanted) for window, wanted in windows if window.tile_us == size]
        first = len(table)
        held = sorted({c for _, wanted in tier for c in wanted})
        slot_of, stride = _slots(cells, held, 1)
        decayed_from = _lay(table, cells, [(c, slot, slot) for c, slot in slot_of])
        tile_slots.append(dict(slot_of))
        tiers.append((size, max(window.length_us for window, _ in tier), stride, first, decayed_from, len(table)))
    tiers += [(_ring(kept_us // tile_us), kept_us, *tier) for tile_us, kept_us, *tier in tiers]  # type: ignore[misc]
    tiers.append((1, max(sizes, default=1), 2 + inputs + (inputs + 63) // 64, 0, 0, 0))
    row_at, out_at, laid, anchored = 1 + 3 * len(tiers), 0, [], 0
    for window, wanted in windows:
        tier_of, first = sizes.index(window.tile_us), len(table)
        slot_of, slots = _slots(cells, wanted, 0)
        decayed_from = _lay(table, cells, [(c, tile_slots[tier_of][c], slot) for c, slot in slot_of])
        anchor = anchored if window.anchored else -1
        laid.append((tier_of, window.length_us, row_at, slots, out_at, first, decayed_from, len(table), anchor))
        row_at, out_at = row_at + 1 + slots + window.anchored, out_at + slots
        anchored += window.anchored
    return (
        np.array(tiers, np.int64),
        np.array(laid, np.int64).reshape(-1, 9),
        np.array(table, np.int64).reshape(-1, 6),
    )


def _row_words(tiers: Words, windows: Words) -> int:
    """Return how many words the row of a key has."""
    anchored = int((windows[:, kernel.ANCHOR] >= 0).sum())
    return 1 + 3 * len(tiers) + int((1 + windows[:, kernel.SLOTS]).sum()) + anchored


def _ring(tiles: int) -> int:
    """Return how many tiles the ring of a tier spans whose longest window has so many whole ones: all, or 4,096."""
    return int(min(1 << (tiles + 1).bit_length(), 4096))


def _slots(cells: Sequence[Cell], wanted: Sequence[int], first: int) -> tuple[list[tuple[int, int]], int]:
    """Return each cell with its first slot, the cells lying side by side from slot ``first``, and the slot after."""
    found = []
    for c in wanted:
        found.append((c, first))
        first += cells[c].op.slots
    return found, first


def _lay(
    table: list[tuple[int, int, int, int, int, int]], cells: Sequence[Cell], laid: Sequence[tuple[int, int, int]]
) -> int:
    """Append a row for each (cell, tile slot, slot), the decayed ones last; return the number of their first row."""
    rows = [
        (cells[c].op, cells[c].input, tile_slot, slot, cells[c].op.slots, cells[c].param) for c, tile_slot, slot in laid
    ]
    plain = [row for row in rows if row[cell_kernel.OP] != CellOp.DECAYED]
    decayed_from = len(table) + len(plain)
    table += plain + [row for row in rows if row[cell_kernel.OP] == CellOp.DECAYED]
    return decayed_from
