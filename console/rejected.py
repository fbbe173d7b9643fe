"""Rejected events as the `.dead` and `.late` topics hold them, and as a person reads and edits them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from samestream.console import reading
from samestream.console.reading import Seen
from samestream.schemas import records
from samestream.schemas.avro import Codec
from samestream.schemas.errors import SchemaError, SettingsError
from samestream.streams.transport import Partition, Transport

_CODEC = Codec(records.REJECTED)


@dataclass(frozen=True)
class Rejected:
    """An event that was late or dead: why, where it lay, and its original bytes. Times are microseconds UTC."""

    reason: str
    detail: str
    origin: Partition
    offset: int
    known_us: int
    time_us: int | None
    key: bytes | None
    value: bytes | None

    @property
    def place(self) -> str:
        """Where it lay: topic/partition/offset."""
        return f"{self.origin.topic}/{self.origin.partition}/{self.offset}"

    def document(self, event: dict[str, Any] | None) -> dict[str, Any]:
        """What `topics --json` and `redrive --export` write, one a line; `event` is for editing, `raw` is base64."""
        return {
            "reason": self.reason,
            "detail": self.detail,
            "origin": {"topic": self.origin.topic, "partition": self.origin.partition, "offset": self.offset},
            "known_time": reading.exact(self.known_us),
            "event_time": None if self.time_us is None else reading.exact(self.time_us),
            "key": reading.plain(self.key),
            "event": event,
            "raw": reading.encoded(self.value),
        }

    def text(self, event: dict[str, Any] | None) -> str:
        """Three lines for people."""
        key = "null" if self.key is None else reading.plain(self.key)
        shown = reading.preview(self.value)
        if event is not None:
            shown = "  ".join(f"{name}={'null' if part is None else part}" for name, part in event.items())
        return (
            f"{self.reason}: {self.detail}\n"
            f"  from {self.origin}@{self.offset}  known {reading.instant(self.known_us)}  key {key}\n"
            f"  {shown}"
        )


def parse(seen: Seen) -> Rejected | None:
    """The rejection in a record; None for what somebody else wrote there."""
    if seen.value is None or not seen.value.startswith(_CODEC.header):
        return None
    try:
        found = _CODEC.decode(seen.value)
    except (SchemaError, EOFError, ValueError, IndexError):
        return None
    return Rejected(
        found["reason"],
        found["detail"],
        Partition(found["topic"], found["partition"]),
        found["offset"],
        found["known_time"],
        found["event_time"],
        found["key"],
        found["value"],
    )


def find(transport: Transport, topic: str) -> None:
    """Raises SettingsError, naming those that come near, where there is no such topic."""
    counts = transport.topics()
    if topic not in counts:
        near = [name for name in counts if name.startswith(topic.partition(".")[0] + ".")]
        raise SettingsError(
            "there is no such topic",
            where=topic,
            expected=", ".join(near) or ", ".join(counts) or "none exist yet",
            hint="list them with `samestream topics MODULE`.",
        )
