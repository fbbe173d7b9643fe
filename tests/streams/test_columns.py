"""Columns there and back: Arrow, Python values, lists and maps among them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from samestream.schemas.expressions import Kind
from samestream.streams import columns as cols

VALUES: dict[Kind, list[Any]] = {
    Kind.INT: [1, None, -(2**63), 2**63 - 1],
    Kind.FLOAT: [1.5, None, -0.0, float("inf")],
    Kind.BOOL: [True, None, False],
    Kind.STRING: ["a", None, "", "Ü"],
    Kind.TIME: [0, None, 1_700_000_000_000_001],
}


@pytest.mark.parametrize("kind", VALUES)
def test_scalars_lists_and_maps_survive_arrow(kind: Kind) -> None:
    values = VALUES[kind]
    column = cols.from_values(values, kind)
    assert cols.to_python(cols.from_arrow(cols.to_arrow(column, kind), kind)) == values

    lists = [values, [], None, values[:1], values[1:2]]
    arrow = cols.to_arrow(cols.from_values(lists, Kind.LIST), Kind.LIST, kind)
    assert arrow.type == pa.list_(cols.ARROW[kind])
    assert cols.to_python(cols.from_arrow(arrow, Kind.LIST, kind)) == lists

    maps = [{"a": values[0], "b": None}, {}, None]
    arrow = cols.to_arrow(cols.from_values(maps, Kind.MAP), Kind.MAP, kind)
    assert arrow.type == pa.map_(pa.string(), cols.ARROW[kind])
    assert cols.to_python(cols.from_arrow(pa.chunked_array([arrow, arrow]), Kind.MAP, kind)) == maps + maps


def test_lists_of_one_length_stay_lists() -> None:
    column = cols.from_values([[1, 2], [3, 4]], Kind.LIST)
    assert column.values.shape == (2,)
    assert column.values[1] == [3, 4]
    assert cols.concatenate([column, cols.empty(Kind.LIST)]).values.tolist() == [[1, 2], [3, 4]]
