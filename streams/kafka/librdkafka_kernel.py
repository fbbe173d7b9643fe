"""The compiled half of our own librdkafka handles: messages into buffers, and buffers into messages.

The layouts are those of librdkafka's public header for 64-bit machines: `rd_kafka_message_t` and `rd_kafka_vu_t` are 72
bytes each. Functions of the library come as addresses, so that numba can keep the machine code on disk.
"""

# numba passes an intrinsic's first argument itself, and exports what it documents by lists that checkers do not read
# pyright: reportCallIssue=false, reportPrivateImportUsage=false

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from samestream.streams.engine.compiling import Words, compiled

Bytes = NDArray[np.uint8]

ERROR, TOPIC, NUMBER, VALUE, VALUE_LENGTH, KEY, KEY_LENGTH, OFFSET, STAMP_MS = range(9)  # rows of what `look` finds
LOOKED = STAMP_MS + 1
FAILED, FIRST_ERROR, FIRST_NUMBER, NAME_OF, NAME = range(5)  # words of the deliveries' report; NAME and following
REPORT_WORDS = NAME + 32  # a topic's name has up to 249 bytes
_LONGEST_NAME = 249
V_TOPIC, V_PARTITION, V_VALUE, V_KEY, V_FLAGS, V_STAMP, V_HEADER = 2, 3, 4, 5, 7, 8, 9  # rd_kafka_vtype_t
PARTS, WORDS = 6, 9  # of a record to be sent: its `rd_kafka_vu_t`s without headers, and words in each
COPY = 2  # RD_KAFKA_MSG_FCOPY


@intrinsic  # type: ignore[untyped-decorator]
def _word(typing: Any, address: Any) -> Any:
    """The eight bytes at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], ir.IntType(64).as_pointer()))

    return types.int64(types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def copy(typing: Any, to: Any, source: Any, count: Any) -> Any:
    """Copy bytes between addresses."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        cgutils.raw_memcpy(
            builder, builder.inttoptr(args[0], pointer), builder.inttoptr(args[1], pointer), args[2], itemsize=1
        )
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _call(typing: Any, function: Any, first: Any, second: Any, third: Any, fourth: Any) -> Any:
    """Call a C function at an address with up to four words; what it does not ask for, it does not see."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(64)
        return builder.call(builder.inttoptr(args[0], ir.FunctionType(word, [word] * 4).as_pointer()), args[1:])

    return types.int64(*[types.int64] * 5), generate


@compiled
def _half(word: int) -> int:
    """The signed 32 bits at the lower end of a word."""
    return np.int64(np.int32(word & 0xFFFFFFFF))  # type: ignore[return-value]


@compiled
def consume(queue: int, function: int, timeout_ms: int, messages: Words, held: Words) -> None:
    """Take what there is, waiting for it until ``messages`` is full; ``held[0]`` counts what is to be destroyed.

    It counts here, since Ctrl-C may come before Python has stored a result: a message forgotten makes closing hang.

    function : address of rd_kafka_consume_batch_queue
    """
    address = np.int64(messages.ctypes.data)
    held[0] += max(_call(function, queue, timeout_ms, address, len(messages)), 0)


@compiled
def destroy(messages: Words, held: Words, function: int) -> None:
    """Give messages back; function : address of rd_kafka_message_destroy."""
    while held[0] > 0:
        held[0] -= 1
        _call(function, messages[held[0]], 0, 0, 0)


@compiled
def look(messages: Words, count: int, stamp_of: int, found: Words) -> None:
    """Fill the columns of ``found``, shape (LOOKED, at least count), from the first messages.

    stamp_of : address of rd_kafka_message_timestamp
    """
    for i in range(count):
        at = messages[i]
        error = _half(_word(at))
        found[ERROR, i] = error
        found[TOPIC, i] = _word(at + 8)
        found[NUMBER, i] = _half(_word(at + 16))
        found[VALUE, i] = _word(at + 24)
        found[VALUE_LENGTH, i] = _word(at + 32)
        found[KEY, i] = _word(at + 40)
        found[KEY_LENGTH, i] = _word(at + 48)
        found[OFFSET, i] = _word(at + 56)
        found[STAMP_MS, i] = _call(stamp_of, at, 0, 0, 0) if error == 0 else -1


@compiled
def pack(starts: Words, lengths: Words, rows: Words, data: Bytes, bounds: Words, there: Bytes) -> None:
    """Copy the strings of ``rows`` side by side; ``bounds`` begins with 0 and has room, an address of 0 is null."""
    base, at = np.int64(data.ctypes.data), np.int64(0)
    for i in range(len(rows)):
        row = rows[i]
        there[i] = starts[row] != 0
        if there[i] and lengths[row] > 0:
            copy(base + at, starts[row], lengths[row])
            at += lengths[row]
        bounds[i + 1] = at


@compiled
def send(
    handle: int,
    function: int,
    handles: Words,
    topics: Words,
    numbers: Words,
    stamps_ms: Words,
    keys: Bytes,
    key_bounds: Words,
    key_there: Bytes,
    values: Bytes,
    value_bounds: Words,
    value_there: Bytes,
    first: int,
    refused: Words,
) -> int:
    """Enqueue records from ``first`` on; returns how far it came, with librdkafka's error in ``refused[0]`` if not to the end.

    function : address of rd_kafka_produceva; handles : of the topics, which ``topics`` counts
    """
    parts = np.zeros(PARTS * WORDS, np.int64)
    address = np.int64(parts.ctypes.data)
    key_base, value_base = np.int64(keys.ctypes.data), np.int64(values.ctypes.data)
    for place, kind in enumerate((V_TOPIC, V_PARTITION, V_VALUE, V_KEY, V_STAMP, V_FLAGS)):
        parts[place * WORDS] = kind
    parts[5 * WORDS + 1] = COPY
    for row in range(first, len(topics)):
        parts[1] = handles[topics[row]]
        parts[WORDS + 1] = numbers[row]
        parts[2 * WORDS + 1] = value_base + value_bounds[row] if value_there[row] else 0
        parts[2 * WORDS + 2] = value_bounds[row + 1] - value_bounds[row]
        parts[3 * WORDS + 1] = key_base + key_bounds[row] if key_there[row] else 0
        parts[3 * WORDS + 2] = key_bounds[row + 1] - key_bounds[row]
        parts[4 * WORDS + 1] = stamps_ms[row]
        refused[0] = _call(function, handle, address, PARTS, 0)
        if refused[0] != 0:
            return row
    return len(topics)


@cfunc(types.void(types.int64, types.int64, types.CPointer(types.int64)), cache=True)  # type: ignore[untyped-decorator]
def delivered(_handle: int, message: int, report: Any) -> None:
    """Librdkafka's delivery report: counts failures, and keeps the first; ``report`` has REPORT_WORDS words."""
    words = carray(report, REPORT_WORDS)
    error = _half(_word(message))
    if error == 0:
        return
    words[FAILED] += 1
    if words[FAILED] > 1:
        return
    words[FIRST_ERROR] = error
    words[FIRST_NUMBER] = _half(_word(message + 16))
    words[NAME:] = 0
    topic = _word(message + 8)
    name = _call(words[NAME_OF], topic, 0, 0, 0) if topic != 0 else np.int64(0)
    to, letter = np.int64(words.ctypes.data) + NAME * 8, np.zeros(1, np.uint8)
    for i in range(_LONGEST_NAME if name != 0 else 0):
        copy(np.int64(letter.ctypes.data), name + i, 1)
        if letter[0] == 0:
            break
        copy(to + i, name + i, 1)
