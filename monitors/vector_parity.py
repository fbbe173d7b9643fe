"""Parity: was what we served online what the log says? Measured on every vector, in a process with empty state.

*Replay* follows the journal through the kernel from the feature log, and must equal the served records byte for byte.
*As known* computes each vector in SQL from the events applied before it, and must equal what was served within tolerance.
*Point in time* computes each vector in SQL as an ideal observer would have, by event time: where it differs, an event came
too late to be counted. That is the lateness skew, a figure, not a bug.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from samestream.monitors.parity_figures import NEVER, OTHER, TWICE, Spell
from samestream.monitors.sql_parity import compare_whole
from samestream.monitors.vector_match import Expected, Served, Trigger, VectorMatch, bits, trigger_of
from samestream.schemas.avro import Codec
from samestream.streams.columns import Int64Array
from samestream.streams.deploy import provision
from samestream.streams.engine import journal
from samestream.streams.engine.columnar import Vectors
from samestream.streams.engine.feature_task import NAME, VectorEncoder
from samestream.streams.engine.journal import ends
from samestream.streams.log.erasure import erased_triggers
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.rank_files import RankFiles
from samestream.streams.log.vector_replay import Progress, kept, logged_of, replayed
from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.transport import Outgoing, Partition, Transport, partition_of

_EXAMPLES = 5


@dataclass
class ModelParity:
    """What the comparison of one model's vectors found.

    compared : vectors served by the present definition. mismatched : of these, not byte-equal to the replay, or served
    twice; and vectors of the replay that were never served. by_feature : of these, per feature; as_known_by_feature : of those
    that differ from SQL. spells : by path, the differences that no incident told of yet that is over; None where there are none.
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
    as_known_by_feature: dict[str, int] = field(default_factory=dict)
    lateness_skewed: int = 0
    skew: dict[str, dict[str, float]] = field(default_factory=dict)
    newest_known_us: int = 0
    erased: int = 0
    unlogged_batches: int = 0
    spells: dict[str, Spell | None] = field(default_factory=dict)

    @property
    def broken(self) -> int:
        """Vectors that are not what the log says, by whichever path."""
        return max(self.mismatched, self.as_known_mismatched)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        spells = {path: spell.evidence() for path, spell in self.spells.items() if spell is not None}
        return asdict(replace(self, spells={})) | {"spells": spells}


def verify(
    plan: Plan,
    transport: Transport,
    log: FeatureLog,
    *,
    with_sql: bool = True,
    on_progress: Progress | None = None,
    after_us: Mapping[str, int] | None = None,
) -> dict[str, ModelParity]:
    """Compare everything served, as far as the feature log has come, with replay and with SQL, per model.

    after_us : per model, up to when in known time differences were told of and are over: a spell begins after that
    Raises RecoveryError when the feature log does not hold what was applied.
    """
    with TemporaryDirectory(prefix="samestream-") as folder:
        ranks = RankFiles(Path(folder))
        found = _replay(plan, transport, log, ranks, on_progress, after_us or {})
        for name, (mine, starts) in found.items():
            if with_sql and mine.compared:
                if on_progress:
                    on_progress("SQL", 0, mine.compared)
                _compare_sql(plan, plan.models[name], log, ranks, mine, starts, (after_us or {}).get(name, 0))
            for spell in mine.spells.values():
                if spell is not None:
                    spell.count(_known_us(plan.models[name], log, spell.began_us), spell.missing)
    return {name: mine for name, (mine, _) in found.items()}


def _known_us(model: ModelPlan, log: FeatureLog, from_us: int) -> Int64Array:
    """Known times of the vectors of the present definition that the log holds from an instant on."""
    table = log.read(model.topics["features"], ["_known", "fingerprint"], known_from_us=from_us)
    mine = table.filter(pc.field("fingerprint") == model.fingerprint)
    return np.asarray(mine["_known"].cast(pa.int64()).to_numpy(), np.int64)


def _compare_sql(
    plan: Plan,
    model: ModelPlan,
    log: FeatureLog,
    ranks: RankFiles,
    found: ModelParity,
    starts: Mapping[Partition, int],
    after_us: int,
) -> None:
    topic = plan.inputs[model.trigger].topic

    def whole(served: pa.Table) -> pa.Table:
        """Those of which the log holds all that their windows reach."""
        numbers, offsets = served["trigger_partition"].to_numpy(), served["trigger_offset"].to_numpy()
        keep = np.ones(len(served), np.bool_)
        for part, start in starts.items():
            if part.topic == topic:
                keep &= (numbers != part.partition) | (offsets >= start)
        return served.filter(pa.array(keep))

    chosen = whole if starts else None
    known = compare_whole(plan, model, log, ranks, chosen, after_us)
    found.as_known_compared, found.as_known_mismatched = known.compared, known.differ
    found.as_known_by_feature = {name: count for name, count in known.mismatched.items() if count}
    found.spells["as_known"] = known.spell
    skew = compare_whole(plan, model, log, None, chosen)
    found.lateness_skewed = skew.differ
    found.skew = {
        name: {"vectors": count, "greatest": skew.greatest[name]} for name, count in skew.mismatched.items() if count
    }


@dataclass
class _Reach:
    """How far a replay speaks, per partition of the triggers' topics: from where windows are whole, up to where it has come."""

    starts: dict[Partition, int]
    ends: dict[Partition, int] = field(default_factory=dict)

    def is_beyond(self, trigger: Trigger) -> bool:
        """Whether it does not speak of a trigger: served meanwhile, or by what was cut from the log."""
        place = Partition(*trigger[:2])
        return not self.starts.get(place, 0) <= trigger[2] < self.ends.get(place, 0)


def _replay(
    plan: Plan,
    transport: Transport,
    log: FeatureLog,
    ranks: RankFiles,
    on_progress: Progress | None,
    after_us: Mapping[str, int],
) -> dict[str, tuple[ModelParity, Mapping[Partition, int]]]:
    """Follow the journal, and match every vector with what was served while both are read."""
    encoder = VectorEncoder(plan)
    journaled = journal.read(transport, plan.journal, NAME)
    entries = logged_of(plan, log, journaled)
    held = kept(plan, log, entries)
    reach = _Reach(ends(entries[: held.first]) if held.state else {})
    # asked for after the journal: what it speaks of was served by now
    served = {name: _Served(plan, model, transport, log, reach.starts) for name, model in plan.models.items()}
    for entry, batch, every in replayed(plan, transport, log, on_progress, entries):
        ranks.note(batch)
        if entry.sequence < (entries[held.first].sequence if held.first < len(entries) else entry.sequence + 1):
            continue
        reach.ends.update(ends([entry]))
        for vectors in every:
            required = entry.fingerprint == plan.fingerprint
            served[vectors.model.name].expect(vectors, encoder.records(vectors), required)
    found: dict[str, tuple[ModelParity, Mapping[Partition, int]]] = {}
    for name, mine in served.items():
        found[name] = mine.told(reach, after_us.get(name, 0)), reach.starts
        found[name][0].unlogged_batches = len(journaled) - len(entries)
    return found


class _Served:
    """What was served of one model, beside what should have been."""

    def __init__(
        self, plan: Plan, model: ModelPlan, transport: Transport, log: FeatureLog, starts: Mapping[Partition, int]
    ) -> None:
        self._codec, self._store = Codec(model.vector_schema), provision.store(transport, plan)
        self._topic, self._mark, self._starts = model.topics["features"], model.fingerprint.encode(), starts
        self._erased = erased_triggers(plan, model, log)
        self._found = ModelParity(model.name)
        self._partitions = transport.topics()[self._topic]
        self._match = VectorMatch(self._partitions, iter(transport.read_all(self._topic)), self._kept, self._trigger)

    def expect(self, vectors: Vectors, made: Iterable[Outgoing], required: bool) -> None:
        """Take the vectors of a batch, and compare as many as were served by now."""
        places = zip(vectors.partition, vectors.offset.tolist(), strict=True)
        for record, (part, offset) in zip(made, places, strict=True):
            if (part.partition, offset) in self._erased:
                continue  # of another key, a replayed one may lie in another partition
            assert record.key is not None
            right = (record.key, record.value, record.known_us)
            trigger = (part.topic, part.partition, offset)
            self._match.expect(partition_of(record.key, self._partitions), (right, trigger, required))
        self._match.match()

    def told(self, reach: _Reach, after_us: int) -> ModelParity:
        """What the comparison found. after_us : see `verify`"""
        match, found = self._match, self._found
        match.finish()
        found.compared, found.newest_known_us = match.equal, match.newest_known_us
        for ours, served in zip(match.ours, match.theirs, strict=True):
            theirs = [part for part in served if not reach.is_beyond(self._trigger(part[1] or b""))]
            found.compared += len(theirs)
            if ours or theirs:
                _explain(self._codec, ours, theirs, match, found, after_us)
        if not found.mismatched:
            _misplaced(found, match.misplaced_us, after_us)
        return found

    def _kept(self, key: bytes | None, value: bytes | None) -> bytes | None:
        # computed vectors are in single-object encoding: what the registry's id stands for is compared, not the id
        value = self._store.single(self._topic, value) if value is not None else None
        if value is None or self._mark not in value:
            self._found.other_definition += 1
            return None
        if self._erased or self._starts:
            topic, number, offset = self._trigger(value)
            if (number, offset) in self._erased:
                self._found.erased += 1
                return None
            if offset < self._starts.get(Partition(topic, number), 0):
                return None
        return value

    def _trigger(self, value: bytes) -> Trigger:
        return trigger_of(self._codec.decode(value))


def _explain(
    codec: Codec, ours: list[Expected], theirs: list[Served], match: VectorMatch, found: ModelParity, after_us: int
) -> None:
    """Where the two sequences of a partition differ: which vectors, which features; else only in place, key or time."""
    expected: dict[Trigger, tuple[dict[str, Any], Served]] = {
        trigger: (codec.decode(served[1] or b""), served) for served, trigger, _ in ours
    }
    required = {trigger for _, trigger, needed in ours if needed}
    seen: dict[Trigger, None] = {}
    for record, served in _decoded(codec, theirs):
        trigger = trigger_of(record)
        if trigger in seen or (trigger not in expected and match.was_matched(trigger)):
            found.doubled += 1
            found.mismatched += 1
            if (spell := _spell(found, served[2], after_us, record, {TWICE: [None, None]})) is not None:
                spell.doubled += 1
            continue
        seen[trigger] = None
        wanted = expected.get(trigger)
        want = wanted[0] if wanted else None
        differing = [name for name in record if want is None or bits(record[name]) != bits(want[name])]
        if not differing and wanted and served != wanted[1]:
            differing = [OTHER]
        if not differing:
            continue
        found.mismatched += 1
        for name in differing:
            found.by_feature[name] = found.by_feature.get(name, 0) + 1
        differs = {name: [record.get(name), want.get(name) if want else None] for name in differing}
        if len(found.examples) < _EXAMPLES:
            shown = dict(list(differs.items())[:_EXAMPLES])
            found.examples.append({"entity": record["entity"], "trigger": list(trigger), "differs": shown})
        _spell(found, served[2], after_us, record, differs)
    for trigger, (unserved, right) in expected.items():
        if trigger not in required or trigger in seen:
            continue
        found.missing += 1
        found.mismatched += 1
        if (spell := _spell(found, right[2], after_us, unserved, {NEVER: [None, None]})) is not None:
            spell.missing += 1
    in_place = [served for served, trigger, _ in ours if trigger in required or trigger in seen]
    if not found.mismatched and len(in_place) == len(theirs):
        pairs = zip(in_place, theirs, strict=True)
        _misplaced(found, [right[2] for left, right in pairs if left != right], after_us)


def _misplaced(found: ModelParity, known_us: Sequence[int], after_us: int) -> None:
    """Count vectors of which every value is right, and the order is not."""
    found.mismatched += len(known_us)
    if told := [at_us for at_us in known_us if at_us > after_us]:
        spell = found.spells["replay"] = found.spells.get("replay") or Spell(min(told))
        spell.began_us = min(spell.began_us, *told)
        spell.mismatched += len(told)
        spell.feature(OTHER).mismatched += len(told)


def _spell(
    found: ModelParity, known_us: int, after_us: int, record: Mapping[str, Any], differs: Mapping[str, list[Any]]
) -> Spell | None:
    """Count a vector that differs in what an incident is to tell; None where one has told of it that is over."""
    if known_us <= after_us:
        return None
    spell = found.spells["replay"] = found.spells.get("replay") or Spell(known_us)
    spell.began_us = min(spell.began_us, known_us)
    spell.mismatched += 1
    spell.blame(str(record["entity"]))
    for name, (served, expected) in differs.items():
        if name in (TWICE, NEVER, OTHER):
            spell.feature(name).mismatched += 1
        else:
            spell.feature(name).note(served, expected)
    spell.show(
        {
            "entity": record["entity"],
            "trigger": list(trigger_of(record)),
            "event_time_us": record["event_time"],
            "known_us": known_us,
            "differs": dict(list(differs.items())[:_EXAMPLES]),
        }
    )
    return spell


def _decoded(codec: Codec, records: list[Served]) -> Iterator[tuple[dict[str, Any], Served]]:
    for served in records:
        assert served[1] is not None
        yield codec.decode(served[1]), served
