"""The models topic: which artifact fills which slot of a model, and from which known time on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from samestream.schemas import records
from samestream.schemas.avro import Codec
from samestream.schemas.expressions import Kind
from samestream.streams.plan import Input
from samestream.streams.transport import Outgoing, Transport, send_all

CHAMPION = "champion"
_CODEC = Codec(records.MODEL)
_READ = ("model", "slot", "version", "applies_from", "artifact", "digest", "fingerprint", "trained_rows")


@dataclass(frozen=True)
class ModelVersion:
    """A record of the models topic. ``applies_from_us`` is a known time: vectors known from then on are scored by it."""

    model: str
    version: str
    applies_from_us: int
    artifact: str
    digest: str
    fingerprint: str
    trained_rows: int
    slot: str = CHAMPION
    metrics: Mapping[str, float] = field(default_factory=dict)


def publish(transport: Transport, topic: str, version: ModelVersion) -> None:
    """Write a version to the models topic, stamped with the known time from which it applies."""
    value = _CODEC.encode(
        {
            "model": version.model,
            "slot": version.slot,
            "version": version.version,
            "applies_from": version.applies_from_us,
            "artifact": version.artifact,
            "digest": version.digest,
            "fingerprint": version.fingerprint,
            "trained_rows": version.trained_rows,
            "metrics": dict(version.metrics),
        }
    )
    key = f"{version.model}/{version.slot}".encode()
    send_all(transport, [Outgoing(topic, key, value, version.applies_from_us)])


def versions(transport: Transport, topic: str) -> list[ModelVersion]:
    """Every version the topic still holds, oldest first."""
    found = []
    for fetched in transport.read_all(topic):
        for value in fetched.values:
            if value is not None and value.startswith(_CODEC.header):
                record = _CODEC.decode(value)
                record["applies_from_us"] = record.pop("applies_from")
                found.append(ModelVersion(**record))
    return found


def registry_input(topic: str) -> Input:
    """How a processor reads the models topic among its inputs."""
    schema = {**records.MODEL, "fields": [part for part in records.MODEL["fields"] if part["name"] in _READ]}
    kinds = dict.fromkeys(_READ, Kind.STRING) | {"applies_from": Kind.TIME, "trained_rows": Kind.INT}
    return Input("models", topic, schema, kinds, frozenset(), "", "applies_from")
