"""Fields of events as the feature log has them, decoded one by one: of many that are declared few are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from samestream.streams import columns as cols
from samestream.streams.columns import ColumnData, Columns
from samestream.streams.plan import Input
from samestream.streams.wire.avro_values import Rows


def fields_of(input: Input, events: pa.Table) -> Columns:
    """The fields of some events, each decoded when it is first asked for. See `field_of`."""
    return cols.Made(input.columns, lambda name: field_of(input, name, [events]))


def field_of(input: Input, name: str, tables: Sequence[pa.Table]) -> ColumnData:
    """A field of the events in some tables of the log, one after the other; of a log from before it was declared, its default."""
    kind, item = input.columns[name], input.items.get(name)
    if tables and name in tables[0].column_names:
        chunks = pa.chunked_array([chunk for table in tables for chunk in table[name].chunks], tables[0][name].type)
        return cols.from_arrow(chunks.unify_dictionaries(), kind, item)
    return cols.from_values([defaults_of(input).get(name)] * sum(map(len, tables)), kind)


def defaults_of(input: Input) -> dict[str, Any]:
    """What columns hold, by the schema, in events from before their field was declared; null ones left out."""
    given = {field["name"]: field["default"] for field in input.schema["fields"] if field.get("default") is not None}
    columns = [name for name in input.columns if name.partition(".")[0] in given]
    found = Rows(input.schema, columns).row(given)
    return {name: value for name, value in found.items() if value is not None}
