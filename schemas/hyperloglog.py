"""HyperLogLog: how many different values a set has, from 4,096 registers (Flajolet, Fusy, Gandouet, Meunier 2007).

The registers, and with them the estimate, depend on the set of values alone: not on their order, repetition or grouping.
The standard error is ``1.04 / sqrt(4096)``, 1.6 %.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from typing import Any

REGISTERS = 4_096
RANK_BITS = 48
EMPTY = bytes(REGISTERS)
_ALPHA = 0.7213 / (1 + 1.079 / REGISTERS)
_HIGH = int.from_bytes(b"\x80" * REGISTERS, "big")


def text(value: Any) -> str:
    """The text that is hashed: of a condition ``true`` or ``false``, of a time its microseconds since 1970."""
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def register_and_rank(value: Any) -> tuple[int, int]:
    """Of the first 60 bits of the MD5 of the value's text, 12 choose the register; the rest give the rank, 1 to 49.

    The rank is one more than the number of zeros before the first one.
    """
    digest = hashlib.md5(text(value).encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
    register, rest = divmod(int(digest[:15], 16), 1 << RANK_BITS)
    return register, RANK_BITS + 1 - rest.bit_length()


def add(registers: bytes, value: Any) -> bytes:
    """The registers with one more value."""
    register, rank = register_and_rank(value)
    if registers[register] >= rank:
        return registers
    return registers[:register] + bytes((rank,)) + registers[register + 1 :]


def merge(left: bytes, right: bytes) -> bytes:
    """The greater of each two registers, all 4,096 at once: as the bytes of two long whole numbers."""
    a, b = int.from_bytes(left, "big"), int.from_bytes(right, "big")
    at_least = ((a | _HIGH) - b) & _HIGH  # the high bit of every byte in which a >= b; no byte borrows from the next
    mask = at_least - (at_least >> 7)  # there 0x7f, elsewhere 0
    return ((a & mask) | (b & ~mask)).to_bytes(REGISTERS, "big")


def estimate(registers: bytes) -> int:
    """How many different values the registers have seen, by linear counting where that is better.

    >>> estimate(EMPTY)
    0
    """
    counts = Counter(registers)
    total = sum(count << (RANK_BITS + 1 - rank) for rank, count in counts.items())  # times 2**49, exactly
    found = _ALPHA * REGISTERS * REGISTERS * (1 << (RANK_BITS + 1)) / total
    if found <= 2.5 * REGISTERS and counts[0]:
        found = REGISTERS * math.log(REGISTERS / counts[0])
    return math.floor(found + 0.5)
