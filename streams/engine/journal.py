"""The journal: one record per committed micro-batch. With the log it fixes every value (DESIGN section 2, Journal)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from samestream.schemas import records
from samestream.schemas.avro import Codec
from samestream.schemas.errors import RecoveryError
from samestream.streams.engine.clock import LATE_REASONS, NEVER_US, Clocks
from samestream.streams.engine.order import APPLIED, DEAD, Batch
from samestream.streams.transport import Outgoing, Partition, Transport

_CODEC = Codec(records.JOURNAL)


@dataclass(frozen=True)
class Range:
    """What a batch took from one partition: offsets [start, end), what became of them, and the clocks after it."""

    partition: Partition
    start: int
    end: int
    known_us: int
    event_time_us: int
    applied: int
    late: int
    dead: tuple[int, ...]  # offsets


@dataclass(frozen=True)
class Entry:
    """One committed micro-batch."""

    processor: str
    sequence: int
    fingerprint: str
    greatest_us: int
    ranges: tuple[Range, ...]
    switches: tuple[str, ...]
    emitted: int
    partitions: tuple[tuple[str, int], ...] = ()  # topic, how many partitions it has

    def record(self, topic: str) -> Outgoing:
        """The entry as a record of the journal topic, stamped with the greatest known time it covers."""
        known_us = max((part.known_us for part in self.ranges), default=1000)
        value = {
            "processor": self.processor,
            "sequence": self.sequence,
            "fingerprint": self.fingerprint,
            "greatest_event_time": _or_none(self.greatest_us),
            "ranges": [
                {
                    "topic": part.partition.topic,
                    "partition": part.partition.partition,
                    "start": part.start,
                    "end": part.end,
                    "known_time": part.known_us,
                    "event_time": _or_none(part.event_time_us),
                    "applied": part.applied,
                    "late": part.late,
                    "dead": list(part.dead),
                }
                for part in self.ranges
            ],
            "switches": list(self.switches),
            "emitted": self.emitted,
            "partitions": dict(self.partitions),
        }
        return Outgoing(topic, self.processor.encode(), _CODEC.encode(value), max(known_us, 1000))


def ranges_of(batch: Batch, starts: Mapping[Partition, int], clocks: Clocks) -> tuple[Range, ...]:
    """The ranges of a judged batch; ``starts`` is where each partition stood before it."""
    found = []
    kinds = np.int64(1 + max(APPLIED, DEAD, *LATE_REASONS))
    shape = len(batch.partitions) * kinds
    counts = np.bincount(batch.partition * kinds + batch.decision, minlength=shape).reshape(-1, kinds)
    ends = {chunk.partition: int(chunk.offsets[-1]) + 1 for chunk in batch.taken}
    for partition, end in ends.items():
        rank = batch.partitions.index(partition)
        dead = batch.offset[(batch.partition == rank) & (batch.decision == DEAD)] if counts[rank, DEAD] else []
        found.append(
            Range(
                partition,
                starts[partition],
                end,
                clocks.known_us[partition],
                clocks.watermark_us.get(partition, NEVER_US),
                int(counts[rank, APPLIED]),
                sum(int(counts[rank, reason]) for reason in LATE_REASONS),
                tuple(sorted(map(int, dead))),
            )
        )
    return tuple(found)


class Placed(NamedTuple):
    """An entry as it lies in the journal: where, and as which bytes."""

    partition: int
    offset: int
    value: bytes
    entry: Entry


def read(transport: Transport, topic: str, processor: str | None = None) -> list[Entry]:
    """The committed entries of one processor, or of all, each processor's in order of commit.

    Raises RecoveryError for a record of that processor that cannot be read: to pass over it would be to start anew.
    """
    return [found.entry for found in placed(transport, topic, processor)]


def placed(
    transport: Transport, topic: str, processor: str | None = None, start: Mapping[int, int] | None = None
) -> Iterator[Placed]:
    """The same, one by one with their places, from some offsets of the journal on."""
    key = processor.encode() if processor is not None else None
    for fetched in transport.read_all(topic, start):
        number = fetched.partition.partition
        for offset, record_key, value in zip(fetched.offsets.tolist(), fetched.keys, fetched.values, strict=True):
            if key not in (None, record_key):
                continue
            entry = parse(value)
            if entry is None and key is not None:
                raise RecoveryError(
                    "the journal holds a record that this version cannot read",
                    where=f"{topic}, {processor}",
                    found=(value or b"")[:10].hex(),
                    expected=_CODEC.header.hex(),
                    hint="it was written by another version of samestream: run that one, or start under a new app name.",
                )
            if entry is not None and value is not None:
                yield Placed(number, offset, value, entry)


def parse(value: bytes | None) -> Entry | None:
    """The entry in a record of the journal topic; None for anything else."""
    return _entry(value) if value is not None and value.startswith(_CODEC.header) else None


def ends(entries: Sequence[Entry]) -> dict[Partition, int]:
    """The next offset of every partition after these entries."""
    return {part.partition: part.end for entry in entries for part in entry.ranges}


def clocks_after(entries: Sequence[Entry], query_lag_us: int) -> Clocks:
    """The clocks as they stood after these entries."""
    clocks = Clocks(query_lag_us)
    for entry in entries:
        clocks.greatest_us = entry.greatest_us
        for part in entry.ranges:
            clocks.known_us[part.partition] = part.known_us
            clocks.watermark_us[part.partition] = part.event_time_us
    return clocks


@dataclass(frozen=True)
class Balance:
    """What became of a topic's events: produced = applied + late + dead once all are read."""

    applied: int = 0
    late: int = 0
    dead: int = 0

    @property
    def read(self) -> int:
        """All events judged."""
        return self.applied + self.late + self.dead

    def plus(self, other: Balance) -> Balance:
        """Both together."""
        return Balance(self.applied + other.applied, self.late + other.late, self.dead + other.dead)


def balance(entries: Sequence[Entry]) -> dict[str, Balance]:
    """Per topic, what became of the events that these entries cover."""
    found: dict[str, Balance] = {}
    for entry in entries:
        for part in entry.ranges:
            more = Balance(part.applied, part.late, len(part.dead))
            found[part.partition.topic] = found.get(part.partition.topic, Balance()).plus(more)
    return found


def _or_none(time_us: int) -> int | None:
    return time_us if time_us > NEVER_US else None


def _entry(value: bytes) -> Entry:
    entry = _CODEC.decode(value)
    ranges = tuple(
        Range(
            Partition(part["topic"], part["partition"]),
            part["start"],
            part["end"],
            part["known_time"],
            NEVER_US if part["event_time"] is None else part["event_time"],
            part["applied"],
            part["late"],
            tuple(part["dead"]),
        )
        for part in entry["ranges"]
    )
    greatest = entry["greatest_event_time"]
    return Entry(
        entry["processor"],
        entry["sequence"],
        entry["fingerprint"],
        NEVER_US if greatest is None else greatest,
        ranges,
        tuple(entry["switches"]),
        entry["emitted"],
        tuple(sorted(entry["partitions"].items())),
    )
