"""The journal in the feature log: its records as they are, so that what was applied in which order can be told without a broker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from samestream.schemas.errors import RecoveryError
from samestream.streams.engine import journal
from samestream.streams.engine.feature_task import NAME
from samestream.streams.engine.journal import Entry
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.plan import Plan
from samestream.streams.transport import Fetched

VALUE = "_value"


def to_arrow(held: Sequence[Fetched]) -> pa.Table:
    """Records of the journal as a table of the log: where each lay, when it was known, its key, its bytes."""
    numbers = [np.full(len(part), part.partition.partition, np.int32) for part in held]
    return pa.table(
        {
            "_partition": pa.array(np.concatenate(numbers)),
            "_offset": pa.array(np.concatenate([part.offsets for part in held])),
            "_known": pa.array(np.concatenate([part.known_us for part in held])).cast(pa.timestamp("us", "UTC")),
            "_key": pa.array([key for part in held for key in part.keys], pa.binary()),
            VALUE: pa.array([value for part in held for value in part.values], pa.binary()),
        }
    )


def entries(plan: Plan, log: FeatureLog) -> list[Entry]:
    """The feature processor's entries that the log holds, in order of commit; none in a log from before it held the journal.

    Raises RecoveryError for one that cannot be read: without it, what follows would be judged wrongly.
    """
    if log.newest(plan.journal) is None:
        return []
    rows = log.read(plan.journal, ["_key", VALUE])
    found = []
    for key, value in zip(rows["_key"].to_pylist(), rows[VALUE].to_pylist(), strict=True):
        if key == NAME.encode():
            entry = journal.parse(value)
            if entry is None:
                raise RecoveryError(
                    "the log holds an entry of the journal that this version cannot read",
                    where=plan.journal,
                    found=(value or b"")[:10].hex(),
                    hint="it was written by another version of samestream: run that one.",
                )
            found.append(entry)
    return found
