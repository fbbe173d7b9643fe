"""Byte strings side by side in one buffer: what the compiled code reads and writes, without an object for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]
Int64Array: TypeAlias = NDArray[np.int64]
_OBJECT_BYTES = 33  # of a bytes object, beside what is in it


@dataclass(frozen=True, eq=False, slots=True)
class Packed(Sequence[bytes | None]):
    """A sequence of byte strings and nulls; an object is made only of what is asked for.

    data : all bytes, never of length 0, so that an address within is never null
    bounds : where each begins and the last ends, shape (strings + 1,); nulls have no bytes
    there : 0 for null, shape (strings,)

    >>> packed = Packed.of([b"ab", None, b""])
    >>> packed[0], packed[1], list(packed[1:]), packed.data.tolist()
    (b'ab', None, [None, b''], [97, 98])
    """

    data: Bytes
    bounds: Int64Array
    there: Bytes

    @classmethod
    def of(cls, values: Sequence[bytes | None]) -> Packed:
        """These values, copied unless they are packed already."""
        if isinstance(values, Packed):
            return values
        bounds, there = np.zeros(len(values) + 1, np.int64), np.ones(len(values), np.uint8)
        measured: Callable[[Any], int] = len
        try:
            lengths = np.fromiter(map(measured, values), np.int64, len(values))
        except TypeError:  # one is null, which has no length
            there[:] = [value is not None for value in values]
            values = [value or b"" for value in values]
            lengths = np.fromiter(map(measured, values), np.int64, len(values))
        np.cumsum(lengths, out=bounds[1:])
        # a bytearray: numba would compile a second version for the read-only bytes
        return cls(np.frombuffer(bytearray().join(values) or bytearray(1), np.uint8), bounds, there)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.there)

    @overload
    def __getitem__(self, at: int) -> bytes | None: ...
    @overload
    def __getitem__(self, at: slice) -> Packed: ...
    def __getitem__(self, at: int | slice) -> bytes | Packed | None:
        if isinstance(at, slice):
            start, stop, step = at.indices(len(self))
            if step != 1:
                raise ValueError("packed values are sliced without a step")
            return Packed(self.data, self.bounds[start : max(start, stop) + 1], self.there[start:stop])
        at = range(len(self))[at]
        return self.data[self.bounds[at] : self.bounds[at + 1]].tobytes() if self.there[at] else None

    def __iter__(self) -> Iterator[bytes | None]:
        if not len(self):
            return
        first = int(self.bounds[0])
        whole, edges = self.data[first : self.bounds[-1]].tobytes(), (self.bounds - first).tolist()
        for at, there in enumerate(self.there.tolist()):
            yield whole[edges[at] : edges[at + 1]] if there else None

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    @property
    def lengths(self) -> Int64Array:
        """Bytes of each, 0 for null, shape (strings,)."""
        return np.diff(self.bounds)


def held_bytes(strings: Sequence[bytes | None]) -> int:
    """About how much memory a sequence of strings keeps: of packed ones all that lies in their buffer, sliced or not.

    >>> held_bytes([b"ab", None]), held_bytes(Packed.of([b"ab", None])[:1])
    (68, 18)
    """
    if isinstance(strings, Packed):
        return int(strings.data.nbytes + strings.bounds.nbytes)
    return sum(len(string or b"") + _OBJECT_BYTES for string in strings)
