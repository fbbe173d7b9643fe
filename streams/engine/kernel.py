"""The compiled half of the window state: how tiles are kept, found and read (DESIGN section 2).

All state is int64 words, a float being the bits of a float64, so that every function here has one signature.

* ``slab``: rows of words, in regions. A region belongs to one key, and holds the tiles of one tier (``index, slots...``,
  sorted), or the raw events (``t, position, values..., valid bits...``, sorted); it grows by moving to a place that another
  of its kind has left, else to the slab's end. Or it is a *ring*: the aligned blocks of 8, 16, 32, ...
  tiles of a tier (``number, slots...``), of a key that has many tiles.
  Block ``i`` of level ``k`` lies at row ``(span >> k) + i % (span >> k)``, and the number says which one it is: a smaller
  one means that there is no tile in block ``i``, a greater one that its place was taken. Row 0 begins with the tile index
  up to which blocks are *complete*: those that end there or before, and no others, have been computed. A ring's
  ``capacity`` is its span in tiles; it has a quarter as many rows, since smaller blocks are merged anew when asked for.
* ``rows``: one row of words per key: ``settled``, then ``start, length, capacity`` of its regions (the tiles of every
  tier, the ring of every tier, the raw events), then per window ``until, slots...`` and, if it
  is anchored, ``start``.
* ``cells``: see :mod:`cell_kernel`, which has the arithmetic.

A query leaves its answers in the key's row. As long as nothing earlier than that instant (``settled``) is applied,
neither end of the window crosses a tile boundary (``until``) and an anchored one has the same ``start``, the next query
only adds the events since: the very additions, in the very order, of a computation from the start.
"""

# What is compiled reads single words; NumPy's stubs cannot tell an element of an array from an array.
# pyright: reportArgumentType=false

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from samestream.streams.engine.cell_kernel import (
    EARLIEST,
    LOWEST,
    NEVER,
    SLOT,
    TILE_SLOT,
    WIDTH,
    add,
    add_decayed,
    merge,
    zero,
)
from samestream.streams.engine.compiling import Words, bits, compiled, lean, prefetch


def _rooms() -> list[int]:
    """1, 2, 4, 8, and then a quarter more each, but at least four: beyond what a computer holds."""
    found = [1, 2, 4, 8]
    while found[-1] < 1 << 45:
        found.append(found[-1] + max(4, found[-1] >> 2))
    return found


TILE_US, KEPT_US, STRIDE, TIER_FROM, TIER_DECAYED, TIER_TO = range(6)  # columns of `tiers`: a row per region of a key
# Columns of `windows`.
TIER, LENGTH_US, ROW_AT, SLOTS, OUT_AT, WINDOW_FROM, WINDOW_DECAYED, WINDOW_TO, ANCHOR = range(9)
# Words of `marks`; from FREE on, by region and room: a place that was left, whose first word says the next one, or -1.
USED, QUERIES, NEED, FREE = range(4)
START, LENGTH, CAPACITY = range(3)  # words of a region in a key's row, after `settled`
RING = 0  # column of `tiers`: of those after the tiers, how many tiles a key's ring spans, a power of two
LEAST = 3  # level of the smallest blocks that a ring keeps
# A key gets a ring when it has room for so many tiles, and for a quarter of its span; others are smaller without.
DENSE = 32
FITS = 1 << 18  # words of `rows` that mostly stay in the cache anyway
AHEAD = 16  # operations
ROOMS = np.array(_rooms())  # how many rows a region may have room for


@lean
def lower_bound(slab: Words, start: int, length: int, stride: int, value: int) -> int:
    """Rows of the region that begin with less than ``value``; searched from the newest, where it nearly always is."""
    above, step = length, 1
    while above - step >= 0 and slab[start + (above - step) * stride] >= value:
        above -= step
        step *= 2
    below = max(above - step, 0)
    while below < above:
        middle = (below + above) >> 1
        if slab[start + middle * stride] < value:
            below = middle + 1
        else:
            above = middle
    return below


@lean
def fold(
    cells: Words, first: int, last: int, width: int, slab: Words, row: int, end: int, stride: int,
    tail: int, head: int, stack: Words, joins: Words, depth: int,
) -> int:  # fmt: skip
    """Merge the tiles at words ``row`` to ``end`` as the canonical blocks of ``[tail, head)`` into the stack's bottom.

    Two neighbours in a block meet at the node of the highest bit in which their indices differ, so a stack that keeps
    these (``joins``) builds the tree without ever touching an empty tile. ``depth`` is 1 if the bottom already holds
    what lies before ``tail``, else 0; return the same for ``head``.
    """
    floor, block_end, previous = 0, tail, 0
    while row < end:
        index = slab[row]
        if index >= block_end:
            while depth > 1:  # the block is complete: close it from the right, then fold it into what lies before it
                depth -= 1
                merge(cells, first, last, stack, (depth - 1) * width, stack, depth * width, SLOT)
            floor = depth
            while index >= block_end:
                size, rest = block_end & -block_end, head - block_end
                if size == 0 or size > rest:  # the largest power of two within the rest
                    for shift in (1, 2, 4, 8, 16, 32):
                        rest |= rest >> shift
                    size = rest - (rest >> 1)
                block_end += size
        joined = False
        if depth > floor:
            join = index ^ previous
            if join == 1:  # siblings
                merge(cells, first, last, stack, (depth - 1) * width, slab, row, TILE_SLOT)
                joined = True
            else:
                # joins[...] < its xor with join and < join: its highest bit is lower, so that node is complete
                while depth - floor > 1 and joins[depth - 1] < join and joins[depth - 1] < joins[depth - 1] ^ join:
                    depth -= 1
                    merge(cells, first, last, stack, (depth - 1) * width, stack, depth * width, SLOT)
                joins[depth] = join
        if not joined:
            for c in range(first, last):
                for word in range(cells[c, WIDTH]):
                    stack[depth * width + cells[c, SLOT] + word] = slab[row + cells[c, TILE_SLOT] + word]
            depth += 1
        previous = index
        row += stride
    while depth > 1:
        depth -= 1
        merge(cells, first, last, stack, (depth - 1) * width, stack, depth * width, SLOT)
    return depth


@lean
def room_of(rows: int) -> int:
    """Return the number of the smallest of `ROOMS` that has room for so many rows."""
    below, above = 0, ROOMS.shape[0] - 1
    while below < above:
        middle = (below + above) >> 1
        if ROOMS[middle] < rows:
            below = middle + 1
        else:
            above = middle
    return below


@lean
def larger(capacity: int) -> int:
    """Return how many rows a region moves to that is full."""
    return int(ROOMS[room_of(capacity + 1)])


@lean
def insert(where: int, stride: int, oldest: int, at: int, region: int, rows: Words, slab: Words, marks: Words) -> int:
    """Open a gap of one row before row ``where`` of the region described at word ``at`` of rows; return the gap's word.

    A full region drops the rows that begin below ``oldest`` if that frees an eighth of it, and moves otherwise.
    """
    start, length, capacity = rows[at + START], rows[at + LENGTH], rows[at + CAPACITY]
    if length == capacity:
        dropped = min(lower_bound(slab, start, length, stride, oldest), where)
        live, target = length - dropped, start
        moves = capacity == 0 or 8 * live > 7 * capacity
        if moves:
            room = room_of(capacity + 1)
            free = FREE + region * ROOMS.shape[0] + room
            target = marks[free]
            if target >= 0:
                marks[free] = slab[target]
            else:
                target = marks[USED]
                marks[USED] += ROOMS[room] * stride
            rows[at + START], rows[at + CAPACITY] = target, ROOMS[room]
        for word in range(live * stride):
            slab[target + word] = slab[start + dropped * stride + word]
        if moves and capacity > 0:
            free = FREE + region * ROOMS.shape[0] + room_of(capacity)
            slab[start] = marks[free]
            marks[free] = start
        start, length, where = target, live, where - dropped
    gap = start + where * stride
    for word in range(start + length * stride - 1, gap - 1, -1):
        slab[word + stride] = slab[word]
    rows[at + LENGTH] = length + 1
    return int(gap)


@lean
def dense(span: int) -> int:
    """Return for how many tiles a key must have room to get a ring."""
    return max(DENSE, span >> 2)


@lean
def ring_rows(span: int) -> int:
    """Return how many rows the ring of so many tiles has: those of its blocks, and before them the one that begins it."""
    return max(1, span >> (LEAST - 1))


@lean
def level_of(size: int) -> int:
    """Return the exponent of the greatest power of two within a positive number below 2**53."""
    return (bits(float(size)) >> 52) - 1023


@lean
def tile_from(index: int, slab: Words, start: int, length: int, stride: int) -> int:
    """Return the word of the first tile from ``index`` on; found at once where no tile after it is missing."""
    where = length - 1 - (slab[start + (length - 1) * stride] - index) if length > 0 else -1
    if where < 0 or where >= length or slab[start + where * stride] != index:
        where = lower_bound(slab, start, length, stride, index)
    return int(start + where * stride)


@lean
def fold_tiles(
    cells: Words, first: int, last: int, width: int, slab: Words, start: int, length: int, stride: int,
    tail: int, head: int, stack: Words, joins: Words, depth: int,
) -> int:  # fmt: skip
    """Fold the tiles ``[tail, head)`` of the region at word ``start``; what ``depth`` says, and what is returned: see `fold`."""
    if tail == head:
        return depth
    begin, end = tile_from(tail, slab, start, length, stride), start + length * stride
    if head - tail > 1 << LEAST:
        end = tile_from(head, slab, start, length, stride)
    else:
        upto = begin
        while upto < end and slab[upto] < head:
            upto += stride
        end = upto
    return fold(cells, first, last, width, slab, begin, end, stride, tail, head, stack, joins, depth)


@lean
def part_at(level: int, number: int, slab: Words, stride: int, ring: int, span: int) -> int:
    """Return the word of a block, -1 if it is empty, -2 if its place in the ring was taken."""
    at = ring + ((span >> level) + (number & ((span >> level) - 1))) * stride
    if slab[at] == number:
        return at
    return -1 if slab[at] < number else -2


@lean
def build(
    level: int, number: int, tiers: Words, tier: int, cells: Words, row: int, rows: Words, slab: Words, stack: Words,
    joins: Words,
) -> None:  # fmt: skip
    """Compute a block of the ring from its halves; from its tiles, if it is of the smallest or the place of a half was taken."""
    stride, at = tiers[tier, STRIDE], row + 1 + 3 * tier
    span, ring = tiers[tier + tiers.shape[0] // 2, RING], rows[at + 3 * (tiers.shape[0] // 2) + START]
    to = ring + ((span >> level) + (number & ((span >> level) - 1))) * stride
    if slab[to] > number:
        return  # taken by a later one
    first, last = tiers[tier, TIER_FROM], tiers[tier, TIER_TO]
    left = right = -2
    if level > LEAST:
        left = part_at(level - 1, 2 * number, slab, stride, ring, span)
        right = part_at(level - 1, 2 * number + 1, slab, stride, ring, span)
    if left == -2 or right == -2:
        start, length = rows[at + START], rows[at + LENGTH]
        tail, head = number << level, (number + 1) << level
        if fold_tiles(cells, first, last, stride, slab, start, length, stride, tail, head, stack, joins, 0) == 1:
            slab[to] = number
            for word in range(1, stride):
                slab[to + word] = stack[word]
        return
    one = left if left >= 0 else right
    if one >= 0:
        slab[to] = number
        for word in range(1, stride):
            slab[to + word] = slab[one + word]
        if left >= 0 and right >= 0:
            merge(cells, first, last, slab, to, slab, right, SLOT)


@lean
def complete(
    tile: int, since: int, upto: int, tiers: Words, tier: int, cells: Words, row: int, rows: Words, slab: Words,
    stack: Words, joins: Words,
) -> None:  # fmt: skip
    """Compute the blocks that a tile is in and that end after ``since``, but not after ``upto``."""
    for level in range(LEAST, level_of(tiers[tier + tiers.shape[0] // 2, RING])):
        end = ((tile >> level) + 1) << level
        if end > upto:
            break
        if end > since:
            build(level, tile >> level, tiers, tier, cells, row, rows, slab, stack, joins)


@lean
def keep(
    index: int, before: int, tiers: Words, tier: int, cells: Words, row: int, rows: Words, slab: Words, marks: Words,
    stack: Words, joins: Words,
) -> None:  # fmt: skip
    """Bring a key's ring up to date after a tile has changed, or give it one.

    before : the newest tile there was, or the same as ``index``.
    """
    stride, at = tiers[tier, STRIDE], row + 1 + 3 * tier
    span, held = tiers[tier + tiers.shape[0] // 2, RING], at + 3 * (tiers.shape[0] // 2)
    if rows[held + CAPACITY] == 0:
        ring = marks[USED]
        marks[USED] += ring_rows(span) * stride
        rows[held + START], rows[held + CAPACITY] = ring, span
        for place in range(ring, marks[USED], stride):
            slab[place] = LOWEST
        start, length = rows[at + START], rows[at + LENGTH]
        for place in range(start, start + (length - 1) * stride, stride):
            complete(slab[place], slab[place], slab[place + stride], tiers, tier, cells, row, rows, slab, stack, joins)
        slab[ring] = slab[start + (length - 1) * stride]
        return
    ring = rows[held + START]
    if index < slab[ring]:
        complete(index, LOWEST, slab[ring], tiers, tier, cells, row, rows, slab, stack, joins)
    elif index > before:
        complete(before, slab[ring], index, tiers, tier, cells, row, rows, slab, stack, joins)
        slab[ring] = index


@lean
def close(
    tail: int, head: int, w: int, row: int, tiers: Words, windows: Words, cells: Words, rows: Words, slab: Words,
    stack: Words, joins: Words,
) -> int:  # fmt: skip
    """Merge the tiles ``[tail, head)`` for window ``w`` into the stack's bottom; 0 if there is none, else 1."""
    first, last, slots = windows[w, WINDOW_FROM], windows[w, WINDOW_TO], windows[w, SLOTS]
    tier = windows[w, TIER]
    stride, at = tiers[tier, STRIDE], row + 1 + 3 * tier
    start, length = rows[at + START], rows[at + LENGTH]
    held = at + 3 * (tiers.shape[0] // 2)
    if rows[held + CAPACITY] > 0 and length > 0 and head - tail < rows[held + CAPACITY]:
        span, ring = rows[held + CAPACITY], rows[held + START]
        if head > slab[ring]:
            newest = slab[start + (length - 1) * stride]
            complete(newest, slab[ring], head, tiers, tier, cells, row, rows, slab, stack, joins)
            slab[ring] = head
        # tiles up to the first block that is kept, those blocks, and tiles again: the canonical blocks in their order
        small = (1 << LEAST) - 1
        block, part = min((tail + small) & ~small, head), -1
        depth = fold_tiles(cells, first, last, slots, slab, start, length, stride, tail, block, stack, joins, 0)
        while head - block > small:
            level = level_of(head - block)
            if block != 0:
                level = min(level, level_of(block & -block))
            part = part_at(level, block >> level, slab, stride, ring, span)
            if part == -2:
                break
            if part >= 0 and depth == 1:
                merge(cells, first, last, stack, 0, slab, part, TILE_SLOT)
            elif part >= 0:
                for c in range(first, last):
                    for word in range(cells[c, WIDTH]):
                        stack[cells[c, SLOT] + word] = slab[part + cells[c, TILE_SLOT] + word]
                depth = 1
            block += 1 << level
        if part != -2:
            return fold_tiles(cells, first, last, slots, slab, start, length, stride, block, head, stack, joins, depth)
    return fold_tiles(cells, first, last, slots, slab, start, length, stride, tail, head, stack, joins, 0)


@lean
def read(
    t: int, row: int, nth: int, queries: int, op: int, starts: Words, tiers: Words, windows: Words, cells: Words,
    inputs: int, rows: Words, slab: Words, stack: Words, joins: Words, out: Words,
) -> None:  # fmt: skip
    """Answer every window at ``t`` for the key whose row starts at word ``row``, as query ``nth`` of ``queries``.

    Row ``op`` of ``starts`` holds the starts of the anchored windows.
    """
    raw = tiers.shape[0] - 1
    raw_stride, raw_at = tiers[raw, STRIDE], row + 1 + 3 * raw
    raw_start, raw_length = rows[raw_at + START], rows[raw_at + LENGTH]
    settled = rows[row]
    for w in range(windows.shape[0]):
        first, last, slots = windows[w, WINDOW_FROM], windows[w, WINDOW_TO], windows[w, SLOTS]
        until, state = row + windows[w, ROW_AT], row + windows[w, ROW_AT] + 1
        anchor = windows[w, ANCHOR]
        if settled <= t < rows[until] and (anchor < 0 or rows[state + slots] == starts[op, anchor]):
            since = settled
        else:
            tile_us, length_us = tiers[windows[w, TIER], TILE_US], windows[w, LENGTH_US]
            start = t - length_us
            if anchor >= 0:
                start = max(start, starts[op, anchor])
                rows[state + slots] = starts[op, anchor]
            tail, head = start // tile_us, t // tile_us
            if close(tail, head, w, row, tiers, windows, cells, rows, slab, stack, joins) == 1:
                for word in range(slots):
                    rows[state + word] = stack[word]
            else:
                zero(cells, first, last, rows, state)
            rows[until] = min((head + 1) * tile_us, (tail + 1) * tile_us + length_us)
            since = head * tile_us
        event = raw_start + lower_bound(slab, raw_start, raw_length, raw_stride, since) * raw_stride
        decayed = windows[w, WINDOW_DECAYED]
        while event < raw_start + raw_length * raw_stride and slab[event] < t:
            add(cells, first, decayed, rows, state, slab, event, inputs)
            if decayed < last:
                add_decayed(cells, decayed, last, rows, state, slab, event, inputs)
            event += raw_stride
        at = windows[w, OUT_AT] * queries + nth * slots
        for word in range(slots):
            out[at + word] = rows[state + word]
    rows[row] = t


@lean
def update(
    horizon: int, row: int, tiers: Words, cells: Words, inputs: int, rows: Words, slab: Words, marks: Words,
    event: Words, stack: Words, joins: Words,
) -> None:  # fmt: skip
    """Apply the event to the key whose row starts at word ``row``; what no query can reach any more is not stored."""
    t, raw = event[0], tiers.shape[0] - 1
    for tier in range(raw // 2):
        tile_us, stride, at = tiers[tier, TILE_US], tiers[tier, STRIDE], row + 1 + 3 * tier
        index, start, length = t // tile_us, rows[at + START], rows[at + LENGTH]
        if (index + 1) * tile_us <= horizon - tiers[tier, KEPT_US]:
            continue
        before = slab[start + (length - 1) * stride] if length > 0 else index
        tile = tile_from(index, slab, start, length, stride)
        if tile == start + length * stride or slab[tile] != index:
            oldest = (horizon - tiers[tier, KEPT_US]) // tile_us
            tile = insert((tile - start) // stride, stride, oldest, at, tier, rows, slab, marks)
            slab[tile] = index
            zero(cells, tiers[tier, TIER_FROM], tiers[tier, TIER_TO], slab, tile)
        decayed, last = tiers[tier, TIER_DECAYED], tiers[tier, TIER_TO]
        add(cells, tiers[tier, TIER_FROM], decayed, slab, tile, event, 0, inputs)
        if decayed < last:
            add_decayed(cells, decayed, last, slab, tile, event, 0, inputs)
        held = at + 3 * (raw // 2)
        if rows[held + CAPACITY] > 0:
            if index != before or index < slab[rows[held + START]]:
                keep(index, before, tiers, tier, cells, row, rows, slab, marks, stack, joins)
        elif rows[at + CAPACITY] >= dense(tiers[tier + raw // 2, RING]):
            keep(index, before, tiers, tier, cells, row, rows, slab, marks, stack, joins)
    if t >= horizon - tiers[raw, KEPT_US]:
        stride, at = tiers[raw, STRIDE], row + 1 + 3 * raw
        start, length = rows[at + START], rows[at + LENGTH]
        where = lower_bound(slab, start, length, stride, t + 1)
        while where > 0:
            before = start + (where - 1) * stride
            if slab[before] < t or slab[before + 1] <= event[1]:
                break
            where -= 1
        gap = insert(where, stride, horizon - tiers[raw, KEPT_US], at, raw, rows, slab, marks)
        for word in range(stride):
            slab[gap + word] = event[word]
    if t < rows[row]:
        rows[row] = NEVER


@lean
def checked(kind: NDArray[np.int8], key: Words, t_us: Words, horizon_us: Words, horizon: int) -> bool:
    """Whether operations are as they must be; what else is wrong, slower code finds out."""
    fits = True
    for op in range(kind.shape[0]):
        fits &= (kind[op] == 0) | (((kind[op] == 1) | (kind[op] == 2)) & (t_us[op] >= horizon_us[op]))
        fits &= (key[op] >= 0) & (horizon_us[op] >= horizon)
        horizon = horizon_us[op]
    return fits


@lean
def fetch_ahead(row: int, regions: int, rows: Words, tiers: Words, slab: Words) -> None:
    """Ask for the ends of a key's regions, where an operation will soon begin to read."""
    for region in range(regions):
        at = row + 1 + 3 * region
        if rows[at + LENGTH] > 0:
            prefetch(slab, rows[at + START] + (rows[at + LENGTH] - 1) * tiers[region, STRIDE])


@lean
def run(
    kind: NDArray[np.int8], key: Words, t_us: Words, position: Words, horizon_us: Words, values: Words,
    valid: NDArray[np.uint8], starts: Words, op: int, row_words: int, tiers: Words, windows: Words, cells: Words, rows: Words,
    slab: Words, marks: Words, event: Words, stack: Words, joins: Words, out: Words, queries: int,
) -> int:  # fmt: skip
    """Apply the operations from number ``op`` on; return the one that needs a larger slab, or their count.

    kind : 0 adds the event, 1 reads, 2 reads and then adds.

    An operation that may not fit changes nothing; ``marks[NEED]`` then says how many words it may want.
    """
    inputs, regions, many = values.shape[1], tiers.shape[0], rows.shape[0] + marks[USED] > FITS
    while op < kind.shape[0]:
        row, t = key[op] * row_words, t_us[op]
        if many and op + AHEAD < kind.shape[0] and key[op + AHEAD] != key[op]:
            for word in range(0, row_words, 8):
                prefetch(rows, key[op + AHEAD] * row_words + word)
            fetch_ahead(key[op + AHEAD // 2] * row_words, regions, rows, tiers, slab)
        if kind[op] != 1:
            need = 0
            for region in range(regions):
                held = row + 1 + 3 * region
                if regions // 2 <= region < regions - 1:
                    tiles, span = rows[held - 3 * (regions // 2) + CAPACITY], tiers[region, RING]
                    if rows[held + CAPACITY] == 0 and larger(tiles) >= dense(span):
                        need += ring_rows(span) * tiers[region, STRIDE]
                elif rows[held + LENGTH] == rows[held + CAPACITY]:
                    need += tiers[region, STRIDE] * larger(rows[held + CAPACITY])
            if need > slab.shape[0] - marks[USED]:
                marks[NEED] = need
                return op
        if kind[op] != 0:
            nth = marks[QUERIES]
            read(t, row, nth, queries, op, starts, tiers, windows, cells, inputs, rows, slab, stack, joins, out)
            marks[QUERIES] += 1
        if kind[op] != 1:
            event[0], event[1] = t, position[op]
            for word in range(2 + inputs, event.shape[0]):
                event[word] = 0
            for i in range(inputs):
                event[2 + i] = values[op, i]
                if valid[op, i]:
                    event[2 + inputs + (i >> 6)] |= np.int64(1) << (i & 63)
            horizon = max(horizon_us[op], EARLIEST)
            update(horizon, row, tiers, cells, inputs, rows, slab, marks, event, stack, joins)
        op += 1
    return op


@compiled
def pack(horizon_us: int, keys: int, row_words: int, tiers: Words, rows: Words, slab: Words, to: Words) -> int:
    """Copy what can still be read into the slab ``to``, regions side by side; return the words used.

    A region keeps its room, which is what it came to need, unless it could do with less by two.

    With an empty ``to`` nothing is changed: the answer is the size it needs.
    """
    used, horizon, regions = 0, max(horizon_us, EARLIEST), tiers.shape[0]
    fits = np.zeros(regions, np.int64)  # tiles of a tier that the key will have room for
    for key in range(keys):
        for region in range(regions):
            at, stride = key * row_words + 1 + 3 * region, tiers[region, STRIDE]
            start, length = rows[at + START], rows[at + LENGTH]
            if regions // 2 <= region < regions - 1:
                dropped, length, capacity = 0, 0, rows[at + CAPACITY]
                if fits[region - regions // 2] < dense(tiers[region, RING]):
                    capacity = 0
                live = room = ring_rows(capacity) if capacity > 0 else 0
            else:
                oldest = (horizon - tiers[region, KEPT_US]) // tiers[region, TILE_US]
                dropped = lower_bound(slab, start, length, stride, oldest)
                live = length = length - dropped
                capacity = room = min(rows[at + CAPACITY], larger(live + (live >> 2))) if live > 0 else 0
                fits[region] = capacity
            if to.shape[0] > 0:
                for word in range(live * stride):
                    to[used + word] = slab[start + dropped * stride + word]
                rows[at + START], rows[at + LENGTH], rows[at + CAPACITY] = used, length, capacity
            used += room * stride
    return used


@lean
def idle(horizon_us: int, keys: int, row_words: int, tiers: Words, rows: Words, slab: Words, found: Words) -> None:
    """Write for every key 1 if nothing it holds can be reached any more, else 0."""
    horizon, regions = max(horizon_us, EARLIEST), tiers.shape[0]
    for key in range(keys):
        found[key] = 1
        for region in range(regions):
            at, stride = key * row_words + 1 + 3 * region, tiers[region, STRIDE]
            if regions // 2 <= region < regions - 1 or rows[at + LENGTH] == 0:
                continue  # a ring is made of tiles
            newest = slab[rows[at + START] + (rows[at + LENGTH] - 1) * stride]
            if newest >= (horizon - tiers[region, KEPT_US]) // tiers[region, TILE_US]:
                found[key] = 0
                break
