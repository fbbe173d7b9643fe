"""Parity: was what we served online what the log says? Measured on every vector, in a process with empty state.

*Replay* follows the journal through the kernel from the feature log, and must equal the served records byte for byte.
*As known* computes each vector in SQL from the events applied before it, and must equal what was served within tolerance.
*Point in time* computes each vector in SQL as an ideal observer would have, by event time: where it differs, an event came
too late to be counted. That is the lateness skew, a figure, not a bug.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from samestream.monitors.sql_parity import compare_as_known, compare_point_in_time, vectors_that_differ
from samestream.schemas.avro import Codec
from samestream.streams.deploy import provision
from samestream.streams.engine import journal
from samestream.streams.engine.feature_task import NAME, VectorEncoder
from samestream.streams.engine.journal import ends
from samestream.streams.engine.merge_rank import MergeRanks
from samestream.streams.log.erasure import erased_triggers
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.vector_replay import Progress, kept, logged_of, replayed
from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.transport import Partition, Transport, partition_of

Trigger = tuple[str, int, int]
Served = tuple[bytes | None, bytes | None, int]  # key, value, known time
_EXAMPLES = 5


@dataclass
class ModelParity:
    """What the comparison of one model's vectors found.

    compared : vectors served by the present definition. mismatched : of these, not byte-equal to the replay, or served
    twice; and vectors of the replay that were never served. by_feature : mismatched vectors per feature.
    erased : vectors of triggers that were erased from the log: nothing can be said of them.
    unlogged_batches : batches of the journal that the feature log has not come to: their vectors are not compared.
    as_known_mismatched : vectors with a feature that differs from its value as known, beyond tolerance.
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
    as_known_compared: int = 0
    as_known_mismatched: int = 0
    lateness_skewed: int = 0
    skew: dict[str, dict[str, float]] = field(default_factory=dict)
    newest_known_us: int = 0
    erased: int = 0
    unlogged_batches: int = 0

    @property
    def broken(self) -> int:
        """Vectors that are not what the log says, by whichever path."""
        return max(self.mismatched, self.as_known_mismatched)


def verify(
    plan: Plan,
    transport: Transport,
    log: FeatureLog,
    *,
    with_sql: bool = True,
    on_progress: Progress | None = None,
) -> dict[str, ModelParity]:
    """Compare everything served, as far as the feature log has come, with replay and with SQL, per model.

    Raises RecoveryError when the feature log does not hold what was applied.
    """
    ranks = MergeRanks()
    offline = _offline(plan, transport, log, ranks, on_progress)
    found = {}
    for name, model in plan.models.items():
        found[name] = _compare(plan, model, transport, offline[name], erased_triggers(plan, model, log))
        found[name].unlogged_batches = offline[name].unlogged
        if with_sql and found[name].compared:
            if on_progress:
                on_progress("SQL", 0, found[name].compared)
            _compare_sql(plan, model, log, ranks, found[name], offline[name])
    return found


def _compare_sql(
    plan: Plan, model: ModelPlan, log: FeatureLog, ranks: MergeRanks, found: ModelParity, offline: _Offline
) -> None:
    topic = plan.inputs[model.trigger].topic

    def whole(served: pa.Table) -> pa.Table:
        """Those of which the log holds all that their windows reach."""
        numbers, offsets = served["trigger_partition"].to_numpy(), served["trigger_offset"].to_numpy()
        keep = np.ones(len(served), np.bool_)
        for part, start in offline.starts.items():
            if part.topic == topic:
                keep &= (numbers != part.partition) | (offsets >= start)
        return served.filter(pa.array(keep))

    chosen = whole if offline.starts else None
    known = compare_as_known(plan, model, log, ranks, chosen)
    found.as_known_compared = max(part.compared for part in known.values())
    found.as_known_mismatched = vectors_that_differ(known)
    for name, part in known.items():
        if part.mismatched:
            found.by_feature[name] = found.by_feature.get(name, 0) + part.mismatched
    skew = compare_point_in_time(plan, model, log, chosen)
    found.lateness_skewed = vectors_that_differ(skew)
    found.skew = {
        name: {"vectors": part.mismatched, "greatest": part.greatest} for name, part in skew.items() if part.mismatched
    }


@dataclass
class _Offline:
    """One model's vectors from the replay: per partition of the features topic, records as they must have been served.

    required : triggers of batches that ran this very plan; of others it is not known which vectors were this definition's
    ends : per partition of the triggers' topics, how far the replay has come; vectors beyond were served meanwhile
    unlogged : batches of the journal beyond that
    starts : from where on the replay has whole windows; what was served before, of a log that was cut, cannot be compared
    """

    records: list[list[Served]]
    required: set[Trigger] = field(default_factory=set)
    ends: dict[Partition, int] = field(default_factory=dict)
    starts: dict[Partition, int] = field(default_factory=dict)
    unlogged: int = 0

    def is_beyond(self, trigger: Trigger) -> bool:
        """Whether the replay does not speak of a trigger."""
        topic, number, offset = trigger
        place = Partition(topic, number)
        return not self.starts.get(place, 0) <= offset < self.ends.get(place, 0)


def _offline(
    plan: Plan, transport: Transport, log: FeatureLog, ranks: MergeRanks, on_progress: Progress | None
) -> dict[str, _Offline]:
    encoder, counts = VectorEncoder(plan), transport.topics()
    out = {name: _Offline([[] for _ in range(counts[model.topics["features"]])]) for name, model in plan.models.items()}
    journaled = journal.read(transport, plan.journal, NAME)
    entries = logged_of(plan, log, journaled)
    held = kept(plan, log, entries)
    begin = ends(entries[: held.first]) if held.state else {}
    for mine in out.values():
        mine.starts.update(begin)
        mine.unlogged = len(journaled) - len(entries)
    for entry, batch, every in replayed(plan, transport, log, on_progress, entries):
        ranks.note(batch)
        if entry.sequence < (entries[held.first].sequence if held.first < len(entries) else entry.sequence + 1):
            continue
        for mine in out.values():
            mine.ends.update(ends([entry]))
        for vectors in every:
            mine = out[vectors.model.name]
            for record in encoder.records(vectors):
                assert record.key is not None
                mine.records[partition_of(record.key, len(mine.records))].append(
                    (record.key, record.value, record.known_us)
                )
            if entry.fingerprint == plan.fingerprint:
                mine.required |= {
                    (part.topic, part.partition, offset)
                    for part, offset in zip(vectors.partition, vectors.offset.tolist(), strict=True)
                }
    return out


def _compare(
    plan: Plan, model: ModelPlan, transport: Transport, offline: _Offline, erased: Collection[tuple[int, int]]
) -> ModelParity:
    codec, store = Codec(model.vector_schema), provision.store(transport, plan)
    topic = model.topics["features"]
    found = ModelParity(model.name)
    theirs: list[list[Served]] = [[] for _ in offline.records]
    mark = model.fingerprint.encode()
    for fetched in transport.read_all(model.topics["features"]):
        found.newest_known_us = max(found.newest_known_us, int(fetched.known_us[-1]))
        # computed vectors are in single-object encoding: what the registry's id stands for is compared, not the id
        values = [store.single(topic, value) if value is not None else None for value in fetched.values]
        for served in zip(fetched.keys, values, fetched.known_us.tolist(), strict=True):
            if served[1] is None or mark not in served[1]:
                found.other_definition += 1
            else:
                theirs[fetched.partition.partition].append(served)
    if erased:
        # of another key, a replayed one may lie in another partition
        offline.required -= {(plan.inputs[model.trigger].topic, *place) for place in erased}
        found.erased = sum(len(part) for part in theirs)
        offline.records = [_without(codec, part, erased) for part in offline.records]
        theirs = [_without(codec, part, erased) for part in theirs]
        found.erased -= sum(len(part) for part in theirs)
    for number, (ours, served_here) in enumerate(zip(offline.records, theirs, strict=True)):
        if ours != served_here:
            theirs[number] = served_here = [
                served for served in served_here if not offline.is_beyond(_trigger(codec.decode(served[1] or b"")))
            ]
        if ours != served_here:
            _explain(codec, ours, served_here, offline.required, found)
    found.compared = sum(map(len, theirs))
    return found


def _without(codec: Codec, served: list[Served], erased: Collection[tuple[int, int]]) -> list[Served]:
    return [part for part in served if _trigger(codec.decode(part[1] or b""))[1:] not in erased]


def _explain(
    codec: Codec, ours: list[Served], theirs: list[Served], required: set[Trigger], found: ModelParity
) -> None:
    """Where the two sequences of a partition differ: which vectors, which features; else only in place, key or time."""
    expected = {_trigger(record): (record, served) for record, served in _decoded(codec, ours)}
    seen: dict[Trigger, None] = {}
    in_place = [served for served in ours if _trigger(codec.decode(served[1] or b"")) in required]
    for record, served in _decoded(codec, theirs):
        trigger = _trigger(record)
        if trigger in seen:
            found.doubled += 1
            found.mismatched += 1
            continue
        seen[trigger] = None
        want, wanted_record = expected.get(trigger, (None, None))
        differing = [name for name in record if want is None or _bits(record[name]) != _bits(want[name])]
        if not differing and served != wanted_record:
            differing = ["(key or known time)"]
        if not differing:
            continue
        found.mismatched += 1
        for name in differing:
            found.by_feature[name] = found.by_feature.get(name, 0) + 1
        if len(found.examples) < _EXAMPLES:
            differs = {name: [record.get(name), want.get(name) if want else None] for name in differing[:5]}
            found.examples.append({"entity": record["entity"], "trigger": list(trigger), "differs": differs})
    unserved = len((expected.keys() & required) - seen.keys())
    found.missing += unserved
    found.mismatched += unserved
    if not found.mismatched and len(in_place) == len(theirs):
        found.mismatched += sum(left != right for left, right in zip(in_place, theirs, strict=True))


def _decoded(codec: Codec, records: list[Served]) -> Iterator[tuple[dict[str, Any], Served]]:
    for served in records:
        assert served[1] is not None
        yield codec.decode(served[1]), served


def _trigger(record: Mapping[str, Any]) -> Trigger:
    return record["trigger_topic"], record["trigger_partition"], record["trigger_offset"]


def _bits(value: Any) -> Any:
    """Floats by their bits, so that -0.0 and 0.0 differ as they do in the record."""
    return value.hex() if isinstance(value, float) else value
