"""Vectors as a Parquet file, written in parts as they are computed: interrupted, it goes on where it stood."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from samestream.schemas.errors import FeatureLogError, SettingsError
from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.engine.columnar import Vectors
from samestream.streams.log.log_files import remedy
from samestream.streams.plan import ModelPlan, Plan
from samestream.streams.storage import make_durable

_PART_ROWS = 100_000


class VectorFile:
    """Collects vectors with trigger event time in [from_us, to_us), batch by batch, in the order of the journal.

    A folder beside the file holds finished parts, each named by the last journal sequence in it; `finish` puts them together
    in one step. Where the parts end depends on the vectors alone, so an interrupted run leads to the same bytes.

    features : the outputs to keep, all if None
    asked : whatever else decides the content; parts written for something else are not taken up
    overwrite : whether it may take the place of a file that is there
    Raises SettingsError where there is one and it may not. A part that is torn or altered is made again, with what follows it.
    """

    def __init__(
        self,
        path: Path,
        plan: Plan,
        models: Sequence[str],
        from_us: int | None = None,
        to_us: int | None = None,
        features: Sequence[str] | None = None,
        asked: Mapping[str, Any] | None = None,
        part_rows: int = _PART_ROWS,
        overwrite: bool = False,
    ) -> None:
        self._overwrite = overwrite
        refuse_existing(path, overwrite)
        self.path, self._plan, self._models, self._features = path, plan, list(models), features
        self._from_us, self._to_us = from_us, to_us
        identity = [plan.fingerprint, self._models, from_us, to_us, features, part_rows, dict(asked or {})]
        mark = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
        self._folder = path.with_name(f".{path.name}.{mark}.parts")
        self._part_rows = part_rows
        self._held: list[pa.Table] = []
        self.taken = 0  # vectors, since it was made
        self._schema = self._unified()
        self._drop_damaged()

    @property
    def done_sequence(self) -> int:
        """The last journal sequence that finished parts hold; -1 if there are none."""
        return max((int(path.stem) for path in self._parts()), default=-1)

    def take(self, sequence: int, every: Sequence[Vectors]) -> None:
        """The vectors of the next journal entry. Raises FeatureLogError where they cannot be written."""
        for vectors in every:
            keep = np.flatnonzero(vectors.within(self._from_us, self._to_us))
            if vectors.model.name in self._models and len(keep):
                self._held.append(self._table(vectors, keep))
                self.taken += len(keep)
        if sum(map(len, self._held)) >= self._part_rows:
            self._flush(sequence)

    def finish(self, sequence: int) -> int:
        """Put the parts together under the file's name, in one step; how many rows it has."""
        if self._held:
            self._flush(sequence)
        beside = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}.part")
        rows = 0
        try:
            with pq.ParquetWriter(beside, self._schema, compression="zstd") as writer:
                for part in self._parts():
                    table = _read(part)
                    rows += len(table)
                    writer.write_table(table)
            make_durable(beside)
            refuse_existing(self.path, self._overwrite)  # it may have come meanwhile
            beside.replace(self.path)
            make_durable(self.path.parent)
        except (OSError, pa.ArrowException) as error:
            raise self._refused(error) from error
        finally:
            beside.unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)
        return rows

    def _parts(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9]*.parquet"))

    def _unified(self) -> pa.Schema:
        every = [_schema(self._plan, self._plan.models[name], self._models, self._features) for name in self._models]
        try:
            return pa.unify_schemas(every)
        except pa.ArrowException as error:
            raise FeatureLogError(
                "models have inputs of one name and different types, which one file cannot hold",
                where=", ".join(self._models),
                found=error,
                hint="name one with --model, or leave the input out by --features.",
            ) from error

    def _drop_damaged(self) -> None:
        """Remove the first part that is not as it was written, and those behind it: what comes next goes on from the last."""
        is_whole = True
        for part in self._parts():
            try:
                is_whole = is_whole and _read(part).schema.equals(self._schema)
            except (OSError, pa.ArrowException) as error:
                if getattr(error, "errno", None) is not None:  # the disk's word, which says nothing of the content
                    raise self._refused(error) from error
                is_whole = False
            if not is_whole:
                try:
                    part.unlink()
                except OSError as error:
                    raise self._refused(error) from error

    def _flush(self, sequence: int) -> None:
        table = pa.concat_tables([part.cast(self._schema) for part in self._held])
        beside = self._folder / ".part"
        try:
            self._folder.mkdir(exist_ok=True)
            pq.write_table(table, beside, compression="zstd", write_page_checksum=True)
            make_durable(beside)
            beside.replace(self._folder / f"{sequence:012d}.parquet")
            make_durable(self._folder)
        except (OSError, pa.ArrowException) as error:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
                self._folder.rmdir()  # unless there are parts in it
            raise self._refused(error) from error
        self._held = []

    def _refused(self, error: Exception) -> FeatureLogError:
        hint = f"{remedy(error)}, then run the same command again: it goes on where it stood."
        return FeatureLogError("vectors cannot be written", where=str(self.path), found=error, hint=hint)

    def _table(self, vectors: Vectors, rows: cols.Int64Array) -> pa.Table:
        model = vectors.model
        count = len(rows)
        kind = self._plan.inputs[model.trigger].columns[self._plan.inputs[model.trigger].key]
        partitions = [vectors.partitions[rank] for rank in vectors.rank[rows].tolist()]
        there = np.ones(count, np.bool_)
        columns: dict[str, Any] = {
            "model": pa.array([model.name] * count, pa.string()),
            "entity": cols.to_arrow(vectors.entity.take(rows), kind),
            "event_time": cols.to_arrow(cols.ColumnData(vectors.event_time_us[rows], there), Kind.TIME),
            "known_time": cols.to_arrow(cols.ColumnData(vectors.known_us[rows], there), Kind.TIME),
            "trigger_topic": pa.array([part.topic for part in partitions], pa.string()),
            "trigger_partition": pa.array([part.partition for part in partitions], pa.int32()),
            "trigger_offset": pa.array(vectors.offset[rows], pa.int64()),
            "fingerprint": pa.array([model.fingerprint] * count, pa.string()),
        }
        for name, value in model.outputs.items():
            columns[name] = cols.to_arrow(vectors.features[name].take(rows), value.kind, value.item)
        nothing = {field.name: pa.nulls(count, field.type) for field in self._schema if field.name not in columns}
        table = pa.table({**columns, **nothing})
        return table.select(self._schema.names)


def refuse_existing(path: Path | None, overwrite: bool, where: str = "--out") -> None:
    """Raises SettingsError where a file would be replaced and may not be."""
    if path is not None and not overwrite and os.path.lexists(path):
        raise SettingsError(
            "there is something already",
            where=where,
            found=path,
            hint="choose another name, or say --overwrite.",
        )


def write_whole(table: pa.Table, path: Path, what: str) -> None:
    """Write a table as one Parquet file that appears whole or not at all. Raises FeatureLogError; ``what`` names the rows."""
    beside = path.with_name(f".{path.name}.part")
    try:
        pq.write_table(table, beside, compression="zstd")
        beside.replace(path)
    except OSError as error:
        hint = f"{remedy(error)}, or name another file."
        raise FeatureLogError(f"{what} cannot be written", where=str(path), found=error, hint=hint) from error
    finally:
        beside.unlink(missing_ok=True)


def _read(part: Path) -> pa.Table:
    return pq.ParquetFile(part, page_checksum_verification=True).read()


def _schema(plan: Plan, model: ModelPlan, models: Sequence[str], features: Sequence[str] | None) -> pa.Schema:
    """The columns of a model's vectors; keys of several models are text."""
    input = plan.inputs[model.trigger]
    key = cols.arrow_type(input.columns[input.key]) if len(models) == 1 else pa.string()
    found: dict[str, pa.DataType] = {
        "model": pa.string(),
        "entity": key,
        "event_time": cols.ARROW[Kind.TIME],
        "known_time": cols.ARROW[Kind.TIME],
        "trigger_topic": pa.string(),
        "trigger_partition": pa.int32(),
        "trigger_offset": pa.int64(),
        "fingerprint": pa.string(),
    }
    for name, value in model.outputs.items():
        if features is None or name in features:
            found[name] = cols.arrow_type(value.kind, value.item)
    return pa.schema(found)
