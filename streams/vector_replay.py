"""Served vectors computed again: the journal followed through the kernel, events taken from the feature log."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from samestream.streams import journal, replay
from samestream.streams.clock import Clocks
from samestream.streams.columnar import ColumnarEngine, Vectors
from samestream.streams.feature_log import FeatureLog
from samestream.streams.feature_task import NAME
from samestream.streams.journal import Entry
from samestream.streams.log_source import LogSource
from samestream.streams.order import Batch
from samestream.streams.plan import Plan
from samestream.streams.transport import Transport

Progress = Callable[[str, int, int], None]


def replayed(
    plan: Plan, transport: Transport, log: FeatureLog, on_progress: Progress | None = None
) -> Iterator[tuple[Entry, Batch, list[Vectors]]]:
    """Every committed batch of the feature processor, judged, with its vectors; from empty state, by the present definition.

    on_progress : told the step, events done, events in all
    Raises RecoveryError when the feature log has not come as far as the journal.
    """
    entries = journal.read(transport, plan.journal, NAME)
    inputs = list(plan.inputs.values())
    engine, source = ColumnarEngine(plan), LogSource(log, inputs)
    total = sum(part.end - part.start for entry in entries for part in entry.ranges)
    done = 0
    for entry, batch in replay.batches(entries, inputs, source, Clocks(plan.query_lag_us), plan.fingerprint):
        yield entry, batch, engine.process(batch)
        done += sum(part.end - part.start for part in entry.ranges)
        if on_progress:
            on_progress("replay", done, total)
