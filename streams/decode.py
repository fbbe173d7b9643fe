"""Records into columns. Whatever the bytes, every record is accounted for: decoded, or dead with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from samestream.schemas import avro
from samestream.schemas.errors import SchemaError
from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.columns import BoolArray, Columns, Int64Array
from samestream.streams.plan import Input
from samestream.streams.schema_store import SchemaStore
from samestream.streams.transport import Fetched, Partition

MAX_EVENT_BYTES = 1024 * 1024  # a longer event is dead: it would stall batches and no event of fields is that long
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
    keys: list[bytes | None]
    values: list[bytes | None]
    stamps_us: Int64Array  # the record timestamps as they came

    def __len__(self) -> int:
        return len(self.offsets)

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


def encode_key(key: Any) -> bytes:
    """A Kafka key: text as UTF-8, whole numbers as decimal digits."""
    return str(key).encode()


class Decoder:
    """Reads one input's records, whatever known schema they were written with."""

    def __init__(self, input: Input, store: SchemaStore) -> None:
        self.input, self._store = input, store
        self._readers: dict[bytes, avro.Reader] = {}

    def decode(self, fetched: Fetched, known_us: int, forced_dead: frozenset[int] = frozenset()) -> Decoded:
        """Decode what was fetched from one partition.

        known_us : the partition's running known time so far
        forced_dead : offsets that a journal says were dead; they are dead again, whatever schemas are known by now
        """
        rows: list[dict[str, Any] | None] = []
        deaths: dict[int, Death] = {}
        key_name = self.input.key
        for offset, key, value in zip(fetched.offsets.tolist(), fetched.keys, fetched.values, strict=True):
            row, death = (None, JOURNALED) if offset in forced_dead else self._read(value)
            if row is not None and key_name:
                inside = str(row[key_name])
                if not key:
                    row, death = None, ("missing_key", "the record has no Kafka key")
                elif key != inside.encode():
                    row, death = None, ("key_mismatch", f"the Kafka key is not {key_name} {inside[:80]!r}")
            if row is None:
                assert death is not None
                deaths[offset] = death
            rows.append(row)
        return self._columns(fetched, rows, deaths, known_us)

    def _read(self, value: bytes | None) -> tuple[dict[str, Any] | None, Death | None]:
        if not value:
            return None, ("empty_value", "the record has no value")
        if len(value) > MAX_EVENT_BYTES:
            return None, ("too_large", f"{len(value)} bytes, at most {MAX_EVENT_BYTES}")
        if not value.startswith(avro.MARKER) or len(value) < avro.HEADER_BYTES:
            return None, ("undecodable", "not in Avro single-object encoding")
        fingerprint = value[2 : avro.HEADER_BYTES]
        reader = self._readers.get(fingerprint) or self._find(fingerprint)
        if reader is None:
            return None, ("wrong_schema", f"schema {fingerprint.hex()} is unknown, or not one of {self.input.name}")
        try:
            return reader.read(value), None
        except SchemaError as error:
            return None, ("undecodable", str(error.found)[:200])

    def _find(self, fingerprint: bytes) -> avro.Reader | None:
        """A reader for a schema met for the first time; a schema unknown now may be published later."""
        writer = self._store.find(fingerprint)
        if writer is None or str(writer.get("name")) != str(self.input.schema["name"]):
            return None
        self._readers[fingerprint] = avro.Reader(writer, self.input.schema)
        return self._readers[fingerprint]

    def _columns(
        self, fetched: Fetched, rows: list[dict[str, Any] | None], deaths: dict[int, Death], known_us: int
    ) -> Decoded:
        blank = dict.fromkeys(self.input.columns)
        filled = [row if row is not None else blank for row in rows]
        columns = {
            name: cols.from_values([row[name] for row in filled], kind) for name, kind in self.input.columns.items()
        }
        time = columns[self.input.time]
        dead = np.fromiter((row is None for row in rows), np.bool_, len(rows))
        if self.input.gate is not None:
            self._judge_times(fetched, time.values, dead, deaths)
        running = np.where(dead, UNKNOWN_KNOWN_US, fetched.known_us)
        if len(running):
            running[0] = max(int(running[0]), known_us)
        return Decoded(
            fetched.partition,
            fetched.offsets,
            np.maximum.accumulate(running),
            time.values,
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
        for mask, reason, detail in (
            (absurd, "absurd_event_time", "the event time is outside the declared range"),
            (ahead, "ahead_of_record", "the event time lies too far after the record's timestamp"),
        ):
            for row in np.flatnonzero(mask).tolist():
                deaths[int(fetched.offsets[row])] = (reason, f"{detail}: {int(time_us[row])} us")
            dead |= mask


def vector_input(name: str, topic: str, schema: avro.Schema) -> Input:
    """How a topic that samestream itself writes is read: keyed by ``entity``, timed by ``event_time``, with no gate."""
    kinds = {
        "long": Kind.INT,
        "int": Kind.INT,
        "double": Kind.FLOAT,
        "boolean": Kind.BOOL,
        "string": Kind.STRING,
    }
    columns: dict[str, Kind] = {}
    nullable: set[str] = set()
    for field in schema["fields"]:
        type_ = field["type"]
        if isinstance(type_, list):
            members = [member for member in type_ if member != "null"]
            nullable |= {field["name"]} if "null" in type_ else set()
            # an entity is text or a whole number; as a column it travels as text
            type_ = members[0] if len(members) == 1 else "string"
        columns[field["name"]] = Kind.TIME if isinstance(type_, dict) else kinds[type_]
    return Input(name, topic, schema, columns, frozenset(nullable), "entity", "event_time")
