"""The role that profiles what flows: features, scores and the fields of sources, by windows of event time, to a topic.

Any number of instances share the partitions as a consumer group. Nothing here is a transaction, and nothing needs one: a
piece that is written twice counts once (`streams.models.profile_topic`). How far an instance has come it says in the journal, so
that one that is dead or behind is seen.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from samestream.monitors.declared import Declared, Drift, Profiles
from samestream.schemas import records
from samestream.schemas.errors import TransportError
from samestream.streams.columns import ColumnData
from samestream.streams.deploy import provision
from samestream.streams.engine.clock import NEVER_US
from samestream.streams.engine.journal import Entry, Range
from samestream.streams.engine.measures import Measure
from samestream.streams.engine.processor import Health
from samestream.streams.models.category_profile import Profile, merged
from samestream.streams.models.profile_topic import CHUNK, Piece, profile_column
from samestream.streams.plan import Input, Plan
from samestream.streams.transport import EARLIEST, Fetched, GroupReader, Partition, Transport, Writer
from samestream.streams.wire.decode import UNKNOWN_KNOWN_US, Decoder, vector_input

NAME = "profiles"
SEGMENTS = 64
"""Segments of a chunk; the rows of others are counted together."""
OTHERS = "(others)"
_FETCH_RECORDS = 10_000
Group = tuple[str, str, int]  # subject, segment, start of the window


@dataclass(frozen=True)
class Subjects:
    """What is profiled of one topic.

    columns : column -> subject. window_us : length of a window. segments : columns each of whose values is a segment.
    fingerprint : rows of another definition do not count; empty where there is none
    """

    input: Input
    columns: dict[str, str]
    window_us: int
    segments: tuple[str, ...] = ()
    fingerprint: str = ""


@dataclass
class _Chunk:
    """What was counted of the chunk that a partition is in. changed : what was not written since."""

    start: int
    end: int
    counted: dict[Group, tuple[str, Profile]] = field(default_factory=dict)
    changed: set[Group] = field(default_factory=set)
    segments: set[str] = field(default_factory=set)


class ProfileWriter:
    """Profiles topics, as a member of a group. See `console.roles.Role`.

    flush_s : a piece that grows is written at most so often
    """

    def __init__(
        self, transport: Transport, plan: Plan, monitors: Sequence[type[Any]], *, flush_s: float = 10.0
    ) -> None:
        self.health = Health(NAME)
        self._transport, self._plan, self._flush_s = transport, plan, flush_s
        self._subjects = subjects(plan, monitors)
        store = provision.store(transport, plan)
        self._decoders = {topic: Decoder(part.input, store) for topic, part in self._subjects.items()}
        self._chunks: dict[Partition, _Chunk] = {}
        self._come: dict[Partition, Range] = {}  # since the last entry of the journal
        self._entries = self._told = 0
        self._spoke_s = time.monotonic()

    def run(self, stop: threading.Event) -> None:
        """Profile until ``stop`` is set, then write what is held."""
        counts = self._transport.topics()
        missing = [topic for topic in (*self._subjects, self._plan.profiles) if topic not in counts]
        if missing:
            raise TransportError(
                "topics are missing",
                where=NAME,
                found=", ".join(missing),
                hint="create them with `samestream apply MODULE`.",
            )
        writer = self._transport.writer()
        readers = {
            topic: self._transport.group_reader(f"{self._plan.app}.{NAME}.{topic}", topic, EARLIEST)
            for topic in self._subjects
        }
        generations = dict.fromkeys(readers, -1)
        flushed_s = time.monotonic()
        self.health.state = "running"
        try:
            while not stop.is_set():
                idle = True
                for topic, reader in readers.items():
                    fetched = reader.fetch(_FETCH_RECORDS, 0.0)
                    if reader.generation != generations[topic]:
                        # what was counted before is another member's now, or will be read again from the chunk's start
                        self._chunks = {part: held for part, held in self._chunks.items() if part.topic != topic}
                        generations[topic] = reader.generation
                    for part in fetched:
                        idle = False
                        self._take(part, writer)
                    self._spoke_s = time.monotonic()
                if idle:
                    stop.wait(0.1)
                if time.monotonic() - flushed_s >= self._flush_s:
                    self._flush(writer, readers)
                    flushed_s = time.monotonic()
            self._flush(writer, readers)
            self.health.state = "stopped"
        finally:
            for reader in readers.values():
                reader.close()
            writer.close()

    def measures(self) -> Iterable[Measure]:
        """How long ago it last looked."""
        spoken = time.monotonic() - self._spoke_s
        yield Measure("monitor_silent_seconds", "Since a monitor last looked at something.", {"monitor": NAME}, spoken)

    def _take(self, fetched: Fetched, writer: Any) -> None:
        """Count records, chunk by chunk; a chunk that is whole is written at once."""
        offsets = fetched.offsets
        for number in np.unique(offsets // CHUNK).tolist():
            rows = slice(*np.searchsorted(offsets, [number * CHUNK, (number + 1) * CHUNK]).tolist())
            part = Fetched(
                fetched.partition,
                offsets[rows],
                fetched.known_us[rows],
                fetched.keys[rows],
                fetched.values[rows],
            )
            held = self._chunks.get(fetched.partition)
            if held is None or held.start != number * CHUNK:
                if held is not None and held.start < number * CHUNK:
                    held.end = held.start + CHUNK
                    self._write(fetched.partition, held, writer, every=True)
                held = self._chunks[fetched.partition] = _Chunk(number * CHUNK, number * CHUNK)
            self._count(part, held)
        before = self._come.get(fetched.partition)
        start, many = (before.start, before.applied) if before else (int(offsets[0]), 0)
        known_us = max(int(fetched.known_us[-1]), before.known_us if before else 0)
        end = int(offsets[-1]) + 1
        self._come[fetched.partition] = Range(
            fetched.partition, start, end, known_us, NEVER_US, many + len(fetched), 0, ()
        )
        self.health.events += len(fetched)
        self.health.known_us = max(self.health.known_us, int(fetched.known_us[-1]))

    def _count(self, fetched: Fetched, held: _Chunk) -> None:
        asked = self._subjects[fetched.partition.topic]
        decoded = self._decoders[fetched.partition.topic].decode(fetched, UNKNOWN_KNOWN_US)
        keep = ~decoded.dead
        if asked.fingerprint:
            keep &= decoded.columns["fingerprint"].values == asked.fingerprint
        held.end = int(fetched.offsets[-1]) + 1
        if not keep.any():
            return
        time_us = decoded.time_us[keep]
        windows = time_us // asked.window_us
        columns = {name: decoded.columns[name].take(keep) for name in {*asked.columns, *asked.segments}}
        for segment, rows in _segments(columns, asked.segments, held.segments, len(time_us)):
            for window in np.unique(windows[rows]).tolist():
                mine = rows[windows[rows] == window]
                for name, subject in asked.columns.items():
                    kind = asked.input.columns[name]
                    what, profile = profile_column(columns[name].take(mine), kind, time_us[mine])
                    group = subject, segment, window * asked.window_us
                    before = held.counted.get(group)
                    held.counted[group] = what, merged(before[1], profile) if before else profile
                    held.changed.add(group)

    def _write(self, part: Partition, held: _Chunk, writer: Any, every: bool = False) -> None:
        asked = self._subjects[part.topic]
        groups = held.counted if every else held.changed
        pieces = [
            Piece(
                subject,
                segment,
                held.counted[subject, segment, start_us][0],
                asked.fingerprint,
                start_us,
                start_us + asked.window_us,
                part.topic,
                part.partition,
                held.start,
                held.end,
                held.counted[subject, segment, start_us][1],
            )
            for subject, segment, start_us in sorted(groups)
        ]
        writer.send([piece.record(self._plan.profiles) for piece in pieces])
        held.changed.clear()
        self.health.results += len(pieces)

    def _flush(self, writer: Any, readers: dict[str, GroupReader]) -> None:
        for part, held in self._chunks.items():
            self._write(part, held, writer)
        writer.flush()
        self._tell(writer)
        # only now, and only to the starts of chunks: everything before is written, what lies behind can be counted again
        for part, held in self._chunks.items():
            readers[part.topic].done(part, held.start)
        for reader in readers.values():
            reader.commit()
        self.health.batches += 1

    def _tell(self, writer: Writer) -> None:
        """Say in the journal how far the profiles have come, for what is committed lies up to a chunk behind that."""
        if not self._come:
            return
        self._entries += 1
        written, self._told = self.health.results - self._told, self.health.results
        ranges = tuple(self._come[part] for part in sorted(self._come))
        entry = Entry(NAME, self._entries, self._plan.fingerprint, NEVER_US, ranges, (), written)
        writer.send([entry.record(self._plan.journal)])
        writer.flush()
        self._come = {}


def subjects(plan: Plan, monitors: Iterable[type[Any]]) -> dict[str, Subjects]:
    """What is profiled of each topic, for the monitors that ask for it by `drift()` or `profiles()`."""
    found: dict[str, Subjects] = {}
    for watched in monitors:
        declared: Declared = watched.__monitors__
        asked = next((check for check in declared.features if isinstance(check, Profiles)), None)
        drifts = [check for check in (*declared.features, *declared.scores) if isinstance(check, Drift)]
        if asked is None and not drifts:
            continue
        window_us = asked.window_us if asked is not None else min(check.window_us for check in drifts)
        by = asked.by if asked is not None else ()
        model = plan.models[declared.name]
        vectors = vector_input(f"{model.name}.features", model.topics["features"], model.vector_schema)
        said = vector_input(f"{model.name}.predictions", model.topics["predictions"], records.PREDICTION)
        features = {name: f"{model.name}.{name}" for name in model.outputs}
        found[vectors.topic] = Subjects(vectors, features, window_us, by, model.fingerprint)
        answer = "value" if model.output == "class" else "score"
        found[said.topic] = Subjects(said, {answer: f"{model.name}.score"}, window_us, (), model.fingerprint)
        for event in sorted({event for pairs in model.lineage.values() for event, _ in pairs} | {model.trigger}):
            source = plan.events[event]
            fields = {name: f"{event}.{name}" for name in source.columns if name not in (source.key, source.time)}
            if fields and source.time and source.topic not in found:
                found[source.topic] = Subjects(source, fields, window_us)
    return found


def _segments(
    columns: dict[str, ColumnData], by: Sequence[str], seen: set[str], rows: int
) -> Iterable[tuple[str, np.ndarray[Any, np.dtype[np.int64]]]]:
    """All rows, then those of each segment, as their indices. Beyond `SEGMENTS` in a chunk they are counted together."""
    yield "", np.arange(rows)
    for name in by:
        column = columns[name]
        names = np.array(
            [
                _segment(name, value, there, seen)
                for value, there in zip(column.values.tolist(), column.valid.tolist(), strict=True)
            ],
            object,
        )
        for segment in sorted(set(names.tolist())):
            yield segment, np.flatnonzero(names == segment)


def _segment(name: str, value: Any, there: bool, seen: set[str]) -> str:
    text = f"{name}={value if there else 'null'}"
    if text not in seen:
        if len(seen) >= SEGMENTS:
            return f"{name}={OTHERS}"
        seen.add(text)
    return text
