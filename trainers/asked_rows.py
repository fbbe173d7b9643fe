"""Rows that a user brings: keys and instants, for which vectors are wanted, from Parquet, CSV or a data frame."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from samestream.schemas.errors import TrainingError
from samestream.schemas.expressions import Column, Expr
from samestream.streams import columns as cols
from samestream.streams.plan import ModelPlan, Plan

_HINT = "a .parquet or .csv file with one row per vector wanted."


def read(path: Path, plan: Plan, model: ModelPlan) -> tuple[pa.Table, str]:
    """The rows of a file as `triggers` gives them, and the SHA-256 of the file.

    Raises TrainingError for a file that cannot be read, and as `triggers` does.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TrainingError("the rows cannot be read", where=str(path), found=error.strerror, hint=_HINT) from error
    try:
        if path.suffix.lower() == ".csv":
            input = plan.inputs[model.trigger]
            types = {name: cols.arrow_type(kind, input.items.get(name)) for name, kind in input.columns.items()}
            text = {
                name: type_ for name, type_ in types.items() if name != input.time and not pa.types.is_nested(type_)
            }
            # an empty cell of text is no text: null
            options = pacsv.ConvertOptions(column_types=text, strings_can_be_null=True)
            table = pacsv.read_csv(io.BytesIO(content), convert_options=options)
        else:
            table = pq.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        raise TrainingError("the rows cannot be read", where=str(path), found=error, hint=_HINT) from error
    return triggers(table, plan, model, str(path)), hashlib.sha256(content).hexdigest()


def of_frame(rows: Any) -> pa.Table:
    """A data frame as a table: of pandas, Polars, Spark, Arrow, or whatever else hands its columns on as Arrow does.

    Raises TrainingError for anything else.
    """
    try:
        found = rows.toArrow() if hasattr(rows, "toArrow") else pa.table(rows)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise TrainingError(
            "these are no rows", where="rows", found=error, hint="a data frame, or the path of " + _HINT
        ) from error
    return found.replace_schema_metadata(None)


def triggers(table: pa.Table, plan: Plan, model: ModelPlan, where: str) -> pa.Table:
    """Rows as a table of triggers of the model, row i at offset i of partition 0.

    Besides the trigger's key and event time, there are the trigger's fields that the inputs are read from or looked up by; other
    columns are passed over. A time without a zone is UTC, a whole number is microseconds since 1970.
    Raises TrainingError where a column or a value is missing, or of another type.
    """
    input = plan.inputs[model.trigger]
    types = {name: cols.arrow_type(kind, input.items.get(name)) for name, kind in input.columns.items()}
    wanted = [input.key, input.time, *sorted(_read_by(model, plan) - {input.key, input.time})]
    if missing := [name for name in wanted if name not in table.column_names]:
        raise TrainingError(
            "the rows lack columns that the vectors are computed from",
            where=where,
            found=", ".join(table.column_names),
            expected=", ".join(wanted),
            hint=f"add {', '.join(missing)}, named as the fields of {model.trigger}.",
        )
    if not len(table):
        raise TrainingError("there are no rows", where=where, hint=_HINT)
    taken: dict[str, Any] = {
        "_partition": pa.array(np.zeros(len(table), np.int32)),
        "_offset": pa.array(np.arange(len(table), dtype=np.int64)),
    }
    for name, type_ in types.items():
        if name not in wanted:
            taken[name] = pa.array([None] * len(table), type_)
            continue
        try:
            taken[name] = table[name].cast(type_)
        except pa.ArrowException as error:
            hint = f"it is the field {model.trigger}.{name}."
            raise TrainingError(
                "a column is of another type", where=f"{where} column {name}", found=error, expected=type_, hint=hint
            ) from error
        if taken[name].null_count and name in (input.key, input.time):
            row = int(np.argmin(np.asarray(taken[name].combine_chunks().is_valid())))
            raise TrainingError(
                "a row has no key or no instant", where=f"{where} column {name}", found=f"null in row {row}", hint=_HINT
            )
    return pa.table(taken)


def _read_by(model: ModelPlan, plan: Plan) -> set[str]:
    """The trigger's fields that a vector is computed from."""
    lookups, outputs = list(model.lookups), list(model.outputs.values())
    for part in plan.enrichments:
        if part.event == model.trigger:
            lookups.append(part.lookup)
            outputs += part.outputs.values()
    found = {name for lookup in lookups for name in lookup.keys}
    found |= {name for output in outputs for name in _columns(output)}
    return found & set(plan.inputs[model.trigger].columns)


def _columns(value: Expr[Any]) -> set[str]:
    return {leaf.name for leaf in value.leaves() if isinstance(leaf, Column)}
