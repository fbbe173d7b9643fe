"""The records samestream itself writes: their Avro schemas, one name each (the topics are listed in DESIGN section 1).

What may be null is null by default: a field that is added later reads as null from records that do not have it.
"""

from __future__ import annotations

from typing import Any

from samestream.schemas.avro import Schema

_TIME = {"type": "long", "logicalType": "timestamp-micros"}


def _record(name: str, doc: str, fields: dict[str, Any]) -> Schema:
    return {
        "type": "record",
        "name": name,
        "namespace": "samestream",
        "doc": doc,
        "fields": [_field(field, type_) for field, type_ in fields.items()],
    }


def _field(name: str, type_: Any) -> dict[str, Any]:
    described: dict[str, Any] = {"name": name, "type": type_}
    if isinstance(type_, list) and type_[0] == "null":
        described["default"] = None
    return described


REJECTED = _record(
    "Rejected",
    "An event that was late or dead: why, where it came from, and its original bytes.",
    {
        "reason": "string",
        "detail": "string",
        "topic": "string",
        "partition": "int",
        "offset": "long",
        "known_time": _TIME,
        "event_time": ["null", _TIME],
        "key": ["null", "bytes"],
        "value": ["null", "bytes"],
    },
)

_RANGE = _record(
    "Range",
    "What a batch took from one partition: [start, end), and the partition's clocks after it.",
    {
        "topic": "string",
        "partition": "int",
        "start": "long",
        "end": "long",
        "known_time": _TIME,
        "event_time": ["null", _TIME],
        "applied": "long",
        "late": "long",
        "dead": {"type": "array", "items": "long"},
    },
)

JOURNAL = _record(
    "Batch",
    "One committed micro-batch of a processor: with the log it fixes every value.",
    {
        "processor": "string",
        "sequence": "long",
        "fingerprint": "string",
        "greatest_event_time": ["null", _TIME],
        "ranges": {"type": "array", "items": _RANGE},
        "switches": {"type": "array", "items": "string"},
        "emitted": "long",
        "partitions": {"type": "map", "values": "int"},
    },
)

MODEL = _record(
    "ModelVersion",
    "Which artifact fills a slot of a model, and from which known time on.",
    {
        "model": "string",
        "slot": "string",
        "version": "string",
        "applies_from": _TIME,
        "artifact": "string",
        "digest": "string",
        "fingerprint": "string",
        "trained_rows": "long",
        "metrics": {"type": "map", "values": "double"},
    },
)

_TRIGGER = {"trigger_topic": "string", "trigger_partition": "int", "trigger_offset": "long"}

OUTCOME = _record(
    "Outcome",
    "A prediction joined with what then happened; a correction replaces the label of an earlier outcome."
    " Score and value are the prediction's. Where the label is a class, label_value is the class that happened, and"
    " label_probability what the prediction gave to it; else label is the number (1 or 0 for a condition).",
    {
        "entity": ["string", "long"],
        "event_time": _TIME,
        **_TRIGGER,
        "version": "string",
        "score": ["null", "double"],
        "state": "string",
        "label": ["null", "double"],
        "label_time": ["null", _TIME],
        "label_known_time": ["null", _TIME],
        "value": ["null", "string"],
        "label_value": ["null", "string"],
        "label_probability": ["null", "double"],
    },
)

PREDICTION = _record(
    "Prediction",
    "What a model says of one vector, which the trigger's position identifies. Score is a probability, or a number, or"
    " the probability of the class that wins; value is that class, and probabilities holds every class's.",
    {
        "entity": ["string", "long"],
        "event_time": _TIME,
        **_TRIGGER,
        "model": "string",
        "version": "string",
        "fingerprint": "string",
        "score": ["null", "double"],
        "value": ["null", "string"],
        "probabilities": ["null", {"type": "map", "values": "double"}],
    },
)

INCIDENT = _record(
    "Incident",
    "A verdict of the monitors: opened, updated or closed. Evidence is JSON.",
    {
        "incident": "string",
        "event": "string",
        "subject": "string",
        "cause": "string",
        "verdict": "string",
        "severity": "double",
        "opened_at": _TIME,
        "at": _TIME,
        "evidence": "string",
    },
)

PROFILE = _record(
    "Profile",
    "What one run of offsets of a partition adds to the profile of a subject in a window of event time. The profiles of"
    " a window are merged; of those with the same topic, partition and start the one with the greatest end counts, so it"
    " may be written again. What says of what was counted: values, lengths, or seconds before the event. Profile is JSON,"
    " compressed by zlib.",
    {
        "subject": "string",
        "segment": "string",
        "what": "string",
        "fingerprint": "string",
        "window_start": _TIME,
        "window_end": _TIME,
        "topic": "string",
        "partition": "int",
        "start": "long",
        "end": "long",
        "rows": "long",
        "profile": "bytes",
    },
)

SCHEMA = _record(
    "SchemaText",
    "A schema by its fingerprint (hex), where no registry is configured.",
    {"fingerprint": "string", "subject": "string", "schema": "string"},
)

DECLARATION = _record(
    "Declaration",
    "What `samestream apply` applied: every part of the app by its meaning, as JSON.",
    {"app": "string", "version": "long", "fingerprint": "string", "declaration": "string"},
)

PULSE = _record(
    "Pulse",
    "A monitor was running then: the record's timestamp is the broker's clock, and says how late it is where nothing comes.",
    {"process": "string"},
)

ALL = {
    "rejected": REJECTED,
    "journal": JOURNAL,
    "model": MODEL,
    "outcome": OUTCOME,
    "prediction": PREDICTION,
    "incident": INCIDENT,
    "profile": PROFILE,
    "schema": SCHEMA,
    "declaration": DECLARATION,
    "pulse": PULSE,
}
