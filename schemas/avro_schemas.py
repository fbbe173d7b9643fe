"""The Avro schema of every declaration: events, feature vectors, predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from samestream.schemas import records
from samestream.schemas.about import About
from samestream.schemas.expressions import Expr, Kind
from samestream.schemas.field_types import Known, named, optional
from samestream.schemas.fields import MISSING, Field
from samestream.schemas.nested import Members, Nested

if TYPE_CHECKING:
    from samestream.schemas.avro import Schema
    from samestream.schemas.events import Event

_TYPES: dict[Kind, Any] = {
    Kind.INT: "long",
    Kind.FLOAT: "double",
    Kind.BOOL: "boolean",
    Kind.STRING: "string",
    Kind.TIME: {"type": "long", "logicalType": "timestamp-micros"},
}


def avro_type(kind: Kind, nullable: bool = False, item: Kind | None = None) -> Any:
    """The Avro type of a kind of value; elements of lists and maps may be null."""
    if kind is Kind.LIST:
        return optional({"type": "array", "items": ["null", _TYPES[item or Kind.STRING]]}, nullable)
    if kind is Kind.MAP:
        return optional({"type": "map", "values": ["null", _TYPES[item or Kind.STRING]]}, nullable)
    return optional(_TYPES[kind], nullable)


def event_schema(event: type[Event]) -> Schema:
    """The schema of an event's topic; docs, owners, tags, units, ranges and PII marks go along as properties."""
    namespace, _, _ = event.topic.replace("-", "_").rpartition(".")
    known: Known = {event.__name__: event}
    schema: Schema = {"type": "record", "name": event.__name__, "fields": _fields(event.members, known)}
    if namespace:
        schema["namespace"] = namespace
    return schema | event.about.properties()


def field_schemas(event: type[Event]) -> dict[str, dict[str, Any]]:
    """Every field of an event as Avro says it, by the name of its column; each on its own."""
    return {name: _field(name, field, {}) for name, field in event.fields.items()}


def vector_schema(app: str, model: str, entity: Kind, inputs: Mapping[str, Expr[Any]], about: About) -> Schema:
    """The schema of a model's feature vectors: who, when, which trigger, by which definition, then one nullable field each."""
    fields: list[dict[str, Any]] = [
        {"name": "entity", "type": avro_type(entity), "doc": "the trigger's key"},
        {"name": "event_time", "type": avro_type(Kind.TIME), "doc": "the trigger's event time"},
        {"name": "trigger_topic", "type": "string"},
        {"name": "trigger_partition", "type": "int"},
        {"name": "trigger_offset", "type": "long"},
        {"name": "fingerprint", "type": "string", "doc": "of the definition that computed it"},
    ]
    for name, value in inputs.items():
        described = {"name": name, "type": avro_type(value.kind, True, value.item), "doc": repr(value)}
        fields.append(described | value.about.properties())
    schema = {"type": "record", "name": f"{model}Vector", "namespace": f"{app}.features", "fields": fields}
    return schema | about.properties()


def prediction_schema(vectors: Schema) -> Schema:
    """The schema of a model's predictions, by that of its vectors: of one shape for all models, so of one fingerprint."""
    said = {name: vectors[name] for name in ("doc", "owner", "tags") if name in vectors}
    if "doc" in said:
        said["doc"] = f"{records.PREDICTION['doc']} The model: {said['doc']}"
    return records.PREDICTION | said


def _fields(members: Members, known: Known) -> list[dict[str, Any]]:
    return [
        _nested(name, member, known) if isinstance(member, Nested) else _field(name, member, known)
        for name, member in members.items()
    ]


def _field(name: str, field: Field[Any], known: Known) -> dict[str, Any]:
    type_ = field.type_.avro(known)
    described: dict[str, Any] = {"name": name, "type": optional(type_, field.nullable)}
    if field.default is not MISSING and field.default is not None:
        described["default"] = field.type_.default(field.default)
        if field.nullable:  # a default is of a union's first type
            described["type"] = [type_, "null"]
    elif field.nullable:
        described["default"] = None
    return described | field.about.properties()


def _nested(name: str, member: Nested[Any], known: Known) -> dict[str, Any]:
    type_: Any = {"type": "record", "name": member.record.__name__}
    once = named(type_, member.record, known)
    if once is type_:
        type_["fields"] = _fields(member.record.members, known)
        type_ |= member.record.about.properties()
    described: dict[str, Any] = {"name": name, "type": optional(once, member.nullable)}
    if member.nullable:
        described["default"] = None
    return described | member.about.properties()
