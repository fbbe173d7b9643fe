"""What an app needs in Kafka before anything runs: its topics and their schemas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from samestream.schemas import avro, records
from samestream.schemas.app import App
from samestream.streams.plan import Plan
from samestream.streams.schema_store import SchemaStore
from samestream.streams.transport import MAX_RECORD_BYTES, TopicSpec, Transport

# Kafka retains by record timestamp, so history (events known long ago) would vanish at once under a finite retention.
_KEEP = {"retention.ms": "-1", "max.message.bytes": str(MAX_RECORD_BYTES)}
# keyed by processor: one that hangs in a transaction holds back the entries of few others
_JOURNAL_PARTITIONS = 16
_COMPACT = {"cleanup.policy": "compact"}


@dataclass(frozen=True)
class Provisioned:
    """What `provision` made: names of new topics, subjects of new schemas."""

    topics: list[str]
    schemas: list[str]


def topics(app: App, plan: Plan, replication: int = 1) -> list[TopicSpec]:
    """Every topic of an app, with partitions and configuration."""

    def spec(name: str, partitions: int, config: Mapping[str, str]) -> TopicSpec:
        return TopicSpec(name, partitions, replication, config)

    found = []
    for event in app.events.values():
        topic = app.topic(event)
        found += [spec(name, event.partitions, _KEEP) for name in (topic, f"{topic}.late", f"{topic}.dead")]
    for model in plan.models.values():
        found += [spec(topic, app.events[model.trigger].partitions, _KEEP) for topic in model.topics.values()]
    found += [spec(plan.journal, _JOURNAL_PARTITIONS, _KEEP), spec(plan.drift, 1, _KEEP)]
    # the models topic is not compacted: the scorer and the monitors journal what they read of it, and replay it
    found += [spec(plan.schemas, 1, _COMPACT), spec(plan.registry, 1, _KEEP)]
    return found


def schemas(plan: Plan) -> list[tuple[str, avro.Schema]]:
    """Every schema of an app, as (subject, schema)."""
    found = [(f"{part.topic}-value", part.schema) for part in plan.events.values()]
    found += [(f"{model.topics['features']}-value", model.vector_schema) for model in plan.models.values()]
    return found + [(f"samestream.{name}", schema) for name, schema in records.ALL.items()]


def provision(transport: Transport, app: App, plan: Plan, replication: int = 1) -> Provisioned:
    """Create what is missing; nothing that exists is changed.

    Raises TransportError when an existing topic has another number of partitions.
    """
    created = transport.create_topics(topics(app, plan, replication))
    return Provisioned(created, SchemaStore(transport, plan.schemas).publish(schemas(plan)))


def store(transport: Transport, plan: Plan) -> SchemaStore:
    """The app's schemas, those of the plan known from the start."""
    return SchemaStore(transport, plan.schemas, [schema for _, schema in schemas(plan)])
