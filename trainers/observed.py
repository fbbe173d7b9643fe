"""Vectors, and what then happened, at any keys and instants: for notebooks and programs, without a command line."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from samestream.schemas import app as apps
from samestream.schemas.errors import TrainingError
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.lowering import compile_app
from samestream.streams.transport import Transport
from samestream.trainers import asked_rows, dataset
from samestream.trainers.request import Request


def vectors_at(
    module: str | Path | ModuleType,
    model: str,
    rows: Any,
    *,
    log: str | Path = ".samestream/log",
    as_of: datetime | str | None = None,
    mode: Literal["point_in_time", "as_known"] = "point_in_time",
    spark: Any = None,
) -> pa.Table:
    """The vectors of a model at keys and instants of your own, as an observer would have seen them to whom nothing comes late.

    Nothing has to have been served: the events in the feature log are enough. Reference tables are looked up as of the instant.
    With ``mode="as_known"``, an event counts if the processor had applied it by then: what would have been served.

    Parameters
    ----------
    module : the module that declares the app, or its path
    model : the name of the model
    rows : a data frame (pandas, Polars, Arrow), or the path of a `.parquet` or `.csv` file: the trigger's key, its event time,
        and the trigger's fields that inputs are read from, named as declared
    log : the feature log: a folder, or any URI pyarrow knows
    as_of : count only what the log knew before this instant; with a time zone; text is ISO 8601, and UTC where it
        names no zone
    mode : whether every event counts from its event time on, or from when it was applied
    spark : a Spark session in which to compute, where the log is large; ``rows`` may then be a DataFrame of it, too

    Returns a table in the order of ``rows``: `row`, `entity`, `event_time`, the model's inputs, the label by its declared name,
    `_label_known` and `_label_state` (``labelled``, ``unlabelled``, ``horizon_not_over``, ``labels_cut_off``).
    Raises TrainingError for rows that do not fit or an unknown model; FeatureLogError where the log is damaged or lacks events.
    """
    app = apps.app_of(module) if isinstance(module, ModuleType) else apps.load(str(module))
    plan = compile_app(app)
    if model not in plan.models:
        raise TrainingError("no such model", where=str(model), expected=", ".join(plan.models), hint="name a class.")
    as_of_us = None if as_of is None else _instant_us(as_of)
    is_file = isinstance(rows, str | Path)
    request = Request(model, mode, as_of_us=as_of_us, rows=str(rows) if is_file else "rows")
    given = None if is_file else asked_rows.of_frame(rows)
    if spark is not None:
        from samestream.trainers import spark_dataset

        return spark_dataset.build(plan, request, str(log), spark, given).parts["rows"]
    return dataset.build(plan, request, FeatureLog(log), _no_journal, given=given).parts["rows"]


def _instant_us(as_of: datetime | str) -> int:
    found: Any = as_of
    if isinstance(as_of, str):
        try:
            found = datetime.fromisoformat(as_of)
        except ValueError as error:
            hint = "write 2013-02-01 or 2013-02-01T12:00Z."
            raise TrainingError("a time is not understood", where="as_of", found=as_of, hint=hint) from error
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
    if not isinstance(found, datetime):
        hint = "a datetime with a time zone, or text: 2013-02-01T12:00Z."
        raise TrainingError("this is no instant", where="as_of", found=repr(as_of), hint=hint)
    if found.tzinfo is None:
        raise TrainingError("the instant has no time zone", where="as_of", found=as_of, hint="add tzinfo=UTC.")
    return int(np.datetime64(found.astimezone(UTC).replace(tzinfo=None), "us").astype(int))


def _no_journal() -> Transport:
    raise TrainingError(
        "the feature log does not hold the journal, which says what was applied",
        where="mode=as_known",
        hint="`samestream run MODULE log` copies it; or use `samestream training-set`, which asks the broker.",
    )
