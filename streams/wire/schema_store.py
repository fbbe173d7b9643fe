"""Schemas by fingerprint, kept in the app's compacted schemas topic; with a registry, also by their ids there."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from samestream.schemas import avro, records
from samestream.schemas.avro import Codec, Schema
from samestream.schemas.errors import RegistryError, SchemaError
from samestream.schemas.evolution import violations
from samestream.streams.transport import Outgoing, Transport, send_all
from samestream.streams.wire.parcel import Parcel
from samestream.streams.wire.registry import MAGIC, frame_of

log = logging.getLogger("samestream")
_CODEC = Codec(records.SCHEMA)
_ASK_AGAIN_S = 0.5
_MOST_ASKED = 10_000  # schemas that are unknown; there may be as many as there are broken records


REGISTERED = MAGIC  # the first byte of the Confluent wire format; four of the schema's id follow
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
    """The writer schemas an app has met. What is unknown makes it look again, for each unknown schema twice a second at most.

    subjects : schemas by subject (``<topic>-value``); with a registry, `framed` writes these topics' records by their id there
    """

    def __init__(
        self,
        transport: Transport | None,
        topic: str,
        known: Iterable[Schema] = (),
        subjects: Mapping[str, Schema] = MappingProxyType({}),
    ) -> None:
        self._transport, self._topic, self._subjects = transport, topic, dict(subjects)
        self._registry = transport.registry if transport is not None else None
        self._schemas = {avro.schema_fingerprint(schema): schema for schema in known}
        self._asked_s: dict[bytes, float] = {}
        self._read_to: dict[int, int] = {}  # by partition of the topic
        self._frames: dict[str, tuple[bytes, bytes] | None] = {}

    @property
    def is_registered(self) -> bool:
        """Whether a schema registry is configured."""
        return self._registry is not None

    def schema_of(self, frame: bytes) -> Schema | None:
        """The schema that a header names, or None. Raises RegistryError while the registry does not answer."""
        if not frame.startswith(REGISTERED):
            return self.find(frame[2:])
        if self._registry is None or time.monotonic() - self._asked_s.get(frame, -_ASK_AGAIN_S) < _ASK_AGAIN_S:
            return None
        found: Schema | None = self._registry.schema(int.from_bytes(frame[1:], "big"))
        if found is None:
            self._note_asked(frame)
        return found

    def _note_asked(self, name: bytes) -> None:
        if len(self._asked_s) >= _MOST_ASKED:
            self._asked_s.clear()
        self._asked_s[name] = time.monotonic()

    def frame(self, topic: str) -> tuple[bytes, bytes] | None:
        """The header of a topic's records in single-object encoding, and that to be written instead; None if it is not.

        Raises RegistryError where the registry does not have the schema.
        """
        if topic not in self._frames:
            subject = f"{topic}-value"
            schema = self._subjects.get(subject) if self._registry is not None else None
            if schema is None or self._registry is None:
                self._frames[topic] = None
            else:
                number = self._registry.find(subject, schema)
                if number is None:
                    raise RegistryError(
                        "the schema registry does not have the schema that is to be written",
                        where=subject,
                        hint="register it with `samestream apply MODULE`.",
                    )
                self._frames[topic] = avro.MARKER + avro.schema_fingerprint(schema), frame_of(number)
        return self._frames[topic]

    def framed(self, records: Sequence[Outgoing]) -> Sequence[Outgoing]:
        """Records as they are to be written: with a registry, those of its topics in the Confluent wire format."""
        if self._registry is None:
            return records
        return [self._framed(record) for record in records]

    def framed_parcel(self, parcel: Parcel) -> Parcel:
        """As `framed`, of records that are all in single-object encoding."""
        headers = self.frame(parcel.topic)
        return parcel if headers is None else parcel.reheaded(*headers)

    def single(self, topic: str, value: bytes) -> bytes:
        """A record of a topic in single-object encoding, whichever of the two it was written in."""
        headers = self.frame(topic)
        if headers is None or not value.startswith(headers[1]):
            return value
        return headers[0] + value[len(headers[1]) :]

    def _framed(self, record: Outgoing) -> Outgoing:
        headers = self.frame(record.topic)
        if headers is None or record.value is None or not record.value.startswith(headers[0]):
            return record
        return record._replace(value=headers[1] + record.value[len(headers[0]) :])

    def find(self, fingerprint: bytes) -> Schema | None:
        """The schema with this fingerprint (8 bytes), or None."""
        asked_s = self._asked_s.get(fingerprint, -_ASK_AGAIN_S)
        unknown = fingerprint not in self._schemas and self._transport is not None
        if unknown and time.monotonic() - asked_s >= _ASK_AGAIN_S:
            self._note_asked(fingerprint)
            self.refresh()
        return self._schemas.get(fingerprint)

    def refresh(self) -> None:
        """Read what is new in the topic. A record that is no schema is passed over: it can make no event readable."""
        assert self._transport is not None
        # only what is new: a burst of records of made-up schemas, each of which asks, must not stall everything behind it
        for fetched in self._transport.read_all(self._topic, dict(self._read_to)):
            for value in fetched.values:
                schema = _schema_in(value)
                if schema is not None:
                    self._schemas[avro.schema_fingerprint(schema)] = schema
            self._read_to[fetched.partition.partition] = (
                int(fetched.offsets[-1]) + 1
            )  # last: others may share this store

    def unpublished(self, schemas: Iterable[tuple[str, Schema]]) -> list[tuple[str, Schema]]:
        """Those not known yet, as (subject, schema); the first of each fingerprint."""
        new: dict[bytes, tuple[str, Schema]] = {}
        for subject, schema in schemas:
            new.setdefault(avro.schema_fingerprint(schema), (subject, schema))
        return [part for fingerprint, part in new.items() if fingerprint not in self._schemas]

    def publish(self, schemas: Iterable[tuple[str, Schema]]) -> list[str]:
        """Write those not there yet, as (subject, schema); returns their subjects. With a registry, it gets topics' schemas too.

        Raises RegistryError where the registry refuses one as incompatible with an earlier version, and SchemaError where one
        has the fingerprint of another that means something else: no reader could tell their records apart.
        """
        assert self._transport is not None
        wanted = list(schemas)
        self.refresh()
        for subject, schema in wanted:
            _check_meaning(subject, schema, self._schemas.get(avro.schema_fingerprint(schema)))
        registered = self._register(wanted)
        new = self.unpublished(wanted)
        if new:
            send_all(self._transport, [schema_record(self._topic, subject, schema) for subject, schema in new])
            self._schemas.update({avro.schema_fingerprint(schema): schema for _, schema in new})
        return [*(subject for subject, _ in new), *(subject for subject in registered if subject not in dict(new))]

    def _register(self, schemas: list[tuple[str, Schema]]) -> list[str]:
        new = []
        for subject, schema in schemas if self._registry is not None else []:
            if subject.endswith("-value"):
                assert self._registry is not None
                if self._registry.find(subject, schema) is None:
                    self._registry.register(subject, schema)
                    new.append(subject)
                self._subjects[subject] = schema
        return new


def _check_meaning(subject: str, schema: Schema, known: Schema | None) -> None:
    for violation in violations(known, schema) if known is not None else []:
        raise SchemaError(
            "a schema of this fingerprint is known, and means something else",
            where=f"{subject}, {violation.path}",
            found=violation.expected,
            expected=violation.found,
            hint=violation.hint,
        )


def published(transport: Transport, topic: str) -> dict[str, list[Schema]]:
    """Every version in a schemas topic by subject, oldest first; none where there is no such topic."""
    found: dict[str, list[Schema]] = {}
    if topic not in transport.topics():
        return found
    for value in (value for fetched in transport.read_all(topic) for value in fetched.values):
        schema = _schema_in(value)
        if value is not None and schema is not None:
            found.setdefault(str(_CODEC.decode(value)["subject"]), []).append(schema)
    return found


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
