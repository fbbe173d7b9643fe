"""Instances of events as Avro records, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from samestream.schemas.avro import Codec
from samestream.schemas.avro_schemas import event_schema
from samestream.schemas.errors import SchemaError
from samestream.schemas.events import Event
from samestream.schemas.nested import Members, Nested, Record

E = TypeVar("E", bound=Event)


class EventCodec(Generic[E]):
    """Reads and writes one kind of event, by its declared schema."""

    def __init__(self, event: type[E]) -> None:
        self._event = event
        self.codec = Codec(event_schema(event))

    def encode(self, instance: E) -> bytes:
        """An event as bytes, in single-object encoding."""
        return self.codec.encode(plain_record(instance))

    def decode(self, value: bytes) -> E:
        """The event that bytes of this very schema hold. Raises SchemaError for others, and for values outside their type."""
        record = self.codec.decode(value)
        return self._event(**_values(self._event.members, record, self._event.__name__))


def plain_record(instance: Event | Record) -> dict[str, Any]:
    """The values of an instance as plain Avro values, nested records as dicts."""
    found: dict[str, Any] = {}
    for name, member in instance.members.items():
        value = instance.__dict__[name]
        if value is not None:
            value = plain_record(value) if isinstance(member, Nested) else member.type_.plain(value)
        found[name] = value
    return found


def _values(members: Members, record: Mapping[str, Any], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, member in members.items():
        plain = record[name]
        if plain is None:
            found[name] = None
        elif isinstance(member, Nested):
            found[name] = member.record(**_values(member.record.members, plain, f"{where}.{name}"))
        else:
            try:
                found[name] = member.type_.value(plain)
            except ValueError as error:
                raise SchemaError(
                    "a value is outside its type",
                    where=f"{where}.{name}",
                    found=f"{plain!r:.80}, which {error}",
                    expected=member.type_.written,
                    hint="whoever wrote it does not keep to the schema's logical type.",
                ) from error
    return found
