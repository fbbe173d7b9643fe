"""Records to be sent to one topic, in buffers: what compiled code writes, and our own producer handle sends, as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from samestream.streams.transport import Int64Array, Outgoing
from samestream.streams.wire import encode_kernel as kernel
from samestream.streams.wire.packed import Packed


@dataclass(frozen=True, eq=False, slots=True)
class Parcel:
    """Any writer takes it in place of the records, which it is an iterable of; the native one makes none of them.

    keys, values : as long as the parcel
    known_us : record timestamps as in `Outgoing`, shape (records,)
    partitions : shape (records,), -1 lets the key decide

    >>> import numpy as np
    >>> [record.value for record in Parcel("t", Packed.of([b"k"]), Packed.of([b"v"]), np.array([-1]), np.array([0]))]
    [b'v']
    """

    topic: str
    keys: Packed
    values: Packed
    known_us: Int64Array
    partitions: Int64Array

    def __len__(self) -> int:
        return len(self.values)

    def reheaded(self, old: bytes, header: bytes) -> Parcel:
        """The same, whose records all begin with ``old``, with another header instead."""
        values, count = self.values, len(self)
        size = int(values.lengths.sum()) + count * max(len(header) - len(old), 0)
        out, bounds = np.empty(size + 1, np.uint8), np.zeros(count + 1, np.int64)
        given = np.frombuffer(bytearray(header), np.uint8)
        kernel.reheaded(values.data, values.bounds, values.there, len(old), given, out, bounds)
        return replace(self, values=Packed(out, bounds, values.there))

    def __iter__(self) -> Iterator[Outgoing]:
        numbers = (number if number >= 0 else None for number in self.partitions.tolist())
        for key, value, known_us, number in zip(self.keys, self.values, self.known_us.tolist(), numbers, strict=True):
            yield Outgoing(self.topic, key, value, known_us, number)
