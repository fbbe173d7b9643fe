"""What a window holds, said as plainly as Python can (DESIGN section 2): the judge of every faster engine.

Nothing is kept but the events, in the order they were applied; nothing is pruned; every query starts from scratch.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field

from samestream.streams.engine.tiles import Cell, CellOp, Window

LEAST, GREATEST = -(2**63), 2**63 - 1
FLOATS = (CellOp.SUM_FLOAT, CellOp.MIN_FLOAT, CellOp.MAX_FLOAT)


def real(word: int) -> float:
    return struct.unpack("<d", struct.pack("<q", word))[0]


def bits(x: float) -> int:
    return struct.unpack("<q", struct.pack("<d", x))[0]


def wrap(n: int) -> int:
    return (n + 2**63) % 2**64 - 2**63


TERMS = [1.0]
for _n in range(1, 18):
    TERMS.append(TERMS[-1] * -0.6931471805599453 / _n)


def weight(age: int, half_life: int) -> float:
    """2 ** -(age / half_life): whole half-lives exactly, the rest of one by 18 terms of the power series."""
    halvings, rest = divmod(age, half_life)
    if halvings >= 1023:
        return 0.0
    total, x = 0.0, float(rest) / float(half_life)
    for term in reversed(TERMS):
        total = total * x + term
    return total * 0.5**halvings


@dataclass(frozen=True)
class Applied:
    """One event: ``values`` are int64 or float64 bits, None where invalid."""

    t: int
    position: int
    values: tuple[int | None, ...]


def zero(op: CellOp):
    return {
        CellOp.COUNT: 0,
        CellOp.SUM_INT: 0,
        CellOp.SUM_FLOAT: -0.0,
        CellOp.MIN_INT: GREATEST,
        CellOp.MAX_INT: LEAST,
        CellOp.MIN_FLOAT: math.inf,
        CellOp.MAX_FLOAT: -math.inf,
        CellOp.LAST: (LEAST, LEAST, 0),
        CellOp.FIRST: (GREATEST, GREATEST, 0),
        CellOp.MOMENTS: (0, 0.0, 0.0),
        CellOp.DECAYED: (LEAST, -0.0, 0.0),
    }[op]


def add(cell: Cell, state, event: Applied):
    word = event.values[cell.input]
    if word is None:
        return state
    match cell.op:
        case CellOp.COUNT:
            return state + 1
        case CellOp.MOMENTS:
            count, mean, m2 = state
            x = real(word)
            new = mean + (x - mean) / (count + 1)
            return count + 1, new, m2 + (x - mean) * (x - new)
        case CellOp.LAST | CellOp.FIRST:
            return merge(cell, state, (event.t, event.position, word))
        case CellOp.DECAYED:
            return merge(cell, state, (event.t, real(word), 1.0))
        case _:
            return merge(cell, state, real(word) if cell.op in FLOATS else word)


def merge(cell: Cell, left, right):
    match cell.op:
        case CellOp.COUNT | CellOp.SUM_INT:
            return wrap(left + right)
        case CellOp.SUM_FLOAT:
            return left + right
        case CellOp.MIN_INT | CellOp.MIN_FLOAT:
            return right if right < left else left
        case CellOp.MAX_INT | CellOp.MAX_FLOAT:
            return right if right > left else left
        case CellOp.LAST:
            return right if right[:2] > left[:2] else left
        case CellOp.FIRST:
            return right if right[:2] < left[:2] else left
        case CellOp.MOMENTS:
            (n, mean, m2), (k, other, k2) = left, right
            if n == 0 or k == 0:
                return right if n == 0 else left
            share, apart = k / (n + k), other - mean
            return n + k, mean + apart * share, (m2 + k2) + (apart * apart) * (n * share)
        case CellOp.DECAYED:
            if LEAST in (left[0], right[0]):
                return right if left[0] == LEAST else left
            t = max(left[0], right[0])
            aged = [(x, w, weight(t - at, cell.param)) for at, x, w in (left, right)]
            x, y = (x * share if share else -0.0 for x, _, share in aged)  # too old to count, be it infinite
            v, w = (w * share for _, w, share in aged)
            return t, x + y, v + w


def block(cell: Cell, tiles: dict[int, object], lo: int, size: int):
    """Left half + right half; None if no tile is in ``[lo, lo + size)``."""
    inside = {index: state for index, state in tiles.items() if lo <= index < lo + size}
    if not inside or size == 1:
        return inside.get(lo)
    left = block(cell, inside, lo, size // 2)
    right = block(cell, inside, lo + size // 2, size // 2)
    if left is None or right is None:
        return right if left is None else left
    return merge(cell, left, right)


def canonical(lo: int, end: int) -> list[tuple[int, int]]:
    """The fewest aligned power-of-two blocks (lo, size) of ``[lo, end)``, from the left."""
    blocks = []
    while lo < end:
        size = 1
        while lo % (2 * size) == 0 and lo + 2 * size <= end:
            size *= 2
        blocks.append((lo, size))
        lo += size
    return blocks


@dataclass
class WindowOracle:
    """The whole state: the events of each key, in the order of application."""

    cells: list[Cell]
    windows: list[tuple[Window, list[int]]]
    applied: dict[int, list[Applied]] = field(default_factory=dict)

    def update(self, key: int, t: int, position: int, values: tuple[int | None, ...]) -> None:
        self.applied.setdefault(key, []).append(Applied(t, position, values))

    def query(self, key: int, t: int, starts: tuple[int, ...] = ()) -> list[list[int]]:
        """Return per window the int64 words of its cells; ``starts`` are those of the anchored windows."""
        given, answers = iter(starts), []
        for window, wanted in self.windows:
            start = t - window.length_us
            if window.anchored:
                start = max(start, next(given))
            states = [(self.cells[c], self.value(self.cells[c], window.tile_us, key, start, t)) for c in wanted]
            answers.append([word for cell, state in states for word in words(cell, state)])
        return answers

    def value(self, cell: Cell, g: int, key: int, start: int, t: int):
        events = self.applied.get(key, [])
        tail, head = start // g, t // g
        tiles: dict[int, object] = {}
        for event in events:
            if tail <= (index := event.t // g) < head:
                tiles[index] = add(cell, tiles.get(index, zero(cell.op)), event)
        total = None
        for lo, size in canonical(tail, head):
            part = block(cell, tiles, lo, size)
            if part is not None:
                total = part if total is None else merge(cell, total, part)
        if total is None:
            total = zero(cell.op)
        for event in sorted((e for e in events if head * g <= e.t < t), key=lambda e: (e.t, e.position)):
            total = add(cell, total, event)
        return total


def words(cell: Cell, state) -> list[int]:
    match cell.op:
        case CellOp.MOMENTS | CellOp.DECAYED:
            return [state[0], bits(state[1]), bits(state[2])]
        case CellOp.LAST | CellOp.FIRST:
            return list(state)
        case _:
            return [bits(state) if cell.op in FLOATS else state]
