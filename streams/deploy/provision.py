"""What an app needs in Kafka before anything runs: its topics and their schemas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from samestream.schemas import avro, avro_schemas, records
from samestream.schemas.app import App
from samestream.schemas.errors import DeclarationError
from samestream.schemas.topics import TopicOptions
from samestream.streams.deploy import declaration
from samestream.streams.plan import Plan
from samestream.streams.transport import MAX_RECORD_BYTES, TopicSpec, Transport
from samestream.streams.wire.schema_store import SchemaStore

# Kafka retains by record timestamp, so history (events known long ago) would vanish at once under a finite retention.
_KEEP = {"retention.ms": "-1", "max.message.bytes": str(MAX_RECORD_BYTES)}
# keyed by processor: one that hangs in a transaction holds back the entries of few others
_JOURNAL_PARTITIONS = 16
_PROFILE_PARTITIONS = 4
_COMPACT = {"cleanup.policy": "compact"}
# one clock, whoever writes; kept as long as the monitors' journal, which they replay from its beginning
_PULSE = {**_KEEP, "message.timestamp.type": "LogAppendTime"}
_EVERY = ("replication", "min_insync")  # what an option for all topics may say of those that samestream itself writes

Chosen = Mapping[str, Mapping[str, Any]]
"""Options of topics that overrule the declared ones, by event name; those under "" hold for all."""


@dataclass(frozen=True)
class Provisioned:
    """What `provision` made: names of new topics, subjects of new schemas, and the version it recorded, if it is new."""

    topics: list[str]
    schemas: list[str]
    version: int | None = None


def topics(app: App, plan: Plan, replication: int = 1, chosen: Chosen | None = None) -> list[TopicSpec]:
    """Every topic of an app, with partitions and configuration.

    replication : copies of a topic that says nothing else
    Raises DeclarationError for a chosen option that means nothing.
    """
    chosen = chosen or {}
    for_all = dict(chosen.get("", {}))

    def spec(name: str, kept: TopicOptions, config: Mapping[str, str] = _KEEP) -> TopicSpec:
        copies = kept.replication or replication
        if kept.min_insync is not None and kept.min_insync > copies:
            raise DeclarationError(
                "more copies must be in sync than there are",
                where=name,
                found=f"min_insync {kept.min_insync}, replication {copies}",
                hint="samestream apply MODULE --replication 3 --set min_insync=2.",
            )
        insync = {"min.insync.replicas": str(kept.min_insync)} if kept.min_insync is not None else {}
        return TopicSpec(name, kept.partitions, copies, {**config, **insync})

    found = []
    of_event = {}
    for name, event in app.events.items():
        topic = app.topic(event)
        kept = of_event[name] = event.topic_options.with_options(name, for_all | dict(chosen.get(name, {})))
        found.append(spec(topic, kept, {**_KEEP, **kept.config()}))
        found += [spec(f"{topic}.{kind}", kept) for kind in ("late", "dead")]
    own = TopicOptions().with_options(app.name, {name: for_all[name] for name in _EVERY if name in for_all})
    for model in plan.models.values():
        partitions = of_event[model.trigger].partitions
        found += [spec(topic, replace(own, partitions=partitions)) for topic in model.topics.values()]
    single = replace(own, partitions=1)
    found += [spec(plan.journal, replace(own, partitions=_JOURNAL_PARTITIONS)), spec(plan.drift, single)]
    # a profile that grows is written again under the same key
    found.append(spec(plan.profiles, replace(own, partitions=_PROFILE_PARTITIONS), {**_KEEP, **_COMPACT}))
    # the models topic is not compacted: the scorer and the monitors journal what they read of it, and replay it
    found += [spec(plan.schemas, single, _COMPACT), spec(plan.registry, single), spec(plan.pulse, single, _PULSE)]
    return found


def schemas(plan: Plan) -> list[tuple[str, avro.Schema]]:
    """Every schema of an app, as (subject, schema)."""
    found = [(f"{part.topic}-value", part.schema) for part in plan.events.values()]
    found += [(f"{model.topics['features']}-value", model.vector_schema) for model in plan.models.values()]
    found += [(f"samestream.{name}", schema) for name, schema in records.ALL.items()]
    for model in plan.models.values():
        found.append((f"{model.topics['predictions']}-value", avro_schemas.prediction_schema(model.vector_schema)))
        found.append((f"{model.topics['outcomes']}-value", records.OUTCOME))
    return found


def provision(
    transport: Transport, app: App, plan: Plan, replication: int = 1, chosen: Chosen | None = None
) -> Provisioned:
    """Create what is missing and record the declaration; nothing that exists is changed.

    The declaration comes last, so where this fails it can simply be done again: what is there is passed over.
    Raises TransportError when an existing topic has another number of partitions.
    """
    created = transport.create_topics(topics(app, plan, replication, chosen))
    published = SchemaStore(transport, plan.schemas).publish(schemas(plan))
    return Provisioned(created, published, _record(transport, app, plan))


def unrecorded(transport: Transport, app: App, plan: Plan) -> declaration.Declaration | None:
    """The declaration of an app as its next version; None where the last one recorded says the same."""
    before = declaration.recorded(transport, plan.schemas)
    last = before[-1] if before else None
    now = declaration.declare(app, plan)
    return None if last is not None and last.same_as(now) else now.following(last)


def _record(transport: Transport, app: App, plan: Plan) -> int | None:
    now = unrecorded(transport, app, plan)
    if now is None:
        return None
    declaration.record(transport, plan.schemas, now)
    return now.version


def store(transport: Transport, plan: Plan) -> SchemaStore:
    """The app's schemas, those of the plan known from the start."""
    found = schemas(plan)
    return SchemaStore(transport, plan.schemas, [schema for _, schema in found], dict(found))
