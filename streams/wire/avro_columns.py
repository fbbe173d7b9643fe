"""Avro records straight into columns, without a Python object per value (`streams.wire.avro_kernel` is the compiled half).

A `Program` (`streams.wire.avro_program`) says for one writer schema what each of its fields is, and what becomes of it.

A `Batch` holds records on their way. The programs settle what they can; the rest is for the general path to judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from samestream.schemas import avro
from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.columns import BoolArray, ColumnData, Int64Array
from samestream.streams.wire import avro_kernel as kernel
from samestream.streams.wire.avro_kernel import DEAD, GENERAL, GOOD, TODO, Bytes
from samestream.streams.wire.avro_program import NotCovered, Program
from samestream.streams.wire.packed import Packed
from samestream.streams.wire.texts import Texts

__all__ = ["DEAD", "GENERAL", "GOOD", "TODO", "Batch", "NotCovered", "Program", "warm"]


class Batch:
    """Records being decoded: their bytes joined, a status each, and the columns as far as they are filled.

    values : the records, header included; None and empty ones are for the general path, as are those over ``longest``.
    status : shape (records,): TODO, GOOD, GENERAL or DEAD.
    """

    def __init__(self, values: Sequence[bytes | None], columns: Mapping[str, Kind], longest: int) -> None:
        self._columns = columns
        self._slots = {name: slot for slot, name in enumerate(columns)}
        packed = Packed.of(values)
        self._data, self._bounds = packed.data, packed.bounds
        self.status: Bytes = np.zeros(len(values), np.uint8)
        lengths = packed.lengths
        self.status[(lengths < kernel.SHORTEST_HEADER) | (lengths > longest)] = GENERAL
        self._words = np.zeros((len(columns), len(values)), np.int64)
        self._there = np.zeros((len(columns), len(values)), np.uint8)
        self._given: list[tuple[str, npt.NDArray[Any], ColumnData]] = []
        self._symbols: dict[str, tuple[str, ...]] = {}

    def run(self, program: Program) -> None:
        """Settle every record still to do that has the program's schema."""
        before = self.status.copy() if program.defaults else self.status
        kernel.decode(
            self._data,
            self._bounds,
            program.header,
            program.fields,
            program.branches,
            program.codes,
            self.status,
            self._words,
            self._there,
        )
        self._symbols |= program.symbols
        for name, default in program.defaults.items():
            rows = np.flatnonzero((before == TODO) & (self.status == GOOD))
            self._given.append((name, rows, default.take(np.zeros(len(rows), np.int64))))

    def compare_keys(self, key: str, keys: Sequence[bytes | None]) -> Bytes:
        """How the Kafka key of each good record compares with its column ``key``: EQUAL, DIFFERENT or MISSING."""
        packed = Packed.of(keys)
        verdict: Bytes = np.zeros(len(keys), np.uint8)
        slot, text = self._slots[key], self._columns[key] is Kind.STRING
        words, there = self._words[slot], self._there[slot]
        kernel.compare(self._data, words, there, text, self.status, packed.data, packed.bounds, verdict)
        if (verdict == kernel.ABSENT).any():
            for row in np.flatnonzero(verdict == kernel.ABSENT).tolist():
                verdict[row] = kernel.EQUAL if keys[row] == b"None" else kernel.DIFFERENT
        return verdict

    def text(self, name: str, row: int) -> str:
        """One value as Python's ``str`` writes it."""
        slot = self._slots[name]
        word, there = int(self._words[slot, row]), self._there[slot, row]
        if there == kernel.THERE and self._columns[name] is Kind.STRING:
            start = word >> kernel.LENGTH_BITS
            return self._data[start : start + (word & kernel.LONGEST)].tobytes().decode()
        return str(word) if there else "None"

    def bury(self, rows: Int64Array) -> None:
        """Take good records out of the columns: they are dead after all."""
        self.status[rows] = DEAD
        self._words[:, rows] = 0
        self._there[:, rows] = 0

    def fill(self, rows: Sequence[int], records: Sequence[Mapping[str, Any]]) -> None:
        """Put records that the general path has read into the columns."""
        at = np.array(rows, np.int64)
        self.status[at] = GOOD
        for name, kind in self._columns.items():
            self._given.append((name, at, cols.from_values([record[name] for record in records], kind)))

    def finish(self) -> dict[str, ColumnData]:
        """The columns, a row per record; rows of records that are not good are zeros, not there."""
        found = {name: self._column(name, slot, self._columns[name]) for name, slot in self._slots.items()}
        for name in {name for name, _, _ in self._given}:  # to be written to
            found[name] = ColumnData(found[name].values, found[name].valid)
        for name, rows, column in self._given:
            alive = self.status[rows] == GOOD
            found[name].values[rows[alive]] = column.values[alive]
            found[name].valid[rows[alive]] = column.valid[alive]
        return found

    def _column(self, name: str, slot: int, kind: Kind) -> ColumnData:
        words, there = self._words[slot], self._there[slot]
        valid: BoolArray = there != 0
        if kind is Kind.STRING:
            texts = Texts(self._data, np.where(there == kernel.THERE, words, 0))
            others = there > kernel.THERE
            if not others.any():
                return ColumnData(None, valid, texts)
            values = texts.objects()
            whole = there == kernel.WHOLE
            values[whole] = words[whole].tolist()
            if (coded := there == kernel.CODE).any():
                values[coded] = np.array(self._symbols[name], object)[words[coded]]
            return ColumnData(values, valid)
        if kind is Kind.BOOL:
            return ColumnData(words != 0, valid)
        if kind in (Kind.LIST, Kind.MAP):  # what is there is filled in by the general path
            return ColumnData(cols.from_values([None] * len(words), kind).values, valid)
        return ColumnData(words.view(np.float64) if kind is Kind.FLOAT else words, valid)


def warm() -> None:
    """Compile the kernel, or load it from numba's cache, before anything waits for it."""
    schema = {"type": "record", "name": "Warm", "fields": [{"name": "text", "type": "string"}]}
    program = Program.compile(schema, schema, {"text": Kind.STRING}, "text")
    batch = Batch([avro.Codec(schema).encode({"text": "a"})], {"text": Kind.STRING}, kernel.LONGEST)
    batch.run(program)
    batch.compare_keys("text", [b"a"])
    cols.utf8(batch.finish()["text"])
