"""Vectors joined with labels, for training elsewhere: by any of the three readings of the log, split by time, made again at will.

Everything that decides a row is in the manifest: what was asked, offset ranges of the topics, the last journal sequence,
fingerprints. Made again from it the data are the same to the last bit, whatever was logged since.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from samestream.schemas.errors import TrainingError
from samestream.streams.log import whole_history
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.log.pinned_log import PinnedLog
from samestream.streams.log.table_digest import file_digest, table_digest
from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.sql.duckdb_log import room, workspace
from samestream.streams.transport import Transport
from samestream.trainers import dataset_parts, dataset_vectors, label_join
from samestream.trainers.dataset_parts import DatasetParts
from samestream.trainers.request import Request, text_of
from samestream.trainers.vector_store import VectorStore

OTHER_DEFINITION = (
    "`samestream training-set MODULE --mode point_in_time` computes them by the present one, `samestream backfill` adds "
    "what is new to what was served, `samestream counterfactual OLD NEW` tells how they differ."
)


class Dataset:
    """Parts by name, in order of time; of counts, the sums are `vectors`. See the manifest's fields in docs/operations.md.

    files : the parts as Parquet, in a temporary folder that goes with the dataset
    """

    def __init__(
        self,
        folder: tempfile.TemporaryDirectory[str],
        files: Mapping[str, Path],
        counts: Mapping[str, int],
        manifest: Mapping[str, Any],
    ) -> None:
        self._folder, self.files, self.counts, self.manifest = folder, files, counts, manifest

    @cached_property
    def parts(self) -> dict[str, pa.Table]:
        """The parts, in memory."""
        return dataset_parts.tables(self.files)

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
    return log.again([*ranges, plan.journal], lambda: _built(plan, model, request, log, connect, pinned, given, ranges))


def _built(
    plan: Plan,
    model: ModelPlan,
    request: Request,
    log: FeatureLog,
    connect: Callable[[], Transport],
    pinned: Mapping[str, Any] | None,
    given: pa.Table | None,
    ranges: Mapping[str, Mapping[int, tuple[int, int]]],
) -> Dataset:
    """The dataset of some ranges of the log."""
    at_rest = PinnedLog(log, ranges)
    whole_history.refuse_absent(plan, model, at_rest, computed=request.mode != "served")
    asked = dataset_vectors.asked(plan, model, request, given) if request.mode != "served" else None
    rows = asked[0] if asked else None
    with _folder() as folder, workspace(None, 1) as database, room(model.name):
        kept = Path(folder.name)
        if request.mode == "served":
            vectors = dataset_vectors.served(model, request, at_rest)
        elif request.mode == "as_known":
            last = pinned["journal"]["last"] if pinned is not None and pinned["journal"] else None
            entries = dataset_vectors.entries_of(plan, log, at_rest, connect, last)
            vectors = dataset_vectors.known(plan, model, request, at_rest, entries, rows, kept, database)
        else:
            vectors = dataset_vectors.complete(plan, model, request, at_rest, rows, database)
        store = VectorStore(database, vectors)
        passed = dataset_vectors.passed_by(vectors.passed)
        if not store.rows:
            raise nothing_found(model, request, passed)
        input = plan.events[model.label.event]
        since_us = whole_history.since_us(at_rest, input)
        horizon = label_join.stage(database, plan, model, at_rest, request.as_of_us, since_us)
        label_join.join(database, model.label.within_us)
        parts = DatasetParts(model, request, vectors.identity, kept)
        for table, event_time_us, known_us, found in store.in_order():
            labels = horizon.labels(found, event_time_us, is_text=model.output == "class")
            parts.add(table, event_time_us, known_us, labels)
        counts = {**parts.close(), **passed}
        return _with_manifest(
            plan, model, request, asked[1] if asked else None, ranges, vectors.journaled, folder, parts, counts
        )


@contextmanager
def _folder() -> Iterator[tempfile.TemporaryDirectory[str]]:
    """A temporary folder, which outlives the block if that ends well."""
    folder = tempfile.TemporaryDirectory(prefix="samestream-")
    try:
        yield folder
    except OSError as error:
        folder.cleanup()
        raise TrainingError(
            "there is no room for the rows of the training set",
            where=folder.name,
            found=error,
            hint="make room where temporary files lie (TMPDIR), or ask for a shorter range.",
        ) from error
    except BaseException:
        folder.cleanup()
        raise


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
        hint="widen --from, --to or --as-of; `samestream log show MODULE` says what the log holds.",
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
    identity = ("row",) if is_asked else dataset_vectors.TRIGGER
    times = dataset_vectors.times_of(vectors, "event_time")
    order = np.arange(len(vectors))
    if not is_asked:
        order = np.lexsort((*(np.asarray(vectors[name]) for name in reversed(identity)), times))
    known_us = None if is_asked else dataset_vectors.times_of(vectors, "_known")[order]
    with _folder() as folder:
        parts = DatasetParts(model, request, identity, Path(folder.name))
        parts.add(vectors.take(order), times[order], known_us, labels.take(order))
        counts = {**parts.close(), **passed}
        return _with_manifest(plan, model, request, rows_sha256, ranges, journaled, folder, parts, counts)


def _with_manifest(
    plan: Plan,
    model: ModelPlan,
    request: Request,
    rows_sha256: str | None,
    ranges: Mapping[str, Mapping[int, tuple[int, int]]],
    journaled: Mapping[str, Any] | None,
    folder: tempfile.TemporaryDirectory[str],
    parts: DatasetParts,
    counts: Mapping[str, int],
) -> Dataset:
    digests = {name: file_digest(file.path) for name, file in parts.files.items()}
    asked: dict[str, Any] = asdict(request)
    if rows_sha256 is not None:
        # where it lay is nobody else's business, and differs elsewhere: the digest says which it was
        asked |= {"rows": Path(str(request.rows)).name, "rows_sha256": rows_sha256}
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
        "journal": journaled,
        "counts": counts,
        "parts": {name: {"rows": file.rows, "digest": digests[name]} for name, file in parts.files.items()},
        "digest": table_digest(pa.table({"part": list(digests), "digest": list(digests.values())})),
    }
    files = {name: file.path for name, file in parts.files.items()}
    return Dataset(folder, files, counts, json.loads(json.dumps(manifest)))


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
