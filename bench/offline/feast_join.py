"""Feast's join of the last values, in its own environment: `feast_join.py STORE FOLDER`, the store being duckdb or file."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Float64
from feast.value_type import ValueType
from measure import measured


def store_of(kind: str, folder: Path) -> Any:
    """A store with one view of the sales."""
    online = {"type": "sqlite", "path": str(folder / f"{kind}.online.db")}
    config = RepoConfig(
        project="bench",
        registry=str(folder / f"{kind}.registry.db"),
        provider="local",
        offline_store={"type": kind},
        online_store=online,
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.INT64)
    source = FileSource(path=str(folder / "sales.parquet"), timestamp_field="at")
    fields = [Field(name="amount", dtype=Float64)]
    store.apply([shop, FeatureView(name="sales", entities=[shop], ttl=timedelta(0), schema=fields, source=source)])
    return store


def main() -> None:
    """Join, and write what came of it."""
    kind, folder = sys.argv[1], Path(sys.argv[2])
    store, asks = store_of(kind, folder), pq.read_table(folder / "asks.parquet")

    def work() -> pa.Table:
        asked = asks.rename_columns({"at": "event_timestamp"}).to_pandas()
        return store.get_historical_features(entity_df=asked, features=["sales:amount"]).to_arrow()

    found = measured(len(asks), work)
    table = pa.table({"row": found["row"], "latest": found["amount"]})
    pq.write_table(table, folder / f"last_value.feast-{kind}.parquet")


if __name__ == "__main__":
    main()
