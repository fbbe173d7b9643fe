"""The raw events of the log with their merge rank and whether they were applied: what the journal says of each.

Rank and flag are not columns of the files. The log is written beside the processor, mostly before it has judged what is written;
and an event may be judged by several definitions. The log holds the journal, and with it they follow from any event's place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from samestream.schemas.errors import RecoveryError
from samestream.streams.engine import arrangement, journal
from samestream.streams.engine.clock import NEVER_US, Clocks
from samestream.streams.engine.journal import Entry
from samestream.streams.engine.merge_rank import MergeRanks
from samestream.streams.engine.order import Batch
from samestream.streams.log import logged_journal
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.log_source import LogSource, groups
from samestream.streams.log.rank_files import RankFiles
from samestream.streams.log.vector_replay import Progress, kept, logged_of, logged_partitions
from samestream.streams.plan import Plan

Ranks = TypeVar("Ranks", bound=MergeRanks)
UNTOLD = "the journal does not say what was applied"


def judged(plan: Plan, log: FeatureLog, event: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The events of one kind that the feature processor has judged, as `FeatureLog.read` gives them, with two more columns.

    `_rank` is the event's place in the order in which all inputs were merged, `_applied` whether it was applied: a vector is made
    of the events that were applied, of a lower rank than its trigger, and of an earlier time.

    event : its name in the module
    columns : besides `_partition`, `_offset` and `_known`; all if None
    Raises RecoveryError where the log does not hold the journal, or lacks events that were applied.
    """
    entries = logged_of(plan, log, logged_journal.entries(plan, log))
    if not entries:
        raise RecoveryError(
            UNTOLD,
            where=plan.journal,
            found="no entry in the feature log",
            hint="let `samestream run MODULE features log` catch up: the log role copies the journal as well.",
        )
    topic = plan.inputs[event].topic
    wanted = None if columns is None else list(dict.fromkeys(["_partition", "_offset", "_known", *columns]))
    return ranks(plan, log, entries).judged(topic, log.read(topic, wanted))


def ranks(plan: Plan, log: FeatureLog, entries: Sequence[Entry], on_progress: Progress | None = None) -> MergeRanks:
    """The ranks of all events of some entries of the journal, from its beginning, that the log holds. See `MergeRanks`."""
    return _noted(MergeRanks(), plan, log, entries, on_progress)


def rank_files(
    plan: Plan, log: FeatureLog, entries: Sequence[Entry], folder: Path, *, by_time: bool = False
) -> RankFiles:
    """The same in files of a folder, for a log of any length; by_time : see `MergeRanks`."""
    begin = kept(plan, log, entries).state
    clocks = journal.clocks_after(entries[:begin], plan.query_lag_us)
    found = RankFiles(folder, by_time=by_time, reached_us=reached_us(clocks))
    return _noted(found, plan, log, entries)


def _noted(
    found: Ranks, plan: Plan, log: FeatureLog, entries: Sequence[Entry], on_progress: Progress | None = None
) -> Ranks:
    begin = kept(plan, log, entries).state
    clocks = journal.clocks_after(entries[:begin], plan.query_lag_us)
    parts, done = groups(entries[begin:], 0, len(entries) - begin), 0
    total = sum(part.end - part.start - len(part.dead) for entry in entries[begin:] for part in entry.ranges)
    for batch in batches(plan, log, entries[begin:], parts, clocks, plan.fingerprint):
        found.note(batch)
        done += len(batch)
        if on_progress:
            on_progress("order", done, total)
    return found


def batches(
    plan: Plan,
    log: FeatureLog,
    entries: Sequence[Entry],
    parts: Sequence[tuple[int, int]],
    clocks: Clocks,
    fingerprint: str,
) -> Iterator[Batch]:
    """Some entries that follow each other as judged batches: in order, without fields. No kernel runs, and no state is kept.

    parts : which entries are taken together, as `log_source.groups` has it
    clocks : as they stood before them; they move on
    plan : of which the inputs are read alone; fingerprint : its own, entries of which must find the events that they say
    """
    if not parts:
        return
    arrangement.warm()
    source = LogSource(log, plan, logged_partitions(plan, log), entries, times_only=True)
    for first, end in parts:
        yield source.batch(entries[first:end], clocks, fingerprint)


def reached_us(clocks: Clocks) -> int:
    """The known time that the order has come to."""
    return max(clocks.known_us.values(), default=NEVER_US)
