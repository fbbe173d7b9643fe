"""The compiled half of reading Avro: a program for one writer schema, run over the joined bytes of many records.

A program is two tables. ``fields`` holds, for each field of the writer's record in order, the number of its first row in
``branches`` (and one number more, where the last ends). A row of ``branches`` says ``type, size, store, slot, scale, also,
union``: what to read, how wide it is (bytes of a fixed, symbols of an enum, the bound of a decimal), what becomes of it, in
which column, by which factor (or where in ``codes``), and in which second column. Where ``union`` is set, the bytes name the
row, counted from the field's first. A nested record is a field without bytes of its own, followed by its fields; where it is
null, ``size`` says how many of these are not there.

A record is good only if it is lawful by the Avro specification (`streams.wire.avro_wire` says so in plain Python), fills its
bytes exactly and fits the reader. Every other record is left to the general path, which is the judge of why. No read is
ever made before its bytes are known to be there, whatever they say.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from samestream.streams.engine.compiling import Words, bits, lean, real

Bytes = NDArray[np.uint8]

NULL, BOOLEAN, INT, LONG, FLOAT, DOUBLE, STRING, BYTES, FIXED, ENUM, NESTED, GROUP = range(12)
# what becomes of a value; REFUSE: the reader has no place for it
SKIP, WORD, REAL, TEXT, REFUSE, SCALED, DECIMAL, IDENTIFIER, CODED = range(9)
TYPE, SIZE, STORE, SLOT, SCALE, ALSO, UNION = range(7)  # columns of `branches`
BRANCH = UNION + 1
TODO, GOOD, GENERAL, DEAD = range(4)  # of a record: not yet tried, in the columns, for the general path, dead
THERE, WHOLE, CODE = 1, 2, 3  # of a value: there; there, and a whole number or a symbol's though its column is text
EQUAL, DIFFERENT, MISSING, ABSENT = range(4)  # of a Kafka key; ABSENT: there is none in the record
SHORTEST_HEADER = 5  # of the wire formats that there are
LENGTH_BITS = 21  # a text is a word: where it starts in the bytes, then so many bits for how long it is
LONGEST = (1 << LENGTH_BITS) - 1
LARGEST = (1 << 63) - 1


@lean
def varint(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """Return the zigzag number at ``at`` and where it ends; -1 if it is cut off or does not fit in 64 bits."""
    word, shift = np.uint64(0), np.uint64(0)
    while at < end and shift <= np.uint64(63):
        byte = np.uint64(data[at])
        at += 1
        word |= (byte & np.uint64(0x7F)) << shift
        if byte < np.uint64(0x80):
            if shift == np.uint64(63) and byte > np.uint64(1):
                return 0, -1
            return np.int64(word >> np.uint64(1)) ^ -np.int64(word & np.uint64(1)), at  # type: ignore[return-value]
        shift += np.uint64(7)
    return 0, -1


@lean
def is_text(data: Bytes, at: int, end: int) -> bool:
    """Whether the bytes are UTF-8: shortest forms only, no surrogates, nothing above U+10FFFF."""
    high = np.uint8(0)
    for i in range(at, end):
        high |= data[i]
    if high < 0x80:
        return True
    while at < end:
        first = data[at]
        at += 1
        if first < 0x80:
            continue
        low, top = 0x80, 0xBF  # what the second byte may be
        if 0xC2 <= first <= 0xDF:
            more = 1
        elif 0xE0 <= first <= 0xEF:
            more = 2
            low, top = (0xA0 if first == 0xE0 else low), (0x9F if first == 0xED else top)
        elif 0xF0 <= first <= 0xF4:
            more = 3
            low, top = (0x90 if first == 0xF0 else low), (0x8F if first == 0xF4 else top)
        else:
            return False
        if more > end - at:
            return False
        for _ in range(more):
            if data[at] < low or data[at] > top:
                return False
            low, top = 0x80, 0xBF
            at += 1
    return True


@lean
def little_endian(data: Bytes, at: int, width: int) -> int:
    """Return the ``width`` bytes at ``at`` as a word; the caller knows that they are there."""
    word = np.uint64(0)
    for i in range(width):
        word |= np.uint64(data[at + i]) << np.uint64(8 * i)
    return np.int64(word)  # type: ignore[return-value]


@lean
def big_endian(data: Bytes, at: int, width: int) -> int:
    """Return the signed number in up to eight bytes, the greatest first, which the caller has checked are there."""
    word = np.uint64(0) if data[at] < 0x80 else ~np.uint64(0)
    for i in range(width):
        word = (word << np.uint64(8)) | np.uint64(data[at + i])
    return np.int64(word)  # type: ignore[return-value]


@lean
def is_identifier(data: Bytes, at: int, end: int) -> bool:
    """Whether the bytes are a UUID as Python writes it; other ways of writing one are for the general path."""
    if end - at != 36:
        return False
    for i in range(36):
        byte = data[at + i]
        if i == 8 or i == 13 or i == 18 or i == 23:
            if byte != 45:
                return False
        elif not (48 <= byte <= 57 or 97 <= byte <= 102):
            return False
    return True


@lean
def decode(
    data: Bytes,
    bounds: Words,
    header: Bytes,
    fields: Words,
    branches: Words,
    codes: Words,
    status: Bytes,
    words: Words,
    there: Bytes,
) -> None:
    """Settle every record still to do that begins with ``header``: GOOD, its row filled in; or GENERAL, its row zeros.

    Record ``i`` is ``data[bounds[i]:bounds[i + 1]]``; ``words`` and ``there`` have shape (columns, records).
    One function on purpose: a call per field costs more than most fields.
    """
    for row in range(status.shape[0]):
        at, end = bounds[row], bounds[row + 1]
        if status[row] != TODO or end - at < header.shape[0]:
            continue
        same = True
        for i in range(SHORTEST_HEADER):  # of a fixed length, so that the compiler unrolls it
            same &= data[at + i] == header[i]
        for i in range(SHORTEST_HEADER, header.shape[0]):
            same &= data[at + i] == header[i]
        if not same:
            continue
        at = at + header.shape[0] if end - at <= LONGEST else -1
        field = 0
        while field < fields.shape[0] - 1 and at >= 0:
            branch, value = fields[field], 0
            field += 1
            if branches[branch, UNION]:
                value, at = varint(data, at, end)
                if at < 0 or value < 0 or value >= fields[field] - branch:
                    at = -1
                    break
                branch += value
            kind, store, slot = branches[branch, TYPE], branches[branch, STORE], branches[branch, SLOT]
            if store == REFUSE or kind == NESTED:
                at = -1
            elif kind == NULL:
                field += branches[branch, SIZE]
            elif kind == GROUP:
                pass
            elif kind == DOUBLE or kind == FLOAT:  # noqa: SIM109 (numba would build a tuple)
                width = 8 if kind == DOUBLE else 4
                if width > end - at:
                    at = -1
                    break
                if store == REAL:
                    x = 0.0
                    if kind == DOUBLE:
                        x = real(little_endian(data, at, 8))
                    else:
                        x = np.float64(np.int32(little_endian(data, at, 4)).view(np.float32))
                    if x == x:  # a NaN counts as not there
                        words[slot, row] = bits(x)
                        there[slot, row] = THERE
                at += width
            elif kind == FIXED:
                at = at + branches[branch, SIZE] if branches[branch, SIZE] <= end - at else -1
            elif kind == STRING or kind == BYTES:  # noqa: SIM109
                value, at = varint(data, at, end)
                if at < 0 or value < 0 or value > end - at:
                    at = -1
                    break
                if (kind == STRING or store == TEXT) and not is_text(data, at, at + value):
                    at = -1
                    break
                if store == TEXT:
                    words[slot, row] = (at << LENGTH_BITS) | value
                    there[slot, row] = THERE
                elif store == IDENTIFIER:
                    if not is_identifier(data, at, at + value):
                        at = -1
                        break
                    words[slot, row] = (at << LENGTH_BITS) | value
                    there[slot, row] = THERE
                elif store == DECIMAL:
                    # longer ones may be lawful, with leading bytes that say nothing: rare enough for the general path
                    bound = branches[branch, SIZE]
                    if value < 1 or value > 8:
                        at = -1
                        break
                    units = big_endian(data, at, value)
                    if units >= bound or units <= -bound:
                        at = -1
                        break
                    if slot >= 0:
                        words[slot, row] = bits(np.float64(units) / np.float64(branches[branch, SCALE]))
                        there[slot, row] = THERE
                    if branches[branch, ALSO] >= 0:
                        words[branches[branch, ALSO], row] = units
                        there[branches[branch, ALSO], row] = THERE
                at += value
            else:
                if kind == BOOLEAN:
                    if at >= end or data[at] > 1:
                        at = -1
                        break
                    value = int(data[at])
                    at += 1
                else:
                    value, at = varint(data, at, end)
                    if kind == INT and (value < -(1 << 31) or value >= 1 << 31):
                        at = -1
                    if kind == ENUM and (value < 0 or value >= branches[branch, SIZE]):
                        at = -1
                if store == SKIP or at < 0:
                    pass
                elif store < SCALED:
                    words[slot, row] = bits(np.float64(value)) if store == REAL else value
                    there[slot, row] = WHOLE if store == TEXT else THERE
                elif store == SCALED:
                    factor = branches[branch, SCALE]
                    if value > LARGEST // factor or value < -(LARGEST // factor):
                        at = -1
                        break
                    words[slot, row] = value * factor
                    there[slot, row] = THERE
                else:  # CODED
                    value = codes[branches[branch, SCALE] + value]
                    if value < 0:
                        at = -1
                    elif slot >= 0:
                        words[slot, row] = value
                        there[slot, row] = CODE
        status[row] = GOOD if at == end else GENERAL
        if at != end:
            for column in range(words.shape[0]):
                words[column, row] = 0
                there[column, row] = 0


@lean
def is_decimal(value: int, data: Bytes, at: int, end: int) -> bool:
    """Whether the bytes are the number in decimal digits, as Python writes it."""
    ten, rest = np.uint64(10), np.uint64(value)
    if value < 0:
        rest = np.uint64(0) - rest
    while end > at:
        end -= 1
        if np.uint64(data[end]) != np.uint64(48) + rest % ten:
            return False
        rest //= ten
        if rest == np.uint64(0):
            return end == at if value >= 0 else (end == at + 1 and data[at] == 45)
    return False


@lean
def compare(
    data: Bytes, words: Words, there: Bytes, text: bool, status: Bytes, keys: Bytes, bounds: Words, verdict: Bytes
) -> None:
    """Judge the Kafka keys of good records against their column of texts or whole numbers."""
    for row in range(status.shape[0]):
        if status[row] != GOOD:
            continue
        at, end, word = bounds[row], bounds[row + 1], words[row]
        if at == end:
            verdict[row] = MISSING
        elif there[row] == 0:
            verdict[row] = ABSENT
        elif text and there[row] == THERE:
            start, same = word >> LENGTH_BITS, word & LONGEST == end - at
            if same:
                for i in range(end - at):
                    same &= data[start + i] == keys[at + i]
            verdict[row] = EQUAL if same else DIFFERENT
        else:
            verdict[row] = EQUAL if is_decimal(word, keys, at, end) else DIFFERENT


@lean
def gather(data: Bytes, words: Words, bounds: Words, to: Bytes) -> None:
    """Copy texts side by side; text ``i`` goes to ``to[bounds[i]:bounds[i + 1]]``, so empty ones stay untouched."""
    for row in range(words.shape[0]):
        start, at = words[row] >> LENGTH_BITS, bounds[row]
        for i in range(bounds[row + 1] - at):
            to[at + i] = data[start + i]
