"""The parts of a dataset, written while its rows come: which rows belong where, how many there are, and why others do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from samestream.schemas.errors import TrainingError
from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.columns import BoolArray, Int64Array
from samestream.streams.plan import ModelPlan
from samestream.trainers.label_join import Labels
from samestream.trainers.request import PARTS, Request, text_of

GROUP_ROWS = 131_072
"""Rows of a row group: a part's bytes follow from its rows alone, however they come."""


class PartFile:
    """A part, as Parquet."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, 0
        self._held: list[pa.Table] = []
        self._waiting = 0
        self._file: pq.ParquetWriter | None = None

    def add(self, rows: pa.Table) -> None:
        """Take the next rows."""
        self._held.append(rows)
        self._waiting += len(rows)
        self.rows += len(rows)
        while self._waiting >= GROUP_ROWS:
            table = pa.concat_tables(self._held)
            self._write(table.slice(0, GROUP_ROWS))
            self._held, self._waiting = [table.slice(GROUP_ROWS)], len(table) - GROUP_ROWS

    def close(self) -> None:
        """Write what is left."""
        if self._waiting:
            self._write(pa.concat_tables(self._held))
        if self._file is not None:
            self._file.close()

    def _write(self, table: pa.Table) -> None:
        if self._file is None:
            self._file = pq.ParquetWriter(self.path, table.schema, compression="zstd")
        self._file.write_table(table.combine_chunks())


class DatasetParts:
    """Takes vectors with their labels, in the order in which rows are to stand.

    identity : the columns that identify a vector
    folder : where the files go
    """

    def __init__(self, model: ModelPlan, request: Request, identity: Sequence[str], folder: Path) -> None:
        self._model, self._request, self._identity = model, request, identity
        self.files = {name: PartFile(folder / f"{name}.parquet") for name in PARTS[len(request.splits_us)]}
        names = ("vectors", "labelled", "unlabelled", "horizon_not_over", "infinite_labels")
        self._counts: dict[str, int] = dict.fromkeys(names, 0)
        self._cut_off = self._open_in_part = 0
        self._first_us, self._last_us = 2**63 - 1, -(2**63)

    def add(self, vectors: pa.Table, event_time_us: Int64Array, known_us: Int64Array | None, labels: Labels) -> None:
        """Take some vectors: the columns of their identity, `entity`, `event_time`, and the outputs."""
        closed = labels.closed & labels.told
        keep = labels.usable & closed
        for name, these in (
            ("vectors", np.ones(len(keep), np.bool_)),
            ("labelled", keep),
            ("unlabelled", closed & ~labels.there),
            ("horizon_not_over", labels.told & ~labels.closed),
            ("infinite_labels", closed & labels.there & ~labels.usable),
        ):
            self._counts[name] += int(these.sum())
        self._cut_off += int((~labels.told).sum())
        table = self._rows(vectors, known_us, labels, keep)
        wanted = np.ones(len(keep), np.bool_) if self._request.rows is not None else keep
        if wanted.any():
            self._first_us = min(self._first_us, int(event_time_us[wanted].min()))
            self._last_us = max(self._last_us, int(event_time_us[wanted].max()))
        bounds = [-(2**63), *self._request.splits_us, 2**63 - 1]
        for file, start_us, end_us in zip(self.files.values(), bounds, bounds[1:], strict=False):
            mine = wanted & (event_time_us >= start_us) & (event_time_us < end_us)
            # A model that is trained at the split could not know what came after it. Which rows go is decided by their horizon,
            # not by when their label came: where one outcome is known sooner than the other, it would be all that stays.
            is_open = np.zeros(len(keep), np.bool_)
            if end_us < 2**63 - 1:
                is_open = event_time_us >= end_us - self._model.label.within_us
            unknown = mine & keep & (is_open | (labels.known_us >= end_us))
            self._open_in_part += int(unknown.sum())
            chosen = mine & ~unknown
            if chosen.any():
                file.add(table if chosen.all() else table.filter(pa.array(chosen)))

    def close(self) -> dict[str, int]:
        """Finish the files; how many vectors there are, and what became of them.

        Raises TrainingError where a part has no rows.
        """
        for file in self.files.values():
            file.close()
        counts = dict(self._counts)
        if self._cut_off:
            counts["labels_cut_off"] = self._cut_off
        if self._first_us > self._last_us:
            raise TrainingError(
                "no vector has a label yet",
                where=self._model.name,
                found=", ".join(f"{count} {name}" for name, count in counts.items()),
                hint="wait until horizons are over and labels have come in, or choose an earlier range with --from and --to.",
            )
        counts["horizon_not_over_in_its_part"] = self._open_in_part
        if empty := [name for name, file in self.files.items() if not file.rows]:
            raise TrainingError(
                "a part of the training set has no rows",
                where=self._model.name,
                found=f"no rows in {', '.join(empty)}; rows from {text_of(self._first_us)} to {text_of(self._last_us)}, "
                f"{self._open_in_part} of them left out since their horizon was not over when their part ended",
                expected=f"rows on both sides of {', '.join(map(text_of, self._request.splits_us))}",
                hint="choose --split inside of these times, later than the first by more than the horizon of the label "
                "(`within`).",
            )
        return counts

    def _rows(self, vectors: pa.Table, known_us: Int64Array | None, labels: Labels, keep: BoolArray) -> pa.Table:
        model = self._model
        # whole numbers are of one type, whether Avro's of logged vectors or the log's own of their triggers
        columns: dict[str, Any] = {name: vectors[name].cast(pa.int64()) for name in self._identity}
        columns |= {"entity": vectors["entity"], "event_time": vectors["event_time"]}
        if known_us is not None:
            columns["_known"] = _instants(known_us)
        columns |= {name: vectors[name] for name in model.outputs}
        kind = Kind.STRING if model.output == "class" else Kind.FLOAT
        columns[model.label.name] = cols.to_arrow(cols.ColumnData(labels.y, keep), kind)
        columns["_label_known"] = _instants(labels.known_us, keep)
        if self._request.rows is not None:
            state = np.where(~labels.closed, "horizon_not_over", np.where(keep, "labelled", "unlabelled"))
            state = np.where(~labels.told, "labels_cut_off", state)
            columns["_label_state"] = pa.array(state.tolist(), pa.string())
        return pa.table(columns)


def _instants(time_us: Int64Array, valid: BoolArray | None = None) -> pa.Array:  # type: ignore[type-arg]
    there = np.ones(len(time_us), np.bool_) if valid is None else valid
    return cols.to_arrow(cols.ColumnData(time_us, there), Kind.TIME)


def tables(files: Mapping[str, Path]) -> dict[str, pa.Table]:
    """The parts, read again."""
    found = {}
    for name, path in files.items():
        with pq.ParquetFile(path) as file:
            found[name] = file.read().combine_chunks()
    return found
