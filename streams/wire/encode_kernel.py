"""The compiled half of writing Avro: columns of words and bytes into records side by side (`streams.wire.encode` is the other)."""

# what is compiled reads single words; NumPy's stubs cannot tell an element of an array from an array
# pyright: reportArgumentType=false

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from samestream.streams.engine.compiling import Words, lean

Bytes = NDArray[np.uint8]

LONG, DOUBLE, BOOLEAN, TEXT, RAW = range(5)  # what a field is; RAW: bytes that are Avro already
FORM, NULL = range(2)  # columns of `fields`; NULL: which branch of the union is null, -1 where it is no union
MOST = (11, 9, 2, 11, 0)  # bytes of a value at most, its branch included, without those of a text
LONGEST_NUMBER = 20  # digits and sign of a word


@lean
def number(value: int, out: Bytes, at: int) -> int:
    """Write a whole number as Avro does, the sign in the lowest bit, seven bits a byte; return where it ends."""
    rest = (np.uint64(value) << np.uint64(1)) ^ np.uint64(value >> 63)
    while rest >= np.uint64(0x80):
        out[at] = (rest & np.uint64(0x7F)) | np.uint64(0x80)
        rest >>= np.uint64(7)
        at += 1
    out[at] = rest
    return at + 1


@lean
def encode(
    fields: Words, words: Words, sizes: Words, there: Bytes, data: Bytes, out: Bytes, bounds: Words
) -> tuple[int, int]:
    """Write every record, field by field; return how many, and the field that lacked a value if that was not all.

    words, sizes, there : shape (fields, records); of texts and raw bytes, where they lie in ``data`` and how long they are
    out : has room for them all; ``bounds`` begins with 0
    """
    at = 0
    for row in range(words.shape[1]):
        for field in range(fields.shape[0]):
            null = fields[field, NULL]
            if there[field, row] == 0:
                if null < 0:
                    return row, field
                out[at] = 2 * null
                at += 1
                continue
            if null >= 0:
                out[at] = 2 * (1 - null)
                at += 1
            form, word = fields[field, FORM], words[field, row]
            if form == LONG:
                at = number(word, out, at)
            elif form == DOUBLE:
                rest = np.uint64(word)
                for i in range(8):
                    out[at + i] = rest & np.uint64(0xFF)
                    rest >>= np.uint64(8)
                at += 8
            elif form == BOOLEAN:
                out[at] = word != 0
                at += 1
            else:
                size = sizes[field, row]
                if form == TEXT:
                    at = number(size, out, at)
                for i in range(size):
                    out[at + i] = data[word + i]
                at += size
        bounds[row + 1] = at
    return words.shape[1], 0


@lean
def decimals(words: Words, out: Bytes, bounds: Words) -> None:
    """Write whole numbers in decimal digits, as Python does; ``out`` has room for LONGEST_NUMBER each."""
    at, ten = np.int64(0), np.uint64(10)
    for row in range(words.shape[0]):
        rest = np.uint64(words[row])
        if words[row] < 0:
            out[at] = 45
            at += 1
            rest = np.uint64(0) - rest
        digits, left = 1, rest
        while left >= ten:
            left //= ten
            digits += 1
        for i in range(digits):
            out[at + digits - 1 - i] = np.uint64(48) + rest % ten
            rest //= ten
        at += digits
        bounds[row + 1] = at


@lean
def reheaded(data: Bytes, bounds: Words, there: Bytes, old: int, header: Bytes, out: Bytes, to: Words) -> None:
    """Copy records whose first ``old`` bytes are another header; ``to`` begins with 0."""
    at = np.int64(0)
    for row in range(there.shape[0]):
        if there[row]:
            for i in range(header.shape[0]):
                out[at + i] = header[i]
            at += header.shape[0]
            for i in range(bounds[row] + old, bounds[row + 1]):
                out[at] = data[i]
                at += 1
        to[row + 1] = at
