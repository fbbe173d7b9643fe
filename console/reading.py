"""The newest records of a topic, decoded as far as a known schema fits them, for people and as JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from samestream.schemas import avro
from samestream.schemas.avro_names import Names, kind_of_type, logical
from samestream.schemas.errors import SchemaError
from samestream.streams.transport import Partition, Transport, read_until
from samestream.streams.wire.avro_values import UNIT_US
from samestream.streams.wire.schema_store import SchemaStore, framing

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PREVIEW_BYTES = 40


@dataclass(frozen=True)
class Seen:
    """One record as it lies in the log. known_us : its timestamp, microseconds UTC."""

    partition: Partition
    offset: int
    known_us: int
    key: bytes | None
    value: bytes | None


def newest(transport: Transport, topic: str, limit: int, wanted: Callable[[Seen], bool] = lambda _: True) -> list[Seen]:
    """The last `limit` wanted records by known time, oldest of them first; it reads further back until there are enough."""
    partitions = [Partition(topic, number) for number in range(transport.topics()[topic])]
    starts = transport.starts(partitions)
    stops = {part: end.stable for part, end in transport.ends(partitions).items()}
    depth = limit + 10  # a few control records lie between
    while True:
        firsts = {part: max(starts[part], stops[part] - depth) for part in partitions}
        found = [seen for seen in _between(transport, firsts, stops) if wanted(seen)]
        if len(found) >= limit or all(firsts[part] == starts[part] for part in partitions):
            found.sort(key=lambda seen: (seen.known_us, seen.partition, seen.offset))
            return found[-limit:] if limit else []
        depth *= 8


def every(transport: Transport, topic: str) -> Iterator[Seen]:
    """All records of a topic, partition by partition in order of offset."""
    partitions = [Partition(topic, number) for number in range(transport.topics()[topic])]
    stops = {part: end.stable for part, end in transport.ends(partitions).items()}
    yield from _between(transport, transport.starts(partitions), stops)


def _between(transport: Transport, firsts: Mapping[Partition, int], stops: Mapping[Partition, int]) -> Iterator[Seen]:
    wanted = {part: stop for part, stop in stops.items() if firsts[part] < stop}
    if not wanted:
        return
    reader = transport.reader()
    reader.assign({part: firsts[part] for part in wanted})
    for fetched in read_until(reader, wanted):
        rows = zip(fetched.offsets.tolist(), fetched.known_us.tolist(), fetched.keys, fetched.values, strict=True)
        for offset, known_us, key, value in rows:
            yield Seen(fetched.partition, offset, known_us, key, value)


def instant(time_us: int | None) -> str:
    """An instant as people read it, to the millisecond; ``-`` where there is none.

    >>> instant(1_000_000)
    '1970-01-01T00:00:01Z'
    """
    if time_us is None:
        return "-"
    try:
        at = _EPOCH + timedelta(microseconds=time_us)
    except OverflowError:
        return f"{time_us} us"
    return at.isoformat(timespec="milliseconds" if at.microsecond else "seconds").replace("+00:00", "Z")


def exact(time_us: int) -> str | int:
    """An instant for JSON, to the microsecond; as microseconds where no calendar reaches.

    >>> exact(1_000_001)
    '1970-01-01T00:00:01.000001Z'
    """
    try:
        at = _EPOCH + timedelta(microseconds=time_us)
    except OverflowError:
        return time_us
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


class Translator:
    """Turns bytes into values that JSON holds, by the schemas an app knows.

    tell : how instants are told: for people, or `exact`
    """

    def __init__(self, store: SchemaStore, tell: Callable[[int], Any] = instant) -> None:
        self._store, self._tell = store, tell
        self._readers: dict[bytes, tuple[avro.Reader, avro.Schema] | None] = {}

    def record(self, value: bytes | None) -> dict[str, Any] | None:
        """The record that these bytes are, or None where no known schema fits."""
        frame = framing(value or b"")
        if value is None or frame is None:
            return None
        if frame not in self._readers:
            schema = self._store.schema_of(frame)
            self._readers[frame] = (avro.Reader(schema, schema), schema) if schema else None
        known = self._readers[frame]
        if known is None:
            return None
        reader, schema = known
        try:
            return readable(reader.read(value, len(frame)), schema, self._tell)
        except SchemaError:
            return None


def readable(record: Mapping[str, Any], schema: avro.Schema, tell: Callable[[int], Any] = instant) -> dict[str, Any]:
    """A decoded record with its instants and decimals as text and its bytes as previews."""
    names = Names(schema)
    return {
        field["name"]: _value(record[field["name"]], names, field["type"], tell) for field in names.schema["fields"]
    }


def preview(value: bytes | None) -> str:
    """Bytes as short text: as UTF-8 where they are printable, else in hexadecimal; ``null`` is not empty.

    >>> preview(b"\\x00\\x01")
    'hex 0001'
    """
    if value is None:
        return "null"
    rest = f"... ({len(value)} bytes)" if len(value) > PREVIEW_BYTES else ""
    try:
        text = value[:PREVIEW_BYTES].decode("utf-8", "strict" if not rest else "ignore")
    except UnicodeDecodeError:
        text = "\0"
    if text.isprintable() and (text or not value):
        return json.dumps(text, ensure_ascii=False) + rest
    return f"hex {value[:PREVIEW_BYTES].hex()}{rest}"


def plain(value: bytes | None) -> str | None:
    """A key as text; one that is not UTF-8 becomes a preview."""
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return preview(value)


def encoded(value: bytes | None) -> str | None:
    """Bytes for JSON, in base64."""
    return None if value is None else base64.b64encode(value).decode()


def _value(value: Any, names: Names, type_: Any, tell: Callable[[int], Any]) -> Any:
    if value is None:
        return None
    found: Any = next((part for part in names.members(type_) if part != "null"), "null")
    kind, meant = kind_of_type(found), logical(found)
    if kind in ("int", "long") and meant in UNIT_US:
        return tell(value * UNIT_US[meant])
    if meant == "decimal" and isinstance(value, bytes) and value:
        return str(Decimal(int.from_bytes(value, "big", signed=True)).scaleb(-found.get("scale", 0)))
    if kind == "array":
        return [_value(part, names, found["items"], tell) for part in value]
    if kind == "map":
        return {name: _value(part, names, found["values"], tell) for name, part in value.items()}  # pyright: ignore[reportAttributeAccessIssue]
    if kind == "record":
        return {part["name"]: _value(value[part["name"]], names, part["type"], tell) for part in found["fields"]}
    return preview(value) if isinstance(value, bytes) else value
