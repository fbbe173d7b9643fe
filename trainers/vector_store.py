"""Vectors on their way to a dataset: in as they come, out in order of time; a database writes out what exceeds its memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols
from samestream.streams.columns import Int64Array
from samestream.streams.sql.duckdb_log import Connection
from samestream.trainers import label_join
from samestream.trainers.dataset_vectors import Vectors

SLICE_ROWS = 200_000
"""About as many vectors are in memory at once."""


class VectorStore:
    """All vectors of a dataset. Columns have numbers for names: in SQL, names that differ only in case are the same."""

    def __init__(self, database: Connection, vectors: Vectors) -> None:
        self._database, self._identity, self._known = database, vectors.identity, vectors.has_known
        self._schema: pa.Schema | None = None
        self.rows = 0
        for table in vectors.tables:
            if len(table):
                self._add(table)

    def in_order(self) -> Iterator[tuple[pa.Table, Int64Array, Int64Array | None, pa.Table]]:
        """The vectors with event times and known times, and `y` and `known` of their labels, from the table `found`.

        In order of event time, then identity; rows of a user's own as they came.
        """
        assert self._schema is not None
        for condition in self._slices():
            run = self._database.execute
            run(f"CREATE OR REPLACE TABLE slice AS SELECT * FROM vectors WHERE {condition}").fetchall()
            # of the two, the slice is the one that is small
            run(
                "CREATE OR REPLACE TABLE those AS "
                "SELECT f._row, f.y AS y, f.known AS known FROM found f JOIN slice s ON f._row = s._row"
            ).fetchall()
            query = (
                "SELECT slice.* EXCLUDE (k), those.y AS y, those.known AS known FROM slice LEFT JOIN those USING (_row)"
            )
            found = self._database.sql(query).to_arrow_table()
            times = found["t"].to_numpy()
            names = self._schema.names
            if self._identity == ("row",):
                order = np.argsort(found["_row"].to_numpy())
            else:
                places = [found[f"c{names.index(name)}"].to_numpy() for name in reversed(self._identity)]
                order = np.lexsort((found["_row"].to_numpy(), *places, times))
            found = found.take(order).combine_chunks()
            rows = pa.table(
                [_as(found[f"c{number}"], field.type) for number, field in enumerate(self._schema)], schema=self._schema
            )
            known = cols.from_arrow(rows["_known"], Kind.TIME).values if self._known else None
            yield rows, times[order], known, found.select(["y", "known"])

    def _slices(self) -> Iterator[str]:
        if self._identity == ("row",):
            for first in range(0, self.rows, SLICE_ROWS):
                yield f"_row >= {first} AND _row < {first + SLICE_ROWS}"
            return
        bounds, done = [], 0
        for table in label_join.in_order(self._database, "SELECT t FROM vectors ORDER BY t"):
            times = table["t"].to_numpy()
            bounds += times[(-done) % SLICE_ROWS :: SLICE_ROWS].tolist()
            done += len(times)
        bounds = sorted(set(bounds))
        for start, end in zip(bounds, [*bounds[1:], None], strict=True):
            yield f"t >= {start}" + ("" if end is None else f" AND t < {end}")

    def _add(self, table: pa.Table) -> None:
        if self._schema is None:
            self._schema = table.schema.remove_metadata()
        plain = [cols.plain(table[name]) for name in self._schema.names]
        entity = table["entity"].combine_chunks()
        keys = entity if pa.types.is_string(entity.type) else pa.array([str(key) for key in entity.to_pylist()])
        columns: dict[str, Any] = {
            "_row": np.arange(self.rows, self.rows + len(table)),
            "t": cols.from_arrow(table["event_time"], Kind.TIME).values,
            "k": keys,
            **{f"c{number}": column for number, column in enumerate(plain)},
        }
        if not self.rows:
            self._database.register("given", pa.table(columns))
            self._database.execute("CREATE OR REPLACE TABLE vectors AS SELECT * FROM given").fetchall()
            self._database.unregister("given")
        else:
            label_join.insert(self._database, "vectors", pa.table(columns))
        self.rows += len(table)


def _as(column: pa.ChunkedArray[Any], type: pa.DataType) -> pa.ChunkedArray[Any]:
    return column if column.type == type else column.cast(type)
