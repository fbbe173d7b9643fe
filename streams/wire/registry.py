"""A schema registry: subjects, versions and ids, by confluent-kafka's client (install ``samestream[registry]``).

Subjects are named by topic, ``<topic>-value``. What is known is cached for good: ids never change their meaning.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from samestream.schemas.avro import Schema, plain_schema, schema_text
from samestream.schemas.errors import RegistryError, SettingsError
from samestream.schemas.evolution import Level

log = logging.getLogger("samestream")
T = TypeVar("T")
MAGIC = b"\x00"
_TIMEOUT_S, _PAUSE_S = 5, 0.5
_ABSENT = (40401, 40402, 40403, 40408)  # subject, version, schema, a level of the subject's own


class Registry:
    """One schema registry.

    url : such as ``http://registry:8081``; several with commas
    patience_s : how long to go on asking one that does not answer, before it is told; until then callers wait, nothing is lost
    """

    def __init__(self, url: str, *, patience_s: float = 30.0) -> None:
        try:
            from confluent_kafka.schema_registry import SchemaRegistryClient
        except ImportError as error:
            raise SettingsError(
                "a schema registry is configured, but its client is not installed",
                where="registry_url",
                found=str(error),
                hint="pip install 'samestream[registry]'.",
            ) from error
        self.url, self._patience_s = url, patience_s
        self._ids: dict[tuple[str, str], int] = {}
        self._schemas: dict[int, Schema] = {}
        try:
            self._client = SchemaRegistryClient({"url": url, "timeout": _TIMEOUT_S, "max.retries": 0})
        except (ValueError, TypeError) as error:
            raise SettingsError(
                "not the address of a registry",
                where="registry_url",
                found=f"{url!r}: {error}",
                expected="http://HOST:PORT",
                hint="for example SAMESTREAM_REGISTRY_URL=http://127.0.0.1:8081.",
            ) from error

    def register(self, subject: str, schema: Schema) -> int:
        """The id of a schema, made a version of the subject if it is none. Raises RegistryError if it is incompatible."""
        return self._id(subject, schema, self._client.register_schema)

    def find(self, subject: str, schema: Schema) -> int | None:
        """The id of a schema under the subject, or None."""
        try:
            return self._id(subject, schema, lambda *asked: self._client.lookup_schema(*asked).schema_id)
        except _Absent:
            return None

    def schema(self, number: int) -> Schema | None:
        """The record schema with this id, or None: there is none, or it is nothing that Avro reads."""
        if number not in self._schemas:
            try:
                text = self._asked(f"schema id {number}", lambda: self._client.get_schema(number)).schema_str
            except _Absent:
                return None
            found = _record_schema(text)
            if found is None:
                return None
            self._schemas[number] = found
        return self._schemas[number]

    def versions(self, subject: str) -> list[Schema]:
        """The schemas of a subject, oldest first; none where there is no such subject."""
        try:
            numbers = sorted(self._asked(subject, lambda: self._client.get_versions(subject)))
        except _Absent:
            return []
        texts = [self._text(subject, number) for number in numbers]
        return [schema for schema in map(_record_schema, texts) if schema is not None]

    def level(self, subject: str) -> Level:
        """What the registry demands of new versions of the subject: the subject's own level, or the registry's."""
        try:
            said = self._asked(subject, lambda: self._client.get_compatibility(subject))
        except _Absent:
            said = self._asked("config", self._client.get_compatibility)
        return Level(str(said).lower())

    def set_level(self, subject: str, level: Level) -> None:
        """Demand a level of new versions of the subject from now on."""
        self._asked(subject, lambda: self._client.set_compatibility(subject, level.upper()))

    def accepts(self, subject: str, schema: Schema) -> bool:
        """Whether the registry itself would take the schema as the next version."""
        try:
            return bool(
                self._asked(subject, lambda: self._client.test_compatibility_all_versions(subject, _sent(schema)))
            )
        except _Absent:
            return True

    def _text(self, subject: str, number: int) -> str:
        return str(self._asked(subject, lambda: self._client.get_version(subject, number)).schema.schema_str)

    def _id(self, subject: str, schema: Schema, ask: Callable[..., Any]) -> int:
        key = subject, schema_text(schema)
        if key not in self._ids:
            self._ids[key] = int(self._asked(subject, lambda: ask(subject, _sent(schema))))
        return self._ids[key]

    def _asked(self, what: str, ask: Callable[[], T]) -> T:
        """The registry's answer. Raises RegistryError where it refuses, or does not answer for long; _Absent for a 404."""
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        deadline, told = time.monotonic() + self._patience_s, False
        while True:
            try:
                return ask()
            except SchemaRegistryError as error:
                if error.error_code in _ABSENT:
                    raise _Absent(what) from error
                if error.http_status_code < 500:
                    raise RegistryError(
                        "the schema registry refuses",
                        where=what,
                        found=f"{error.http_status_code}: {error.error_message}",
                        hint="`samestream schemas check MODULE --against registry` names what is incompatible.",
                    ) from error
                failed: Exception = error
            except Exception as error:  # whatever its HTTP client raises: refused, reset, timed out, no JSON
                failed = error
            if time.monotonic() >= deadline:
                raise RegistryError(
                    "the schema registry does not answer",
                    where=self.url,
                    found=f"{type(failed).__name__}: {failed}",
                    hint="start it, or correct SAMESTREAM_REGISTRY_URL. No record is lost: reading goes on where it stopped.",
                ) from failed
            if not told:
                log.warning("the schema registry at %s does not answer, waiting: %s", self.url, failed)
                told = True
            time.sleep(_PAUSE_S)


class _Absent(Exception):
    """The registry has no such thing."""


def frame_of(number: int) -> bytes:
    """The header of the Confluent wire format: a zero, and the schema's id in four bytes."""
    return MAGIC + number.to_bytes(4, "big")


def _sent(schema: Schema) -> Any:
    from confluent_kafka.schema_registry import Schema as Registered

    return Registered(schema_text(schema), "AVRO")


def _record_schema(text: Any) -> Schema | None:
    try:
        schema = json.loads(text)
        plain_schema(schema)
    except Exception as error:  # JSON schemas and Protobuf stand in registries too
        log.warning("a registered schema is no Avro: %s: %s", type(error).__name__, error)
        return None
    return schema if isinstance(schema, dict) and schema.get("type") == "record" else None
