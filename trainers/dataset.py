"""Vectors joined with labels, for training elsewhere: by any of the three readings of the log, split by time, made again at will.

Everything that decides a row is in the manifest: what was asked, offset ranges of the topics, the last journal sequence,
fingerprints. Made again from it the data are the same to the last bit, whatever was logged since.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from samestream.schemas.errors import TrainingError
from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.columns import BoolArray, Int64Array
from samestream.streams.engine import journal
from samestream.streams.engine.feature_task import NAME
from samestream.streams.engine.merge_rank import MergeRanks
from samestream.streams.log import topic_stream
from samestream.streams.log.erasure import without_erased
from samestream.streams.log.feature_log import KEY_SCHEMA, FeatureLog
from samestream.streams.log.pinned_log import PinnedLog, known_before
from samestream.streams.log.table_digest import table_digest
from samestream.streams.log.vector_replay import covered, replayed
from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.sql.point_in_time import as_known, point_in_time
from samestream.streams.transport import Transport
from samestream.trainers import asked_rows, label_join, whole_history
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


@dataclass(frozen=True, eq=False)
class _Vectors:
    """Vectors before labels: `entity`, `event_time` and the outputs, with what identifies each."""

    table: pa.Table
    identity: tuple[str, ...]
    known_us: Int64Array | None
    journaled: Mapping[str, Any] | None = None
    passed: Mapping[str, int] = field(default_factory=dict)


def build(
    plan: Plan,
    request: Request,
    log: FeatureLog,
    connect: Callable[[], Transport],
    pinned: Mapping[str, Any] | None = None,
    given: pa.Table | None = None,
) -> Dataset:
    """The dataset; with ``pinned``, a manifest, from the same records as that one.

    connect : gives the transport that the journal lies on; only asked for *as_known*
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
    if request.mode == "point_in_time":
        whole_history.refuse_absent(plan, model, at_rest)
    sequence = pinned["journal"]["last"] if pinned is not None and pinned["journal"] else None
    asked: tuple[pa.Table, str] | None = None
    if request.mode == "served":
        vectors = _served(model, request, at_rest)
    elif request.mode == "as_known":
        vectors = _as_known(plan, model, request, at_rest, connect(), sequence)
    else:
        asked = _asked(plan, model, request, given)
        vectors = _point_in_time(plan, model, request, at_rest, asked[0] if asked else None)
    if not len(vectors.table):
        raise nothing_found(model, request, vectors.passed.get("other_definition", 0))
    found = _labelled(plan, model, request, at_rest, vectors)
    rows_sha256 = asked[1] if asked else None
    return _with_manifest(plan, model, request, rows_sha256, ranges, vectors, *found)


def nothing_found(model: ModelPlan, request: Request, other_definition: int) -> TrainingError:
    """Told where there is no vector; other_definition : how many there are of another one, whenever they were served."""
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


def _asked(plan: Plan, model: ModelPlan, request: Request, given: pa.Table | None) -> tuple[pa.Table, str] | None:
    """The rows of a user's own, and a digest of them; None where none are asked for."""
    if given is not None:
        rows = asked_rows.triggers(given, plan, model, request.rows or "rows")
        return rows, table_digest(rows)
    return asked_rows.read(Path(request.rows), plan, model) if request.rows is not None else None


def assembled(
    plan: Plan,
    request: Request,
    ranges: Mapping[str, Mapping[int, tuple[int, int]]],
    vectors: pa.Table,
    labels: label_join.Labels,
    passed: Mapping[str, int],
) -> Dataset:
    """The dataset of vectors and labels that were computed elsewhere, from these ranges of the log: as `build` would make it.

    vectors : `trigger_partition`, `trigger_offset`, `entity`, `event_time`, `_known` and the outputs, in any order
    """
    model = plan.models[request.model]
    known_us = cols.from_arrow(vectors["_known"], Kind.TIME).values
    given = _Vectors(vectors, ("trigger_partition", "trigger_offset"), known_us, passed=passed)
    return _with_manifest(plan, model, request, None, ranges, given, *_parted(model, request, given, labels))


def _served(model: ModelPlan, request: Request, log: FeatureLog) -> _Vectors:
    whole = known_before(log.read(model.topics["features"]), request.as_of_us)
    table = without_erased(whole)
    current = cols.from_arrow(table["fingerprint"], Kind.STRING).values == model.fingerprint if len(table) else []
    mine = table.filter(pa.array(np.asarray(current, np.bool_)))
    mine = _within(mine, cols.from_arrow(mine["event_time"], Kind.TIME).values, request)
    names = ("trigger_partition", "trigger_offset")
    known_us = cols.from_arrow(mine["_known"], Kind.TIME).values
    passed = _passed(other_definition=len(table) - int(np.sum(current)), erased=len(whole) - len(table))
    return _Vectors(mine, names, known_us, passed=passed)


def _as_known(
    plan: Plan, model: ModelPlan, request: Request, log: FeatureLog, transport: Transport, last: int | None
) -> _Vectors:
    entries = covered(plan, transport, log)
    if last is not None:
        entries = [entry for entry in entries if entry.sequence <= last]
    if not entries or (last is not None and entries[-1].sequence != last):
        raise TrainingError(
            "the journal does not say what was applied",
            where=plan.journal,
            found=f"up to batch {entries[-1].sequence}" if entries else "nothing",
            expected=f"batch {last}" if last is not None else "at least one batch",
            hint="run `samestream run MODULE features log` first; the journal must be kept as long as its manifests.",
        )
    ranks = MergeRanks()
    for _, batch, _ in replayed(plan, transport, log, entries=entries):
        ranks.note(batch)
    input = plan.inputs[model.trigger]
    raw = ranks.judged(input.topic, log.read(input.topic))
    applied = known_before(raw.filter(raw["_applied"]), request.as_of_us)
    raw = without_erased(applied)
    passed = _passed(erased=len(applied) - len(raw))
    raw = _within(raw, _times(raw, input.time), request)
    events = {
        name: ranks.judged(
            topic := plan.inputs[name].topic, log.read(topic, _present(log, topic, plan.read_columns(name)))
        )
        for name in dict.fromkeys(table.event for table in plan.tables)
    }
    found = _computed(plan, model, raw, as_known(plan, model, raw, events, repeatable=True))
    ends = journal.ends(entries)
    place = {f"{part.topic}/{part.partition}": end for part, end in sorted(ends.items())}
    journaled = {"processor": NAME, "first": entries[0].sequence, "last": entries[-1].sequence, "ends": place}
    return _Vectors(found.table, found.identity, found.known_us, journaled, passed)


def _point_in_time(plan: Plan, model: ModelPlan, request: Request, log: FeatureLog, asked: pa.Table | None) -> _Vectors:
    input = plan.inputs[model.trigger]
    raw = known_before(log.read(input.topic), request.as_of_us) if asked is None else asked
    triggers = len(raw)
    raw = without_erased(raw)
    erased = triggers - len(raw)
    raw = _within(raw, _times(raw, input.time), request)
    raw, cut_off = whole_history.whole(plan, model, log, raw, request.rows)
    events = {
        name: topic_stream.reader(log, plan.inputs[name].topic, plan.read_columns(name), request.as_of_us)
        for name in dict.fromkeys(table.event for table in plan.tables)
    }
    found = _computed(plan, model, raw, point_in_time(plan, model, raw, events, repeatable=True))
    return replace(found, passed=_passed(erased=erased, history_cut_off=cut_off))


def _computed(plan: Plan, model: ModelPlan, triggers: pa.Table, vectors: pa.Table) -> _Vectors:
    input = plan.inputs[model.trigger]
    columns = {
        "trigger_partition": triggers["_partition"],
        "trigger_offset": triggers["_offset"],
        "entity": triggers[input.key],
        "event_time": triggers[input.time],
        **{name: vectors[name] for name in model.outputs},
    }
    identity: tuple[str, ...] = ("trigger_partition", "trigger_offset")
    if "_known" not in triggers.column_names:
        columns["row"], identity = triggers["_offset"], ("row",)
        return _Vectors(pa.table(columns), identity, None)  # pyright: ignore[reportArgumentType, reportCallIssue]
    return _Vectors(pa.table(columns), identity, cols.from_arrow(triggers["_known"], Kind.TIME).values)  # pyright: ignore[reportArgumentType, reportCallIssue]


def _labelled(
    plan: Plan, model: ModelPlan, request: Request, log: FeatureLog, vectors: _Vectors
) -> tuple[dict[str, pa.Table], dict[str, int]]:
    """The parts, and what became of every vector."""
    event_time_us = _times(vectors.table, "event_time")
    raw = known_before(log.read(plan.events[model.label.event].topic), request.as_of_us)
    labels = label_join.join(plan, model, vectors.table["entity"].to_pylist(), event_time_us, raw)
    return _parted(model, request, vectors, labels)


def _parted(
    model: ModelPlan, request: Request, vectors: _Vectors, labels: label_join.Labels
) -> tuple[dict[str, pa.Table], dict[str, int]]:
    event_time_us = _times(vectors.table, "event_time")
    keep = labels.usable & labels.closed
    counts = {
        "vectors": len(keep),
        "labelled": int(keep.sum()),
        "unlabelled": int((labels.closed & ~labels.there).sum()),
        "horizon_not_over": int((~labels.closed).sum()),
        "infinite_labels": int((labels.closed & labels.there & ~labels.usable).sum()),
    }
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
    vectors: _Vectors,
    parts: dict[str, pa.Table],
    counts: dict[str, int],
) -> Dataset:
    digests = {name: table_digest(table) for name, table in parts.items()}
    asked: dict[str, Any] = asdict(request)
    if rows_sha256 is not None:
        asked["rows_sha256"] = rows_sha256
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


def _present(log: FeatureLog, topic: str, columns: Sequence[str]) -> list[str]:
    """Those of some columns that the log knows, and where the rows lie."""
    batches = log.batches(topic)
    known = batches[-1].schema.names if batches else KEY_SCHEMA.names
    return [name for name in ("_partition", "_offset", "_known", *columns) if name in known]


def _unpacked(offsets: Mapping[str, Mapping[str, list[int]]]) -> dict[str, dict[int, tuple[int, int]]]:
    return {
        topic: {int(number): (start, end) for number, (start, end) in parts.items()} for topic, parts in offsets.items()
    }


def _passed(erased: int, history_cut_off: int = 0, **others: int) -> dict[str, int]:
    """Vectors that are not looked at, by reason; rare ones are named where there are any."""
    rare = {"erased": erased, "history_cut_off": history_cut_off}
    return {**others, **{name: count for name, count in rare.items() if count}}


def _within(table: pa.Table, event_time_us: Int64Array, request: Request) -> pa.Table:
    keep: BoolArray = event_time_us >= (request.from_us if request.from_us is not None else -(2**63))
    keep &= event_time_us < (request.to_us if request.to_us is not None else 2**63 - 1)
    return table.filter(pa.array(keep))


def _times(table: pa.Table, name: str) -> Int64Array:
    return cols.from_arrow(table[name], Kind.TIME).values


def _instants(time_us: Int64Array, valid: BoolArray | None = None) -> pa.Array:  # type: ignore[type-arg]
    there = np.ones(len(time_us), np.bool_) if valid is None else valid
    return cols.to_arrow(cols.ColumnData(time_us, there), Kind.TIME)
