"""Repaired events: what a person wrote, checked against the declaration and encoded as the topic wants it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from samestream.schemas import avro
from samestream.schemas.avro import Codec
from samestream.schemas.avro_names import simple_name
from samestream.schemas.errors import SchemaError, SettingsError
from samestream.schemas.expressions import Kind
from samestream.streams.plan import Input
from samestream.streams.transport import MAX_EVENT_BYTES
from samestream.streams.wire.avro_values import UNITS, Rows
from samestream.streams.wire.encode import encode_key
from samestream.streams.wire.schema_store import SchemaStore, framing

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXPECTED = {
    Kind.INT: "a whole number",
    Kind.FLOAT: "a number",
    Kind.BOOL: "true or false",
    Kind.STRING: "text",
    Kind.LIST: "a list of values of one kind",
    Kind.MAP: "an object of values of one kind",
    Kind.TIME: "an instant with its zone, such as 2013-01-01T10:00:00Z, or microseconds since 1970",
}


class Form:
    """How events of one topic are filled in."""

    def __init__(self, input: Input, store: SchemaStore) -> None:
        self._input, self._store = input, store
        self._codec, self._rows = Codec(input.schema), Rows(input.schema, input.columns)

    def decode(self, value: bytes | None) -> dict[str, Any] | None:
        """The event that these bytes are, times in microseconds; None where they are none of this topic's."""
        frame = framing(value or b"")
        writer = self._store.schema_of(frame) if frame is not None else None
        if value is None or frame is None or writer is None or simple_name(writer) != simple_name(self._input.schema):
            return None
        try:
            record = avro.Reader(writer, self._input.schema).read(value, len(frame))
            return Rows(self._input.schema, self._input.columns, writer).row(record)
        except SchemaError:
            return None

    def from_json(self, event: Any, where: str) -> dict[str, Any]:
        """The values of a JSON object. Raises SchemaError naming `where` and the first field that does not fit."""
        if not isinstance(event, dict):
            raise SchemaError("an event is a JSON object", where=where, found=repr(event)[:80], hint=self._fields)
        for name in event:
            if name not in self._input.columns:
                raise SchemaError(
                    "no such field", where=f"{where}, field {name}", expected=self._fields, hint="check the spelling."
                )
        return {name: self._value(name, event.get(name), name in event, where) for name in self._input.columns}

    def from_text(self, pairs: list[str]) -> dict[str, Any]:
        """``FIELD=VALUE`` pairs as values. Raises SettingsError for what is not a pair, or not a field of the event."""
        found = {}
        for pair in pairs:
            name, equals, text = pair.partition("=")
            if not equals or name not in self._input.columns:
                raise SettingsError(
                    "no such field" if equals else "a repair is written FIELD=VALUE",
                    where="--set",
                    found=pair,
                    expected=self._fields,
                    hint=f"for example --set {next(iter(self._input.columns))}=...",
                )
            found[name] = self._value(name, self._parsed(name, text), True, "--set")
        return found

    def encode(self, values: Mapping[str, Any], known_us: int, where: str) -> tuple[bytes, bytes]:
        """Key and value of the repaired event.

        Raises SchemaError where its event time would make it dead again at the record timestamp `known_us`.
        """
        gate = self._input.gate
        time_us = values[self._input.time] if self._input.time else known_us
        if gate is not None:
            latest_us = min(gate.latest_us - 1, known_us + gate.ahead_us)
            if not gate.earliest_us <= time_us <= latest_us:
                raise SchemaError(
                    "the event would be dead again: its event time is out of range",
                    where=f"{where}, field {self._input.time}",
                    found=_EPOCH + timedelta(microseconds=time_us) if abs(time_us) < 2**57 else time_us,
                    expected=f"{_EPOCH + timedelta(microseconds=gate.earliest_us)} to "
                    f"{_EPOCH + timedelta(microseconds=latest_us)}",
                    hint="correct the event time.",
                )
        key, value = encode_key(values[self._input.key]), self._codec.encode(self._rows.record(values))
        if not key or len(value) > MAX_EVENT_BYTES:
            raise SchemaError(
                "the event would be dead again",
                where=f"{where}, field {self._input.key}" if not key else where,
                found=f"{len(value)} bytes" if key else "an empty key",
                expected=f"at most {MAX_EVENT_BYTES} bytes, and a key",
                hint="correct it.",
            )
        return key, value

    @property
    def _fields(self) -> str:
        return ", ".join(self._input.columns)

    def _parsed(self, name: str, text: str) -> Any:
        kind = self._input.columns[name]
        if text == "null" and name in self._input.nullable:
            return None
        if kind is Kind.STRING:
            return text
        if kind in (Kind.LIST, Kind.MAP):
            try:
                return json.loads(text)
            except ValueError:
                return text
        if kind is Kind.BOOL:
            return {"true": True, "false": False}.get(text.lower(), text)
        for number in (int, float):
            try:
                found = number(text)
            except ValueError:
                continue
            return found if math.isfinite(found) else text
        return text

    def _value(self, name: str, value: Any, is_given: bool, where: str) -> Any:
        kind = self._input.columns[name]
        if value is None:
            if name in self._input.nullable or name.endswith(UNITS):
                return None
            found = "null" if is_given else "nothing"
        else:
            fitting = _fitting(kind, value, self._input.items.get(name))
            if fitting is not None:
                return fitting
            found = repr(value)[:80]
        raise SchemaError(
            "a value does not fit",
            where=f"{where}, field {name}",
            found=found,
            expected=_EXPECTED[kind],
            hint="correct the value.",
        )


def _fitting(kind: Kind, value: Any, item: Kind | None = None) -> Any:
    """The value as a column holds it, or None where it does not fit its kind."""
    if kind is Kind.LIST and item is not None:
        if not isinstance(value, list):
            return None
        inside = [None if part is None else _fitting(item, part) for part in value]
        return inside if [part is None for part in inside] == [part is None for part in value] else None
    if kind is Kind.MAP and item is not None:
        parts = _fitting(Kind.LIST, list(value.values()), item) if isinstance(value, dict) else None
        return None if parts is None else dict(zip(map(str, value), parts, strict=True))
    is_whole = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    if kind is Kind.STRING:
        return value if isinstance(value, str) else None
    if kind is Kind.BOOL:
        return value if isinstance(value, bool) else None
    if kind is Kind.FLOAT:
        # what is not finite was so in the event that was exported: it goes back as it came
        return float(value) if is_whole or isinstance(value, float) else None
    if kind is Kind.TIME and isinstance(value, str):
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            return None
        return None if at.tzinfo is None else (at - _EPOCH) // timedelta(microseconds=1)
    return value if is_whole else None
