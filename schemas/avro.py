"""Avro: records as bytes, in single-object encoding (two marker bytes, the schema's fingerprint, the body).

The fingerprint is CRC-64-AVRO of the canonical form, little-endian, as the Avro specification says, so any client in any
language can read and write the topics. fastavro lives here and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any, cast

import fastavro
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from samestream.schemas.errors import SchemaError

MARKER = b"\xc3\x01"
HEADER_BYTES = 10
Schema = dict[str, Any]


class Codec:
    """Reads and writes records of one schema, in single-object encoding. Times are plain microseconds (ints).

    header : what records begin with instead, in another encoding
    """

    def __init__(self, schema: Schema, header: bytes | None = None) -> None:
        self.schema = schema
        self.fingerprint = schema_fingerprint(schema)
        self.header = header if header is not None else MARKER + self.fingerprint
        self._plain = plain_schema(schema)

    def encode(self, record: Mapping[str, Any]) -> bytes:
        """One record as bytes. Raises SchemaError naming the schema when a value does not fit."""
        out = BytesIO()
        out.write(self.header)
        try:
            fastavro.schemaless_writer(out, self._plain, record)
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
            raise SchemaError(
                "a record does not fit its schema",
                where=str(self.schema["name"]),
                found=f"{type(error).__name__}: {error}",
                hint="compare the values with the declaration's fields and kinds.",
            ) from error
        return out.getvalue()

    def decode(self, value: bytes) -> dict[str, Any]:
        """One record from bytes written with this very schema. Raises SchemaError otherwise."""
        if not value.startswith(self.header):
            raise SchemaError(
                "bytes of another schema",
                where=str(self.schema["name"]),
                found=value[:HEADER_BYTES].hex(),
                expected=self.header.hex(),
                hint="see which schemas the app knows with `samestream topics`.",
            )
        body = BytesIO(value)
        body.seek(len(self.header))
        record = fastavro.schemaless_reader(body, self._plain, None)
        return cast("dict[str, Any]", record)


class Reader:
    """Reads values of one writer schema as another (reader) schema; nothing is assumed of the bytes."""

    def __init__(self, writer: Schema, reader: Schema) -> None:
        self._writer = plain_schema(writer)
        self._reader = None if schema_fingerprint(writer) == schema_fingerprint(reader) else plain_schema(reader)

    def read(self, value: bytes, start: int = HEADER_BYTES) -> dict[str, Any]:
        """The record after the header, which ``start`` bytes make. Raises SchemaError for bytes that are not exactly one record."""
        body = BytesIO(value)
        body.seek(start)
        try:
            record = fastavro.schemaless_reader(body, self._writer, self._reader)
        # fastavro raises whatever the bytes lead it into: EOFError, IndexError, MemoryError, ...
        except Exception as error:
            raise SchemaError("undecodable", found=_in_words(error)) from error
        if body.tell() != len(value):
            raise SchemaError("undecodable", found=f"{len(value) - body.tell()} bytes after the record")
        return cast("dict[str, Any]", record)


def _in_words(error: Exception) -> str:
    """What is wrong with bytes that fastavro could not read; the same for the same bytes."""
    words = next((words for kind, words in _WORDS.items() if isinstance(error, kind)), "bytes that are no such record")
    # some messages end with an address in memory, another one each time
    return f"{words} ({type(error).__name__}: {str(error).partition(' from <_io.')[0][:160]})"


_WORDS: dict[type[Exception], str] = {
    EOFError: "bytes that end before the record does",
    UnicodeDecodeError: "a text that is not UTF-8",
    IndexError: "a branch of a union, or a symbol, that the schema does not have",
    MemoryError: "a length that no record has",
    OverflowError: "a length that no record has",
}


def schema_fingerprint(schema: Schema) -> bytes:
    """CRC-64-AVRO of the canonical form: 8 bytes, little-endian as in the single-object header."""
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))


def plain_schema(schema: Schema) -> Any:
    """The schema without logical types, parsed: so times are read and written as plain integers."""
    return parse_schema(_without_logical(schema), _force=True)


def schema_text(schema: Schema) -> str:
    """The schema as JSON text, the same for the same schema."""
    return json.dumps(schema, sort_keys=True, separators=(",", ":"))


def _without_logical(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {
            name: _without_logical(part)
            for name, part in schema.items()
            if name not in ("logicalType", "__fastavro_parsed__", "__named_schemas")
        }
    return [_without_logical(part) for part in schema] if isinstance(schema, list) else schema
