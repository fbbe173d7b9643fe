"""One system's join of asks with sales, as a table `row` and values: `joined.py SYSTEM TASK FOLDER`. `feast_join.py` is another."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from measure import measured
from sales import DAY_US, MINUTE_US, Ask, LastValue, Sale, Windowed, plan_of

from samestream.streams.log import topic_stream
from samestream.streams.log.feature_log import FeatureLog
from samestream.streams.sql import latest
from samestream.streams.sql.point_in_time import point_in_time

MODELS = {"last_value": LastValue, "windowed": Windowed}
HOUR = f"(t - (t - {60 * MINUTE_US}) // {MINUTE_US} * {MINUTE_US})"
DAY = f"(t - (t - {DAY_US}) // {5 * MINUTE_US} * {5 * MINUTE_US})"


def samestream(task: str, folder: Path) -> pa.Table:
    """From the feature log."""
    plan, log = plan_of(MODELS[task]), FeatureLog(folder / "log")
    asks = pq.read_table(folder / "asks.parquet")
    triggers = asks.rename_columns({"row": "_offset"}).append_column(
        "_partition", pa.array(np.zeros(len(asks), np.int32))
    )
    sales = topic_stream.reader(log, Sale.topic, plan.read_columns("Sale"), with_known=False)
    (model,) = plan.models.values()
    found = point_in_time(plan, model, triggers, {"Sale": sales, Ask.__name__: triggers.slice(0, 0)})
    return found.drop_columns(["_partition"]).rename_columns({"_offset": "row"})


def pandas(task: str, folder: Path) -> pa.Table:
    """`merge_asof`, both sides sorted by time as they are."""
    sales, asks = (pd.read_parquet(folder / f"{name}.parquet") for name in ("sales", "asks"))
    found = pd.merge_asof(asks, sales, on="at", by="shop", allow_exact_matches=False)
    return pa.table({"row": found["row"].to_numpy(), "latest": found["amount"].to_numpy()})


def by_hand(task: str, folder: Path) -> pa.Table:
    """DuckDB SQL, the quickest found: one sort for both windows, frames as ranges of it. Joins by range, joins of tiles added
    up beforehand, and two as-of joins a window on running sums were slower, or could not take a maximum.
    """
    query = f"""
        WITH joined AS (
            SELECT shop, epoch_us("at") AS t, amount, NULL AS row FROM '{folder}/sales.parquet'
            UNION ALL SELECT shop, epoch_us("at"), NULL, row FROM '{folder}/asks.parquet'
        ), framed AS (
            SELECT row, count(amount) OVER hour AS sales_1h, avg(amount) OVER hour AS mean_1h,
                avg(amount) OVER day AS mean_1d, max(amount) OVER day AS most_1d
            FROM joined WINDOW
                hour AS (PARTITION BY shop ORDER BY t RANGE BETWEEN {HOUR} PRECEDING AND 1 PRECEDING),
                day AS (PARTITION BY shop ORDER BY t RANGE BETWEEN {DAY} PRECEDING AND 1 PRECEDING)
        )
        SELECT * FROM framed WHERE row IS NOT NULL ORDER BY row"""
    settings = {"memory_limit": "4GB", "preserve_insertion_order": False, "threads": 2}
    with duckdb.connect(config=settings) as database:
        return database.sql(query).to_arrow_table()


SYSTEMS: dict[str, Callable[[str, Path], Any]] = {"samestream": samestream, "pandas": pandas, "by_hand": by_hand}


def main() -> None:
    """Join, and write what came of it."""
    system, task, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    latest.warm()  # as imports, which do not count either
    rows = pq.read_metadata(folder / "asks.parquet").num_rows
    found = measured(rows, lambda: SYSTEMS[system](task, folder))
    pq.write_table(found, folder / f"{task}.{system}.parquet")


if __name__ == "__main__":
    main()
