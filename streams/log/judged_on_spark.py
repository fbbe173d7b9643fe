"""Merge ranks of raw events, and whether they were applied, computed where the work is done: `log.judged_log` for large logs.

The journal says how the clocks stood before each entry, so entries are judged anywhere, each task some that follow each other; of
the log it reads the files that these lie in, and of these where each event lies, when it was known, and when it happened.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from samestream.streams.engine import journal
from samestream.streams.engine.clock import Clocks
from samestream.streams.engine.journal import Entry
from samestream.streams.engine.merge_rank import MergeRanks
from samestream.streams.log import judged_log
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.log_source import groups
from samestream.streams.log.vector_replay import kept
from samestream.streams.plan import Plan

DataFrame = Any  # pyspark's, which is there only with the extra `spark`
TASK_EVENTS = 1_000_000
"""How many events a task judges, about."""
_SCHEMA = "_input string, _partition int, _offset bigint, _rank bigint, _applied boolean"


def frame(
    session: Any, root: str, plan: Plan, log: FeatureLog, entries: Sequence[Entry], *, by_time: bool = False
) -> DataFrame:
    """Of every event that some entries of the journal judged: `_input`, `_partition`, `_offset`, `_rank` and `_applied`.

    root : of the feature log, as everyone sees it who works on this; log : the same, as the driver reads it
    entries : from the beginning of the journal, as far as the log has come
    by_time : see `MergeRanks`
    While it is computed RecoveryError is raised where the log lacks events that were applied.
    """
    begin = kept(plan, log, entries).state
    clocks = journal.clocks_after(entries[:begin], plan.query_lag_us)
    tasks, chosen, parts, count, first = [], list[Entry](), list[tuple[int, int]](), 0, 0
    for start, end in groups(entries, begin, len(entries)):
        parts.append((len(chosen), len(chosen) + end - start))
        chosen += entries[start:end]
        count += sum(part.end - part.start for entry in entries[start:end] for part in entry.ranges)
        if count >= TASK_EVENTS or end == len(entries):
            tasks.append((pickle.dumps((chosen, parts, clocks, first)),))
            clocks = _moved(clocks, chosen)
            chosen, parts, count, first = [], [], 0, first + count
    if not tasks:
        return session.createDataFrame([], _SCHEMA)
    rows = session.createDataFrame(tasks, "task binary").repartition(min(len(tasks), 10_000))
    # models and tables name the classes of the module that declares them, which only the driver has
    inputs = replace(plan, tables=(), models={}, enrichments=())
    return rows.mapInArrow(_judge(root, inputs, plan.fingerprint, by_time), _SCHEMA)


def _moved(clocks: Clocks, entries: Sequence[Entry]) -> Clocks:
    """The clocks after some more entries; those before stay as they are."""
    after = journal.clocks_after(entries, clocks.query_lag_us)
    known, watermark = {**clocks.known_us, **after.known_us}, {**clocks.watermark_us, **after.watermark_us}
    return Clocks(clocks.query_lag_us, after.greatest_us, watermark, known)


def _judge(
    root: str, plan: Plan, fingerprint: str, by_time: bool
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def work(given: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for rows in given:
            for task in rows["task"]:
                chosen, parts, clocks, first = pickle.loads(task.as_buffer())
                ranks = MergeRanks(by_time=by_time, reached_us=judged_log.reached_us(clocks), first=first)
                for batch in judged_log.batches(plan, FeatureLog(root), chosen, parts, clocks, fingerprint):
                    numbers = np.array([part.partition for part in batch.partitions], np.int32)
                    rank, applied = ranks.of(batch)
                    names = np.array([input.name for input in batch.inputs])
                    table = pa.table(
                        {
                            "_input": pa.array(names[batch.input]),
                            "_partition": pa.array(numbers[batch.partition]),
                            "_offset": pa.array(batch.offset),
                            "_rank": pa.array(rank),
                            "_applied": pa.array(applied),
                        }
                    )
                    yield from table.to_batches(max_chunksize=10_000)

    return work
