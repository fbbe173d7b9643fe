"""How the topic of an event is kept: what `samestream apply` asks Kafka for when it makes the topic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from samestream.schemas import durations
from samestream.schemas.errors import DeclarationError

OPTIONS = ("partitions", "replication", "min_insync", "retention", "compact")


@dataclass(frozen=True)
class TopicOptions:
    """What may be said of an event's topic in its class statement, or to `apply` by ``--set``.

    replication : copies of every partition; None leaves it to `apply`
    min_insync : copies that must have a record before it counts as written; None leaves it to the broker
    retention_us : how long records are kept after their known time, microseconds; None is for ever
    compact : keep only the newest record of every key, once the retention is over
    """

    partitions: int = 2
    replication: int | None = None
    min_insync: int | None = None
    retention_us: int | None = None
    compact: bool = False

    def with_options(self, where: str, given: Mapping[str, Any]) -> TopicOptions:
        """These with some of `OPTIONS` set. Raises DeclarationError for a value that means nothing."""
        made = self
        for name, value in given.items():
            if name == "retention":
                retention_us = None if value in (None, "forever") else durations.parse(value, f"{where}.retention")
                made = replace(made, retention_us=retention_us)
                continue
            fits = isinstance(value, bool) if name == "compact" else type(value) is int and value >= 1
            if name not in OPTIONS or not fits:
                raise DeclarationError(
                    "a topic needs partitions" if name == "partitions" else "an option of a topic means nothing",
                    where=where if name == "partitions" else f"{where}.{name}",
                    found=repr(value),
                    expected="True or False" if name == "compact" else "1 or more",
                    hint=f"{name}={'True' if name == 'compact' else 2}.",
                )
            made = replace(made, **{name: value})
        if made.min_insync is not None and made.replication is not None and made.min_insync > made.replication:
            raise DeclarationError(
                "a topic could never be written to",
                where=where,
                found=f"min_insync={made.min_insync}, replication={made.replication}",
                expected="at most as many copies in sync as there are",
                hint="min_insync=2 goes with replication=3.",
            )
        if made.retention_us is not None and made.retention_us < 1000:
            raise DeclarationError(
                "a topic keeps nothing",
                where=f"{where}.retention",
                found=f"{made.retention_us} microseconds",
                expected="1ms or more",
                hint='retention="90d"; leave it out to keep events for ever.',
            )
        return made

    def config(self) -> dict[str, str]:
        """Kafka's topic properties that say the same."""
        found = {"retention.ms": str(-1 if self.retention_us is None else self.retention_us // 1000)}
        if self.compact:
            found["cleanup.policy"] = "compact"
            if self.retention_us is not None:
                found["min.compaction.lag.ms"] = found["retention.ms"]
        if self.min_insync is not None:
            found["min.insync.replicas"] = str(self.min_insync)
        return found
