"""Schemas by fingerprint, kept in the app's compacted schemas topic (where no registry is configured)."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable

from samestream.schemas import avro, records
from samestream.schemas.avro import Codec, Schema
from samestream.streams.transport import Outgoing, Transport, send_all

log = logging.getLogger("samestream")
_CODEC = Codec(records.SCHEMA)
_ASK_AGAIN_S = 0.5


REGISTERED = b"\x00"  # the first byte of the Confluent wire format; four of the schema's id follow
_ID_BYTES = 5


def framing(value: bytes) -> bytes | None:
    """The header of a value, which says its schema: by fingerprint, or by its id in a registry; None where there is none."""
    if value.startswith(avro.MARKER) and len(value) >= avro.HEADER_BYTES:
        return value[: avro.HEADER_BYTES]
    return value[:_ID_BYTES] if value.startswith(REGISTERED) and len(value) >= _ID_BYTES else None


def told(frame: bytes) -> str:
    """A header for people."""
    if frame.startswith(REGISTERED):
        return f"schema id {int.from_bytes(frame[1:], 'big')}"
    return f"schema {frame[2:].hex()}"


class SchemaStore:
    """The writer schemas an app has met. An unknown fingerprint makes it read the topic again, twice a second at most."""

    def __init__(self, transport: Transport | None, topic: str, known: Iterable[Schema] = ()) -> None:
        self._transport, self._topic = transport, topic
        self._schemas = {avro.schema_fingerprint(schema): schema for schema in known}
        self._asked_s: dict[bytes, float] = {}

    @property
    def is_registered(self) -> bool:
        """Whether a schema registry is configured."""
        return False

    def schema_of(self, frame: bytes) -> Schema | None:
        """The schema that a header names, or None."""
        return None if frame.startswith(REGISTERED) else self.find(frame[2:])

    def find(self, fingerprint: bytes) -> Schema | None:
        """The schema with this fingerprint (8 bytes), or None."""
        asked_s = self._asked_s.get(fingerprint, -_ASK_AGAIN_S)
        unknown = fingerprint not in self._schemas and self._transport is not None
        if unknown and time.monotonic() - asked_s >= _ASK_AGAIN_S:
            self._asked_s[fingerprint] = time.monotonic()
            self.refresh()
        return self._schemas.get(fingerprint)

    def refresh(self) -> None:
        """Read the whole topic. A record that is no schema is passed over: it can make no event readable."""
        assert self._transport is not None
        for fetched in self._transport.read_all(self._topic):
            for value in fetched.values:
                schema = _schema_in(value)
                if schema is not None:
                    self._schemas[avro.schema_fingerprint(schema)] = schema

    def publish(self, schemas: Iterable[tuple[str, Schema]]) -> list[str]:
        """Write those not there yet, as (subject, schema); returns their subjects."""
        assert self._transport is not None
        self.refresh()
        new = [(subject, schema) for subject, schema in schemas if avro.schema_fingerprint(schema) not in self._schemas]
        if new:
            send_all(self._transport, [schema_record(self._topic, subject, schema) for subject, schema in new])
            self._schemas.update({avro.schema_fingerprint(schema): schema for _, schema in new})
        return [subject for subject, _ in new]


def schema_record(topic: str, subject: str, schema: Schema) -> Outgoing:
    """One schema as a record of the schemas topic, keyed by its fingerprint in hex."""
    fingerprint = avro.schema_fingerprint(schema).hex()
    value = _CODEC.encode({"fingerprint": fingerprint, "subject": subject, "schema": avro.schema_text(schema)})
    return Outgoing(topic, fingerprint.encode(), value, 1000)


def _schema_in(value: bytes | None) -> Schema | None:
    """The record schema that a record of the topic holds; None for whatever else somebody wrote there."""
    if value is None or not value.startswith(_CODEC.header):
        return None
    try:
        schema = json.loads(_CODEC.decode(value)["schema"])
        avro.plain_schema(schema)
    except Exception as error:  # any bytes at all may stand there, and lead the parser anywhere
        log.warning("a record of the schemas topic is no schema: %s: %s", type(error).__name__, error)
        return None
    return schema if isinstance(schema, dict) and schema.get("type") == "record" else None
