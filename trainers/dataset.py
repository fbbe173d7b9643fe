"""Vectors joined with labels, for training elsewhere: by any of the three readings of the log, split by time, made again at will.

Everything that decides a row is in the manifest: what was asked, offset ranges of the topics, the last journal sequence,
fingerprints. Made again from it the data are the same to the last bit, whatever was logged since.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from samestream.schemas.errors import TrainingError
from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.columns import BoolArray, Int64Array
from samestream.streams.log import whole_history
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.pinned_log import PinnedLog, known_before
from samestream.streams.log.table_digest import table_digest
from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.transport import Transport
from samestream.trainers import dataset_vectors, label_join
from samestream.trainers.dataset_vectors import Vectors
from samestream.trainers.request import PARTS, Request, text_of

OTHER_DEFINITION = (
    "`samestream training-set MODULE --mode point_in_time` computes them by the present one, `samestream backfill` adds "
    "what is new to what was served, `samestream counterfactual OLD NEW` tells how they differ."
)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Parts by name, in order of time; of counts, the sums are `vectors`. See the manifest's fields in docs/operations.md."""

    parts: Mapping[str, pa.Table]
    counts: Mapping[str, int]
    manifest: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 of all values, by which two datasets are the same."""
        return str(self.manifest["digest"])


def build(
    plan: Plan,
    request: Request,
    log: FeatureLog,
    connect: Callable[[], Transport],
    pinned: Mapping[str, Any] | None = None,
    given: pa.Table | None = None,
) -> Dataset:
    """The dataset; with ``pinned``, a manifest, from the same records as that one.

    connect : gives the transport that the journal lies on; only asked for *as_known*, where the log does not hold the journal
    given : keys and instants, in place of a file of them; the request then names them as it likes
    Raises TrainingError where there is nothing, or the manifest is of another definition; FeatureLogError where the log is
    damaged, or no longer holds what the manifest names.
    """
    request.check()
    model = plan.models[request.model]
    if pinned is not None and pinned["definition"] != model.fingerprint:
        raise TrainingError(
            "the manifest is of another definition",
            where=model.name,
            found=model.fingerprint,
            expected=pinned["definition"],
            hint="use the module as it was then: `samestream diff` tells what changed.",
        )
    ranges = ranges_of(plan, model, request, log) if pinned is None else _unpacked(pinned["offsets"])
    at_rest = PinnedLog(log, ranges)
    whole_history.refuse_absent(plan, model, at_rest, computed=request.mode != "served")
    asked: tuple[pa.Table, str] | None = None
    if request.mode == "served":
        vectors = dataset_vectors.served(model, request, at_rest)
    else:
        asked = dataset_vectors.asked(plan, model, request, given)
        rows = asked[0] if asked else None
        if request.mode == "as_known":
            last = pinned["journal"]["last"] if pinned is not None and pinned["journal"] else None
            entries = dataset_vectors.entries_of(plan, log, at_rest, connect, last)
            vectors = dataset_vectors.known(plan, model, request, at_rest, entries, rows)
        else:
            vectors = dataset_vectors.complete(plan, model, request, at_rest, rows)
    if not len(vectors.table):
        raise nothing_found(model, request, vectors.passed)
    found = _labelled(plan, model, request, at_rest, vectors)
    rows_sha256 = asked[1] if asked else None
    return _with_manifest(plan, model, request, rows_sha256, ranges, vectors, *found)


def nothing_found(model: ModelPlan, request: Request, passed: Mapping[str, int]) -> TrainingError:
    """Told where there is no vector; passed : how many were passed over, by reason."""
    if cut_off := passed.get("history_cut_off", 0):
        return TrainingError(
            "the beginning of the feature log was cut off, and windows of all vectors reach before that",
            where=model.name,
            found=f"{cut_off:,} vectors; {request.mode}",
            hint="choose a later range, --mode served, or build the log anew from Kafka, where the events are kept.",
        )
    other_definition = passed.get("other_definition", 0)
    times = f"{text_of(request.from_us)} to {text_of(request.to_us)}, as of {text_of(request.as_of_us)}"
    if other_definition:
        return TrainingError(
            "there is no vector of the present definition in this range",
            where=model.name,
            found=f"{times}; {request.mode}; {other_definition:,} vectors of another definition were passed over",
            expected=f"vectors of definition {model.fingerprint}",
            hint=OTHER_DEFINITION,
        )
    return TrainingError(
        "there is no vector in this range",
        where=model.name,
        found=f"{times}; {request.mode}",
        hint="widen --from, --to or --as-of; `samestream topics MODULE` shows what there is.",
    )


def assembled(
    plan: Plan,
    request: Request,
    ranges: Mapping[str, Mapping[int, tuple[int, int]]],
    vectors: pa.Table,
    labels: label_join.Labels,
    passed: Mapping[str, int],
    journaled: Mapping[str, Any] | None = None,
    rows_sha256: str | None = None,
) -> Dataset:
    """The dataset of vectors and labels that were computed elsewhere, from these ranges of the log: as `build` would make it.

    vectors : `trigger_partition`, `trigger_offset`, `entity`, `event_time`, `_known` and the outputs, in any order; of rows of a
        user's own, in their order, with `row` for the first two, and no `_known`
    rows_sha256 : the digest of a user's own rows, None if there are none
    """
    model = plan.models[request.model]
    is_asked = rows_sha256 is not None
    known_us = None if is_asked else cols.from_arrow(vectors["_known"], Kind.TIME).values
    identity = ("row",) if is_asked else ("trigger_partition", "trigger_offset")
    given = Vectors(vectors, identity, known_us, journaled, passed)
    return _with_manifest(plan, model, request, rows_sha256, ranges, given, *_parted(model, request, given, labels))


def _labelled(
    plan: Plan, model: ModelPlan, request: Request, log: FeatureLog, vectors: Vectors
) -> tuple[dict[str, pa.Table], dict[str, int]]:
    """The parts, and what became of every vector."""
    event_time_us = _times(vectors.table, "event_time")
    input = plan.events[model.label.event]
    raw = known_before(log.read(input.topic), request.as_of_us)
    entities, since_us = vectors.table["entity"].to_pylist(), whole_history.since_us(log, input)
    labels = label_join.join(plan, model, entities, event_time_us, raw, since_us)
    return _parted(model, request, vectors, labels)


def _parted(
    model: ModelPlan, request: Request, vectors: Vectors, labels: label_join.Labels
) -> tuple[dict[str, pa.Table], dict[str, int]]:
    event_time_us = _times(vectors.table, "event_time")
    closed = labels.closed & labels.told
    keep = labels.usable & closed
    counts = {
        "vectors": len(keep),
        "labelled": int(keep.sum()),
        "unlabelled": int((closed & ~labels.there).sum()),
        "horizon_not_over": int((labels.told & ~labels.closed).sum()),
        "infinite_labels": int((closed & labels.there & ~labels.usable).sum()),
    }
    if untold := int((~labels.told).sum()):
        counts["labels_cut_off"] = untold
    # whole numbers are of one type, whether Avro's of logged vectors or the log's own of their triggers
    columns: dict[str, Any] = {name: vectors.table[name].cast(pa.int64()) for name in vectors.identity}
    columns |= {"entity": vectors.table["entity"], "event_time": vectors.table["event_time"]}
    if vectors.known_us is not None:
        columns["_known"] = _instants(vectors.known_us)
    columns |= {name: vectors.table[name] for name in model.outputs}
    kind = Kind.STRING if model.output == "class" else Kind.FLOAT
    columns[model.label.name] = cols.to_arrow(cols.ColumnData(labels.y, keep), kind)
    columns["_label_known"] = _instants(labels.known_us, keep)
    wanted = np.ones(len(keep), np.bool_) if request.rows is not None else keep
    if request.rows is not None:
        state = np.where(~labels.closed, "horizon_not_over", np.where(keep, "labelled", "unlabelled"))
        state = np.where(~labels.told, "labels_cut_off", state)
        columns["_label_state"] = pa.array(state.tolist(), pa.string())
        order = np.arange(len(keep))
    else:
        order = np.lexsort((*(np.asarray(columns[name]) for name in reversed(vectors.identity)), event_time_us))
    if not wanted.any():
        raise TrainingError(
            "no vector has a label yet",
            where=model.name,
            found=", ".join(f"{count} {name}" for name, count in counts.items()),
            hint="wait until horizons are over and labels have come in, or choose an earlier range with --from and --to.",
        )
    table = pa.table(columns)
    parts, bounds = {}, [-(2**63), *request.splits_us, 2**63 - 1]
    counts["horizon_not_over_in_its_part"] = 0
    for name, start_us, end_us in zip(PARTS[len(request.splits_us)], bounds, bounds[1:], strict=False):
        mine = wanted & (event_time_us >= start_us) & (event_time_us < end_us)
        # A model that is trained at the split could not know what came after it. Which rows go is decided by their horizon, not
        # by when their label came: where one outcome is known sooner than the other, the sooner one would be all that stays.
        is_open = (
            event_time_us >= end_us - model.label.within_us if end_us < 2**63 - 1 else np.zeros(len(keep), np.bool_)
        )
        unknown = mine & keep & (is_open | (labels.known_us >= end_us))
        counts["horizon_not_over_in_its_part"] += int(unknown.sum())
        mine &= ~unknown
        parts[name] = table.take(order[mine[order]]).combine_chunks()
    if empty := [name for name, part in parts.items() if not len(part)]:
        raise _empty_part(model, request, empty, event_time_us[wanted], counts)
    return parts, counts


def _empty_part(
    model: ModelPlan, request: Request, empty: Sequence[str], event_time_us: Int64Array, counts: Mapping[str, int]
) -> TrainingError:
    first, last = text_of(int(event_time_us.min())), text_of(int(event_time_us.max()))
    return TrainingError(
        "a part of the training set has no rows",
        where=model.name,
        found=f"no rows in {', '.join(empty)}; rows from {first} to {last}, "
        f"{counts['horizon_not_over_in_its_part']} of them left out since their horizon was not over when their part ended",
        expected=f"rows on both sides of {', '.join(map(text_of, request.splits_us))}",
        hint="choose --split inside of these times, later than the first by more than the horizon of the label (`within`).",
    )


def _with_manifest(
    plan: Plan,
    model: ModelPlan,
    request: Request,
    rows_sha256: str | None,
    ranges: Mapping[str, Mapping[int, tuple[int, int]]],
    vectors: Vectors,
    parts: dict[str, pa.Table],
    counts: dict[str, int],
) -> Dataset:
    digests = {name: table_digest(table) for name, table in parts.items()}
    asked: dict[str, Any] = asdict(request)
    if rows_sha256 is not None:
        # where it lay is nobody else's business, and differs elsewhere: the digest says which it was
        asked |= {"rows": Path(str(request.rows)).name, "rows_sha256": rows_sha256}
    counts = {**counts, **vectors.passed}
    manifest = {
        "format": 1,
        "app": plan.app,
        "request": asked,
        "definition": model.fingerprint,
        "plan": plan.fingerprint,
        "offsets": {
            topic: {str(number): list(part) for number, part in sorted(parts.items())}
            for topic, parts in ranges.items()
        },
        "journal": vectors.journaled,
        "counts": counts,
        "parts": {name: {"rows": len(parts[name]), "digest": digests[name]} for name in parts},
        "digest": table_digest(pa.table({"part": list(digests), "digest": list(digests.values())})),
    }
    return Dataset(parts, counts, json.loads(json.dumps(manifest)))


def ranges_of(plan: Plan, model: ModelPlan, request: Request, log: FeatureLog) -> dict[str, dict[int, tuple[int, int]]]:
    """What the log holds now of every topic that the rows depend on."""
    topics = {plan.events[model.label.event].topic}
    if request.mode == "served":
        topics.add(model.topics["features"])
    else:
        topics |= {input.topic for input in plan.inputs.values()}
    found = {topic: log.ranges(topic) for topic in sorted(topics)}
    needed = model.topics["features"] if request.mode == "served" else plan.inputs[model.trigger].topic
    if all(start == end for start, end in found[needed].values()) and request.rows is None:
        raise TrainingError(
            "the feature log holds no vectors" if request.mode == "served" else "the feature log holds no triggers",
            where=needed,
            hint="run `samestream run MODULE features log` over some events first, and check --log.",
        )
    return found


def _unpacked(offsets: Mapping[str, Mapping[str, list[int]]]) -> dict[str, dict[int, tuple[int, int]]]:
    return {
        topic: {int(number): (start, end) for number, (start, end) in parts.items()} for topic, parts in offsets.items()
    }


def _times(table: pa.Table, name: str) -> Int64Array:
    return cols.from_arrow(table[name], Kind.TIME).values


def _instants(time_us: Int64Array, valid: BoolArray | None = None) -> pa.Array:  # type: ignore[type-arg]
    there = np.ones(len(time_us), np.bool_) if valid is None else valid
    return cols.to_arrow(cols.ColumnData(time_us, there), Kind.TIME)
