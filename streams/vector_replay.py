"""Served vectors computed again: the journal followed through the kernel, events taken from the feature log."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from samestream.schemas.errors import RecoveryError
from samestream.streams import journal, replay
from samestream.streams.clock import Clocks
from samestream.streams.columnar import ColumnarEngine, Vectors
from samestream.streams.feature_log import FeatureLog
from samestream.streams.feature_task import NAME
from samestream.streams.journal import Entry
from samestream.streams.log_source import LogSource
from samestream.streams.order import Batch
from samestream.streams.plan import Plan
from samestream.streams.transport import Partition, Transport

Progress = Callable[[str, int, int], None]


def covered(plan: Plan, transport: Transport, log: FeatureLog) -> list[Entry]:
    """The feature processor's entries as far as the feature log has come: on a live system it is a little behind.

    Raises RecoveryError when it holds nothing of what the journal speaks of.
    """
    entries = journal.read(transport, plan.journal, NAME)
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
    """Every committed batch of the feature processor, judged, with its vectors; from empty state, by the present definition.

    on_progress : told the step, events done, events in all
    entries : of the journal, from its beginning; by default as far as the feature log has come
    Raises RecoveryError when the feature log does not hold what was applied.
    """
    entries = covered(plan, transport, log) if entries is None else entries
    inputs = list(plan.inputs.values())
    engine, source = ColumnarEngine(plan), LogSource(log, inputs)
    total = sum(part.end - part.start for entry in entries for part in entry.ranges)
    done = 0
    counts = transport.topics()
    partitions = [Partition(part.topic, number) for part in inputs for number in range(counts[part.topic])]
    clocks = Clocks(plan.query_lag_us)
    for entry, batch in replay.batches(entries, inputs, partitions, source, clocks, plan.fingerprint):
        yield entry, batch, engine.process(batch)
        done += sum(part.end - part.start for part in entry.ranges)
        if on_progress:
            on_progress("replay", done, total)
