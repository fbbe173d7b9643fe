"""Clocks of a processor: which events still count, judged in merged order (DESIGN section 2, Lateness)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from samestream.streams.columns import Int64Array
from samestream.streams.engine.compiling import compiled
from samestream.streams.engine.order import APPLIED, DEAD, Batch
from samestream.streams.transport import Partition

NEVER_US = -(2**62)  # an event time before any
LATE, BEHIND_STATE = 1, 2  # with APPLIED and DEAD of streams.engine.order: the decisions on an event
LATE_REASONS = {LATE: "late", BEHIND_STATE: "behind_state"}
UNGATED = -1


@dataclass(eq=False)
class Clocks:
    """How far a processor has come: what the journal records, and what decides lateness.

    query_lag_us : how far an instant that is still answered may lie behind the greatest event time applied
    greatest_us : the greatest event time applied anywhere
    watermark_us : the greatest event time applied per partition
    known_us : the running-maximum known time per partition
    """

    query_lag_us: int = 0
    greatest_us: int = NEVER_US
    watermark_us: dict[Partition, int] = field(default_factory=dict)
    known_us: dict[Partition, int] = field(default_factory=dict)

    def judge(self, batch: Batch) -> None:
        """Decide which events of a batch are applied; sets its decisions and horizons, and moves the clocks.

        Records of tables, and of inputs without a gate, are applied and move no clock.
        """
        gates = [None if part.is_table else part.gate for part in batch.inputs]
        lateness = np.array([gate.lateness_us if gate else UNGATED for gate in gates], np.int64)
        behind = np.array([gate.lateness_us + gate.alignment_us if gate else UNGATED for gate in gates], np.int64)
        watermarks = np.array([self.watermark_us.get(part, NEVER_US) for part in batch.partitions], np.int64)
        greatest = np.array([self.greatest_us], np.int64)
        _judge(
            batch.input,
            batch.partition,
            batch.time_us,
            batch.decision,
            batch.horizon_us,
            lateness,
            behind,
            self.query_lag_us,
            greatest,
            watermarks,
        )
        self.greatest_us = int(greatest[0])
        self.watermark_us.update(zip(batch.partitions, watermarks.tolist(), strict=True))
        for chunk in batch.taken:
            self.known_us[chunk.partition] = int(chunk.known_us[-1])


@compiled
def _judge(
    input: Int64Array,
    partition: Int64Array,
    time_us: Int64Array,
    decision: npt.NDArray[np.uint8],
    horizon_us: Int64Array,
    lateness_us: Int64Array,
    behind_us: Int64Array,
    query_lag_us: int,
    greatest_us: Int64Array,
    watermark_us: Int64Array,
) -> None:
    """Judge each event in merged order: ``decision`` (DEAD stays) and ``horizon_us`` are written, the clocks moved.

    input, partition : indices into ``lateness_us``/``behind_us`` and ``watermark_us``, shape (events,)
    greatest_us : the greatest event time applied anywhere, shape (1,)
    watermark_us : the greatest event time applied per partition
    horizon_us : per event, the earliest instant that a later event can still ask for
    """
    for i in range(len(time_us)):
        greatest = greatest_us[0]
        horizon_us[i] = max(greatest - query_lag_us, NEVER_US)
        if decision[i] == DEAD:
            continue
        if lateness_us[input[i]] == UNGATED:
            continue
        t = time_us[i]
        if t < watermark_us[partition[i]] - lateness_us[input[i]]:
            decision[i] = LATE
        elif t < greatest - behind_us[input[i]]:
            decision[i] = BEHIND_STATE
        else:
            decision[i] = APPLIED
            watermark_us[partition[i]] = max(watermark_us[partition[i]], t)
            greatest_us[0] = max(greatest, t)
