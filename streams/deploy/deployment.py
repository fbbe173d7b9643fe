"""What stands between a declaration and where it is to run: asked of the broker before anything is made.

`samestream apply` refuses by it, `samestream check` prints it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from samestream.schemas import durations
from samestream.schemas.app import App
from samestream.schemas.errors import TransportError
from samestream.schemas.windows import LIFETIME_US
from samestream.streams.deploy.changes import Consequence, compare, returned, unreadable
from samestream.streams.deploy.declaration import Declaration, declare, recorded
from samestream.streams.plan import Plan
from samestream.streams.transport import Partition, TopicSpec, Transport

_READ_S = 5.0


def examine(transport: Transport, app: App, plan: Plan, specs: Sequence[TopicSpec]) -> list[Consequence]:
    """What would follow if the app were applied here now, refusals among it; nothing is written."""
    before = recorded(transport, plan.schemas)
    now = declare(app, plan)
    found = list(compare(before[-1], now).consequences) if before else []
    told = {(one.code, one.where) for one in found}
    found += [one for one in returned(before[:-1], now) if (one.code, one.where) not in told]
    found += _partitions(transport, specs)
    found += _retention(transport, app, now, specs)
    found += _readers(transport, app, plan, now)
    return found


def differing(transport: Transport, specs: Sequence[TopicSpec]) -> dict[str, list[tuple[str, str, str]]]:
    """By existing topic, the properties that are other than declared, as (property, found, declared)."""
    existing = transport.topics()
    found = {}
    for spec in specs:
        if spec.name in existing:
            actual = transport.topic_config(spec.name)
            wrong = [(name, actual.get(name, ""), wanted) for name, wanted in spec.config.items()]
            found[spec.name] = [one for one in wrong if one[1] != one[2]]
    return {topic: wrong for topic, wrong in found.items() if wrong}


def _partitions(transport: Transport, specs: Sequence[TopicSpec]) -> Iterator[Consequence]:
    existing = transport.topics()
    for spec in specs:
        count = existing.get(spec.name, spec.partitions)
        if count != spec.partitions:
            yield Consequence(
                "partitions",
                spec.name,
                f"it has {count} partitions, declared are {spec.partitions}: keys would move between them",
                f"declare partitions={count} (or give --set), or use a new topic name.",
            )


def _retention(transport: Transport, app: App, now: Declaration, specs: Sequence[TopicSpec]) -> Iterator[Consequence]:
    existing = transport.topics()
    wanted = {spec.name: spec.config for spec in specs}
    for name, event in app.events.items():
        topic = app.topic(event)
        config = transport.topic_config(topic) if topic in existing else wanted[topic]
        reach_us = reach_of(now, name)
        if not reach_us:
            continue
        reach = reach_in_words(now, name)
        retention_ms = int(config.get("retention.ms", "-1"))
        policy = config.get("cleanup.policy", "delete")
        if "compact" in policy and int(config.get("min.compaction.lag.ms", "0")) * 1000 < reach_us:
            yield Consequence(
                "retention",
                topic,
                f"it is compacted, so only the newest record of each key is kept, but {reach}",
                "declare it without compact=True, or set min.compaction.lag.ms to at least that length.",
            )
        elif "delete" in policy and 0 <= retention_ms * 1000 < reach_us:
            kept = durations.text(retention_ms * 1000)
            yield Consequence(
                "retention",
                topic,
                f"it keeps {kept}, but {reach}: after a restart values would differ",
                f"keep it longer: kafka-configs --alter --topic {topic} --add-config retention.ms={-(-reach_us // 1000)},"
                " or -1; or shorten the window.",
            )
        elif topic in existing and (held_us := _held_us(transport, topic)) is not None and held_us < reach_us:
            yield Consequence(
                "retention",
                topic,
                f"what is left of it begins {durations.text(held_us)} ago, but {reach}: it would begin with too little",
                "wait until the log reaches back as far, or apply with --allow retention: values fill up meanwhile.",
            )


def reach_of(declaration: Declaration, event: str) -> int:
    """How far back the longest window on an event looks, in microseconds; 0 where there is none.

    A table's record counts until the next one of its key, however long that takes.
    """
    if _is_looked_up(declaration, event):
        return LIFETIME_US
    features = [part for part in declaration.parts.values() if part.kind == "feature" and event in part.reads]
    return max((part.reach_us for part in features), default=0)


def reach_in_words(declaration: Declaration, event: str) -> str:
    """What needs an event for so long: ``a window looks back 3h``."""
    if _is_looked_up(declaration, event):
        return "lookups find records of any age in it"
    reach_us = reach_of(declaration, event)
    return f"a window looks back {'for ever' if reach_us >= LIFETIME_US else durations.text(reach_us)}"


def _is_looked_up(declaration: Declaration, table: str) -> bool:
    parts = declaration.parts
    return parts[table].kind == "table" and any(
        name.startswith(f"{table}.") for part in parts.values() if part.kind != "field" for name in part.reads
    )


def _held_us(transport: Transport, topic: str) -> int | None:
    """How far back a topic still reaches, where its beginning is gone; None where everything is there."""
    partitions = [Partition(topic, number) for number in range(transport.topics()[topic])]
    ends = transport.ends(partitions)
    cut = {part: start for part, start in transport.starts(partitions).items() if 0 < start < ends[part].stable}
    if not cut:
        return None
    oldest_us: dict[Partition, int] = {}
    reader = transport.reader()
    try:
        reader.assign(cut)
        deadline_s = time.monotonic() + _READ_S
        while len(oldest_us) < len(cut) and time.monotonic() < deadline_s:
            for fetched in reader.fetch(1, 0.2):
                if len(fetched):
                    oldest_us.setdefault(fetched.partition, int(fetched.known_us[0]))
    finally:
        reader.close()
    now_us = int(time.time() * 1_000_000)
    seconds = (now_us - max(oldest_us.values(), default=now_us)) // 1_000_000
    return max(seconds, 1) * 1_000_000


def _readers(transport: Transport, app: App, plan: Plan, now: Declaration) -> Iterator[Consequence]:
    """What other apps of this deployment, which have recorded their declarations, can no longer read."""
    mine = {topic: name for name, topic in now.topics.items() if name in app.events}
    for topic in transport.topics():
        if not topic.endswith(".schemas") or topic == plan.schemas or not topic.startswith(app.within("")):
            continue
        try:
            others = recorded(transport, topic)
        except TransportError as refused:
            yield Consequence(
                "unseen", topic, f"its app's declaration cannot be read: {refused.what}", "ask its owner what it reads."
            )
            continue
        if others and topic == app.within(f"{others[-1].app}.schemas"):  # not one of another namespace
            yield from _reader(others[-1], mine, now)


def _reader(other: Declaration, mine: dict[str, str], now: Declaration) -> Iterator[Consequence]:
    for name, topic in other.topics.items():
        if topic in mine and name in other.schemas:
            for field in unreadable(now.schemas[mine[topic]], other.schemas[name]):
                yield Consequence(
                    "removed-field",
                    f"{mine[topic]}.{field}",
                    f"the app {other.app} reads it (version {other.version} of its declaration)",
                    f"agree with {other.app} first; then apply with --allow removed-field.",
                )
