"""Records into columns. Whatever the bytes, every record is accounted for: decoded, or dead with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from samestream.schemas import avro
from samestream.schemas.avro_names import simple_name
from samestream.schemas.errors import SchemaError
from samestream.schemas.expressions import Kind
from samestream.streams.columns import BoolArray, Columns, Int64Array
from samestream.streams.plan import Input
from samestream.streams.transport import MAX_EVENT_BYTES, Fetched, Partition
from samestream.streams.wire import avro_columns
from samestream.streams.wire.avro_columns import DEAD, GENERAL, GOOD, TODO, Batch, NotCovered, Program
from samestream.streams.wire.avro_values import Rows, column_kind
from samestream.streams.wire.avro_wire import Wire
from samestream.streams.wire.packed import held_bytes
from samestream.streams.wire.schema_store import REGISTERED, SchemaStore, framing, told

_TEXT_BYTES = 49  # of a str object, beside what is in it
UNKNOWN_KNOWN_US = -(2**62)  # running known time before the first good record of a partition

Death = tuple[str, str]
JOURNALED: Death = ("journaled", "dead when it was first read")


@dataclass(eq=False)
class Decoded:
    """Consecutive records of one partition. Columns hold a row for every record; rows of dead ones are zeros, not there.

    known_us : running maximum of the record timestamps of good records, so it never falls.
    """

    partition: Partition
    offsets: Int64Array
    known_us: Int64Array
    time_us: Int64Array
    dead: BoolArray
    deaths: dict[int, Death]  # offset -> reason, detail
    columns: Columns
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    stamps_us: Int64Array  # the record timestamps as they came

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def held_bytes(self) -> int:
        """About how much memory it keeps: the records as they came, and their columns; of texts the objects, if they are made."""
        columns = sum(column.held_bytes for column in self.columns.values())
        texts = sum(column.is_object and column.raw is None for column in self.columns.values())
        values = held_bytes(self.values)
        twice = values + texts * len(self) * _TEXT_BYTES if texts else 0
        return columns + values + held_bytes(self.keys) + twice + 4 * self.offsets.nbytes

    def slice(self, start: int, stop: int) -> Decoded:
        """The records from position ``start`` to ``stop``."""
        rows = slice(start, stop)
        return Decoded(
            self.partition,
            self.offsets[rows],
            self.known_us[rows],
            self.time_us[rows],
            self.dead[rows],
            self.deaths,
            {name: column.take(rows) for name, column in self.columns.items()},
            self.keys[rows],
            self.values[rows],
            self.stamps_us[rows],
        )


@dataclass(frozen=True, eq=False)
class _Writer:
    """How the records of one writer schema are read.

    program : None where only the general path can read them; ``why`` then says the reason
    start : how long a record's header is
    """

    reader: avro.Reader
    wire: Wire
    rows: Rows
    program: Program | None
    why: str = ""
    start: int = avro.HEADER_BYTES

    def read(self, value: bytes) -> dict[str, Any]:
        """One record as a row, by the general path. Raises SchemaError."""
        if not self.wire.is_flat:
            self.wire.check(value, self.start)  # first: fastavro follows nested data wherever it leads
        record = self.reader.read(value, self.start)
        if self.wire.is_flat:
            self.wire.check(value, self.start)
        return self.rows.row(record)


class Decoder:
    """Reads one input's records, whatever known schema they were written with.

    Flat schemas are decoded by the compiled `avro_columns.Program`. What that cannot settle, be it a schema or a single
    record, goes through the general path one by one, which also finds the reason when a record is dead.
    """

    def __init__(self, input: Input, store: SchemaStore) -> None:
        self.input, self._store = input, store
        self._writers: dict[bytes, _Writer | SchemaError] = {}
        if self.is_fast(input.schema):
            avro_columns.warm()  # here, for nobody consumes yet

    def is_fast(self, writer: avro.Schema) -> bool:
        """Whether records of this writer schema take the compiled path."""
        return self.path(writer) == "compiled"

    def path(self, writer: avro.Schema) -> str:
        """Which path records of this writer schema take: ``compiled``, or ``general: `` and why."""
        try:
            self._program(writer, None)
        except NotCovered as error:
            return f"general: {error}"
        return "compiled"

    def _program(self, writer: avro.Schema, header: bytes | None) -> Program:
        return Program.compile(writer, self.input.schema, self.input.columns, self.input.key, header)

    def decode(self, fetched: Fetched, known_us: int, forced_dead: frozenset[int] = frozenset()) -> Decoded:
        """Decode what was fetched from one partition.

        known_us : the partition's running known time so far
        forced_dead : offsets that a journal says were dead; they are dead again, whatever schemas are known by now
        """
        batch = Batch(fetched.values, self.input.columns, MAX_EVENT_BYTES)
        if forced_dead:
            batch.status[np.isin(fetched.offsets, list(forced_dead))] = DEAD
        found: dict[int, Death] = dict.fromkeys(np.flatnonzero(batch.status == DEAD).tolist(), JOURNALED)
        self._read_fast(batch, fetched)
        if self.input.key:
            self._judge_keys(batch, fetched, found)
        self._read_rest(batch, fetched, found)
        deaths = {int(fetched.offsets[row]): found[row] for row in sorted(found)}
        return self._columns(fetched, batch.finish(), batch.status != GOOD, deaths, known_us)

    def _read_fast(self, batch: Batch, fetched: Fetched) -> None:
        """Settle the records whose schemas have a program; one pass over the batch for each such schema."""
        while len(rest := np.flatnonzero(batch.status == TODO)):
            for row in rest.tolist():
                writer = self._writer(fetched.values[row] or b"")
                if isinstance(writer, _Writer) and writer.program is not None:
                    batch.run(writer.program)
                    break
                batch.status[row] = GENERAL

    def _judge_keys(self, batch: Batch, fetched: Fetched, found: dict[int, Death]) -> None:
        """Find the good records whose Kafka key is not their key."""
        verdict = batch.compare_keys(self.input.key, fetched.keys)
        if not verdict.any():
            return
        wrong = np.flatnonzero(verdict)
        for row in wrong.tolist():
            found[row] = self._key_death(fetched.keys[row], batch.text(self.input.key, row)) or found[row]
        batch.bury(wrong)

    def _read_rest(self, batch: Batch, fetched: Fetched, found: dict[int, Death]) -> None:
        """Settle every other record by the general path."""
        rows: list[int] = []
        records: list[dict[str, Any]] = []
        for row in np.flatnonzero(batch.status == GENERAL).tolist():
            if self.input.is_table and fetched.values[row] is None:
                record, death = self._tombstone(fetched.keys[row], int(fetched.known_us[row]))
            else:
                record, death = self._read(fetched.values[row])
            if record is not None and self.input.key:
                death = self._key_death(fetched.keys[row], str(record[self.input.key]))
            if death is not None or record is None:
                assert death is not None
                found[row] = death
            else:
                rows.append(row)
                records.append(record)
        if rows:
            batch.fill(rows, records)

    def _tombstone(self, key: bytes | None, known_us: int) -> tuple[dict[str, Any] | None, Death | None]:
        """A null value as a record of a table: its key, its time, and nothing else."""
        if not key:
            return None, ("missing_key", "the record has no Kafka key")
        try:
            entity = int(key) if self.input.columns[self.input.key] is Kind.INT else key.decode()
        except ValueError:
            return None, ("wrong_key", f"the Kafka key is not {self.input.key}: {key[:80]!r}")
        record: dict[str, Any] = dict.fromkeys(self.input.columns)
        record[self.input.key] = entity
        if self.input.time:
            record[self.input.time] = known_us
        return record, None

    def _key_death(self, key: bytes | None, inside: str) -> Death | None:
        if not key:
            return "missing_key", "the record has no Kafka key"
        if key != inside.encode():
            return "key_mismatch", f"the Kafka key is not {self.input.key} {inside[:80]!r}"
        return None

    def _read(self, value: bytes | None) -> tuple[dict[str, Any] | None, Death | None]:
        if not value:
            return None, ("empty_value", "the record has no value")
        if len(value) > MAX_EVENT_BYTES:
            return None, ("too_large", f"{len(value)} bytes, at most {MAX_EVENT_BYTES}")
        frame = framing(value)
        if frame is None or (frame.startswith(REGISTERED) and not self._store.is_registered):
            formats = " nor in the Confluent wire format" if self._store.is_registered else ""
            return None, ("undecodable", f"not in Avro single-object encoding{formats}")
        writer = self._writer(value)
        if writer is None:
            return None, ("wrong_schema", self._foreign(frame))
        if isinstance(writer, SchemaError):
            return None, ("wrong_schema", f"{writer.where}: {writer.found}, not {writer.expected}")
        try:
            return writer.read(value), None
        except SchemaError as error:
            found = str(error.found)[:240]
            if error.what == "undecodable":
                found = f"found {found}; expected one {self.input.name}, written with {told(frame)}"
            return None, (error.what, found)

    def _writer(self, value: bytes) -> _Writer | SchemaError | None:
        """How to read a value, by its header; a schema unknown now may be published later.

        A SchemaError where the schema is known, and its records would be misread.
        """
        frame = framing(value)
        if frame is None:
            return None
        if frame not in self._writers:
            writer = self._store.schema_of(frame)
            if writer is None or simple_name(writer) != simple_name(self.input.schema):
                return None
            self._writers[frame] = self._made(writer, frame)
        return self._writers[frame]

    def _foreign(self, frame: bytes) -> str:
        """Why a header names no schema of this event: none is known by it, or it is that of something else."""
        schema = self._store.schema_of(frame)
        if schema is None:
            return f"{told(frame)} is unknown, expected one of {self.input.name} that was published before its records"
        return f"{told(frame)} is one of {simple_name(schema)}, expected one of {self.input.name}"

    def _made(self, writer: avro.Schema, frame: bytes) -> _Writer | SchemaError:
        program, why = None, ""
        try:
            program = self._program(writer, frame)
        except NotCovered as error:
            why = str(error)
        try:
            rows = Rows(self.input.schema, self.input.columns, writer)
        except SchemaError as error:
            return error
        return _Writer(avro.Reader(writer, self.input.schema), Wire(writer), rows, program, why, len(frame))

    def _columns(
        self, fetched: Fetched, columns: Columns, dead: BoolArray, deaths: dict[int, Death], known_us: int
    ) -> Decoded:
        time_us = columns[self.input.time].values if self.input.time else fetched.known_us.copy()
        if self.input.gate is not None:
            self._judge_times(fetched, time_us, dead, deaths)
        running = np.where(dead, UNKNOWN_KNOWN_US, fetched.known_us)
        if len(running):
            running[0] = max(int(running[0]), known_us)
        return Decoded(
            fetched.partition,
            fetched.offsets,
            np.maximum.accumulate(running),
            time_us,
            dead,
            deaths,
            columns,
            fetched.keys,
            fetched.values,
            fetched.known_us,
        )

    def _judge_times(self, fetched: Fetched, time_us: Int64Array, dead: BoolArray, deaths: dict[int, Death]) -> None:
        gate = self.input.gate
        assert gate is not None
        absurd = ~dead & ((time_us < gate.earliest_us) | (time_us >= gate.latest_us))
        ahead = ~dead & ~absurd & (time_us > fetched.known_us + gate.ahead_us)
        # a record timestamp of a far year would hold back everything behind it in its partition
        beyond = ~dead & ~absurd & (fetched.known_us >= gate.latest_us)
        for mask, reason, detail in (
            (beyond, "absurd_known_time", "the record's timestamp is outside the declared range; event time"),
            (absurd, "absurd_event_time", "the event time is outside the declared range"),
            (ahead, "ahead_of_record", "the event time lies too far after the record's timestamp"),
        ):
            for row in np.flatnonzero(mask).tolist():
                deaths[int(fetched.offsets[row])] = (reason, f"{detail}: {int(time_us[row])} us")
            dead |= mask


def vector_input(name: str, topic: str, schema: avro.Schema) -> Input:
    """How a topic that samestream itself writes is read: keyed by ``entity``, timed by ``event_time``, with no gate."""
    found = {field["name"]: column_kind(schema, field["name"]) for field in schema["fields"]}
    return Input(
        name,
        topic,
        schema,
        {name: kind for name, (kind, _) in found.items()},
        frozenset(field["name"] for field in schema["fields"] if "null" in field["type"]),
        "entity",
        "event_time",
        items={name: item for name, (_, item) in found.items() if item is not None},
    )
