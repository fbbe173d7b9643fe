"""Whether columns of the log are of the kinds that a plan declares: a cast would make of them what nobody has said."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from samestream.schemas.errors import FeatureLogError
from samestream.schemas.kinds import Kind
from samestream.streams.plan import Input


def refuse_retyped(input: Input, schema: pa.Schema, names: Iterable[str]) -> None:
    """Raises FeatureLogError where a column of the log is neither of its declared kind nor of one that widens to it.

    Whole numbers widen to floats, as Avro's resolution has it; nothing else does. A column that is not there is passed over.
    """
    for name in names:
        if name not in schema.names:
            continue
        kind, item, found = input.columns[name], input.items.get(name), schema.field(name).type
        if not _reads(found, kind, item):
            declared = f"{kind.value} of {item.value}" if item else kind.value
            raise FeatureLogError(
                "the log holds a field as another type than is declared",
                where=f"{input.topic}, {input.name}.{name}",
                found=str(found),
                expected=declared,
                hint="give the new field another name, or read the log by the definition that it was written by.",
            )


def _reads(found: Any, kind: Kind, item: Kind | None = None) -> bool:
    if pa.types.is_null(found):
        return True
    if pa.types.is_dictionary(found):
        return _reads(found.value_type, kind)
    if kind is Kind.LIST:
        is_list = pa.types.is_list(found) or pa.types.is_large_list(found)
        return is_list and _reads(found.value_type, item or Kind.STRING)
    if kind is Kind.MAP:
        return pa.types.is_map(found) and _reads(found.item_type, item or Kind.STRING)
    if kind is Kind.INT:
        return pa.types.is_integer(found)
    if kind is Kind.FLOAT:
        return pa.types.is_integer(found) or pa.types.is_floating(found)
    if kind is Kind.BOOL:
        return pa.types.is_boolean(found)
    if kind is Kind.TIME:
        return pa.types.is_timestamp(found)
    return pa.types.is_string(found) or pa.types.is_large_string(found)
