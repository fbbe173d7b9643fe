"""Served vectors computed again: the journal followed through the kernel, events taken from the feature log or the topics."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from samestream.schemas.errors import RecoveryError
from samestream.streams.deploy import provision
from samestream.streams.engine import arrangement, journal, replay
from samestream.streams.engine.clock import NEVER_US, Clocks
from samestream.streams.engine.columnar import ColumnarEngine, Vectors
from samestream.streams.engine.feature_task import NAME
from samestream.streams.engine.journal import Entry
from samestream.streams.engine.order import Batch
from samestream.streams.engine.replay import TopicSource, first_offsets
from samestream.streams.log import logged_journal
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.log_source import LogSource, groups, joined
from samestream.streams.plan import Plan
from samestream.streams.transport import Partition, Transport
from samestream.streams.wire.decode import Decoder

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Span:
    """Entries of a journal: from ``state`` on they are replayed, from ``first`` on their vectors are wanted, up to ``end``.

    Before ``state``, no window reaches.
    """

    state: int
    first: int
    end: int


def span(
    plan: Plan, entries: Sequence[Entry], from_us: int | None, to_us: int | None, after_sequence: int = -1
) -> Span:
    """Which entries matter for triggers with event times in [from_us, to_us), beyond those up to a journal sequence."""

    def index(matters: Callable[[Entry], bool]) -> int:
        return next((number for number, entry in enumerate(entries) if matters(entry)), len(entries))

    first = max(
        index(lambda entry: from_us is None or entry.greatest_us >= from_us),
        index(lambda entry: entry.sequence > after_sequence),
    )
    # no trigger applied later lies behind the greatest event time by more than the query lag
    end = index(lambda entry: to_us is not None and entry.greatest_us - plan.query_lag_us >= to_us)
    end = min(end + 1, len(entries))
    before_us = entries[first - 1].greatest_us if first else NEVER_US
    since_us = max(before_us - plan.query_lag_us - plan.longest_window_us, NEVER_US)
    return Span(min(index(lambda entry: entry.greatest_us >= since_us), first), first, max(first, end))


def covered(plan: Plan, transport: Transport, log: FeatureLog) -> list[Entry]:
    """The feature processor's entries as far as the feature log has come: on a live system it is a little behind.

    Raises RecoveryError when it holds nothing of what the journal speaks of.
    """
    return logged_of(plan, log, journaled(plan, transport, log))


def journaled(plan: Plan, transport: Transport | None, log: FeatureLog | None) -> list[Entry]:
    """The feature processor's entries: from the broker, or those that the log holds where there is none."""
    if transport is not None:
        return journal.read(transport, plan.journal, NAME)
    assert log is not None
    return logged_journal.entries(plan, log)


def logged_of(plan: Plan, log: FeatureLog, entries: Sequence[Entry]) -> list[Entry]:
    """Those of the journal's entries, from its beginning, of which the feature log holds the events. See `covered`."""
    reached = {part.topic: log.offsets(part.topic) for part in plan.inputs.values()}

    def is_covered(entry: Entry) -> bool:
        return all(
            part.end <= reached[part.partition.topic].get(part.partition.partition, 0)
            for part in entry.ranges
            if part.partition.topic in reached
        )

    found = list(itertools.takewhile(is_covered, entries))
    if entries and not found:
        raise RecoveryError(
            "the feature log holds nothing of what the journal speaks of",
            where=plan.app,
            found=f"{len(entries)} batches in the journal",
            hint="let `samestream run MODULE log` catch up first, and check --log.",
        )
    return found


def replayed(
    plan: Plan,
    transport: Transport,
    log: FeatureLog,
    on_progress: Progress | None = None,
    entries: Sequence[Entry] | None = None,
) -> Iterator[tuple[Entry, Batch, list[Vectors]]]:
    """Everything that the feature processor committed, judged, with its vectors; from empty state, by the present definition.

    Batches that follow each other come as one, with one entry for all of them.

    on_progress : told the step, events done, events in all
    entries : of the journal, from its beginning; by default as far as the feature log has come
    Of a log whose beginning was cut off, what follows that; vectors of entries before `kept`'s are made of fewer events than
    they were served from.
    Raises RecoveryError when the feature log does not hold what was applied.
    """
    entries = covered(plan, transport, log) if entries is None else entries
    held = kept(plan, log, entries)
    parts = [*groups(entries, held.state, held.first), *groups(entries, held.first, held.end)]
    yield from followed(plan, transport, log, entries, replace(held, first=held.state), on_progress, parts)


def kept(plan: Plan, log: FeatureLog, entries: Sequence[Entry]) -> Span:
    """What can be replayed of a log whose beginning may have been cut off: from ``state`` on it holds the events.

    From ``first`` on, windows are whole.
    """
    begin = {part.topic: log.ranges(part.topic) for part in plan.inputs.values()}
    cut = {
        Partition(topic, number): start
        for topic, parts in begin.items()
        for number, (start, _) in parts.items()
        if start
    }
    first_read: dict[Partition, int] = {}
    for entry in entries:
        for part in entry.ranges:
            first_read.setdefault(part.partition, part.start)
    cut = {partition: start for partition, start in cut.items() if start > first_read.get(partition, start)}

    def lacks(entry: Entry) -> bool:
        return any(part.start < cut.get(part.partition, 0) for part in entry.ranges if part.end > part.start)

    state = max((number for number, entry in enumerate(entries, 1) if lacks(entry)), default=0) if cut else 0
    if not state:
        return Span(0, 0, len(entries))
    # as `span` has it: an instant that reaches back no further than the entries that are held
    since_us = entries[state - 1].greatest_us + plan.query_lag_us + plan.longest_window_us
    first = next((number for number in range(state, len(entries)) if entries[number - 1].greatest_us > since_us), None)
    return Span(state, len(entries) if first is None else first, len(entries))


def followed(
    plan: Plan,
    transport: Transport | None,
    log: FeatureLog | None,
    entries: Sequence[Entry],
    span: Span,
    on_progress: Progress | None = None,
    parts: Sequence[tuple[int, int]] | None = None,
) -> Iterator[tuple[Entry, Batch, list[Vectors]]]:
    """The batches of a span of a journal that are wanted, with their vectors. See `replayed`.

    transport : may be None where there is a log
    log : None to read the events from the topics, batch by batch
    parts : the entries that are taken together, as ranges that cover the span; by default as `log_source.groups` has them
    """
    engine, clocks = ColumnarEngine(plan), journal.clocks_after(entries[: span.state], plan.query_lag_us)
    chosen = entries[span.state : span.end]
    total, done = sum(part.end - part.start for entry in chosen for part in entry.ranges), 0
    if log is None:
        assert transport is not None
        found = _from_topics(plan, transport, entries, span, _of_topics(plan, transport), clocks)
    else:
        partitions = _of_topics(plan, transport) if transport is not None else logged_partitions(plan, log)
        both = parts or [*groups(entries, span.state, span.first), *groups(entries, span.first, span.end)]
        found = _from_log(plan, log, entries, both, partitions, clocks)
    for number, entry, batch in found:
        vectors = engine.process(batch)
        if number >= span.first:
            yield entry, batch, vectors
        done += sum(part.end - part.start for part in entry.ranges)
        if on_progress:
            on_progress("replay", done, total)


def _of_topics(plan: Plan, transport: Transport) -> list[Partition]:
    counts = transport.topics()
    return [Partition(part.topic, number) for part in plan.inputs.values() for number in range(counts[part.topic])]


def logged_partitions(plan: Plan, log: FeatureLog) -> list[Partition]:
    """The partitions of a plan's inputs that the log holds something of."""
    return [Partition(part.topic, number) for part in plan.inputs.values() for number in log.ranges(part.topic)]


def _from_log(
    plan: Plan,
    log: FeatureLog,
    entries: Sequence[Entry],
    parts: Sequence[tuple[int, int]],
    partitions: Sequence[Partition],
    clocks: Clocks,
) -> Iterator[tuple[int, Entry, Batch]]:
    if not parts:
        return
    arrangement.warm()
    source = LogSource(log, plan, partitions, entries[parts[0][0] : parts[-1][1]])
    for first, end in parts:
        together = entries[first:end]
        yield first, joined(together), source.batch(together, clocks, plan.fingerprint)


def _from_topics(
    plan: Plan,
    transport: Transport,
    entries: Sequence[Entry],
    span: Span,
    partitions: Sequence[Partition],
    clocks: Clocks,
) -> Iterator[tuple[int, Entry, Batch]]:
    chosen, store = entries[span.state : span.end], provision.store(transport, plan)
    decoders = {part.topic: Decoder(part, store) for part in plan.inputs.values()}
    with closing(TopicSource(transport, decoders, first_offsets(chosen, decoders))) as source:
        follow = replay.batches(chosen, list(plan.inputs.values()), partitions, source, clocks, plan.fingerprint)
        for number, (entry, batch) in enumerate(follow, span.state):
            _refuse_unread(batch)
            yield number, entry, batch


def _refuse_unread(batch: Batch) -> None:
    """Raises RecoveryError where an event was read when it was served, as the journal says, and cannot be now."""
    for chunk in batch.taken:
        for offset, (reason, detail) in chunk.deaths.items():
            if reason in ("undecodable", "wrong_schema"):
                raise RecoveryError(
                    "the topic holds an event that cannot be read as it is declared, and that could be when it was served",
                    where=f"{chunk.partition} offset {offset}",
                    found=detail,
                    hint="a field of another type? Give the new field another name, or replay by the definition that served.",
                )
