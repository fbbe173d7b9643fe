"""Whether bytes are a lawful record by the Avro specification, in plain Python, whatever reads them and for what.

fastavro is lenient where its C code happens to be: it takes a negative index from the end of the list, drops the bits of
a number beyond 64, stops caring about bytes in fields that the reader skips, and follows nested data until memory or the
stack is gone. So that a record is dead or not by its bytes and its schema alone, everything it accepts must also pass here.
"""

from __future__ import annotations

from typing import Any

from samestream.schemas import avro
from samestream.schemas.errors import SchemaError

DEEPEST = 64  # levels of nested types; fastavro ends the process somewhere beyond 10,000
MOST_EMPTY = 10_000  # items of no bytes at all, such as nulls: four bytes can announce a billion of them
_WIDTHS = {"float": 4, "double": 8}
_FLAT = ("null", "boolean", "int", "long", "float", "double", "string", "bytes", "fixed", "enum")


class Wire:
    """Checks the records of one writer schema."""

    def __init__(self, writer: avro.Schema) -> None:
        self._named: dict[str, Any] = {}
        self._schema = avro.plain_schema(writer)
        self._learn(self._schema)
        types = [field["type"] for field in self._schema.get("fields", [])]
        branches = [part for type_ in types for part in (type_ if isinstance(type_, list) else [type_])]
        self.is_flat = all((part["type"] if isinstance(part, dict) else part) in _FLAT for part in branches)

    def check(self, value: bytes, start: int = avro.HEADER_BYTES) -> None:
        """Raise SchemaError unless ``value`` is, from ``start`` on, exactly one lawful record."""
        walk = _Walk(value, start, self._named)
        walk.through(self._schema, 0)
        if walk.at != len(value):
            raise SchemaError("undecodable", found=f"{len(value) - walk.at} bytes after the record")

    def _learn(self, type_: Any) -> None:
        """Remember the named types; a parsed schema names each by its full name, before any use of it."""
        if isinstance(type_, list):
            for part in type_:
                self._learn(part)
        elif isinstance(type_, dict):
            if "name" in type_:
                self._named[type_["name"]] = type_
            for part in [field["type"] for field in type_.get("fields", [])]:
                self._learn(part)
            for part in ("items", "values", "type"):
                if isinstance(type_.get(part), dict | list):
                    self._learn(type_[part])


class _Walk:
    """A position in bytes, and how many more items of no bytes at all may still come."""

    def __init__(self, value: bytes, at: int, named: dict[str, Any]) -> None:
        self.value, self.at, self._named = value, at, named
        self._empty_items = MOST_EMPTY

    def through(self, type_: Any, depth: int) -> None:
        if depth > DEEPEST:
            raise _refused(f"nested deeper than {DEEPEST} levels")
        if isinstance(type_, list):
            self.through(type_[self._below(len(type_), "branch of a union")], depth + 1)
            return
        name = type_["type"] if isinstance(type_, dict) else type_
        if isinstance(name, dict | list):
            self.through(name, depth + 1)
        elif name == "null":
            return
        elif name == "boolean":
            if self._skip(1)[0] > 1:
                raise _refused("a boolean that is neither 0 nor 1")
        elif name == "int":
            if not -(2**31) <= self._number() < 2**31:
                raise _refused("an int beyond 32 bits")
        elif name == "long":
            self._number()
        elif name in _WIDTHS:
            self._skip(_WIDTHS[name])
        elif name == "fixed":
            self._skip(int(type_["size"]))
        elif name == "enum":
            self._below(len(type_["symbols"]), "symbol of an enum")
        elif name == "bytes":
            self._skip(self._number())
        elif name == "string":
            self._text()
        elif name in ("record", "error"):
            for field in type_["fields"]:
                self.through(field["type"], depth + 1)
        elif name in ("array", "map"):
            self._blocks(type_, depth)
        else:
            self.through(self._named[name], depth + 1)

    def _blocks(self, type_: Any, depth: int) -> None:
        while count := self._number():
            size = self._number() if count < 0 else None
            start = self.at
            for _ in range(abs(count)):
                before = self.at
                if type_["type"] == "map":
                    self._text()
                self.through(type_["items"] if type_["type"] == "array" else type_["values"], depth + 1)
                self._empty_items -= self.at == before
                if self._empty_items < 0:
                    raise _refused(f"more than {MOST_EMPTY} items without bytes")
            if size is not None and self.at != start + size:
                raise _refused("a block that is not as long as it says")

    def _number(self) -> int:
        word = 0
        for shift in range(0, 70, 7):
            if self.at >= len(self.value):
                raise _refused("cut off in a number")
            byte = self.value[self.at]
            self.at += 1
            word |= (byte & 0x7F) << shift
            if byte < 0x80:
                if word >= 2**64:
                    break
                return (word >> 1) ^ -(word & 1)
        raise _refused("a number beyond 64 bits")

    def _below(self, count: int, what: str) -> int:
        index = self._number()
        if not 0 <= index < count:
            raise _refused(f"{what} {index} of {count}")
        return index

    def _skip(self, length: int) -> bytes:
        if not 0 <= length <= len(self.value) - self.at:
            raise _refused(f"{length} bytes are announced, {len(self.value) - self.at} are left")
        self.at += length
        return self.value[self.at - length : self.at]

    def _text(self) -> None:
        try:
            self._skip(self._number()).decode()
        except UnicodeDecodeError as error:
            raise SchemaError("undecodable", found=f"a text that is not UTF-8 ({error})") from error


def _refused(found: str) -> SchemaError:
    return SchemaError("undecodable", found=found)
