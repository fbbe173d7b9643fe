"""Parity: was what we served online what the log says? Measured on every vector, in a process with empty state.

*Replay* follows the journal through the kernel from the feature log, and must equal the served records byte for byte.
*Point in time* computes each vector in SQL as an ideal observer would have, by event time: where it differs, an event came
too late to be counted. That is the lateness skew, a figure, not a bug.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from samestream.schemas.avro import Codec
from samestream.schemas.errors import FeatureLogError
from samestream.streams.feature_log import FeatureLog
from samestream.streams.feature_task import VectorEncoder
from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.point_in_time import difference, point_in_time
from samestream.streams.transport import Outgoing, Transport, partition_of
from samestream.streams.vector_replay import Progress, replayed

Trigger = tuple[str, int, int]
_EXAMPLES = 5


@dataclass
class ModelParity:
    """What the comparison of one model's vectors found.

    compared : vectors served by the present definition. mismatched : of these, not byte-equal to the replay, or served
    twice; and vectors of the replay that were never served. by_feature : mismatched vectors per feature.
    lateness_skewed : vectors with a feature that differs from its point-in-time value; skew says per feature how many and
    by how much at most.
    """

    model: str
    compared: int = 0
    mismatched: int = 0
    missing: int = 0
    doubled: int = 0
    other_definition: int = 0
    by_feature: dict[str, int] = field(default_factory=dict)
    examples: list[dict[str, Any]] = field(default_factory=list)
    lateness_skewed: int = 0
    skew: dict[str, dict[str, float]] = field(default_factory=dict)
    newest_known_us: int = 0


def verify(
    plan: Plan,
    transport: Transport,
    log: FeatureLog,
    *,
    with_point_in_time: bool = True,
    on_progress: Progress | None = None,
) -> dict[str, ModelParity]:
    """Compare everything served with the replay of its journal and with point-in-time values, per model.

    Raises RecoveryError when the feature log has not come as far as the journal.
    """
    offline = _offline(plan, transport, log, on_progress)
    found = {}
    for name, model in plan.models.items():
        found[name] = _compare(plan, model, transport, offline[name])
        if with_point_in_time and found[name].compared:
            if on_progress:
                on_progress("point in time", 0, found[name].compared)
            _measure_skew(plan, model, log, found[name])
    return found


def _offline(
    plan: Plan, transport: Transport, log: FeatureLog, on_progress: Progress | None
) -> dict[str, list[Outgoing]]:
    encoder = VectorEncoder(plan)
    out: dict[str, list[Outgoing]] = {name: [] for name in plan.models}
    for entry, every in replayed(plan, transport, log, on_progress):
        for vectors in every:
            if entry.fingerprint == plan.fingerprint:
                out[vectors.model.name] += encoder.records(vectors)
    return out


def _compare(plan: Plan, model: ModelPlan, transport: Transport, offline: list[Outgoing]) -> ModelParity:
    codec = Codec(model.vector_schema)
    count = transport.topics()[model.topics["features"]]
    ours: dict[int, list[bytes]] = {number: [] for number in range(count)}
    for record in offline:
        assert record.key is not None
        assert record.value is not None
        ours[partition_of(record.key, count)].append(record.value)
    theirs: dict[int, list[bytes]] = {number: [] for number in range(count)}
    found = ModelParity(model.name)
    mark = plan.fingerprint.encode()
    for fetched in transport.read_all(model.topics["features"]):
        for value in fetched.values:
            found.newest_known_us = max(found.newest_known_us, int(fetched.known_us[-1]))
            if value is None or mark not in value:
                found.other_definition += 1
            else:
                theirs[fetched.partition.partition].append(value)
    found.compared = sum(map(len, theirs.values()))
    for number in range(count):
        if ours[number] != theirs[number]:
            _explain(codec, ours[number], theirs[number], found)
    return found


def _explain(codec: Codec, ours: list[bytes], theirs: list[bytes], found: ModelParity) -> None:
    """Where the two sequences of a partition differ: which vectors, which features."""
    expected = {_trigger(record): record for record in map(codec.decode, ours)}
    seen: set[Trigger] = set()
    for record in map(codec.decode, theirs):
        trigger = _trigger(record)
        if trigger in seen:
            found.doubled += 1
            found.mismatched += 1
            continue
        seen.add(trigger)
        want = expected.get(trigger)
        differing = [name for name in record if want is None or _bits(record[name]) != _bits(want[name])]
        if not differing:
            continue
        found.mismatched += 1
        for name in differing:
            found.by_feature[name] = found.by_feature.get(name, 0) + 1
        if len(found.examples) < _EXAMPLES:
            found.examples.append(
                {
                    "entity": record["entity"],
                    "trigger": list(trigger),
                    "differs": {name: [record[name], want[name] if want else None] for name in differing[:5]},
                }
            )
    unserved = len(expected.keys() - seen)
    found.missing += unserved
    found.mismatched += unserved


def _trigger(record: Mapping[str, Any]) -> Trigger:
    return record["trigger_topic"], record["trigger_partition"], record["trigger_offset"]


def _bits(value: Any) -> Any:
    """Floats by their bits, so that -0.0 and 0.0 differ as they do in the record."""
    return value.hex() if isinstance(value, float) else value


def _measure_skew(plan: Plan, model: ModelPlan, log: FeatureLog, found: ModelParity) -> None:
    served = log.read(model.topics["features"])
    if not served.num_rows:
        raise FeatureLogError(
            "the log holds no vectors", where=model.topics["features"], hint="let the log role catch up."
        )
    current = [mark == plan.fingerprint for mark in served["fingerprint"].to_pylist()]
    served = served.filter(pa.array(current))
    served = served.drop_columns(["_partition", "_offset"]).rename_columns(
        {"trigger_partition": "_partition", "trigger_offset": "_offset"}
    )
    trigger = plan.inputs[model.trigger]
    keys = served.select(["_partition", "_offset"]).cast(
        pa.schema([("_partition", pa.int32()), ("_offset", pa.int64())])
    )
    triggers = log.read(trigger.topic).join(keys, ["_partition", "_offset"], join_type="left semi")
    events = {table.event: log.read(plan.inputs[table.event].topic) for table in plan.tables}
    expected = point_in_time(plan, model, triggers, events)
    skew = difference(served, expected, list(model.outputs))
    found.skew = {
        name: {"vectors": part.mismatched, "greatest": part.greatest} for name, part in skew.items() if part.mismatched
    }
    found.lateness_skewed = int(np.logical_or.reduce([part.differs for part in skew.values()]).sum())
