"""Texts where they lie: in the bytes of the records they came in, without a Python object for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from samestream.streams.wire import avro_kernel as kernel
from samestream.streams.wire.packed import Bytes, Int64Array, Packed

_SAMPLE, _FEW = 256, 64  # where so many in a row have so few different ones, each is made once


class Texts:
    """A column of texts in a buffer, in any order.

    data : bytes, of which each text is UTF-8
    words : where each text begins, shifted by `LENGTH_BITS`, and its length in bytes; 0 where there is none
    """

    __slots__ = ("_packed", "data", "words")

    def __init__(self, data: Bytes, words: Int64Array) -> None:
        self.data, self.words = data, words
        self._packed: Packed | None = None

    def __len__(self) -> int:
        return len(self.words)

    def take(self, rows: Any) -> Texts:
        """The rows chosen by an index array, a mask or a slice, in the same buffer."""
        return Texts(self.data, self.words[rows])

    @property
    def packed(self) -> Packed:
        """The texts side by side; where there is none, no bytes."""
        if self._packed is None:
            bounds = np.zeros(len(self.words) + 1, np.int64)
            np.cumsum(self.words & kernel.LONGEST, out=bounds[1:])
            to: Bytes = np.empty(max(int(bounds[-1]), 1), np.uint8)
            kernel.gather(self.data, self.words, bounds, to)
            self._packed = Packed(to, bounds, np.ones(len(self.words), np.uint8))
        return self._packed

    def objects(self) -> NDArray[Any]:
        """The texts as ``str``, shape (rows,); where there is none, empty ones."""
        packed = self.packed
        buffers: Any = pa.py_buffer(packed.bounds), pa.py_buffer(packed.data)  # type: ignore[arg-type]
        array = pa.LargeStringArray.from_buffers(len(self), *buffers)
        if len(self) > _SAMPLE and len(array[:_SAMPLE].unique()) <= _FEW:
            encoded = array.dictionary_encode()
            values: NDArray[Any] = encoded.dictionary.to_numpy(zero_copy_only=False)[encoded.indices.to_numpy()]
            return values
        return np.require(array.to_numpy(zero_copy_only=False), object, "W")

    @staticmethod
    def joined(parts: Sequence[Texts]) -> Texts:
        """Columns one after the other, in a buffer of their own."""
        packed = [part.packed for part in parts]
        starts = np.cumsum([0, *(part.bounds[-1] for part in packed)])
        words = [
            ((part.bounds[:-1] + start) << kernel.LENGTH_BITS) | part.lengths
            for part, start in zip(packed, starts.tolist(), strict=False)
        ]
        data = [part.data[: part.bounds[-1]] for part in packed]
        return Texts(np.concatenate([*data, np.zeros(1, np.uint8)]), np.concatenate(words))
