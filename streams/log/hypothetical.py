"""What another definition would have made of the same history: the journal followed by a plan that did not write it.

The journal fixes the order. A topic that it does not know, since the other definition is the first to read it, is merged in as
a processor would have: each record goes to the first batch that holds records as new as it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from samestream.schemas.errors import RecoveryError
from samestream.streams import columns as cols
from samestream.streams.columns import ColumnData, Float64Array
from samestream.streams.engine.columnar import Vectors
from samestream.streams.engine.journal import Entry, Range
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.log_source import groups
from samestream.streams.log.vector_replay import Progress, Span, followed, span
from samestream.streams.models import artifact, model_registry
from samestream.streams.models.artifact import Artifact
from samestream.streams.models.model_registry import ModelVersion
from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.transport import Partition, Transport, position


def extended(plan: Plan, entries: Sequence[Entry], log: FeatureLog) -> list[Entry]:
    """The entries, with ranges of the plan's topics that they do not know.

    Such entries are checked against nothing: no fingerprint is theirs. The known times are running maxima per partition.
    """
    journaled = {part.partition.topic for entry in entries for part in entry.ranges}
    new = sorted({input.topic for input in plan.inputs.values()} - journaled)
    if not new:
        return list(entries)
    found = [list(entry.ranges) for entry in entries]
    newest = np.maximum.accumulate([max(part.known_us for part in entry.ranges) for entry in entries])
    for topic in new:
        table = log.read(topic, ["_partition", "_offset", "_known"])
        numbers, offsets = table["_partition"].to_numpy(), table["_offset"].to_numpy()
        known_us = table["_known"].cast(pa.int64()).to_numpy()
        for number in np.unique(numbers).tolist():
            mine = numbers == number
            running = np.maximum.accumulate(known_us[mine])
            cuts = np.searchsorted(running, newest, side="right")
            for place, (start, end) in enumerate(zip([0, *cuts[:-1].tolist()], cuts.tolist(), strict=True)):
                if end > start:
                    first, last = int(offsets[mine][start]), int(offsets[mine][end - 1]) + 1
                    part = Range(Partition(topic, number), first, last, int(running[end - 1]), 0, 0, 0, ())
                    found[place].append(part)
    return [replace(entry, ranges=tuple(ranges), fingerprint="") for entry, ranges in zip(entries, found, strict=True)]


def vectors_of(
    plan: Plan,
    transport: Transport,
    log: FeatureLog,
    entries: Sequence[Entry],
    part: Span,
    on_progress: Progress | None = None,
) -> Iterator[tuple[Entry, list[Vectors]]]:
    """The vectors of a plan over entries of a journal that may be another's. Raises RecoveryError where a topic is missing."""
    if missing := sorted({input.topic for input in plan.inputs.values()} - set(transport.topics())):
        raise RecoveryError(
            "topics are missing",
            where=plan.app,
            found=", ".join(missing),
            hint="their events are not in the log; create the topics with `samestream apply MODULE`.",
        )
    whole = extended(plan, entries, log)
    if whole[0].fingerprint == "":
        # what new topics need of the past is not told by the journal's clocks
        part = Span(0, part.first, part.end)
    # as the journal alone says, so that two plans find the same vectors together
    parts = [*groups(entries, part.state, part.first), *groups(entries, part.first, part.end)]
    for entry, _, every in followed(plan, transport, log, whole, part, on_progress, parts):
        yield entry, every


@dataclass
class Change:
    """How a feature or score differs: values compared (both vectors exist), that differ, null on one side only, and by how much.

    greatest, total : absolute differences of numbers; 0 for what is no number
    """

    compared: int = 0
    differ: int = 0
    appeared: int = 0
    vanished: int = 0
    greatest: float = 0.0
    total: float = 0.0

    def note(self, old: ColumnData, new: ColumnData) -> None:
        """Take equally many old and new values."""
        both = old.valid & new.valid
        unequal = both & np.fromiter((a != b for a, b in zip(old.values, new.values, strict=True)), bool, len(both))
        self.compared += len(both)
        self.differ += int((unequal | (old.valid != new.valid)).sum())
        self.appeared += int((~old.valid & new.valid).sum())
        self.vanished += int((old.valid & ~new.valid).sum())
        if not old.is_object and not new.is_object and unequal.any():
            with np.errstate(invalid="ignore", over="ignore"):
                apart = np.abs(new.values[unequal].astype(np.float64) - old.values[unequal].astype(np.float64))
            apart = apart[np.isfinite(apart)]
            self.greatest = max(self.greatest, float(apart.max(initial=0.0)))
            self.total += float(apart.sum())


@dataclass
class ModelChange:
    """How a model's vectors differ under two definitions.

    only_old, only_new : vectors that one of them alone makes. added, removed : inputs that one of them alone has.
    versions : of the models that gave the scores; empty where there are none
    """

    model: str
    vectors: int
    only_old: int
    only_new: int
    features: dict[str, Change]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    score: Change | None
    versions: tuple[str, ...]


def compare(
    old: Plan,
    new: Plan,
    transport: Transport,
    log: FeatureLog,
    entries: Sequence[Entry],
    artifacts: dict[str, tuple[Artifact, Artifact]],
    *,
    from_us: int | None = None,
    to_us: int | None = None,
    on_progress: Progress | None = None,
) -> dict[str, ModelChange]:
    """Follow the journal by both plans, and compare vector by vector those with trigger event time in [from_us, to_us).

    artifacts : by model, what scores the old and the new vectors
    """
    low, high = from_us if from_us is not None else -(2**62), to_us if to_us is not None else 2**62
    found = {}
    for name in [name for name in old.models if name in new.models]:
        was, now = old.models[name].outputs, new.models[name].outputs
        kept = {feature: Change() for feature in was if feature in now}
        added, removed = tuple(part for part in now if part not in was), tuple(part for part in was if part not in now)
        pair = artifacts.get(name)
        versions = (pair[0].version, pair[1].version) if pair else ()
        found[name] = ModelChange(name, 0, 0, 0, kept, added, removed, Change() if pair else None, versions)
    parts = [span(plan, entries, from_us, to_us) for plan in (old, new)]
    # a batch is compared with the same batch, so both begin and end together
    first, end = min(part.first for part in parts), max(part.end for part in parts)
    runs = [
        vectors_of(plan, transport, log, entries, Span(min(part.state, first), first, end), progress)
        for plan, part, progress in zip((old, new), parts, (on_progress, None), strict=True)
    ]
    for (_, before), (_, after) in zip(*runs, strict=True):
        by_name = {vectors.model.name: _between(vectors, low, high) for vectors in after}
        for vectors in before:
            if vectors.model.name in found:
                _note(found[vectors.model.name], _between(vectors, low, high), by_name[vectors.model.name], artifacts)
    return found


def _note(found: ModelChange, old: Vectors, new: Vectors, artifacts: dict[str, tuple[Artifact, Artifact]]) -> None:
    was, now = (position(_numbers(part), part.offset) for part in (old, new))
    _, left, right = np.intersect1d(was, now, return_indices=True)
    found.vectors += len(left)
    found.only_old += len(old) - len(left)
    found.only_new += len(new) - len(right)
    for name, change in found.features.items():
        change.note(old.features[name].take(left), new.features[name].take(right))
    if found.score is not None and len(left):
        one, other = artifacts[found.model]
        found.score.note(_scored(one, old, left), _scored(other, new, right))


def _scored(model: Artifact, vectors: Vectors, rows: cols.Int64Array) -> ColumnData:
    matrix = model.encoding.matrix({name: vectors.features[name].take(rows) for name in model.inputs})
    scores: Float64Array = model.predictor().predict(matrix)
    return cols.without_nan(ColumnData(scores, np.ones(len(scores), np.bool_)))


def scorers(
    old: ModelPlan, new: ModelPlan, versions: Sequence[ModelVersion], old_version: str | None, new_version: str | None
) -> tuple[Artifact, Artifact] | None:
    """What scores the vectors of the two definitions: the versions named, or the newest one trained on each definition.

    Where the new definition has none, the old one's model scores both, if the new vectors hold its inputs.
    None where there is nothing to score by. Raises RecoveryError for a version that is not there.
    """
    mine = {one.version: one for one in versions if one.model == old.name}

    def chosen(asked: str | None, model: ModelPlan) -> ModelVersion | None:
        if asked is None:
            return next((one for one in reversed(mine.values()) if one.fingerprint == model.fingerprint), None)
        if asked not in mine:
            raise RecoveryError(
                "no such version of the model",
                where=old.name,
                found=asked,
                expected=", ".join(mine) or "none was published",
                hint="`samestream topics MODULE` shows the models topic.",
            )
        return mine[asked]

    one = chosen(old_version, old)
    other = chosen(new_version, new) or one
    if one is None or other is None:
        return None
    pair = artifact.load(one.artifact, one.digest), artifact.load(other.artifact, other.digest)
    fits = all(
        set(loaded.inputs) <= set(model.outputs) and loaded.output == model.output
        for loaded, model in zip(pair, (old, new), strict=True)
    )
    return pair if fits else None


def versions_of(transport: Transport, plan: Plan) -> list[ModelVersion]:
    """Every published version; none where nothing was applied."""
    return model_registry.versions(transport, plan.registry) if plan.registry in transport.topics() else []


def _between(vectors: Vectors, low: int, high: int) -> Vectors:
    rows = np.flatnonzero((vectors.event_time_us >= low) & (vectors.event_time_us < high))
    if len(rows) == len(vectors):
        return vectors
    features: dict[str, Any] = {name: column.take(rows) for name, column in vectors.features.items()}
    return Vectors(
        vectors.model,
        vectors.entity.take(rows),
        vectors.event_time_us[rows],
        vectors.known_us[rows],
        vectors.partitions,
        vectors.rank[rows],
        vectors.offset[rows],
        features,
    )


def _numbers(vectors: Vectors) -> cols.Int64Array:
    return np.fromiter(itertools.chain(part.partition for part in vectors.partition), np.int64, len(vectors))
